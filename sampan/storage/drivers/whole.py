"""What the drivers share whose snapshots are complete trees: vfs, btrfs, zfs, devicemapper.

    <root>/<driver>/
      <name>/                     a container's id, or a chainID with "-" for ":"
        snapshot.json             its record (storage.catalogue); ready_ns is when the copy was whole
        merged/                   where it is mounted (active and view only)
        …                         the tree, or what says where it is: the driver's

What a snapshot has changed is found by comparing it with its parent; an entry whose ``st_ctime`` is older
than the copy need not be read.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import ClassVar

from sampan.kernel.fs import remove_tree
from sampan.kernel.mount import Mount
from sampan.storage.catalogue import Catalogue, Record
from sampan.storage.compare import changed_size, compare_trees, root_difference
from sampan.storage.driver import NO_OPTIONS, Delta, Kind, Snapshot, Usage
from sampan.storage.options import check_options
from sampan.storage.tree import measure


class WholeTrees(ABC):
    """The base of the drivers with complete trees; see the module, ``SnapshotDriver`` for the contract."""

    name: ClassVar[str]
    options: ClassVar[Mapping[str, str]] = {}
    places: ClassVar[Sequence[str]] = ("merged",)
    """The directories that a snapshot's mounts need."""
    others: ClassVar[frozenset[str]] = frozenset()
    """What lies in the driver's directory and is no snapshot."""

    def __init__(self, root: Path, options: Mapping[str, str] = NO_OPTIONS) -> None:
        check_options(self.name, options, self.options)
        self._root = root
        self._catalogue = Catalogue(os.path.join(root, self.name), others=self.others, dispose=self._dispose)
        self._size = 0

    # --- what a driver fills in ---

    @abstractmethod
    def _make(self, new: str, record: Record, size: int) -> Record:
        """Make the tree of the active ``record``, in its directory ``new``; return the record to keep.

        It is a copy of the parent's, or empty and root's with mode 0755.
        """

    @abstractmethod
    def _dispose(self, path: str) -> None:
        """Remove a snapshot's directory and its tree, which may be half there."""

    @abstractmethod
    def _opened(self, record: Record) -> AbstractContextManager[int]:
        """Yield a descriptor of the root of the tree of ``record``, active, view or committed."""

    @abstractmethod
    def mounts(self, key: str) -> Sequence[Mount]:
        """See ``SnapshotDriver.mounts``."""

    @abstractmethod
    def check_size(self, size: int) -> None:
        """See ``SnapshotDriver.check_size``."""

    # --- what all have in common ---

    def prepare(self, key: str, parent: str | None, *, size: int = 0) -> Sequence[Mount]:
        if size:
            self.check_size(size)

        def fill(new: str) -> Record:
            kept = self._make(new, record, size or self._size)
            merged = os.path.join(new, "merged")
            os.mkdir(merged, 0o700)
            return _with_time(kept, os.stat(merged).st_ctime_ns)

        record = Record(key, Kind.ACTIVE, parent)
        self._catalogue.create(record, fill)
        return self.mounts(key)

    def view(self, key: str, parent: str | None) -> Sequence[Mount]:
        record = Record(key, Kind.VIEW, parent)

        def fill(new: str) -> Record:
            kept = record if parent is not None else self._make(new, record, 0)
            for place in self.places:
                os.makedirs(os.path.join(new, place), mode=0o700, exist_ok=True)
            return kept

        self._catalogue.create(record, fill)
        return self.mounts(key)

    def commit(self, name: str, key: str) -> None:
        old = self._catalogue.find(key)
        self._catalogue.commit(key, self._committed(name, old))
        remove_tree(self._catalogue.path(name, "merged"))

    def _committed(self, name: str, old: Record) -> Record:
        return Record(name, Kind.COMMITTED, old.parent, link=old.link, ready_ns=old.ready_ns, size=old.size)

    def find(self, key: str) -> Snapshot:
        record = self._catalogue.find(key)
        return Snapshot(record.key, record.kind, record.parent)

    def usage(self, key: str) -> Usage:
        record = self._catalogue.find(key)
        if record.kind is Kind.VIEW:
            return Usage(0, 0, 0)
        with self._opened(record) as tree:
            whole = measure(tree)
        if record.parent is None:
            return whole
        # the copy may take all that space, but what is counted as the snapshot's own is what it has changed
        with self.diff(key, record.parent) as delta:
            return Usage(changed_size(delta), whole.inodes, whole.disk)

    def diff(self, key: str, parent: str | None) -> AbstractContextManager[Delta]:
        return self._diff(self._catalogue.find(key), parent)

    def remove(self, key: str) -> None:
        self._catalogue.remove(key)

    def walk(self) -> Iterator[Snapshot]:
        return self._catalogue.walk()

    def sweep(self) -> list[str]:
        return self._catalogue.sweep()

    def describe(self, key: str) -> dict[str, str]:
        self._catalogue.find(key)
        return {}  # Docker shows nothing

    def _source(self, record: Record) -> Record:
        """Return the record whose tree ``record`` shows: a view shows its parent's."""
        if record.kind is Kind.VIEW and record.parent is not None:
            return self._catalogue.find(record.parent)
        return record

    @contextmanager
    def _diff(self, record: Record, parent: str | None) -> Iterator[Delta]:
        ready_ns = record.ready_ns if record.parent == parent else 0
        with self._opened(record) as new:
            if parent is None:
                yield Delta(new, root_difference(new, None), list(compare_trees(new, None)))
                return
            with self._opened(self._catalogue.find(parent)) as old:
                found = list(compare_trees(new, old, ready_ns=ready_ns))
                yield Delta(new, root_difference(new, old), found)


def _with_time(record: Record, ready_ns: int) -> Record:
    return Record(
        record.key,
        record.kind,
        record.parent,
        link=record.link,
        ready_ns=ready_ns,
        project=record.project,
        size=record.size,
    )
