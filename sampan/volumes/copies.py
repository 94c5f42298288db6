"""Volumes as a whole: backup and restore, clones and snapshots, another name, what is in one, what changed.

What is new is made beside the volumes and moved when it is complete: a failure, or the end of the daemon in
the middle, leaves it absent.
"""

import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from sampan.base.errors import HostFailure, InvalidParameter, NotFound, NotImplementedHere
from sampan.base.faults import point
from sampan.base.outflow import Outflow, Piece, in_memory
from sampan.base.tasks import Tasks
from sampan.base.threads import Pulled, blocking
from sampan.base.times import now
from sampan.base.undo import Undo
from sampan.kernel.fs import exchange
from sampan.volumes.driver import Readable
from sampan.volumes.errors import VolumeExists, VolumeInUse, VolumeNotFound
from sampan.volumes.names import check_name
from sampan.volumes.service import VolumesService
from sampan.volumes.store import Record
from sampan.wire.volumes import CopiedVolume, VolumeChange, VolumeUsage

COMPRESSIONS: Final = ("none", "gzip", "zstd")
SNAPSHOT_LABEL: Final = "sampan.volume.snapshot-of"
_DATA: Final = "_data"
_TICK_NS: Final = 20_000_000  # a file's time is that of the kernel's last tick

Labels = Mapping[str, str]


