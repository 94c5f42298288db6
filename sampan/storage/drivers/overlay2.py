"""Snapshots as directories, stacked by the kernel's overlay file system.

    <root>/overlay2/
      l/<n> -> ../<name>/diff     a short name for each committed layer: many fit into a mount's options
      <name>/                     a container's id, or a chainID with "-" for ":"
        snapshot.json             its record (storage.catalogue)
        diff/                     what this snapshot holds itself: the upper directory, later a lower one
        work/                     overlay's scratch space (active only)
        merged/                   where it is mounted (active and view only)

A deleted name is a character device 0/0 in ``diff``; a directory that hides what lies below it has the
attribute ``trusted.overlay.opaque``. Both are the kernel's own marks, so a layer applied into ``diff``
directly and one written through the mount are the same. An active snapshot without a parent, and a view of
a single layer, are bind mounts: an overlay of one directory would add nothing.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import ClassVar, Final

from sampan.base.errors import InvalidParameter
from sampan.kernel.fs import remove_tree, supports_d_type
from sampan.kernel.mount import Mount, mount, umount
from sampan.storage.backing import backing_filesystem
from sampan.storage.catalogue import Catalogue, Record
from sampan.storage.compare import compare_trees, compare_upper, root_difference
from sampan.storage.copy import copy_attributes
from sampan.storage.driver import Delta, Kind, Snapshot, Usage
from sampan.storage.overlay import open_stack, readonly_mount, writable_mount
from sampan.storage.tree import measure, opened

MAX_LAYERS: Final = 500
"""The kernel's own limit of lower directories (fs/overlayfs/params.h, OVL_MAX_STACK)."""

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


class Overlay2:
    """The driver ``overlay2``; see the module for its layout and ``SnapshotDriver`` for its contract."""

    name: ClassVar[str] = "overlay2"

    def __init__(self, root: Path) -> None:
        self._root = root
        home = os.path.join(root, self.name)
        self._catalogue = Catalogue(home, others=frozenset({"l"}))
        self._links = os.path.join(home, "l")
        os.makedirs(self._links, mode=0o700, exist_ok=True)
        self._next_link = 1 + max((int(n, 36) for n in os.listdir(self._links)), default=0)
        self._lock = threading.Lock()

    @classmethod
    def supported(cls, root: Path) -> str | None:
        probe = os.path.join(root, f".overlay-{os.urandom(8).hex()}")
        lower, upper, work, merged = (os.path.join(probe, n) for n in ("lower", "upper", "work", "merged"))
        try:
            for path in (probe, lower, upper, work, merged):
                os.makedirs(path, mode=0o700)
            if not supports_d_type(probe):
                return f"the file system of {root} does not tell the types of directory entries (d_type)"
            mount(writable_mount(merged, [lower], upper, work))
            umount(merged, lazy=True)
        except OSError as error:
            return f"overlay cannot be mounted on {root}: {error.strerror}"
        finally:
            with suppress(OSError):
                remove_tree(probe)
        return None

    def prepare(self, key: str, parent: str | None) -> Sequence[Mount]:
        self._create(Record(key, Kind.ACTIVE, parent))
        return self.mounts(key)

    def view(self, key: str, parent: str | None) -> Sequence[Mount]:
        self._create(Record(key, Kind.VIEW, parent))
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
        for scratch in ("work", "merged"):
            remove_tree(self._catalogue.path(name, scratch))

    def find(self, key: str) -> Snapshot:
        record = self._catalogue.find(key)
        return Snapshot(record.key, record.kind, record.parent)

    def mounts(self, key: str) -> Sequence[Mount]:
        record = self._catalogue.find(key)
        path = self._catalogue.path
        target = path(key, "merged")
        lowers = self._lowers(record.parent)
        if record.kind is Kind.VIEW:
            return [readonly_mount(target, lowers or [path(key, "diff")])]
        if not lowers:
            return [Mount("none", path(key, "diff"), target, ("bind",))]
        return [writable_mount(target, lowers, path(key, "diff"), path(key, "work"))]

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
        link = self._catalogue.find(key).link if key in self._catalogue else ""
        if (gone := self._catalogue.take(key)) is None:
            return
        if link:
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(self._links, link))
        remove_tree(gone)

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

    def status(self) -> list[tuple[str, str]]:
        return [
            ("Backing Filesystem", backing_filesystem(self._root)),
            ("Supports d_type", "true"),
            ("Using metacopy", "false"),
            ("Native Overlay Diff", "true"),
            ("userxattr", "false"),
        ]

    def _create(self, record: Record) -> None:
        lowers = self._lowers(record.parent)
        if len(lowers) > MAX_LAYERS:
            raise InvalidParameter(f"{len(lowers)} layers are too many: overlay stacks at most {MAX_LAYERS}")

        def fill(new: str) -> Record:
            diff = os.path.join(new, "diff")
            os.mkdir(diff, 0o755)
            if lowers:
                copy_attributes(lowers[0], diff)
            if record.kind is Kind.ACTIVE:
                os.mkdir(os.path.join(new, "work"), 0o700)
            os.mkdir(os.path.join(new, "merged"), 0o700)
            return record

        self._catalogue.create(record, fill)

    def _lowers(self, parent: str | None) -> list[str]:
        """Return the short paths of ``parent`` and its ancestors, the uppermost first."""
        return [os.path.join(self._links, record.link) for record in self._catalogue.ancestors(parent)]

    @contextmanager
    def _own_diff(self, record: Record) -> Iterator[Delta]:
        lowers = self._lowers(record.parent)
        with opened(self._catalogue.path(record.key, "diff")) as upper, self._opened(lowers) as lower:
            yield Delta(upper, root_difference(upper, lower), list(compare_upper(upper, lower)))

    @contextmanager
    def _full_diff(self, record: Record, parent: str | None) -> Iterator[Delta]:
        layers = [self._catalogue.path(record.key, "diff"), *self._lowers(record.parent)]
        with self._opened(layers) as new, self._opened(self._lowers(parent)) as old:
            if new is not None:
                yield Delta(new, root_difference(new, old), list(compare_trees(new, old)))

    @contextmanager
    def _opened(self, layers: Sequence[str]) -> Iterator[int | None]:
        with self._catalogue.scratch() as scratch, open_stack(layers, scratch) as fd:
            yield fd


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits or "0"
