"""What the rest of the engine calls to work with volumes.

A volume of the ``local`` driver is ``<data-root>/volumes/<name>/_data``; which volumes there are stands in
``state.db``. What is whole or absent after a crash is made beside the volumes, under a name with a dot before
it, and moved. Which containers use a volume is asked of whoever owns containers, through ``VolumeUsers``.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from weakref import WeakValueDictionary

from sampan.base.errors import EngineError
from sampan.base.events import EventBus
from sampan.base.faults import point
from sampan.base.ids import new_id
from sampan.base.plugins import Plugin, PluginFolders, PluginNotFound
from sampan.base.state import StateDB
from sampan.base.tasks import Tasks
from sampan.base.threads import blocking
from sampan.base.times import now
from sampan.kernel.idmap import IdRange
from sampan.volumes import filters as filters_of
from sampan.volumes.driver import Described, Size, Trees, VolumeDriver
from sampan.volumes.drivers.local import LocalDriver
from sampan.volumes.drivers.plugin import PluginDriver
from sampan.volumes.errors import DriverNotFound, VolumeExists, VolumeInUse, VolumeNotFound
from sampan.volumes.fill import fill
from sampan.volumes.filters import ANONYMOUS_LABEL, Filters
from sampan.volumes.names import check_name
from sampan.volumes.staging import Staging
from sampan.volumes.store import Record, VolumeStore
from sampan.wire.disk import Prunable
from sampan.wire.volumes import Volume

_log = logging.getLogger(__name__)


class VolumeUsers(Protocol):
    """Knows which containers use a volume."""

    def containers_using(self, volume: str) -> list[str]:
        """Return the ids of the containers that mount ``volume``, running or not."""

    def frozen(self, volume: str) -> AbstractAsyncContextManager[None]:
        """Keep the running containers that mount ``volume`` frozen while the block runs."""


class _Nobody:
    def containers_using(self, volume: str) -> list[str]:
        return []

    @asynccontextmanager
    async def frozen(self, volume: str) -> AsyncIterator[None]:
        yield


@dataclass(frozen=True, slots=True)
class Mountable:
    """What to bind into a container; ``read_only``: whatever the container asks for."""

    path: str
    read_only: bool = False


class VolumesService:
    """The volumes of this engine. ``root`` is the data root; ``trees`` works on their contents."""

    def __init__(
        self,
        root: Path,
        exec_root: Path,
        state: StateDB,
        events: EventBus,
        trees: Trees,
        *,
        plugins: PluginFolders | None = None,
    ) -> None:
        folder = root / "volumes"
        folder.mkdir(mode=0o701, parents=True, exist_ok=True)
        self.local = LocalDriver(folder)
        self.store = VolumeStore(state)
        self.trees = trees
        self.users: VolumeUsers = _Nobody()
        self.driver_names = ["local"]
        self._events = events
        self._tasks = Tasks("volumes")
        self.staging = Staging(exec_root / "mounts")
        self._folders = plugins or PluginFolders()
        self._plugins: dict[str, PluginDriver] = {}
        self._holds: dict[str, set[str]] = {}  # who has which volume mounted
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    # --- what there is

    def path(self, name: str, driver: str = "") -> str:
        """Return where the data of the volume ``name`` lies, made or not; "" if only its plugin knows."""
        record = self.store.get(name)
        kind = record.driver if record is not None else driver
        return self.local.path(name) if kind in ("", "local") else ""

    def find(self, name: str) -> Volume:
        """Return the volume as far as it is known here. Raises VolumeNotFound."""
        return self._show(self.record(name))

    def known(self, name: str) -> Volume | None:
        """Return the volume as far as it is known here, None if it is not."""
        return None if (record := self.store.get(name)) is None else self._show(record)

    def record(self, name: str) -> Record:
        """Return the volume's row. Raises VolumeNotFound."""
        if (record := self.store.get(name)) is None:
            raise VolumeNotFound(name)
        return record

    async def inspect(self, name: str) -> Volume:
        """Return the volume with what its driver tells of it. Raises VolumeNotFound."""
        record = self.store.get(name)
        if record is None:
            for driver, found in await self._foreign():
                if found.name == name:
                    return _foreign_volume(driver, found)
            raise VolumeNotFound(name)
        if record.driver == "local":
            return self._show(record)
        driver = await self._driver(record.driver)
        found_there = await blocking(driver.describe, name)
        if found_there is None:
            raise VolumeNotFound(name)
        return self._show(record, found_there, driver.scope)

    def list_volumes(self, filters: Filters) -> list[Volume]:
        """Return the volumes made here that pass ``filters``, by name. Raises InvalidParameter."""
        filters_of.check(filters, filters_of.LIST)
        dangling = filters_of.flag(filters, "dangling")
        records = sorted((r for r in self.store if filters_of.passes(r, filters)), key=lambda r: r.name)
        if dangling is not None:
            records = [r for r in records if dangling != bool(self.users.containers_using(r.name))]
        return [self._show(record) for record in records]

    async def list_all(self, filters: Filters) -> tuple[list[Volume], list[str]]:
        """Return what ``list_volumes`` does and the volumes that plugins have besides, and warnings."""
        listed = self.list_volumes(filters)
        warnings: list[str] = []
        for driver, found in await self._foreign(warnings):
            record = Record(found.name, driver.name, "")
            users = self.users.containers_using(found.name)
            if filters_of.passes(record, filters) and filters_of.flag(filters, "dangling") in (
                None,
                not users,
            ):
                listed.append(_foreign_volume(driver, found))
        return sorted(listed, key=lambda volume: volume.name), warnings

    def _show(self, record: Record, found: Described | None = None, scope: str = "local") -> Volume:
        mountpoint = self.local.path(record.name) if record.driver == "local" else ""
        if found is not None:
            mountpoint = found.mountpoint
        shown = Volume(
            record.name, record.driver, mountpoint, record.created_at, record.labels, scope, record.options
        )
        if found is not None and found.status:
            shown.status = dict(found.status)
        return shown

    # --- drivers

    async def _driver(self, name: str) -> VolumeDriver:
        """Return the driver ``name``. Raises DriverNotFound, PluginFailed."""
        if name in ("", "local"):
            return self.local
        if (known := self._plugins.get(name)) is not None:
            return known
        try:
            address = await blocking(self._folders.find, name)
        except PluginNotFound as error:
            raise DriverNotFound(name) from error
        driver = await blocking(PluginDriver, Plugin(name, address))
        self._plugins[name] = driver
        if name not in self.driver_names:
            self.driver_names.append(name)
        return driver

    async def _foreign(self, warnings: list[str] | None = None) -> list[tuple[VolumeDriver, Described]]:
        """Return the volumes that plugins have and nobody made here; of one that fails, none."""
        found: list[tuple[VolumeDriver, Described]] = []
        names = await blocking(self._folders.names)
        for name in sorted({*names, *self._plugins}):
            try:
                driver = await self._driver(name)
                volumes = await blocking(driver.list_volumes)
            except EngineError as error:
                self._plugins.pop(name, None)
                used = any(record.driver == name for record in self.store)
                if used and warnings is not None:
                    warnings.append(str(error))
                continue
            found += [(driver, volume) for volume in volumes if volume.name not in self.store]
        return found

    # --- making and removing

    async def create(
        self,
        name: str = "",
        *,
        driver: str = "",
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Volume:
        """Return the volume ``name``, made if it is not there; without a name, a new anonymous one.

        Raises InvalidParameter for a bad name or options, DriverNotFound, VolumeExists for one of another
        driver.
        """
        record = Record(
            name, driver or "local", now(), dict(labels or {}) or None, dict(options or {}) or None
        )
        if not name:
            record.name = new_id()
            record.labels = {**(labels or {}), ANONYMOUS_LABEL: ""}
        elif record.driver == "local":
            check_name(name)
        return await self._tasks.finish(self._create(record, driver), name=f"create {record.name}")

    async def _create(self, record: Record, driver: str) -> Volume:
        name = record.name
        async with self.lock(name):
            if (found := self.store.get(name)) is not None:
                if driver not in ("", found.driver):
                    raise VolumeExists("create", name)
                return self._show(found)
            with _about("create", name):
                maker = await self._driver(record.driver)
                if maker is self.local:
                    maker.create(name, record.options or {})  # a directory: not worth a thread
                else:
                    await blocking(maker.create, name, record.options or {})
            point("volumes.create")
            self.store.put(record)
        self.publish("create", record)
        return self._show(record, None, maker.scope)

    async def remove(self, name: str, *, force: bool = False) -> None:
        """Remove the volume and its data. Raises VolumeInUse, VolumeNotFound unless forced."""
        if force and name not in self.store:
            return
        await self._tasks.finish(self._remove(name, force=force), name=f"remove {name}")

    async def _remove(self, name: str, *, force: bool) -> None:
        async with self.lock(name):
            record = self.record(name)
            self.check_unused("remove", name)
            gone: Path | None = None
            try:
                with _about("remove", name):
                    driver = await self._driver(record.driver)
                    if driver is self.local:
                        gone = await blocking(self.local.detach, name)
                    else:
                        await blocking(driver.remove, name)
            except EngineError:
                if not force:
                    raise
                _log.warning(
                    "volume removed, its plugin does not know", extra={"volume": name}, exc_info=True
                )
            point("volumes.remove")
            self.store.delete(name)  # before the data goes: whatever happens, it is whole or absent
            if gone is not None:
                await blocking(self.local.sweep, gone)
        self.publish("destroy", record)

    async def prune(self, filters: Filters) -> tuple[list[str], int]:
        """Remove unused anonymous volumes (``all``: named ones too); return names and bytes freed."""
        removed, freed = [], 0
        for item in await self.plan_prune(filters):
            try:
                await self.remove(item.name)
            except EngineError:
                continue  # taken into use or removed by somebody else in this moment
            freed += item.size
            removed.append(item.name)
        self._events.publish("volume", "prune", "", {"reclaimed": str(freed)})
        return removed, freed

    async def plan_prune(self, filters: Filters, *, ignoring: Collection[str] = ()) -> list[Prunable]:
        """Return what ``prune`` takes; ``ignoring`` are containers that are thought away.

        Raises InvalidParameter for a bad filter.
        """
        filters_of.check(filters, filters_of.PRUNE)
        everything = bool(filters_of.flag(filters, "all"))
        chosen = [
            record
            for record in self.store
            if record.driver == "local"
            and (everything or ANONYMOUS_LABEL in (record.labels or {}))
            and filters_of.passes(record, filters)
            and not set(self.in_use(record.name)) - set(ignoring)
        ]
        sizes = await blocking(self.measure, chosen)
        return [
            Prunable("volume", record.name, record.name, sizes[record.name].size, "no container uses it")
            for record in chosen
        ]

    def measure(self, records: Iterable[Record]) -> dict[str, Size]:
        """Add up what is in volumes; in one that has its data elsewhere, nothing. Blocking."""
        found: dict[str, Size] = {}
        for record in records:
            found[record.name] = Size(0, 0, 0)
            if record.driver == "local" and not (record.options or {}).get("device"):
                with suppress(EngineError):  # it goes in this moment
                    found[record.name] = self.trees.measure(Path(self.local.path(record.name)))
        return found

    async def size(self, name: str) -> int:
        """Return the bytes of the volume's files; of one that has its data elsewhere, 0."""
        return (await blocking(self.measure, [self.record(name)]))[name].size

    # --- who uses it

    def lock(self, name: str) -> asyncio.Lock:
        """Return the lock that orders what happens to the volume ``name``, made or not."""
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        return lock

    def in_use(self, name: str) -> list[str]:
        """Return who uses the volume: ids of containers, and words for what else works on it."""
        users = self.users.containers_using(name)
        return [*users, *sorted(self._holds.get(name, set()) - set(users))]

    def check_unused(self, operation: str, name: str) -> None:
        """Raise VolumeInUse if anybody uses the volume."""
        if users := self.in_use(name):
            raise VolumeInUse(operation, name, users)

    def mounted_by(self, name: str) -> set[str]:
        """Return who has the volume mounted now."""
        return set(self._holds.get(name, ()))

    # --- mounting

    async def mount(self, name: str, container: str, *, subpath: str = "") -> Mountable:
        """Return what to bind into ``container``; ``subpath`` must stay inside the volume and exist.

        ``release`` takes it back. Raises VolumeNotFound, InvalidParameter, NotFound, HostFailure.
        """
        record = self.record(name)
        async with self.lock(name):
            path = await self._hold(record, container)
        shown = path
        if subpath:
            path = await self.mount_below(container, f"volume {name}", path, subpath)
            shown = f"{shown}/{subpath}"
        attributes = {"container": container, "destination": shown, "driver": record.driver}
        self._events.publish("volume", "mount", name, attributes)
        return Mountable(path, read_only=bool(record.snapshot_of))

    async def mount_below(self, container: str, whole: str, path: str, subpath: str) -> str:
        """Return what to bind into ``container`` for ``subpath`` in the tree ``path`` of ``whole``.

        Raises NotFound, InvalidParameter if it leads out of the tree, HostFailure.
        """
        return await blocking(self.staging.bind_below, container, whole, path, subpath)

    async def mount_alone(self, container: str, source: str) -> str:
        """Return what to bind into ``container`` so that no mount below ``source`` comes along."""
        return await blocking(self.staging.bind_alone, container, source)

    async def mount_mapped(
        self, container: str, source: str, uids: Sequence[IdRange], gids: Sequence[IdRange]
    ) -> str:
        """Return what to bind into ``container`` so that the owners of ``source`` are mapped."""
        return await blocking(self.staging.bind_mapped, container, source, uids, gids)

    async def unstage(self, container: str) -> None:
        """Take down what stood in for the container's mounts while it started; idempotent."""
        await blocking(self.staging.clear, container)

    async def release(self, container: str) -> None:
        """Take back every ``mount`` for ``container``; idempotent. Failures are raised at the end."""
        held = [name for name, users in self._holds.items() if container in users]
        failures: list[Exception] = []
        for name in held:
            async with self.lock(name):
                try:
                    await self._drop(name, container)
                except Exception as error:
                    failures.append(error)
        if failures:
            raise ExceptionGroup(f"volumes of {container} could not be unmounted", failures)

    @asynccontextmanager
    async def held(self, name: str, purpose: str) -> AsyncIterator[Path]:
        """Yield the directory of the volume's data, mounted and not to be removed while the block runs."""
        user = f"{purpose} {new_id()[:12]}"
        record = self.record(name)
        async with self.lock(name):
            path = await self._hold(record, user)
        try:
            yield Path(path)
        finally:
            async with self.lock(name):
                await self._drop(name, user)

    async def _hold(self, record: Record, user: str) -> str:
        """Mount the volume for ``user``; its lock is held."""
        name, options = record.name, record.options or {}
        if self.store.get(name) is None:
            raise VolumeNotFound(name)
        self._holds.setdefault(name, set()).add(user)
        try:
            driver = await self._driver(record.driver)
            if driver is self.local and not options:
                path = driver.mount(name, options, user)
            else:
                path = await blocking(driver.mount, name, options, user)
            point("volumes.mount")
        except BaseException:
            self._forget(name, user)
            if not self._holds.get(name) and record.driver == "local":
                await blocking(self.local.unmount, name, options, user, last=True)
            raise
        return path

    async def _drop(self, name: str, user: str) -> None:
        """Unmount the volume for ``user``; its lock is held. Nothing mounted is no error."""
        if user not in self._holds.get(name, ()):
            return
        self._forget(name, user)
        record = self.store.get(name)
        if record is None:
            return
        options = record.options or {}
        last = not self._holds.get(name)
        if record.driver != "local" or (last and options):
            driver = await self._driver(record.driver)
            await blocking(driver.unmount, name, options, user, last=last)
        attributes = {"container": user, "driver": record.driver}
        if " " not in user:
            self._events.publish("volume", "unmount", name, attributes)

    def _forget(self, name: str, user: str) -> None:
        users = self._holds.get(name, set())
        users.discard(user)
        if not users:
            self._holds.pop(name, None)

    async def populate(self, name: str, rootfs: Path, destination: str) -> None:
        """Fill the volume, which is mounted, with what the image has at ``destination``, if it is empty."""
        record = self.record(name)
        async with self.lock(name):
            driver = await self._driver(record.driver)
            data = Path(await blocking(driver.path, name))
            alone = driver is self.local and not record.options and len(self._holds.get(name, ())) <= 1
            await blocking(fill, self.trees, rootfs, destination, data, aside=alone)

    # --- the daemon's start and end

    async def recover(self, holders: Mapping[str, Collection[str]]) -> None:
        """After a daemon's start: finish or undo what was half done.

        ``holders`` maps volumes to the containers that may have them mounted still.
        """
        for name, users in holders.items():
            if name in self.store:
                self._holds[name] = set(users)
        await blocking(self.staging.clear_all)
        await blocking(self._finish_moves)
        for folder, removed in await blocking(self.local.leftovers):
            if removed and removed in self.store and not self.local.folder(removed).exists():
                self.store.delete(removed)
            await blocking(self.local.sweep, folder)
        for name in await blocking(self.local.found):
            self.adopt(name)  # its removal was broken off before it began to lose anything
        for record in self.store:
            if (
                record.driver == "local"
                and (record.options or {}).get("device")
                and not self.mounted_by(record.name)
            ):
                await blocking(self.local.unmount, record.name, {}, "", last=True)

    def adopt(self, name: str) -> None:
        """Let a folder that lies among the volumes be one."""
        if name not in self.store:
            self.store.put(Record(name, "local", now()))

    async def make_folder(self, name: str) -> None:
        """Make the folder of a volume that has lost it, or the whole volume, empty."""
        async with self.lock(name):
            if (record := self.store.get(name)) is None:
                self.store.put(record := Record(name, "local", now()))
            if record.driver == "local":
                await blocking(self.local.create, name, record.options or {})

    async def unmount_stray(self, name: str) -> None:
        """Unmount a volume that nobody has mounted."""
        async with self.lock(name):
            if not self.mounted_by(name):
                await blocking(self.local.unmount, name, {}, "", last=True)

    def _finish_moves(self) -> None:
        for record in self.store:
            if record.incoming:
                self.arrive(record)

    def arrive(self, record: Record) -> None:
        """Move the folder that is complete to where ``record``, whose row is written, has its data."""
        source, target = self.local.folder(record.incoming), self.local.folder(record.name)
        if source.exists() and not target.exists():
            source.rename(target)
        record.incoming = ""
        self.store.put(record)

    def publish(self, action: str, record: Record) -> None:
        """Tell the engine what happened to a volume."""
        self._events.publish("volume", action, record.name, {"driver": record.driver})

    async def close(self) -> None:
        """Wait for what is under way; volumes stay mounted for the containers that live on."""
        await self._tasks.close()


def _foreign_volume(driver: VolumeDriver, found: Described) -> Volume:
    """Return a volume that a plugin has and that was not made here."""
    volume = Volume(found.name, driver.name, found.mountpoint, "", None, driver.scope, None)
    if found.status:
        volume.status = dict(found.status)
    return volume


@contextmanager
def _about(operation: str, name: str) -> Iterator[None]:
    """Put operation and volume before the message of whatever goes wrong, as Docker does."""
    try:
        yield
    except EngineError as error:
        error.args = (f"{operation} {name}: {error}",)
        raise