class VolumeCopies:
    """Works on the volumes of ``volumes``."""

    def __init__(self, volumes: VolumesService) -> None:
        self._volumes = volumes
        self._tasks = Tasks("volume copies")

    async def backup(self, name: str, *, compression: str = "none", pause: bool = False) -> Outflow:
        """Return a tar of the volume: owners, modes, xattrs, links and holes are kept.

        ``pause`` freezes the containers that use it meanwhile. Raises VolumeNotFound, InvalidParameter.
        """
        if compression not in COMPRESSIONS:
            raise InvalidParameter(
                f"unknown compression {compression}: must be one of {', '.join(COMPRESSIONS)}"
            )
        async with self._volumes.held(name, "backup"):
            pass  # it can be had: errors come before the answer has begun
        return Outflow(partial(self._packed, name, compression, pause=pause))

    @asynccontextmanager
    async def _packed(self, name: str, compression: str, *, pause: bool) -> AsyncIterator[Iterator[Piece]]:
        async with AsyncExitStack() as stack:
            if pause:
                await stack.enter_async_context(self._volumes.users.frozen(name))
            data = await stack.enter_async_context(self._volumes.held(name, "backup"))
            pieces = _watched(self._volumes.trees.pack(data, compression))
            # what the kernel sends it reads when the client takes it: the containers may go on by then
            yield in_memory(pieces) if pause else pieces
            self._volumes.publish("backup", self._volumes.record(name))

    async def restore(
        self, name: str, archive: AsyncIterator[bytes], *, labels: Labels | None = None, replace: bool = False
    ) -> CopiedVolume:
        """Make the volume ``name`` of a backup; ``replace``: or put it in the place of what the volume has.

        Raises VolumeExists, VolumeInUse, InvalidParameter for an archive that is none, HostFailure.
        """
        check_name(name)
        source = Pulled(archive)
        return await self._tasks.finish(
            self._restore(name, source, labels, replace=replace), name=f"restore {name}"
        )

    async def _restore(
        self, name: str, source: Readable, labels: Labels | None, *, replace: bool
    ) -> CopiedVolume:
        begun = time.monotonic()

        def make(target: Path) -> None:
            self._volumes.trees.unpack(source, target)
            point("volumes.restore")

        async with self._volumes.lock(name):
            known = self._volumes.store.get(name)
            if known is None:
                record = Record(name, "local", now(), dict(labels or {}) or None)
                await self._make("restore", record, make)
            elif replace:
                record = known
                await self._replace(record, make)
            else:
                raise VolumeExists("restore", name)
        self._volumes.publish("create" if known is None else "restore", record)
        return await self._told(record, begun)

    async def clone(
        self, name: str, new: str, *, labels: Labels | None = None, pause: bool = False
    ) -> CopiedVolume:
        """Make the volume ``new`` with the content of ``name``, sharing data where the file system can.

        Raises VolumeNotFound, VolumeExists, InvalidParameter for a bad name, HostFailure.
        """
        check_name(new)
        record = Record(new, "local", now(), dict(labels or {}) or None)
        work = self._copy("clone", name, record, pause=pause)
        return await self._tasks.finish(work, name=f"clone {name}")

    async def snapshot(
        self, name: str, new: str = "", *, labels: Labels | None = None, pause: bool = False
    ) -> CopiedVolume:
        """Keep the content of ``name`` as it is now as the read-only volume ``new`` ("": name and time)."""
        new = new or f"{name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
        check_name(new)
        record = Record(new, "local", now(), {**(labels or {}), SNAPSHOT_LABEL: name}, snapshot_of=name)
        work = self._copy("snapshot", name, record, pause=pause)
        return await self._tasks.finish(work, name=f"snapshot {name}")

    async def _copy(self, operation: str, name: str, record: Record, *, pause: bool) -> CopiedVolume:
        begun = time.monotonic()
        self._volumes.record(name)
        if name == record.name:
            raise VolumeExists(operation, name)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._volumes.lock(record.name))
            source = await stack.enter_async_context(self._volumes.held(name, operation))
            if pause:
                await stack.enter_async_context(self._volumes.users.frozen(name))
            record.copied_ns = time.time_ns()

            def make(target: Path) -> None:
                self._volumes.trees.copy(source, target)
                point("volumes.copy")

            await self._make(operation, record, make)
        self._volumes.publish("create", record)
        return await self._told(record, begun)

    async def _make(self, operation: str, record: Record, make: Callable[[Path], None]) -> None:
        """Let ``make`` fill a new folder and let it become the volume ``record``, whose lock is held."""
        if record.name in self._volumes.store:
            raise VolumeExists(operation, record.name)
        async with Undo() as undo:
            folder = self._volumes.local.folder(f".new-{os.urandom(6).hex()}")
            undo.add(blocking, self._volumes.local.sweep, folder)
            await blocking(_make_and_fill, folder, make)
            record.incoming = folder.name
            self._volumes.store.put(record)
        point("volumes.arrive")
        self._volumes.arrive(record)

    async def _replace(self, record: Record, make: Callable[[Path], None]) -> None:
        """Let ``make`` fill a new folder and exchange it for the volume's data; its lock is held."""
        name = record.name
        if record.driver != "local" or record.options:
            raise NotImplementedHere(
                f"restore {name}: the volume has its data elsewhere; restore into a new volume"
            )
        if users := self._volumes.mounted_by(name):
            raise VolumeInUse("restore", name, sorted(users))
        folder = self._volumes.local.folder(f".new-{os.urandom(6).hex()}")
        try:
            await blocking(_make_and_fill, folder, make)
            data = Path(self._volumes.local.mount(name, {}, ""))
            exchange(folder / _DATA, data)
            point("volumes.exchange")
        finally:
            await blocking(self._volumes.local.sweep, folder)

    async def rename(self, name: str, new: str) -> None:
        """Give the volume, which no container uses, another name. Raises VolumeExists, VolumeInUse."""
        check_name(new)
        await self._tasks.finish(self._rename(name, new), name=f"rename {name}")

    async def _rename(self, name: str, new: str) -> None:
        record = self._volumes.record(name)
        if record.driver != "local":
            raise NotImplementedHere(f"rename {name}: the volume belongs to the plugin {record.driver}")
        async with AsyncExitStack() as stack:
            for place in sorted({name, new}):  # one order for everybody
                await stack.enter_async_context(self._volumes.lock(place))
            if name not in self._volumes.store:
                raise VolumeNotFound(name)
            if new in self._volumes.store:
                raise VolumeExists("rename", new)
            self._volumes.check_unused("rename", name)
            moved = msgspec.structs.replace(record, name=new, incoming=name)
            self._volumes.store.move(name, moved)
            point("volumes.rename")
            self._volumes.arrive(moved)
        self._volumes.publish("rename", moved)

    async def usage(self, name: str) -> VolumeUsage:
        """Add up what is in the volume. Raises VolumeNotFound."""
        async with self._volumes.held(name, "usage") as data:
            size = await blocking(self._volumes.trees.measure, data)
        users = self._volumes.users.containers_using(name)
        return VolumeUsage(name, size.size, size.disk, size.files, users)

    async def diff(self, name: str, other: str = "") -> list[VolumeChange]:
        """Return what is different in ``name`` from ``other`` ("": its latest snapshot). Raises NotFound."""
        record = self._volumes.record(name)
        old = self._volumes.record(other) if other else self._latest_snapshot(name)
        ready_ns = 0
        if old.snapshot_of == name or record.snapshot_of == old.name:
            ready_ns = (old.copied_ns or record.copied_ns) - _TICK_NS
        async with (
            self._volumes.held(name, "diff") as new_data,
            self._volumes.held(old.name, "diff") as old_data,
        ):
            found = await blocking(
                lambda: list(self._volumes.trees.compare(new_data, old_data, ready_ns=ready_ns))
            )
        return [VolumeChange(path, kind) for kind, path in found]

    def _latest_snapshot(self, name: str) -> Record:
        found = [record for record in self._volumes.store if record.snapshot_of == name]
        if not found:
            raise NotFound(f"diff {name}: the volume has no snapshot: name what to compare it with")
        return max(found, key=lambda record: record.copied_ns)

    async def _told(self, record: Record, begun: float) -> CopiedVolume:
        took = time.monotonic() - begun
        size = await blocking(self._volumes.trees.measure, Path(self._volumes.local.path(record.name)))
        return CopiedVolume(record.name, self._volumes.local.path(record.name), size.size, round(took, 6))

    async def close(self) -> None:
        """Wait for what is under way."""
        await self._tasks.close()


def _watched(pieces: Iterator[Piece]) -> Iterator[Piece]:
    for piece in pieces:
        point("volumes.backup")
        yield piece


def _make_and_fill(folder: Path, make: Callable[[Path], None]) -> None:
    data = folder / _DATA
    try:
        data.mkdir(mode=0o755, parents=True)
    except OSError as error:
        raise HostFailure(f"mkdir {data}: {error.strerror}") from error
    make(data)
