"""Making a container from a create request: checks, names, mounts, volumes, and the row at last."""

import contextlib
import os
import time
from collections.abc import Sequence

import msgspec

from sampan.base.errors import EngineError, InvalidParameter, NotFound, prefixed
from sampan.base.events import EventBus
from sampan.base.faults import point
from sampan.base.ids import new_id, short_id
from sampan.base.threads import blocking
from sampan.base.undo import Undo
from sampan.containers.container import Container, Mounted, Row
from sampan.containers.create import (
    Defaults,
    as_list,
    check_network_mode,
    fill_host_config,
    merge_config,
    split_body,
)
from sampan.containers.launch import Launcher
from sampan.containers.links import split_link
from sampan.containers.mounts import parse_tmpfs, plan_mounts, read_only
from sampan.containers.names import check_name, invent_name
from sampan.containers.networking import wanted_endpoints
from sampan.containers.output import log_target
from sampan.containers.restart import check_policy
from sampan.containers.store import ContainerStore
from sampan.images.image import Image
from sampan.images.service import ImagesService
from sampan.kernel.host import HostFacts
from sampan.networks.service import NetworksService
from sampan.runtime.checks import check_host_config
from sampan.runtime.mounts import READONLY_PATHS, masked_paths
from sampan.runtime.namespaces import container_of
from sampan.storage.service import StorageService
from sampan.volumes.filters import ANONYMOUS_LABEL
from sampan.volumes.service import VolumesService
from sampan.wire.containers import (
    ContainerConfig,
    CreateContainer,
    CreatedContainer,
    HostConfig,
)


