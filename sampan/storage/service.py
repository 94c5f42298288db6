"""The storage service: snapshots of images' layers and of containers, on whichever driver the host can carry.

Whatever makes, mounts or reads trees runs in threads: to unmount, the kernel may have to wait for a while.
"""

import asyncio
import logging
import os
import threading
from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from sampan.base import faults
from sampan.base.errors import HostFailure
from sampan.base.outflow import Piece
from sampan.base.threads import blocking
from sampan.kernel.fs import sync_filesystem
from sampan.kernel.mount import is_mount_point
from sampan.storage.catalogue import folder_of
from sampan.storage.choice import open_driver
from sampan.storage.compare import shown_only, without
from sampan.storage.driver import (
    LAYER_WORK,
    NO_OPTIONS,
    Change,
    HoldsHost,
    Kind,
    Replaces,
    Snapshot,
    SnapshotDriver,
    SnapshotExists,
    SnapshotInUse,
    SnapshotNotFound,
    Usage,
)
from sampan.storage.mounting import put_on, take_off, underlying
from sampan.storage.options import container_size, parse_options
from sampan.storage.pack import pack_delta, pack_tree
from sampan.storage.tar_reader import Source, TarReader
from sampan.storage.tree import opened
from sampan.storage.unpack import Applied, unpack

_log = logging.getLogger(__name__)
_TRANSIENT = (LAYER_WORK, "view-")


