"""What the drivers share that stack directories: overlay2, fuse-overlayfs, aufs.

    <root>/<driver>/
      l/<n> -> ../<name>/diff     a short name for each committed layer: many fit into a mount's options
      <name>/                     a container's id, or a chainID with "-" for ":"
        snapshot.json             its record (storage.catalogue)
        diff/                     what this snapshot holds itself: the upper directory, later a lower one
        work/                     the file system's scratch space (active only)
        merged/                   where it is mounted (active and view only)

An active snapshot without a parent, and a view of a single layer, are bind mounts: a stack of one directory
would add nothing. A limited snapshot's directory is a project of its own (storage.projects).
"""

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import ClassVar, Final

from sampan.base.errors import InvalidParameter
from sampan.kernel.fs import exchange, remove_tree
from sampan.kernel.mount import Mount
from sampan.storage.catalogue import Catalogue, Record
from sampan.storage.compare import compare_trees, compare_upper, root_difference
from sampan.storage.copy import copy_attributes
from sampan.storage.driver import NO_OPTIONS, Delta, Kind, Snapshot, Usage
from sampan.storage.marks import Marks
from sampan.storage.options import check_options, size_option
from sampan.storage.projects import Projects
from sampan.storage.stacks import open_stack
from sampan.storage.tree import measure, opened

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