class Creation:
    """Makes containers. Nothing is mounted or run; what a failed request made is taken back."""

    def __init__(
        self,
        *,
        store: ContainerStore,
        events: EventBus,
        images: ImagesService,
        networks: NetworksService,
        volumes: VolumesService,
        launcher: Launcher,
        storage: StorageService,
        facts: HostFacts,
        defaults: Defaults,
    ) -> None:
        self._store = store
        self._events = events
        self._images = images
        self._networks = networks
        self._volumes = volumes
        self._launcher = launcher
        self._storage = storage
        self._facts = facts
        self._defaults = defaults

    async def create(self, body: CreateContainer, name: str | None, platform: str | None) -> CreatedContainer:
        if not body.image:
            raise InvalidParameter("invalid reference format")
        image = self._images.find(body.image, platform=platform)
        try:
            return await self._create(body, name, image)
        except NotFound as error:  # of a network, container or plugin: on a 404 clients would pull the image
            raise InvalidParameter(str(error)) from error

    async def _create(self, body: CreateContainer, name: str | None, image: Image) -> CreatedContainer:
        config = merge_config(split_body(body), image.config)
        host = body.host_config or HostConfig()
        host.runtime = host.runtime or body.runtime
        host = fill_host_config(host, self._defaults)
        if not host.privileged:
            host.masked_paths = list(masked_paths()) if host.masked_paths is None else host.masked_paths
            host.readonly_paths = list(READONLY_PATHS) if host.readonly_paths is None else host.readonly_paths
        self._launcher.check_runtime(host.runtime)
        if host.storage_opt:
            await blocking(self._storage.check_options, host.storage_opt)
        check_policy(host.restart_policy)
        check_network_mode(config, host)
        self._fix_containers(host)
        warnings = check_host_config(config, host, self._facts)
        for destination, text in (host.tmpfs or {}).items():
            parse_tmpfs(destination, text)
        async with Undo() as undo:
            container_id = new_id()
            if not config.hostname:
                on_host = host.network_mode == "host"
                config.hostname = os.uname().nodename if on_host else short_id(container_id)
            chosen = check_name(name) if name else invent_name(self._store.names())
            self._store.reserve(chosen, container_id)
            undo.add(self._store.release, chosen, container_id)
            row = self._row(container_id, chosen, image, config, host)
            given = body.networking_config.endpoints_config if body.networking_config else None
            row.endpoints = wanted_endpoints(
                given or {}, host, self._networks, mac_address=config.mac_address or ""
            )
            container = Container(row)
            row.mounts = plan_mounts(
                binds=host.binds or [],
                mounts=host.mounts or [],
                image_volumes=config.volumes or {},
                volume_driver=host.volume_driver,
                volume_path=self._volumes.path,
                inherited=self._inherited(host.volumes_from or []),
                tmpfs=host.tmpfs or {},
            )
            row.mounts = [
                self._of_image(entry, f"{container_id}-image-{number}")
                if entry.point.type == "image"
                else entry
                for number, entry in enumerate(row.mounts)
            ]
            for link in () if self._launcher.by_name(container) else host.links or ():
                name = split_link(link)[0]
                try:
                    self._store.find(name)
                except EngineError as error:
                    raise prefixed(f"could not get container for {name}", error) from error
            if not host.network_mode.startswith("container:"):
                self._networks.check(self._launcher.sandbox_request(container, links=False), may_lack=True)
            log_target(container, self._launcher.folder(container_id))
            for entry in row.mounts:
                if entry.point.type == "volume":
                    await self._make_volume(entry, undo)
            point("containers.create.save")
            await self._store.add(container)
        self._events.publish("container", "create", container.id, container.attributes())
        return CreatedContainer(container.id, warnings)

    def _fix_containers(self, host: HostConfig) -> None:
        """Name the containers whose namespaces are joined by their ids: those stay. Raises NotFound."""
        for field in ("network_mode", "ipc_mode", "pid_mode"):
            if (name := container_of(getattr(host, field))) is not None:
                setattr(host, field, f"container:{self._store.find(name).id}")

    def _row(
        self,
        container_id: str,
        name: str,
        image: Image,
        config: ContainerConfig,
        host: HostConfig,
    ) -> Row:
        command = [*as_list(config.entrypoint), *as_list(config.cmd)]
        return Row(
            id=container_id,
            name=name,
            created_ns=time.time_ns(),
            image_id=image.id,
            chain_id=image.chain_id,
            path=command[0],
            args=command[1:],
            config=config,
            host=host,
            endpoints={},
            mounts=[],
            storage_driver=self._storage.name,
        )

    def _inherited(self, sources: Sequence[str]) -> list[Mounted]:
        mounts: list[Mounted] = []
        for text in sources:
            name, _, mode = text.partition(":")
            if not name:
                raise InvalidParameter("volumes-from specification cannot be an empty string")
            if mode not in ("", "ro", "rw", "z", "Z"):
                raise InvalidParameter(f"invalid mode: {mode}")
            for entry in self._store.find(name).row.mounts:
                mounts.append(read_only(entry) if mode == "ro" else entry)  # noqa: PERF401 - find may raise
        return mounts

    def _of_image(self, entry: Mounted, view: str) -> Mounted:
        """Return the mount of an image, which is found now and kept as long as the container is."""
        image = self._images.find(entry.image or entry.point.name)
        shown = msgspec.structs.replace(entry.point, source="")
        return msgspec.structs.replace(entry, point=shown, image=image.id, chain=image.chain_id, view=view)

    async def _make_volume(self, entry: Mounted, undo: Undo) -> None:
        name = entry.point.name
        if (found := self._volumes.known(name)) is None:
            undo.add(self._forget_volume, name)
            labels = entry.labels
            if entry.anonymous:
                labels = {**(labels or {}), ANONYMOUS_LABEL: ""}
            found = await self._volumes.create(
                name, driver=entry.point.driver, options=entry.driver_options, labels=labels
            )
        entry.point.driver = found.driver
        entry.point.source = self._volumes.path(name)

    async def _forget_volume(self, name: str) -> None:
        with contextlib.suppress(NotFound):  # it was not even made
            await self._volumes.remove(name)
