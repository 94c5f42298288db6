"""What volumes need of storage and of the compressions: whole trees copied, packed, unpacked and compared."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sampan.base.errors import HostFailure
from sampan.base.outflow import Piece, in_memory
from sampan.images.compression import Inflated
from sampan.images.deflate import deflate
from sampan.storage.compare import compare_trees, held_only
from sampan.storage.copy import copy_tree
from sampan.storage.extract import Rules, extract
from sampan.storage.pack import pack_backup
from sampan.storage.tar_header import BLOCK, BadArchive, is_end
from sampan.storage.tree import measure, opened
from sampan.volumes.driver import Readable, Size

_OWNER_OF_ROOT: Final = Rules(root=True)


class StorageTrees:
    """``volumes.driver.Trees``, made of what images are unpacked and compared with."""

    def copy(self, source: Path, target: Path) -> None:
        with _told("copy", source), opened(str(source)) as old, opened(str(target)) as new:
            copy_tree(old, new)

    def pack(self, source: Path, compression: str) -> Iterator[Piece]:
        with _told("read", source), opened(str(source)) as root:
            pieces = pack_backup(root)
            yield from pieces if compression == "none" else deflate(in_memory(pieces), compression)

    def unpack(self, archive: Readable, target: Path) -> None:
        with opened(str(target)) as root:
            source = _Ended(Inflated(archive, "the archive"))
            extract(root, b"", source, _OWNER_OF_ROOT)
            source.check()

    def compare(self, new: Path, old: Path, *, ready_ns: int) -> Iterator[tuple[int, str]]:
        with _told("compare", new), opened(str(new)) as after, opened(str(old)) as before:
            found = held_only(list(compare_trees(after, before, ready_ns=ready_ns)))
        for difference in found:
            yield int(difference.kind), os.fsdecode(difference.path)

    def measure(self, folder: Path) -> Size:
        with _told("measure", folder), opened(str(folder)) as root:
            usage = measure(root)
        return Size(usage.size, usage.disk, usage.inodes)


class _Ended:
    """Sees to it that an archive has its end: a pipe that breaks off between two entries looks like one."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._last = b""

    def read(self, size: int, /) -> bytes:
        piece = self._source.read(size)
        if piece:
            self._last = (self._last + piece[-BLOCK:])[-BLOCK:]
        return piece

    def check(self) -> None:
        """Raise BadArchive unless what was read ends with a block of zeros."""
        if len(self._last) < BLOCK or not is_end(self._last):
            raise BadArchive("the archive has no end: it is not complete")


@contextmanager
def _told(verb: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HostFailure(f"cannot {verb} {path}: {error.strerror or error}") from error
