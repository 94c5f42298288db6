"""How an upper directory says that names of the layers below it are gone.

overlay: a deleted name is a character device 0/0, and a directory that hides what lies below it has the
attribute ``trusted.overlay.opaque``. fuse-overlayfs writes the same and, into such a directory, notes of its
own. aufs: an empty file ``.wh.NAME`` is a deleted name, and one named ``.wh..wh..opq`` hides what lies below.
"""

import errno
import os
import stat
from collections.abc import Sequence
from typing import Final, Protocol

from sampan.storage.overlay import OPAQUE, is_whiteout
from sampan.storage.tree import GONE, list_at, open_at, walk

Entries = Sequence[tuple[bytes, os.stat_result]]

WHITEOUT: Final = b".wh."
META: Final = b".wh..wh."
OPAQUE_NAME: Final = b".wh..wh..opq"
_FUSE_NOTES: Final = frozenset({b".wh..opq", OPAQUE_NAME})
_AUFS_KEPT: Final = (b".wh..wh.aufs", b".wh..wh.orph", b".wh..wh.plnk")
"""What aufs makes in the root of a writable branch; it is of no use once the branch is a layer."""


class Marks(Protocol):
    """The marks in an upper directory, read."""

    def read(self, upper: int, path: bytes) -> tuple[Entries, list[bytes]]:
        """Return what is in the directory ``path``, marks left out, and the names that are gone."""

    def is_opaque(self, upper: int, path: bytes) -> bool:
        """Return whether the directory ``path`` hides what lies below it."""


class OverlayMarks:
    """Marks as the kernel's overlay writes them; ``notes`` are names that mean nothing."""

    def __init__(self, notes: frozenset[bytes] = frozenset()) -> None:
        self._notes = notes

    def read(self, upper: int, path: bytes) -> tuple[Entries, list[bytes]]:
        kept, gone = [], []
        for name, status in list_at(upper, path):
            if name in self._notes:
                continue
            if is_whiteout(status):
                gone.append(name)
            else:
                kept.append((name, status))
        return kept, gone

    def is_opaque(self, upper: int, path: bytes) -> bool:
        try:
            fd = open_at(upper, path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                return os.getxattr(fd, OPAQUE) == b"y"
            finally:
                os.close(fd)
        except OSError as error:
            if error.errno != errno.ENODATA and error.errno not in GONE:
                raise
            return False


class AufsMarks:
    """Marks as aufs writes them."""

    def read(self, upper: int, path: bytes) -> tuple[Entries, list[bytes]]:
        kept, gone = [], []
        for name, status in list_at(upper, path):
            if not name.startswith(WHITEOUT):
                kept.append((name, status))
            elif not name.startswith(META):
                gone.append(name[len(WHITEOUT) :])
        present = {name for name, _ in kept}
        return kept, [name for name in gone if name not in present]

    def is_opaque(self, upper: int, path: bytes) -> bool:
        try:
            fd = open_at(upper, path + b"/" + OPAQUE_NAME, os.O_PATH | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno not in GONE:
                raise
            return False
        os.close(fd)
        return True


OVERLAY_MARKS: Final = OverlayMarks()
FUSE_MARKS: Final = OverlayMarks(_FUSE_NOTES)
AUFS_MARKS: Final = AufsMarks()


def overlay_to_aufs(upper: int) -> None:
    """Turn the overlay's marks in the tree ``upper``, which nobody uses, into those of aufs."""
    found = [(path, status) for path, status in walk(upper) if _is_marked(upper, path, status)]
    for path, status in found:
        above, _, name = path.rpartition(b"/")
        if stat.S_ISDIR(status.st_mode):
            directory = open_at(upper, path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                times = os.fstat(directory)
                _make_mark(directory, OPAQUE_NAME)
                os.removexattr(directory, OPAQUE)
                os.utime(directory, ns=(times.st_atime_ns, times.st_mtime_ns))
            finally:
                os.close(directory)
            continue
        directory = open_at(upper, above, os.O_RDONLY | os.O_DIRECTORY)
        try:
            times = os.fstat(directory)
            os.unlink(name, dir_fd=directory)
            _make_mark(directory, WHITEOUT + name)
            os.utime(directory, ns=(times.st_atime_ns, times.st_mtime_ns))
        finally:
            os.close(directory)


def aufs_notes(directory: str) -> list[str]:
    """Return the paths in ``directory``, once a writable branch of aufs, that are only its own notes."""
    return [os.path.join(directory, os.fsdecode(name)) for name in _AUFS_KEPT]


def _is_marked(upper: int, path: bytes, status: os.stat_result) -> bool:
    if stat.S_ISDIR(status.st_mode):
        return OVERLAY_MARKS.is_opaque(upper, path)
    return is_whiteout(status)


def _make_mark(directory: int, name: bytes) -> None:
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o444, dir_fd=directory))
