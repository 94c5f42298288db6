"""What the routes may call: one object of each service, built by ``daemon/services.py``."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sampan.base.events import EventBus

if TYPE_CHECKING:
    from sampan.api.system import System
    from sampan.containers.service import ContainersService
    from sampan.images.service import ImagesService
    from sampan.insight.networks import NetworkInsight
    from sampan.insight.service import Insight
    from sampan.networks.service import NetworksService
    from sampan.registry.service import Registries
    from sampan.storage.service import StorageService
    from sampan.volumes.copies import VolumeCopies
    from sampan.volumes.service import VolumesService


@dataclass(frozen=True, slots=True)
class Services:
    """The engine, as the API sees it."""

    containers: "ContainersService"
    images: "ImagesService"
    registries: "Registries"
    networks: "NetworksService"
    network_insight: "NetworkInsight"
    volumes: "VolumesService"
    copies: "VolumeCopies"
    storage: "StorageService"
    insight: "Insight"
    system: "System"
    events: EventBus
