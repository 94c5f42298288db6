"""``docker cp``: the status of a path in a container, a tar of it, and a tar put into it.

A container that runs is seen through its own root, with every mount in it. One that does not run gets a view
made for the moment: its layer and its volumes. Either way paths are resolved inside by the kernel.
"""

import errno
import os
import posixpath
import stat
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from sampan.base.errors import EngineError, HostFailure, InvalidParameter
from sampan.base.events import EventBus
from sampan.base.outflow import Outflow, Piece
from sampan.base.threads import Pulled, blocking
from sampan.base.times import format_ns
from sampan.containers.container import Container, Mounted
from sampan.containers.errors import PathNotFound
from sampan.containers.launch import Launcher
from sampan.images.compression import Inflated
from sampan.kernel.mount import mounts
from sampan.kernel.view import Bind, View
from sampan.runtime.users import find_identity, read_accounts
from sampan.storage.extract import Rules, extract, make_directories, open_inside
from sampan.storage.pack import pack_named
from sampan.storage.service import StorageService
from sampan.volumes.staging import Staging
from sampan.wire.archive import PathStat, go_mode

_MAX_LINKS: Final = 40  # as the kernel, path_resolution(7)
_PATH: Final = os.O_PATH | os.O_NOFOLLOW
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY
_KERNEL_FILE_SYSTEMS: Final = frozenset(
    "bpf cgroup cgroup2 configfs debugfs devpts fusectl mqueue proc pstore securityfs sysfs tracefs".split()
)
_ABSENT: Final = frozenset({errno.ENOENT})