class Stacked(ABC):
    """The base of the stacking drivers; see the module for the layout, ``SnapshotDriver`` for the rest."""

    name: ClassVar[str]
    others: ClassVar[frozenset[str]] = frozenset({"l"})
    options: ClassVar[Mapping[str, str]] = {}
    size_option: ClassVar[str] = ""  # the daemon's option that limits every container
    size_refusal: ClassVar[str]  # what to say where the file system has no project quotas
    max_layers: ClassVar[int]
    marks: ClassVar[Marks]

    def __init__(self, root: Path, options: Mapping[str, str] = NO_OPTIONS) -> None:
        check_options(self.name, options, self.options)
        self._root = root
        home = os.path.join(root, self.name)
        self._catalogue = Catalogue(home, others=self.others, dispose=self._dispose)
        self._links = os.path.join(home, "l")
        os.makedirs(self._links, mode=0o700, exist_ok=True)
        self._next_link = 1 + max((int(n, 36) for n in os.listdir(self._links)), default=0)
        self._lock = threading.Lock()
        used = (self._catalogue.find(s.key).project for s in self._catalogue.walk())
        self._projects = Projects(home, used, self.size_refusal)
        self._size = size_option(options, self.size_option)
        if self._size:
            self.check_size(self._size)

    @abstractmethod
    def writable(self, target: str, lowers: Sequence[str], upper: str, work: str) -> Mount:
        """Return the mount of ``upper`` over ``lowers`` (uppermost first, at least one) at ``target``."""

    @abstractmethod
    def readonly(self, target: str, layers: Sequence[str]) -> Mount:
        """Return the read-only mount of ``layers`` (uppermost first) at ``target``: a bind if it is one."""

    def check_size(self, size: int) -> None:
        self._projects.check()

    def prepare(self, key: str, parent: str | None, *, size: int = 0) -> Sequence[Mount]:
        if size:
            self.check_size(size)
        self._create(Record(key, Kind.ACTIVE, parent), size or self._size)
        return self.mounts(key)

    def view(self, key: str, parent: str | None) -> Sequence[Mount]:
        self._create(Record(key, Kind.VIEW, parent), 0)
        return self.mounts(key)

    def commit(self, name: str, key: str) -> None:
        old = self._catalogue.find(key)
        with self._lock:
            link = _base36(self._next_link)
            self._next_link += 1
        target = os.path.join("..", os.path.basename(self._catalogue.path(name)), "diff")
        os.symlink(target, os.path.join(self._links, link))
        try:
            self._catalogue.commit(key, Record(name, Kind.COMMITTED, old.parent, link))
        except BaseException:
            os.unlink(os.path.join(self._links, link))
            raise
        self._projects.release(old.project)
        for scratch in ("work", "merged"):
            remove_tree(self._catalogue.path(name, scratch))

    def replace(self, name: str, key: str) -> None:
        self._catalogue.find(name)
        exchange(self._catalogue.path(name, "diff"), self._catalogue.path(key, "diff"))
        self.remove(key)

    def find(self, key: str) -> Snapshot:
        record = self._catalogue.find(key)
        return Snapshot(record.key, record.kind, record.parent)

    def mounts(self, key: str) -> Sequence[Mount]:
        record = self._catalogue.find(key)
        path = self._catalogue.path
        target = path(key, "merged")
        lowers = self._lowers(record.parent)
        if record.kind is Kind.VIEW:
            return [self.readonly(target, lowers or [path(key, "diff")])]
        if not lowers:
            return [Mount("none", path(key, "diff"), target, ("bind",))]
        return [self.writable(target, lowers, path(key, "diff"), path(key, "work"))]

    def usage(self, key: str) -> Usage:
        self._catalogue.find(key)
        with opened(self._catalogue.path(key, "diff")) as tree:
            return measure(tree)

    def diff(self, key: str, parent: str | None) -> AbstractContextManager[Delta]:
        record = self._catalogue.find(key)
        if record.parent == parent:
            return self._own_diff(record)
        return self._full_diff(record, parent)

    def remove(self, key: str) -> None:
        self._remove(key, force=False)

    def discard(self, name: str) -> None:
        self._remove(name, force=True)

    def _remove(self, key: str, *, force: bool) -> None:
        record = self._catalogue.find(key) if key in self._catalogue else None
        if self._catalogue.remove(key, force=force) and record is not None and record.link:
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(self._links, record.link))

    def walk(self) -> Iterator[Snapshot]:
        return self._catalogue.walk()

    def sweep(self) -> list[str]:
        removed = self._catalogue.sweep()
        used = {self._catalogue.find(s.key).link for s in self._catalogue.walk()}
        for link in os.listdir(self._links):
            if link not in used:
                os.unlink(os.path.join(self._links, link))
                removed.append(f"l/{link}")
        return removed

    def describe(self, key: str) -> dict[str, str]:
        record = self._catalogue.find(key)
        path = self._catalogue.path
        layers = [path(r.key, "diff") for r in self._catalogue.ancestors(record.parent)]
        paths = {"LowerDir": ":".join(layers)} if layers else {}
        for name, below in (("MergedDir", "merged"), ("UpperDir", "diff"), ("WorkDir", "work")):
            paths[name] = path(key, below)
        return paths

    def _create(self, record: Record, size: int) -> None:
        lowers = self._lowers(record.parent)
        if len(lowers) > self.max_layers:
            raise InvalidParameter(
                f"{len(lowers)} layers are too many: {self.name} stacks at most {self.max_layers}"
            )

        def fill(new: str) -> Record:
            kept = record
            if size:
                project = self._projects.limit(new, size)
                kept = Record(record.key, record.kind, record.parent, project=project, size=size)
            diff = os.path.join(new, "diff")
            os.mkdir(diff, 0o755)
            if lowers:
                copy_attributes(lowers[0], diff)
            if record.kind is Kind.ACTIVE:
                os.mkdir(os.path.join(new, "work"), 0o700)
            os.mkdir(os.path.join(new, "merged"), 0o700)
            return kept

        self._catalogue.create(record, fill)

    def _dispose(self, path: str) -> None:
        self._projects.release_of(path)
        remove_tree(path)

    def _lowers(self, parent: str | None) -> list[str]:
        """Return the short paths of ``parent`` and its ancestors, the uppermost first."""
        return [os.path.join(self._links, record.link) for record in self._catalogue.ancestors(parent)]

    @contextmanager
    def _own_diff(self, record: Record) -> Iterator[Delta]:
        lowers = self._lowers(record.parent)
        with opened(self._catalogue.path(record.key, "diff")) as upper, self._opened(lowers) as lower:
            found = list(compare_upper(upper, lower, self.marks))
            yield Delta(upper, root_difference(upper, lower), found)

    @contextmanager
    def _full_diff(self, record: Record, parent: str | None) -> Iterator[Delta]:
        layers = [self._catalogue.path(record.key, "diff"), *self._lowers(record.parent)]
        with self._opened(layers) as new, self._opened(self._lowers(parent)) as old:
            if new is not None:
                yield Delta(new, root_difference(new, old), list(compare_trees(new, old)))

    @contextmanager
    def _opened(self, layers: Sequence[str]) -> Iterator[int | None]:
        with self._catalogue.scratch() as scratch, open_stack(self.readonly, layers, scratch) as fd:
            yield fd


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits or "0"
