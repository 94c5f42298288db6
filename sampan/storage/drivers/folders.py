"""What vfs and btrfs share: a snapshot's complete tree is the folder ``tree`` in its directory."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from sampan.kernel.fs import exchange
from sampan.kernel.mount import Mount
from sampan.storage.catalogue import Record
from sampan.storage.driver import Kind
from sampan.storage.drivers.whole import WholeTrees
from sampan.storage.tree import opened

TREE: Final = "tree"


class TreeFolders(WholeTrees):
    """The base of the drivers whose trees are folders; a view shows its parent's."""

    def mounts(self, key: str) -> Sequence[Mount]:
        record = self._catalogue.find(key)
        options = ("bind", "ro") if record.kind is Kind.VIEW else ("bind",)
        return [Mount("none", self._tree(record), self._catalogue.path(key, "merged"), options)]

    def replace(self, name: str, key: str) -> None:
        self._catalogue.find(name)
        exchange(self._catalogue.path(name, TREE), self._catalogue.path(key, TREE))
        self.remove(key)

    def discard(self, name: str) -> None:
        self._catalogue.remove(name, force=True)

    @contextmanager
    def _opened(self, record: Record) -> Iterator[int]:
        with opened(self._tree(record)) as fd:
            yield fd

    def _tree(self, record: Record) -> str:
        return self._catalogue.path(self._source(record).key, TREE)
