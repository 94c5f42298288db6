"""Writes trees, and the differences between them, as tar archives.

Equal trees give equal archives: entries are in order of path, nothing is written that a tree does not say
(no names of owners, no times but mtime), and the form of each header follows from its content alone.
"""

import errno
import os
import stat
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

from sampan.base.errors import InvalidParameter
from sampan.base.outflow import FilePart, Piece, in_memory, zeros
from sampan.kernel.fs import OPEN_DIR, data_segments
from sampan.storage.compare import held_only, without
from sampan.storage.driver import ChangeKind, Delta, Difference
from sampan.storage.marks import WHITEOUT
from sampan.storage.tar_header import (
    BLOCK,
    BLOCK_DEVICE,
    CHARACTER_DEVICE,
    DIRECTORY,
    FIFO,
    FILE,
    HARD_LINK,
    SYMBOLIC_LINK,
    Entry,
    encode,
    padding,
    shown,
    sparse_head,
)
from sampan.storage.tree import GONE, content_xattrs, open_at, walk

_CHUNK: Final = 1 << 18
_PART: Final = 1 << 16  # from here on a file is named rather than read: the kernel may send it
_OUT_OF: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})  # no fault of the file that is read
_TYPES: Final = {
    stat.S_IFREG: FILE,
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFLNK: SYMBOLIC_LINK,
    stat.S_IFCHR: CHARACTER_DEVICE,
    stat.S_IFBLK: BLOCK_DEVICE,
    stat.S_IFIFO: FIFO,
}


def pack_delta(delta: Delta, *, ignore: Collection[bytes] = ()) -> Iterator[bytes]:
    """Yield the layer tar of ``delta``, piece by piece; additions at the paths ``ignore`` are left out.

    Raises InvalidParameter if a name cannot be in a layer because it would mean a deletion there.
    """
    root, *rest = without([delta.root, *delta.differences], ignore)
    differences = [*([root] if root.held else ()), *held_only(rest)]
    for difference in differences:
        if difference.path.rpartition(b"/")[2].startswith(WHITEOUT):
            raise InvalidParameter(
                f"{shown(difference.path)} cannot be in a layer: its name means a deletion"
            )
    yield from in_memory(_batched(_delta_pieces(delta, differences)))


def pack_tree(root: int) -> Iterator[Piece]:
    """Yield the tar of all that is below the root of the tree ``root`` (which is not an entry itself)."""
    yield from _batched(_tree_pieces(root))


def pack_named(
    root: int, path: bytes, name: Callable[[bytes], bytes], *, closed: Container[int] = ()
) -> Iterator[Piece]:
    """Yield the tar of the entry ``path`` of the tree ``root``, or for b"" of the whole tree and its root.

    ``name`` turns paths of the tree into names in the archive. What cannot be read (files of /proc that
    refuse, what vanishes meanwhile) is left out, as ``docker cp`` does; so are the contents of directories
    on devices of ``closed``. Times are in whole seconds.
    """
    entries = () if path else walk(root, closed=closed)
    paths = chain((path,), (entry for entry, _ in entries))
    yield from _batched(_readable_pieces(root, paths, name))


def pack_backup(root: int) -> Iterator[Piece]:
    """Yield the tar of the tree ``root``, its root first; holes are written as holes.

    Raises OSError for what cannot be read: a backup is whole.
    """
    yield from _batched(_backup_pieces(root))


def _backup_pieces(root: int) -> Iterator[Piece]:
    with _Packer(root, sparse=True) as packer:
        yield from packer.entry(b"")
        for path, _ in walk(root):
            yield from packer.entry(path)
    yield bytes(2 * BLOCK)


def _delta_pieces(delta: Delta, differences: Sequence[Difference]) -> Iterator[Piece]:
    with _Packer(delta.tree) as packer:
        for difference in differences:
            if difference.kind is ChangeKind.DELETED:
                above, _, name = difference.path[1:].rpartition(b"/")
                gone = above + b"/" + WHITEOUT + name if above else WHITEOUT + name
                yield encode(Entry(gone, FILE, 0o600, 0, 0, 0, 0))
            else:
                yield from packer.entry(difference.path)
    yield bytes(2 * BLOCK)


def _tree_pieces(root: int) -> Iterator[Piece]:
    with _Packer(root) as packer:
        for path, _ in walk(root):
            yield from packer.entry(path)
    yield bytes(2 * BLOCK)


