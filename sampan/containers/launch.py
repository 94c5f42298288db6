"""Bringing one container's process up, and taking down everything that was brought up for it.

The steps of a start in their order: root file system, network sandbox, mounts, spec, shim. Each registers its
way back first; ``tidy`` is that same way back, used after an exit, a failed start and a crash of the daemon.
"""

import asyncio
import contextlib
import os
import shutil
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final

from sampan.base.errors import Conflict, EngineError, HostFailure
from sampan.base.faults import point
from sampan.base.threads import blocking
from sampan.base.undo import Undo
from sampan.containers import links as links_of
from sampan.containers.container import Container, Mounted
from sampan.containers.create import Defaults
from sampan.containers.errors import IsRestarting, LayersLost
from sampan.containers.idmap import plan_idmap
from sampan.containers.mounts import parse_tmpfs
from sampan.containers.output import log_target
from sampan.kernel.fs import remove_tree
from sampan.networks.service import NetworksService, Sandbox, SandboxRequest
from sampan.oci.spec import OciMount
from sampan.runtime.init import find_init
from sampan.runtime.resources import cgroup_path
from sampan.runtime.service import RuntimeService
from sampan.runtime.shm import close_shm, open_shm, shared_shm
from sampan.runtime.spec import SpecBuilder, SpecRequest
from sampan.runtime.task import Started, TaskSpec
from sampan.runtime.users import find_identity, read_accounts
from sampan.storage.driver import SnapshotNotFound
from sampan.storage.service import StorageService
from sampan.volumes.service import VolumesService
from sampan.wire.containers import NetworkSettings

# What a start makes in the writable layer by itself: places for mounts, and the mark of a container.
OWN_PATHS: Final = frozenset(
    (
        "/.dockerenv /dev /dev/console /dev/mqueue /dev/pts /dev/shm /etc/hostname /etc/hosts /etc/mtab "
        "/etc/resolv.conf /proc /sbin/docker-init /sys"
    ).split()
)
_FILES: Final = (("resolv.conf", "/etc/resolv.conf"), ("hostname", "/etc/hostname"), ("hosts", "/etc/hosts"))


