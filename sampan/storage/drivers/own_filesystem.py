"""What zfs and devicemapper share: each snapshot is a file system of its own, shown by mounting it.

    <name>/
      source          what holds it, in the driver's words; written before it is made, and read to undo it
      filesystem/     where it is mounted, with its root in ``rootfs``; ``merged`` is a bind mount of that

For the rest see ``whole``.
"""

import os
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import ClassVar, Final

from sampan.kernel.fs import remove_tree
from sampan.kernel.mount import Mount, mount, umount
from sampan.storage.catalogue import Record
from sampan.storage.driver import Kind, SnapshotNotFound
from sampan.storage.drivers.whole import WholeTrees

_SOURCE: Final = "source"


class OwnFilesystem(WholeTrees):
    """The base of the drivers with a file system for each snapshot; ``record.link`` is its source."""

    places: ClassVar[Sequence[str]] = ("filesystem", "merged")

    # --- what a driver fills in ---

    @abstractmethod
    def _filesystem(self, record: Record, target: str, *, readonly: bool) -> Mount:
        """Return the mount that shows the file system of ``record`` at ``target``."""

    @abstractmethod
    def _fresh_source(self) -> str:
        """Return a source that nothing has or ever had."""

    @abstractmethod
    def _create_source(self, source: str, parent: Record | None, size: int) -> int:
        """Make ``source``, a copy of the parent's or new; return its size, 0 if it has none of its own.

        In one without a parent, the caller makes the root directory.
        """

    @abstractmethod
    def _destroy_source(self, source: str) -> None:
        """Remove ``source``; one that was not even made is no error."""

    def _bring_up(self, record: Record) -> None:
        """Make the mount of ``record`` possible."""

    def _bring_down(self, record: Record) -> None:
        """Undo ``_bring_up``, unless the file system is in use."""

    # --- what both have in common ---

    def attach(self, key: str) -> None:
        """See ``NeedsAttaching``."""
        self._bring_up(self._source(self._catalogue.find(key)))

    def detach(self, key: str) -> None:
        """See ``NeedsAttaching``."""
        with suppress(SnapshotNotFound):
            self._bring_down(self._source(self._catalogue.find(key)))

    def mounts(self, key: str) -> Sequence[Mount]:
        record = self._catalogue.find(key)
        view = record.kind is Kind.VIEW
        target = self._catalogue.path(key, "filesystem")
        source = self._source(record)
        return [
            self._filesystem(source, target, readonly=source.kind is not Kind.ACTIVE),
            Mount(
                "none",
                os.path.join(target, "rootfs"),
                self._catalogue.path(key, "merged"),
                ("bind", "ro") if view else ("bind",),
            ),
        ]

    def _make(self, new: str, record: Record, size: int) -> Record:
        source = self._fresh_source()
        with open(os.path.join(new, _SOURCE), "w") as file:
            file.write(source)
        target = os.path.join(new, "filesystem")
        os.mkdir(target, 0o700)
        parent = self._catalogue.find(record.parent) if record.parent is not None else None
        size = self._create_source(source, parent, size)
        # a view of nothing is made, and shown, like any other
        made = Record(record.key, Kind.ACTIVE, record.parent, link=source, size=size)
        if parent is None:
            self._bring_up(made)
            try:
                mount(self._filesystem(made, target, readonly=False))
                try:
                    os.mkdir(os.path.join(target, "rootfs"), 0o755)
                finally:
                    umount(target)
            finally:
                self._bring_down(made)
        return Record(record.key, record.kind, record.parent, link=source, size=size)

    def commit(self, name: str, key: str) -> None:
        super().commit(name, key)
        remove_tree(self._catalogue.path(name, "filesystem"))

    def _dispose(self, path: str) -> None:
        with suppress(FileNotFoundError), open(os.path.join(path, _SOURCE)) as file:
            if source := file.read():
                self._destroy_source(source)
        remove_tree(path)

    @contextmanager
    def _opened(self, record: Record) -> Iterator[int]:
        source = self._source(record)
        readonly = source.kind is not Kind.ACTIVE
        self._bring_up(source)
        try:
            with self._catalogue.scratch() as scratch:
                mount(self._filesystem(source, scratch, readonly=readonly))
                try:
                    fd = os.open(os.path.join(scratch, "rootfs"), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                finally:
                    umount(scratch, lazy=True)
                try:
                    yield fd
                finally:
                    os.close(fd)
        finally:
            self._bring_down(source)
