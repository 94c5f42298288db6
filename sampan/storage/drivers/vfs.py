"""Snapshots as whole copies: works on every file system, and costs the space and time of a copy.

    <root>/vfs/
      <name>/                     a container's id, or a chainID with "-" for ":"
        snapshot.json             its record (storage.catalogue); ready_ns is when the copy was whole
        tree/                     the complete root file system (not for a view, which shows its parent's)
        merged/                   where it is mounted (active and view only)

Where the file system has reflinks (btrfs, xfs) a copy shares its data with the original.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import ClassVar

from sampan.kernel.fs import remove_tree
from sampan.kernel.mount import Mount
from sampan.storage.backing import backing_filesystem
from sampan.storage.catalogue import Catalogue, Record
from sampan.storage.compare import changed_size, compare_trees, root_difference
from sampan.storage.copy import copy_tree
from sampan.storage.driver import Delta, Kind, Snapshot, Usage
from sampan.storage.tree import measure, opened


class Vfs:
    """The driver ``vfs``; see the module for its layout and ``SnapshotDriver`` for its contract."""

    name: ClassVar[str] = "vfs"

    def __init__(self, root: Path) -> None:
        self._root = root
        self._catalogue = Catalogue(os.path.join(root, self.name))

    @classmethod
    def supported(cls, root: Path) -> str | None:
        return None

    def prepare(self, key: str, parent: str | None) -> Sequence[Mount]:
        def fill(new: str) -> Record:
            tree, merged = os.path.join(new, "tree"), os.path.join(new, "merged")
            os.mkdir(tree, 0o755)
            if parent is not None:
                with opened(self._catalogue.path(parent, "tree")) as old, opened(tree) as copy:
                    copy_tree(old, copy)
            os.mkdir(merged, 0o700)
            return Record(key, Kind.ACTIVE, parent, ready_ns=os.stat(merged).st_ctime_ns)

        self._catalogue.create(Record(key, Kind.ACTIVE, parent), fill)
        return self.mounts(key)

    def view(self, key: str, parent: str | None) -> Sequence[Mount]:
        def fill(new: str) -> Record:
            os.mkdir(os.path.join(new, "merged"), 0o700)
            if parent is None:
                os.mkdir(os.path.join(new, "tree"), 0o755)
            return record

        record = Record(key, Kind.VIEW, parent)
        self._catalogue.create(record, fill)
        return self.mounts(key)

    def commit(self, name: str, key: str) -> None:
        old = self._catalogue.find(key)
        self._catalogue.commit(key, Record(name, Kind.COMMITTED, old.parent, ready_ns=old.ready_ns))
        remove_tree(self._catalogue.path(name, "merged"))

    def find(self, key: str) -> Snapshot:
        record = self._catalogue.find(key)
        return Snapshot(record.key, record.kind, record.parent)

    def mounts(self, key: str) -> Sequence[Mount]:
        record = self._catalogue.find(key)
        options = ("bind", "ro") if record.kind is Kind.VIEW else ("bind",)
        return [Mount("none", self._tree(record), self._catalogue.path(key, "merged"), options)]

    def usage(self, key: str) -> Usage:
        record = self._catalogue.find(key)
        if record.kind is Kind.VIEW:
            return Usage(0, 0, 0)
        with opened(self._tree(record)) as tree:
            whole = measure(tree)
        if record.parent is None:
            return whole
        # the copy takes all that space, but what is counted as the snapshot's own is what it has changed
        with self.diff(key, record.parent) as delta:
            return Usage(changed_size(delta), whole.inodes, whole.disk)

    def diff(self, key: str, parent: str | None) -> AbstractContextManager[Delta]:
        return self._diff(self._catalogue.find(key), parent)

    def remove(self, key: str) -> None:
        if (gone := self._catalogue.take(key)) is not None:
            remove_tree(gone)

    def walk(self) -> Iterator[Snapshot]:
        return self._catalogue.walk()

    def sweep(self) -> list[str]:
        return self._catalogue.sweep()

    def describe(self, key: str) -> dict[str, str]:
        self._catalogue.find(key)
        return {}  # Docker's vfs shows nothing

    def status(self) -> list[tuple[str, str]]:
        return [("Backing Filesystem", backing_filesystem(self._root))]

    def _tree(self, record: Record) -> str:
        if record.kind is Kind.VIEW and record.parent is not None:
            return self._catalogue.path(record.parent, "tree")
        return self._catalogue.path(record.key, "tree")

    @contextmanager
    def _diff(self, record: Record, parent: str | None) -> Iterator[Delta]:
        ready_ns = record.ready_ns if record.parent == parent else 0
        with opened(self._tree(record)) as new:
            if parent is None:
                yield Delta(new, root_difference(new, None), list(compare_trees(new, None)))
                return
            with opened(self._tree(self._catalogue.find(parent))) as old:
                found = list(compare_trees(new, old, ready_ns=ready_ns))
                yield Delta(new, root_difference(new, old), found)