class Launcher:
    """Starts and tidies containers. ``find`` gives the container that a ``container:NAME`` mode means."""

    def __init__(
        self,
        root: Path,
        *,
        storage: StorageService,
        networks: NetworksService,
        volumes: VolumesService,
        runtime: RuntimeService,
        spec: SpecBuilder,
        defaults: Defaults,
        find: Callable[[str], Container],
    ) -> None:
        self._root = root
        self._storage = storage
        self._networks = networks
        self._volumes = volumes
        self._runtime = runtime
        self._spec = spec
        self._defaults = defaults
        self._find = find
        # Gives back what containers hold that have just ended: their exit was answered before that is done.
        self.release_ended: Callable[[], Awaitable[bool]] = _nothing

    def folder(self, container_id: str) -> Path:
        """Return the directory of the container's bundle, logs and files."""
        return self._root / container_id

    def cgroup_path(self, container: Container) -> str:
        """Return the container's cgroup, relative to each hierarchy's root."""
        return cgroup_path(container.row.host.cgroup_parent, container.id)

    def check_runtime(self, name: str) -> None:
        """Raise InvalidParameter unless there is an OCI runtime ``name``."""
        self._runtime.check(name)

    async def launch(self, container: Container) -> Started:
        """Run the container's process; its lock is held. Whatever was acquired is given back on failure."""
        row = container.row
        async with Undo() as undo:
            folder = self.folder(container.id)
            folder.mkdir(mode=0o710, parents=True, exist_ok=True)
            undo.add(close_shm, folder)
            undo.add(self._storage.unmount, container.id)
            undo.add(self._networks.close_sandbox, container.id)
            rootfs, netns = await asyncio.gather(  # side by side: both wait for the kernel
                self._open_rootfs(container), self._open_network(container), return_exceptions=True
            )
            if isinstance(rootfs, BaseException):
                raise rootfs
            if isinstance(netns, BaseException):
                raise netns
            point("containers.start.network")
            undo.add(self._volumes.release, container.id)
            undo.add(self._volumes.unstage, container.id)
            undo.add(self._drop_views, container)
            mounts = await self._resolve_mounts(container, rootfs)
            point("containers.start.volumes")
            document = self._spec.build(self._spec_request(container, rootfs, netns, mounts))
            point("containers.start.spec")
            undo.add(self._runtime.delete, container.id)
            clients, container.clients = container.clients, []
            target = log_target(container, folder)
            if target is not None:
                target.path.parent.mkdir(mode=0o710, exist_ok=True)
            row.log_path = str(target.path) if target is not None and target.driver == "json-file" else ""
            # Once the runtime is at work: until then this thread and that of the networks hinder each other.
            asyncio.get_running_loop().call_soon(self._networks.prepare)
            try:
                started = await self._runtime.start(
                    TaskSpec(
                        id=container.id,
                        bundle=folder,
                        spec=document,
                        runtime=row.host.runtime,
                        tty=row.config.tty,
                        open_stdin=row.config.open_stdin,
                        stdin_once=row.config.stdin_once,
                        log=target,
                        console_size=_console_size(row.host.console_size),
                        cgroup_path=self.cgroup_path(container),
                    ),
                    clients,
                )
            finally:
                for stream, _ in clients:
                    stream.close()
            if any(entry.subpath or entry.idmap or entry.alone for entry in row.mounts):
                await self._volumes.unstage(container.id)  # the container has its own by now
            point("containers.start.process")
        return started

    async def _open_rootfs(self, container: Container) -> Path:
        row = container.row
        try:
            rootfs = await self._storage.open(container.id, row.chain_id, options=row.host.storage_opt or {})
        except SnapshotNotFound as error:  # a power cut has taken the image
            raise LayersLost(row.config.image) from error
        with contextlib.suppress(FileExistsError):  # a link of the image's is not followed
            os.mknod(
                rootfs / ".dockerenv", 0o755
            )  # programs look for it to know that they are in a container
        point("containers.start.rootfs")
        return rootfs

    async def prepare_locked(self, container: Container) -> None:
        """Make the container's layer, unless it is there, for who does not hold its lock."""
        if not self._storage.exists(container.id):
            async with container.lock:
                if not self._storage.exists(container.id):
                    await self._storage.prepare(
                        container.id, container.row.chain_id, options=container.row.host.storage_opt or {}
                    )

    async def tidy(self, container: Container) -> None:
        """Give back all that a start acquired; idempotent. Failures are raised at the end, as one group."""
        steps = [
            partial(step, container.id)
            for step in (
                self._runtime.delete,
                self._networks.close_sandbox,
                self._storage.unmount,
                self._volumes.release,
            )
        ]
        steps += [partial(self._storage.remove, entry.view) for entry in container.row.mounts if entry.view]
        failures = []
        for step in steps:  # one by one: they are so short that side by side their threads hinder each other
            try:
                await step()
            except Exception as error:
                failures.append(error)
        if container.row.host.ipc_mode == "shareable":
            close_shm(self.folder(container.id))
        container.row.network = NetworkSettings()
        if failures:
            raise ExceptionGroup(f"container {container.id} could not be tidied up", failures)
        container.row.acquired = False

    async def _drop_views(self, container: Container) -> None:
        """Take away the views of the images that the container mounts."""
        for entry in container.row.mounts:
            if entry.view:
                await self._storage.remove(entry.view)

    async def forget(self, container: Container) -> None:
        """Remove the container's layer and folder."""
        await self._storage.remove(container.id)
        await blocking(remove_tree, self.folder(container.id))

    async def release(self, container: Container) -> None:
        """Give back at once what another container may ask for: addresses, ports, volumes."""
        await self._networks.close_sandbox(container.id)
        await self._volumes.release(container.id)

    async def _open_network(self, container: Container) -> str | None:
        """Give the container its network; return the namespace's path, None for the host's."""
        row = container.row
        mode = row.host.network_mode
        if mode.startswith("container:"):
            other = self._joined(mode, container, "network")
            self._share_files(other, container)
            row.config.hostname = other.row.config.hostname
            row.config.domainname = other.row.config.domainname
            row.network = NetworkSettings()
            if other.row.host.network_mode == "host":
                return None
            return other.row.network.sandbox_key
        request = self.sandbox_request(container)
        try:
            sandbox = await self._networks.open_sandbox(request)
        except EngineError:
            if not await self.release_ended():
                raise
            sandbox = await self._networks.open_sandbox(request)
        self.show_sandbox(container, sandbox)
        return sandbox.sandbox_key if mode != "host" else None

    def show_sandbox(self, container: Container, sandbox: Sandbox) -> None:
        """Put what ``sandbox`` is into the container's row."""
        network = container.row.network = NetworkSettings(
            sandbox_id=sandbox.sandbox_id,
            sandbox_key=sandbox.sandbox_key,
            ports=sandbox.ports,
            networks=dict(sandbox.networks),
        )
        default = sandbox.networks.get("bridge")
        if default is not None:
            network.endpoint_id = default.endpoint_id
            network.gateway = default.gateway
            network.ip_address = default.ip_address
            network.ip_prefix_len = default.ip_prefix_len
            network.ipv6_gateway = default.ipv6_gateway
            network.global_ipv6_address = default.global_ipv6_address
            network.global_ipv6_prefix_len = default.global_ipv6_prefix_len
            network.mac_address = default.mac_address

    @staticmethod
    def by_name(container: Container) -> bool:
        """Tell whether the container's links are names on its networks, and no legacy links."""
        return bool(container.row.endpoints) and "bridge" not in container.row.endpoints

    def sandbox_request(self, container: Container, *, links: bool = True) -> SandboxRequest:
        """Return what the container wants of the networks; ``links`` are resolved only when it starts."""
        row = container.row
        config, host = row.config, row.host
        legacy = links and not self.by_name(container)
        return SandboxRequest(
            container=container.id,
            name=container.name,
            hostname=config.hostname,
            domainname=config.domainname,
            mode=host.network_mode,
            endpoints=row.endpoints,
            exposed=sorted(config.exposed_ports or {}),
            bindings=host.port_bindings or {},
            publish_all=host.publish_all_ports,
            dns=host.dns or (),
            dns_search=host.dns_search or (),
            dns_options=host.dns_options or (),
            extra_hosts=host.extra_hosts or (),
            mac_address=config.mac_address or "",
            links=links_of.resolve(host.links or (), self._find) if legacy else (),
            reaches=links_of.reaches(host.links or (), self._find) if legacy else (),
            files=self.folder(container.id),
            detached=row.detached,
        )

    def _joined(self, mode: str, container: Container, kind: str) -> Container:
        other = self._find(mode.partition(":")[2])
        if other is container:
            raise Conflict(f"cannot join own {kind} namespace")
        if not other.state.running:
            raise Conflict(f"cannot join {kind} namespace of a non running container: {other.id}")
        if not other.state.pid:
            raise IsRestarting(other.id)
        return other

    def _namespace(self, mode: str, container: Container, kind: str) -> str | None:
        if not mode.startswith("container:"):
            return None
        return f"/proc/{self._joined(mode, container, kind.upper()).state.pid}/ns/{kind}"

    def _share_files(self, other: Container, container: Container) -> None:
        for name, _ in _FILES:
            source = self.folder(other.id) / name
            if source.exists():
                shutil.copyfile(source, self.folder(container.id) / name)

    async def _resolve_mounts(self, container: Container, rootfs: Path) -> list[OciMount]:
        row = container.row
        taken = {entry.point.destination for entry in row.mounts}
        mounts = [await self._resolve(entry, container, rootfs) for entry in row.mounts]
        mounts += [
            OciMount(
                destination=destination, type="tmpfs", source="tmpfs", options=parse_tmpfs(destination, text)
            )
            for destination, text in (row.host.tmpfs or {}).items()
        ]
        folder = self.folder(container.id)
        mounts += [
            OciMount(
                destination=destination,
                type="bind",
                source=str(folder / name),
                options=["rbind", "rprivate", *(["ro"] if row.host.readonly_rootfs else [])],
            )
            for name, destination in _FILES
            if destination not in taken and (folder / name).exists()
        ]
        if row.host.ipc_mode == "shareable":
            mounts.append(open_shm(folder, row.host.shm_size))
        elif row.host.ipc_mode.startswith("container:"):
            other = self._joined(row.host.ipc_mode, container, "IPC")
            if other.row.host.ipc_mode != "shareable":
                raise Conflict(f"non-shareable IPC of container {other.id}")
            mounts.append(shared_shm(self.folder(other.id)))
        return sorted(mounts, key=lambda mount: mount.destination.count("/"))

    async def _resolve(self, entry: Mounted, container: Container, rootfs: Path) -> OciMount:
        made = entry.point
        if made.type == "tmpfs":
            return OciMount(destination=made.destination, type="tmpfs", source="tmpfs", options=entry.options)
        source = made.source
        options = entry.options
        if made.type == "image":
            made.source = source = str(await self._storage.view(entry.view, entry.chain))
            if entry.subpath:
                source = await self._volumes.mount_below(
                    container.id, f"image {made.name}", source, entry.subpath
                )
            return OciMount(destination=made.destination, type="bind", source=source, options=options)
        if made.type == "volume":
            mounted = await self._volumes.mount(made.name, container.id, subpath=entry.subpath)
            source = mounted.path
            if not entry.subpath:
                made.source = source  # a plugin's volume has its place only now
            if mounted.read_only:
                options = ["ro" if option == "rw" else option for option in options]
            if entry.copy_up and not entry.populated:
                if not mounted.read_only:
                    await self._volumes.populate(made.name, rootfs, made.destination)
                entry.populated = True
        elif entry.create_source and not Path(source).exists():
            try:
                Path(source).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise HostFailure(
                    f"error while creating mount source path '{source}': mkdir {source}: {error.strerror}"
                ) from error
        elif not Path(source).exists():
            raise EngineError(
                f'invalid mount config for type "bind": bind source path does not exist: {source}'
            )
        if not Path(source).is_dir():  # crun opens the target of rro as a directory, in vain
            options = ["ro" if option == "rro" else option for option in options]
        if entry.alone:
            source = await self._volumes.mount_alone(container.id, source)
        if entry.idmap:
            status = Path(source).stat()
            user = find_identity(container.row.config.user, await blocking(read_accounts, rootfs))
            ranges = plan_idmap(entry.idmap, (status.st_uid, status.st_gid), (user.uid, user.gid))
            source = await self._volumes.mount_mapped(container.id, source, *ranges)
        return OciMount(destination=made.destination, type="bind", source=source, options=options)

    def _init(self) -> Path:
        return Path(self._defaults.init_path) if self._defaults.init_path else find_init()

    def _spec_request(
        self, container: Container, rootfs: Path, netns: str | None, mounts: list[OciMount]
    ) -> SpecRequest:
        row = container.row
        return SpecRequest(
            id=container.id,
            name=container.name,
            config=row.config,
            host=row.host,
            args=[row.path, *row.args],
            env=[
                *(() if self.by_name(container) else links_of.variables(container, self._find)),
                *(row.config.env or []),
            ],
            rootfs=rootfs,
            hostname=row.config.hostname,
            domainname=row.config.domainname,
            netns=netns,
            ipcns=self._namespace(row.host.ipc_mode, container, "ipc"),
            pidns=self._namespace(row.host.pid_mode, container, "pid"),
            mounts=mounts,
            cgroup_path=self.cgroup_path(container),
            init_path=self._init() if row.host.init else None,
            cgroupns=row.host.cgroupns_mode,
            runtime=row.host.runtime,
        )


async def _nothing() -> bool:
    return False


def _console_size(size: list[int] | None) -> tuple[int, int] | None:
    return (size[0], size[1]) if size is not None and len(size) == 2 and all(size) else None
