"""Tar archives on the client's side of ``cp``: local files packed, and what a container sends unpacked.

What comes is not trusted: every step down is taken from an open directory and follows no link, so that
nothing outside the target is reached.
"""

import os
import stat
import tarfile

from sampan.cli.copying import renamed, split_entry
from sampan.cli.errors import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Final

    from sampan.cli.copying import Place

_CHUNK: "Final" = 1 << 18
_BLOCK: "Final" = 512
_DIR: "Final" = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW: "Final" = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_TYPES: "Final" = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
}


def pack(source: "Place", old: str, new: str) -> "Iterator[bytes]":
    """Yield the tar of ``source``; its name ``old`` becomes ``new`` in it where they are given."""
    folder, name = split_entry(source.path)
    shown = source.rename or name
    links: dict[tuple[int, int], str] = {}
    for path, label in _walk(f"{folder}/{name}", shown):
        yield from _entry(path, renamed(label, old, new) if old or new else label, links)
    yield bytes(2 * _BLOCK)


def _walk(path: str, label: str) -> "Iterator[tuple[str, str]]":
    yield path, label
    try:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            return
        names = sorted(os.listdir(path))
    except FileNotFoundError:
        return  # it went meanwhile
    for name in names:
        yield from _walk(f"{path}/{name}", f"{label.rstrip('/')}/{name}")