class Archives:
    """Copies files out of and into containers."""

    def __init__(
        self, storage: StorageService, launcher: Launcher, staging: Staging, events: EventBus
    ) -> None:
        self._storage = storage
        self._launcher = launcher
        self._staging = staging
        self._events = events

    async def stat(self, container: Container, name: str, path: str) -> PathStat:
        """Describe ``path``; ``name`` is what the user calls the container. Raises PathNotFound."""
        await self._prepare(container)
        return await blocking(self._stat, container, name, path)

    async def read(self, container: Container, name: str, path: str) -> tuple[PathStat, Outflow]:
        """Return the status of ``path`` and a tar of it and all below, named by its last part."""
        found = await self.stat(container, name, path)
        self._events.publish("container", "archive-path", container.id, container.attributes())
        return found, Outflow.of(self._pack(container, path))

    async def write(
        self,
        container: Container,
        name: str,
        path: str,
        source: AsyncIterator[bytes],
        *,
        keep_kinds: bool,
        own: bool,
    ) -> None:
        """Put the entries of a tar (of any compression) into the directory ``path``.

        ``keep_kinds``: see ``Rules``. ``own``: all of it belongs to the user of the container. Raises
        PathNotFound, InvalidParameter for a bad archive, a target that is no directory or read-only.
        """
        await self._prepare(container)
        await blocking(self._extract, container, name, path, Pulled(source), keep_kinds=keep_kinds, own=own)
        self._events.publish("container", "extract-to-dir", container.id, container.attributes())

    async def _prepare(self, container: Container) -> None:
        await self._launcher.prepare_locked(container)

    def _stat(self, container: Container, name: str, path: str) -> PathStat:
        with self._tree(container) as root, _told("lstat", name, path):
            return describe(root, absolute(path))

    def _pack(self, container: Container, path: str) -> Iterator[Piece]:
        place = absolute(path)
        with self._tree(container) as root, ExitStack() as stack, _told("lstat", container.name, path):
            base = posixpath.basename(place.rstrip("/")) or "/"
            try:
                directory = open_inside(root, os.fsencode(place), _DIRECTORY | os.O_NOFOLLOW)
                below = b""
            except OSError as error:
                if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                    raise
                directory = open_inside(root, os.fsencode(posixpath.dirname(place)), _DIRECTORY)
                below = os.fsencode("/" + base)
            stack.callback(os.close, directory)
            shown = b"" if base == "/" else os.fsencode(base)
            closed = _kernel_devices(container) - {os.fstat(directory).st_dev}
            yield from pack_named(directory, below, lambda entry: shown + entry[len(below) :], closed=closed)

    def _extract(
        self, container: Container, name: str, path: str, source: Pulled, *, keep_kinds: bool, own: bool
    ) -> None:
        place = absolute(path)
        with self._tree(container) as root:
            with _told("lstat", name, path):
                resolved = resolve(root, place)
                fd = open_inside(root, os.fsencode(resolved + "/." * place.endswith("/.")), os.O_PATH)
            try:
                if not stat.S_ISDIR(os.fstat(fd).st_mode):
                    raise InvalidParameter("extraction point is not a directory")
            finally:
                os.close(fd)
            check_writable(container, resolved)
            owner = self._owner(container, root) if own else None
            inflated = Inflated(source, "the archive")
            extract(root, os.fsencode(resolved), inflated, Rules(owner, keep_kinds))

    @staticmethod
    def _owner(container: Container, root: int) -> tuple[int, int] | None:
        user = container.row.config.user
        if not user:
            return None
        identity = find_identity(user, read_accounts(Path(f"/proc/self/fd/{root}")))
        return identity.uid, identity.gid

    @contextmanager
    def _tree(self, container: Container) -> Iterator[int]:
        """Yield a descriptor of the root of the container's tree."""
        root = _running_root(container)
        if root is not None:
            try:
                yield root
            finally:
                os.close(root)
            return
        with ExitStack() as stack:
            rootfs = stack.enter_context(self._storage.borrowed(container.id))
            images = {
                entry.view: stack.enter_context(self._storage.shown(entry.chain))
                for entry in container.row.mounts
                if entry.chain is not None
            }
            staged = f"{container.id}-{os.urandom(6).hex()}"
            try:
                view = View(rootfs, self._binds(container, rootfs, staged, images))
            except OSError as error:
                raise HostFailure(f"cannot look into container {container.id}: {error.strerror}") from error
            finally:
                self._staging.clear(staged)  # the view has its own by now
            with view:
                yield view.root

    def _binds(self, container: Container, rootfs: str, staged: str, images: Mapping[str, str]) -> list[Bind]:
        """Return the volumes, binds and files to see in the tree; the places for them are made.

        ``images``: where the images that it mounts are shown, by the name of their view.
        """
        folder = self._launcher.folder(container.id)
        wanted = [
            (self._source(entry, images.get(entry.view, entry.point.source), staged), entry.point.destination)
            for entry in container.row.mounts
        ]
        taken = {destination for _, destination in wanted}
        wanted += [
            (str(folder / name), f"/etc/{name}")
            for name in ("resolv.conf", "hostname", "hosts")
            if f"/etc/{name}" not in taken
        ]
        wanted = [(source, destination) for source, destination in wanted if source and Path(source).exists()]
        binds = [Bind(source, destination) for source, destination in wanted]
        root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for bind in binds:
                _make_place(root, bind)
        finally:
            os.close(root)
        return sorted(binds, key=lambda bind: bind.target.count("/"))

    def _source(self, entry: Mounted, source: str, staged: str) -> str:
        """Return what ``entry`` mounts of ``source``; a path in that is bound under ``staged``."""
        if not entry.subpath or not source:
            return source
        try:
            return self._staging.bind_below(staged, f"volume {entry.point.name}", source, entry.subpath)
        except (EngineError, OSError):
            return ""  # it is gone, or leads out of the volume: a start would be refused


def absolute(path: str) -> str:
    """Return ``path`` clean and from the root, its meaningful end (``/`` or ``/.``) kept."""
    clean = posixpath.normpath("/" + path).replace("//", "/", 1)
    if path.endswith("/.") or path == ".":
        return clean.rstrip("/") + "/."
    return clean.rstrip("/") + "/" if path.endswith("/") else clean


