"""What volumes need of storage and of the compressions: whole trees copied, packed, unpacked and compared."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sampan.base.errors import HostFailure
from sampan.images.compression import Inflated
from sampan.images.deflate import deflate
from sampan.storage.compare import compare_trees
from sampan.storage.copy import copy_tree
from sampan.storage.extract import Rules, extract
from sampan.storage.pack import pack_backup
from sampan.storage.tree import measure, opened
from sampan.volumes.driver import Readable, Size

_OWNER_OF_ROOT: Final = Rules(root=True)


class StorageTrees:
    """``volumes.driver.Trees``, made of what images are unpacked and compared with."""

    def copy(self, source: Path, target: Path) -> None:
        with _told("copy", source), opened(str(source)) as old, opened(str(target)) as new:
            copy_tree(old, new)

    def pack(self, source: Path, compression: str) -> Iterator[bytes]:
        with _told("read", source), opened(str(source)) as root:
            yield from deflate(pack_backup(root), compression)

    def unpack(self, archive: Readable, target: Path) -> None:
        with opened(str(target)) as root:
            extract(root, b"", Inflated(archive, "the archive"), _OWNER_OF_ROOT)

    def compare(self, new: Path, old: Path, *, ready_ns: int) -> Iterator[tuple[int, str]]:
        with _told("compare", new), opened(str(new)) as after, opened(str(old)) as before:
            for difference in compare_trees(after, before, ready_ns=ready_ns):
                if difference.shown:
                    yield int(difference.kind), os.fsdecode(difference.path)

    def measure(self, folder: Path) -> Size:
        with _told("measure", folder), opened(str(folder)) as root:
            usage = measure(root)
        return Size(usage.size, usage.disk, usage.inodes)


@contextmanager
def _told(verb: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HostFailure(f"cannot {verb} {path}: {error.strerror or error}") from error