class StorageService:
    """Snapshots below ``root``, the storage folder of the data root.

    Keys are container ids (active snapshots) and chainIDs (committed ones). Calls for different keys run in
    parallel, calls for one key one after the other. Raises as ``open_driver``.
    """

    def __init__(self, root: Path, *, driver: str | None = None, options: Sequence[str] = ()) -> None:
        """``options`` are the driver's, as ``--storage-opt`` gives them."""
        self.driver: SnapshotDriver = open_driver(root, driver, parse_options(options))
        self._root = root
        self._locks = _KeyLocks()
        # Mounting state is shared with worker threads (export), hence no asyncio lock.
        self._mounting = threading.Lock()
        self._borrowers: dict[str, int] = {}
        self._kept: set[str] = set()
        self._measured: dict[str, Usage] = {}
        self._mounts = 0  # how often anything was mounted

    @property
    def name(self) -> str:
        """The driver's name, ``overlay2`` for example."""
        return self.driver.name

    def exists(self, key: str) -> bool:
        """Return whether there is a snapshot ``key``, active or committed."""
        try:
            self.driver.find(key)
        except SnapshotNotFound:
            return False
        return True

    def check_options(self, options: Mapping[str, str]) -> None:
        """Raise InvalidParameter, in Docker's words, if a container cannot have its storage ``options``."""
        if size := container_size(options):
            self.driver.check_size(size)

    async def prepare(self, key: str, parent: str | None, *, options: Mapping[str, str] = NO_OPTIONS) -> None:
        """Create the active snapshot ``key`` over the committed ``parent`` (None: empty).

        ``options`` are the container's own, as ``--storage-opt`` gives them. Raises SnapshotExists,
        SnapshotNotFound (the parent), as ``check_options``; HostFailure if the disk fails.
        """
        async with self._locks.hold(key):
            await blocking(self._prepare, key, parent, container_size(options))

    async def open(self, key: str, parent: str | None, *, options: Mapping[str, str] = NO_OPTIONS) -> Path:
        """Create the active snapshot ``key`` as ``prepare`` unless it is there, then do as ``mount``."""
        async with self._locks.hold(key):
            return await blocking(self._open, key, parent, container_size(options))

    async def mount(self, key: str) -> Path:
        """Mount the active snapshot ``key``, if it is not mounted yet, and return its root directory."""
        async with self._locks.hold(key):
            target = self.driver.mounts(key)[-1].target
            if key in self._kept and is_mount_point(target):
                return Path(target)
            return await blocking(self._keep, key)

    async def view(self, key: str, parent: str | None) -> Path:
        """Show the committed ``parent`` (None: nothing) read-only, and return the root directory.

        Idempotent; ``remove`` takes the view ``key`` away. Raises SnapshotNotFound (the parent), HostFailure.
        """
        async with self._locks.hold(key):
            if not self.exists(key):
                await blocking(self._view, key, parent)
        return await self.mount(key)

    def adopt(self, keys: Iterable[str]) -> None:
        """Take note that ``keys`` are mounted since before this daemon's start, and are to stay so."""
        self._kept.update(keys)

    async def unmount(self, key: str) -> None:
        """Unmount ``key``; one that is not mounted, or not there, is no error."""
        async with self._locks.hold(key):
            await blocking(self._let_go, key)

    async def remove(self, key: str) -> None:
        """Unmount and remove ``key``, active or committed; one that is not there is no error.

        Raises SnapshotInUse if it has children.
        """
        async with self._locks.hold(key):
            await blocking(self._unmount_and_remove, key)
            self._measured.pop(key, None)

    async def discard(self, key: str) -> None:
        """Remove the committed ``key``, which is damaged, whatever stands on it: that waits for another one.

        Where layers cannot be damaged (see ``Replaces``), one that is needed stays.
        """
        async with self._locks.hold(key):
            await blocking(self._discard_committed, key)
            self._measured.pop(key, None)

    async def usage(self, key: str) -> Usage:
        """Measure what ``key`` holds itself, its parents not counted."""
        async with self._locks.hold(key):
            return await blocking(self._usage, key)

    def measure(self, keys: Iterable[str]) -> dict[str, Usage]:
        """Measure the snapshots ``keys`` themselves; those that are not there are left out.

        Blocking. What is not mounted does not change, so it is measured once.
        """
        found: dict[str, Usage] = {}
        for key in keys:
            usage = self._measured.get(key)
            if usage is None:
                mounts = self._mounts
                try:
                    usage = self._usage(key)
                except (SnapshotNotFound, HostFailure):
                    continue  # it went, or goes, meanwhile
                with self._mounting:
                    if mounts == self._mounts and not self.in_use(key):
                        self._measured[key] = usage
            found[key] = usage
        return found

    def remeasure(self, keys: Iterable[str]) -> dict[str, Usage]:
        """Measure committed snapshots anew, those whose size must be what ``apply`` said of it; blocking."""
        chosen = [key for key in keys if self.exists(key) and self.driver.find(key).parent is None]
        for key in chosen:
            self._measured.pop(key, None)
        return self.measure(chosen)

    def places(self) -> tuple[dict[str, Snapshot], set[str]]:
        """Return the folder of each snapshot, and what else of the driver's lies beside them, by path."""
        home = self._root / self.driver.name
        snapshots = {str(home / folder_of(snapshot.key)): snapshot for snapshot in self.driver.walk()}
        return snapshots, {str(self._root / "driver"), *(str(home / name) for name in self.driver.others)}

    def in_use(self, key: str) -> bool:
        """Tell whether ``key`` is mounted for somebody."""
        return key in self._kept or key in self._borrowers

    def unmount_stray(self, key: str) -> None:
        """Unmount ``key`` unless somebody uses it; blocking."""
        with self._mounting:
            if not self.in_use(key):
                self._unmount(key)

    async def changes(self, key: str, *, ignore: Collection[str] = ()) -> list[Change]:
        """Return how ``key`` differs from its parent, in the order of ``docker diff``.

        Directories come before what is in them, names are sorted, what was deleted comes last in its
        directory. Entries at the paths ``ignore`` (made by the engine, not by the container) are left out.
        """
        async with self._locks.hold(key):
            return await blocking(self._changes, key, frozenset(map(os.fsencode, ignore)))

    def apply(self, chain_id: str, parent: str | None, tar: Source) -> Applied:
        """Unpack the layer ``tar`` (uncompressed) over ``parent`` into the committed snapshot ``chain_id``.

        Blocking: to be called in a worker thread. The snapshot is whole or absent; the stream is read to its
        end in any case. If the snapshot exists, or another thread is quicker, that one is kept. Raises
        InvalidParameter, naming the entry, if the archive is broken; HostFailure if the disk fails.
        """
        if self.exists(chain_id):
            TarReader(tar).drain()
            return Applied(self._usage(chain_id).size, 0)

        def commit(key: str) -> None:
            faults.point("storage.apply")
            try:
                self.driver.commit(chain_id, key)
            except SnapshotExists:
                self._remove(key)

        return self._unpack(chain_id, parent, tar, commit)

    def rebuild(self, chain_id: str, parent: str | None, tar: Source) -> Applied:
        """Unpack ``tar`` as ``apply``, in place of a snapshot ``chain_id``, which may be damaged.

        There need not be one; what stands on it stays. Nobody may use it meanwhile. Blocking; raises as
        ``apply``.
        """
        if not self.exists(chain_id) or not isinstance(self.driver, Replaces):
            return self.apply(chain_id, parent, tar)
        driver = self.driver

        def replace(key: str) -> None:
            faults.point("storage.rebuild")
            driver.replace(chain_id, key)

        applied = self._unpack(chain_id, parent, tar, replace)
        self._measured.pop(chain_id, None)
        return applied

    def _unpack(
        self, chain_id: str, parent: str | None, tar: Source, finish: Callable[[str], None]
    ) -> Applied:
        """Unpack ``tar`` over ``parent`` into an active snapshot, whose key ``finish`` is called with."""
        key = f"{LAYER_WORK}{os.urandom(8).hex()}"
        try:
            with _translated(f"unpack layer {chain_id}"):
                self.driver.prepare(key, parent)
                with underlying(self.driver, key) as steps:
                    applied = unpack(steps, tar)
                finish(key)
        except BaseException:
            self._discard(key)
            raise
        return applied

    def flush(self) -> None:
        """Wait until all snapshots are on the disk; blocking."""
        with _translated("bring snapshots to the disk"):
            sync_filesystem(self._root)
            sync_filesystem(self._root / self.driver.name)

    def diff(
        self, key: str, parent: str | None, *, ignore: Collection[str] = ()
    ) -> Generator[bytes, None, None]:
        """Yield the layer tar of what ``key`` has changed since its ancestor ``parent``, piece by piece.

        Blocking. The same differences give the same bytes, on every driver. ``ignore`` as for ``changes``.
        While it is iterated it raises SnapshotNotFound, InvalidParameter (a name that cannot be in a layer)
        and HostFailure; close it if it is not read to its end.
        """
        with _translated(f"read snapshot {key}"), self.driver.diff(key, parent) as delta:
            yield from pack_delta(delta, ignore=frozenset(map(os.fsencode, ignore)))

    def export(self, key: str) -> Generator[Piece, None, None]:
        """Yield the tar of the whole tree of ``key``, active or committed, piece by piece; see ``diff``."""
        with _translated(f"read snapshot {key}"), self.shown(key) as target, opened(target) as root:
            yield from pack_tree(root)

    def graph_data(self, key: str) -> dict[str, str]:
        """Return what ``inspect`` shows as ``GraphDriver.Data``; {} if there is no such snapshot."""
        try:
            return self.driver.describe(key)
        except SnapshotNotFound:
            return {}

    def status(self) -> list[tuple[str, str]]:
        """Return what ``info`` shows as ``DriverStatus``."""
        return self.driver.status()

    def recover(self, keep: Collection[str]) -> list[str]:
        """Remove whatever is neither in ``keep`` nor below something in it; return what was removed.

        Blocking; for the start of the daemon, before any other call. ``keep`` holds the ids of all containers
        and the chainIDs of all images.
        """
        with _translated("recover storage"):
            removed = self.driver.sweep()
            snapshots = list(self.driver.walk())
            wanted = {key for key in keep if not key.startswith(_TRANSIENT)}
            for snapshot in reversed(snapshots):  # children before parents
                if snapshot.key in wanted:
                    if snapshot.parent is not None:
                        wanted.add(snapshot.parent)
                    continue
                self._unmount(snapshot.key)
                self.driver.remove(snapshot.key)
                removed.append(snapshot.key)
        for name in removed:
            _log.info("removed left-over snapshot", extra={"snapshot": name})
        return removed

    async def close(self) -> None:
        """Give back what the driver holds; containers that run on keep their mounts, and what those need."""
        if isinstance(self.driver, HoldsHost):
            await blocking(self.driver.close)

    def _prepare(self, key: str, parent: str | None, size: int) -> None:
        with _translated(f"prepare snapshot {key}"):
            self.driver.prepare(key, parent, size=size)

    def _open(self, key: str, parent: str | None, size: int) -> Path:
        if not self.exists(key):
            self._prepare(key, parent, size)
        return self._keep(key)

    def _keep(self, key: str) -> Path:
        with self._mounting:
            self._kept.add(key)
            try:
                return Path(self._mount(key))
            except BaseException:
                self._kept.discard(key)
                raise

    def _let_go(self, key: str) -> None:
        with self._mounting:
            self._kept.discard(key)
            if not self._borrowers.get(key):
                self._unmount(key)

    def _unmount_and_remove(self, key: str) -> None:
        with self._mounting:
            self._kept.discard(key)
            self._unmount(key)
        self._remove(key)

    def _view(self, key: str, parent: str | None) -> None:
        with _translated(f"prepare view {key}"):
            self.driver.view(key, parent)

    def _remove(self, key: str) -> None:
        with _translated(f"remove snapshot {key}"):
            self.driver.remove(key)

    def _discard_committed(self, key: str) -> None:
        with _translated(f"remove snapshot {key}"):
            if isinstance(self.driver, Replaces):
                self.driver.discard(key)
            else:
                with suppress(SnapshotInUse):
                    self.driver.remove(key)

    def _discard(self, key: str) -> None:
        """Remove what a failed call has made; a failure of this is logged, the first one goes on."""
        try:
            self._remove(key)
        except HostFailure:
            _log.warning("cannot remove half-made snapshot", exc_info=True, extra={"snapshot": key})

    def _usage(self, key: str) -> Usage:
        with _translated(f"measure snapshot {key}"):
            return self.driver.usage(key)

    def _changes(self, key: str, ignore: frozenset[bytes]) -> list[Change]:
        parent = self.driver.find(key).parent
        with _translated(f"compare snapshot {key}"), self.driver.diff(key, parent) as delta:
            found = shown_only(without(delta.differences, ignore))
        return [Change(d.path.decode(errors="replace"), int(d.kind)) for d in found]

    def _mount(self, key: str) -> str:
        """Mount ``key`` unless it is; ``_mounting`` is held."""
        self._mounts += 1
        self._measured.pop(key, None)
        with _translated(f"mount snapshot {key}"):
            return put_on(self.driver, key)

    def _unmount(self, key: str) -> None:
        """Unmount ``key`` wherever it is mounted; ``_mounting`` is held."""
        with _translated(f"unmount snapshot {key}"):
            take_off(self.driver, key)

    @contextmanager
    def shown(self, key: str) -> Iterator[str]:
        """Yield a directory that shows all of ``key`` while the block runs; blocking."""
        if self.driver.find(key).kind is not Kind.COMMITTED:
            with self.borrowed(key) as target:
                yield target
            return
        view = f"view-{os.urandom(8).hex()}"
        self.driver.view(view, key)
        try:
            with self.borrowed(view) as target:
                yield target
        finally:
            self._remove(view)

    @contextmanager
    def borrowed(self, key: str) -> Iterator[str]:
        """Yield the root directory of the active ``key``, mounted at least as long as the block runs.

        Blocking. Raises SnapshotNotFound.
        """
        with self._mounting:
            target = self._mount(key)
            self._borrowers[key] = self._borrowers.get(key, 0) + 1
        try:
            yield target
        finally:
            with self._mounting:
                self._borrowers[key] -= 1
                if not self._borrowers[key]:
                    del self._borrowers[key]
                    if key not in self._kept:
                        self._unmount(key)


class _KeyLocks:
    """A lock for each key that is being worked on."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[None]:
        lock, users = self._locks.get(key) or (asyncio.Lock(), 0)
        self._locks[key] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[key]
            if users == 1:
                del self._locks[key]
            else:
                self._locks[key] = (lock, users - 1)


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Turn an OSError of the block into a HostFailure that says what failed and where."""
    try:
        yield
    except OSError as error:
        place = f" ({os.fsdecode(error.filename)})" if error.filename else ""
        raise HostFailure(f"cannot {what}: {error.strerror or error}{place}") from error