def _entry(path: str, label: str, links: dict[tuple[int, int], str]) -> "Iterator[bytes]":
    """Yield header and data of one file; nothing for sockets and what went meanwhile."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    kind = _TYPES.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        return
    info = tarfile.TarInfo(label)
    info.type = kind
    info.mode = stat.S_IMODE(status.st_mode)
    info.uid, info.gid = status.st_uid, status.st_gid
    info.mtime = status.st_mtime_ns // 10**9  # whole seconds, as Docker's client sends
    if kind == tarfile.SYMTYPE:
        info.linkname = os.readlink(path)
    elif kind in (tarfile.CHRTYPE, tarfile.BLKTYPE):
        info.devmajor, info.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
    elif kind == tarfile.REGTYPE and status.st_nlink > 1:
        first = links.setdefault((status.st_dev, status.st_ino), label)
        if first != label:
            info.type, info.linkname = tarfile.LNKTYPE, first
            kind = tarfile.LNKTYPE
    if kind != tarfile.REGTYPE:
        yield _header(info)
        return
    with open(path, "rb", buffering=0) as file:
        info.size = left = os.fstat(file.fileno()).st_size
        yield _header(info)
        while left > 0:
            data = file.read(min(left, _CHUNK)) or bytes(min(left, _CHUNK))  # one that shrinks is filled up
            left -= len(data)
            yield data
        yield bytes(-info.size % _BLOCK)


def _header(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


class Pieces:
    """Pieces of bytes as a file to read; ``counted`` is told how many bytes each had."""

    def __init__(self, pieces: "Iterator[bytes]", counted: "Callable[[int], None]") -> None:
        self._pieces = pieces
        self._counted = counted
        self._rest = b""

    def read(self, size: int) -> bytes:
        """Return ``size`` bytes, less at the end."""
        parts = [self._rest]
        have = len(self._rest)
        while have < size and (piece := next(self._pieces, b"")):
            self._counted(len(piece))
            parts.append(piece)
            have += len(piece)
        data = b"".join(parts)
        self._rest = data[size:]
        return data[:size]

    def drain(self) -> None:
        """Read to the end."""
        for piece in self._pieces:
            self._counted(len(piece))


def unpack(source: Pieces, directory: str, old: str, new: str) -> None:
    """Put the entries of the tar ``source`` into ``directory``, with names changed as in ``pack``.

    Owners stay the user's. A directory replaces nothing else, and nothing else one. Raises CommandError.
    """
    try:
        root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise CommandError(f"open {directory}: {(error.strerror or '').lower()}") from error
    target = _Target(root, directory)
    try:
        with tarfile.open(fileobj=source, mode="r|", errorlevel=2) as archive:  # type: ignore[call-overload]
            for info in archive:
                if old or new:
                    info.name = renamed(info.name, old, new)
                    if info.islnk():
                        info.linkname = renamed(info.linkname, old, new)
                target.put(archive, info)
        source.drain()
        target.set_times()
    except tarfile.TarError as error:
        raise CommandError(f"invalid archive: {error}") from error
    except OSError as error:
        where = os.fsdecode(error.filename) if error.filename else directory
        raise CommandError(f"{where}: {(error.strerror or str(error)).lower()}") from error
    finally:
        os.close(root)


class _Target:
    """A directory that entries are put into."""

    def __init__(self, root: int, directory: str) -> None:
        self._root = root
        self._shown = directory
        self._times: dict[str, int] = {}

    def put(self, archive: tarfile.TarFile, info: tarfile.TarInfo) -> None:
        """Make one entry."""
        parts = self._parts(info.name)
        if not parts:
            return
        parent = self._open(parts[:-1])
        name = parts[-1]
        try:
            if not self._there(info, parent, name):
                self._make(archive, info, parent, name)
            if info.isdir():
                os.chmod(name, info.mode & 0o7777, dir_fd=parent)
        finally:
            os.close(parent)
        if info.isdir():
            self._times["/".join(parts)] = _mtime_ns(info)

    def set_times(self) -> None:
        """Set the times of directories, now that nothing is made in them any more."""
        for path, mtime_ns in reversed(self._times.items()):
            try:
                fd = self._open(path.split("/"))
            except OSError:
                continue  # replaced later in the archive
            try:
                os.utime(fd, ns=(mtime_ns, mtime_ns))
            finally:
                os.close(fd)

    def _parts(self, name: str) -> list[str]:
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise CommandError(f'"{name}" is outside of "{self._shown}"')
        return parts

    def _open(self, parts: list[str]) -> int:
        """Return a descriptor of a directory below the root, made if it is not there; no link is followed."""
        fd = os.dup(self._root)
        for part in parts:
            try:
                try:
                    child = os.open(part, _DIR, dir_fd=fd)
                except FileNotFoundError:
                    os.mkdir(part, 0o755, dir_fd=fd)
                    child = os.open(part, _DIR, dir_fd=fd)
            finally:
                os.close(fd)
            fd = child
        return fd

    def _there(self, info: tarfile.TarInfo, parent: int, name: str) -> bool:
        """Return whether the directory ``info`` is there; remove a file that stands in the way of one."""
        try:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return False
        is_dir = stat.S_ISDIR(status.st_mode)
        place = f"{self._shown.rstrip('/')}/{info.name}"
        if is_dir and not info.isdir():
            raise CommandError(f'cannot overwrite directory "{place}" with non-directory "{self._shown}"')
        if not is_dir:
            if info.isdir():
                raise CommandError(f'cannot overwrite non-directory "{place}" with directory "{self._shown}"')
            os.unlink(name, dir_fd=parent)
        return is_dir

    def _make(self, archive: tarfile.TarFile, info: tarfile.TarInfo, parent: int, name: str) -> None:
        mode = info.mode & 0o7777
        if info.isdir():
            os.mkdir(name, 0o700, dir_fd=parent)
        elif info.isreg():
            fd = os.open(name, _NEW, 0o600, dir_fd=parent)
            with os.fdopen(fd, "wb", buffering=0) as file:
                if (data := archive.extractfile(info)) is not None:
                    while piece := data.read(_CHUNK):
                        _write_all(file.fileno(), piece)
                os.fchmod(fd, mode)
                os.utime(fd, ns=(_mtime_ns(info), _mtime_ns(info)))
        elif info.issym():
            os.symlink(info.linkname, name, dir_fd=parent)
            os.utime(name, ns=(_mtime_ns(info), _mtime_ns(info)), dir_fd=parent, follow_symlinks=False)
        elif info.islnk():
            parts = self._parts(info.linkname)
            source = self._open(parts[:-1])
            try:
                os.link(parts[-1], name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
            finally:
                os.close(source)
        elif info.ischr() or info.isblk() or info.isfifo():
            kind = stat.S_IFCHR if info.ischr() else stat.S_IFBLK if info.isblk() else stat.S_IFIFO
            os.mknod(name, kind | mode, os.makedev(info.devmajor, info.devminor), dir_fd=parent)
        else:
            raise CommandError(f"unhandled tar header type {ord(info.type)}")


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _mtime_ns(info: tarfile.TarInfo) -> int:
    return int(float(info.mtime) * 10**9)
