"""The routes of the Engine API, a module for each subject."""

from typing import Final

from sampan.api.router import Routes
from sampan.api.routes import archive, containers, execs, images, networks, system, unavailable, volumes

GROUPS: Final[tuple[Routes, ...]] = (
    archive.routes,
    containers.routes,
    execs.routes,
    images.routes,
    networks.routes,
    volumes.routes,
    system.routes,
    unavailable.routes,
)