def _readable_pieces(root: int, paths: Iterable[bytes], name: Callable[[bytes], bytes]) -> Iterator[Piece]:
    with _Packer(root, name, tick_ns=10**9) as packer:
        for path in paths:
            pieces = packer.entry(path)
            try:
                first = next(pieces, b"")
            except OSError as error:
                if error.errno in _OUT_OF:
                    raise
                continue
            yield first
            yield from pieces
    yield bytes(2 * BLOCK)


def _batched(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Join the bytes of ``pieces`` to such a size that handing one on costs little beside it."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        if isinstance(piece, FilePart):
            if waiting:
                yield b"".join(waiting)
                waiting.clear()
                size = 0
            yield piece
            continue
        waiting.append(piece)
        size += len(piece)
        if size >= _CHUNK:
            yield b"".join(waiting)
            waiting.clear()
            size = 0
    if waiting:
        yield b"".join(waiting)


class _Packer:
    """The entries of one archive; remembers hard links, and the directory that the last entry was in."""

    def __init__(
        self,
        root: int,
        name: Callable[[bytes], bytes] = lambda path: path[1:] or b".",
        *,
        sparse: bool = False,
        tick_ns: int = 1,
    ) -> None:
        self._root = root
        self._sparse = sparse
        self._name = name
        self._tick_ns = tick_ns
        self._links: dict[tuple[int, int], bytes] = {}
        self._above = b""
        self._directory = os.dup(root)

    def __enter__(self) -> "_Packer":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._directory)

    def entry(self, path: bytes) -> Iterator[Piece]:
        """Yield header and data of the entry at ``path``; nothing if it has gone, or is a socket."""
        try:
            fd = self._open(path)
        except OSError as error:
            if error.errno in GONE:
                return  # a container that runs goes on while it is read
            raise
        try:
            status = os.fstat(fd)
            kind = _TYPES.get(stat.S_IFMT(status.st_mode))
            if kind is None:
                return
            entry = Entry(
                self._name(path),
                kind,
                stat.S_IMODE(status.st_mode),
                status.st_uid,
                status.st_gid,
                0,
                status.st_mtime_ns // self._tick_ns * self._tick_ns,
                xattrs=content_xattrs(fd),
            )
            if kind == DIRECTORY:
                entry.name += b"/"
            elif status.st_nlink > 1:
                first = self._links.setdefault((status.st_dev, status.st_ino), entry.name)
                if first is not entry.name:
                    entry.type, entry.link = HARD_LINK, first
                    yield encode(entry)
                    return
            if kind == FILE:
                yield from _file(fd, entry, sparse=self._sparse and status.st_blocks * 512 < status.st_size)
                return
            if kind == SYMBOLIC_LINK:
                entry.link = os.readlink(b"", dir_fd=fd)
                entry.mode = 0o777
            elif kind in (CHARACTER_DEVICE, BLOCK_DEVICE):
                entry.device = (os.major(status.st_rdev), os.minor(status.st_rdev))
            yield encode(entry)
        finally:
            os.close(fd)

    def _open(self, path: bytes) -> int:
        above, _, name = path.rpartition(b"/")
        if above != self._above:
            directory = open_at(self._root, above, OPEN_DIR)
            os.close(self._directory)
            self._above, self._directory = above, directory
        # O_PATH: what it is is looked at before anything is opened that might be a device
        return os.open(name or b".", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._directory)


def _file(path_fd: int, entry: Entry, *, sparse: bool) -> Iterator[Piece]:
    """Yield header and data of the regular file behind the ``O_PATH`` descriptor ``path_fd``."""
    fd = os.open(f"/proc/self/fd/{path_fd}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        entry.size = size = os.fstat(fd).st_size
        if sparse:
            yield from _sparse_file(fd, entry)
            return
        header = encode(entry)
        if size <= _PART:
            data = os.pread(fd, size, 0)
            # a file that shrinks under our hands is filled up: the header has promised its length
            yield header + data.ljust(size, b"\0") + padding(size)
            return
        yield header
        at = 0
        for start, length in data_segments(fd, size):
            yield from zeros(start - at)
            yield FilePart(fd, start, length)
            at = start + length
        yield from zeros(size - at)
        yield padding(size)
    finally:
        os.close(fd)


def _sparse_file(fd: int, entry: Entry) -> Iterator[Piece]:
    """Yield header, map and data of a file with holes."""
    segments = list(data_segments(fd, entry.size))
    entry.sparse = [*segments, (entry.size, 0)]  # as GNU tar ends a map: the file may end in a hole
    entry.length = entry.size
    head = sparse_head(entry.sparse)
    held = sum(length for _, length in segments)
    entry.size = len(head) + held
    yield encode(entry) + head
    for start, length in segments:
        yield FilePart(fd, start, length)
    yield padding(held)