def describe(root: int, path: str) -> PathStat:
    """Return the status of ``path`` (absolute, not followed at its end) in the tree ``root``."""
    fd = open_inside(root, os.fsencode(path), _PATH)
    try:
        status = os.fstat(fd)
    finally:
        os.close(fd)
    is_link = stat.S_ISLNK(status.st_mode)
    return PathStat(
        name=posixpath.basename(path.rstrip("/")) or "/",
        size=status.st_size,
        mode=go_mode(status.st_mode),
        mtime=format_ns(status.st_mtime_ns),
        link_target=resolve(root, path, missing_is_fine=True) if is_link else "",
    )


def resolve(root: int, path: str, *, missing_is_fine: bool = False) -> str:
    """Return ``path`` of the tree ``root`` with every link followed, inside the tree.

    Raises OSError: ENOENT, ENOTDIR, ELOOP. ``missing_is_fine``: what does not exist is taken as it is.
    """
    pending = path.split("/")[::-1]
    place = ""
    links = 0
    while pending:
        step = pending.pop()
        if step in ("", "."):
            continue
        if step == "..":
            place = posixpath.dirname(place).rstrip("/")
            continue
        candidate = f"{place}/{step}"
        try:
            fd = open_inside(root, os.fsencode(candidate), _PATH)
        except FileNotFoundError:
            if not missing_is_fine:
                raise
            place = candidate
            continue
        try:
            if not stat.S_ISLNK(os.fstat(fd).st_mode):
                place = candidate
                continue
            target = os.readlink("", dir_fd=fd)
        finally:
            os.close(fd)
        links += 1
        if links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        if target.startswith("/"):
            place = ""
        pending += target.split("/")[::-1]
    return place or "/"


def check_writable(container: Container, path: str) -> None:
    """Raise InvalidParameter if ``path`` is in a read-only volume, or in a read-only root file system."""
    for entry in container.row.mounts:
        destination = entry.point.destination.rstrip("/")
        if path == destination or path.startswith(destination + "/"):
            if not entry.point.rw:
                raise InvalidParameter("mounted volume is marked read-only")
            return
    if container.row.host.readonly_rootfs:
        raise InvalidParameter("container rootfs is marked read-only")


def _running_root(container: Container) -> int | None:
    """Return a descriptor of the root that the container's process sees; None if there is none to be had."""
    pid = container.state.pid
    if not pid:
        return None
    try:
        root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:  # it has just ended, or may not be looked into: its layer and volumes are there
        return None
    if container.state.pid != pid:
        os.close(root)
        return None
    return root


def _kernel_devices(container: Container) -> set[int]:
    """Return the devices of the kernel's own file systems in a container that runs.

    They are not copied along with what is around them: nobody means them, and some files have no end.
    """
    try:
        found = mounts(container.state.pid) if container.state.pid else []
    except OSError:  # it has just ended
        return set()
    return {os.makedev(*entry.device) for entry in found if entry.type in _KERNEL_FILE_SYSTEMS}


def _make_place(root: int, bind: Bind) -> None:
    target = os.fsencode(bind.target)
    if Path(bind.source).is_dir():
        os.close(make_directories(root, target))
        return
    above, _, name = target.rpartition(b"/")
    parent = make_directories(root, above)
    try:
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=parent))
    except FileExistsError:
        pass
    finally:
        os.close(parent)


@contextmanager
def _told(call: str, name: str, path: str) -> Iterator[None]:
    """Turn the OSError of a path that cannot be reached into Docker's words."""
    try:
        yield
    except OSError as error:
        if error.errno in _ABSENT:
            raise PathNotFound(path, name) from error
        reason = (error.strerror or str(error)).lower()
        raise HostFailure(f"{call} {path}: {reason}") from error
