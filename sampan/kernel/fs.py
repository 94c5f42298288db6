"""Files by directory descriptor: confined path resolution, extended attributes, copies, removal of trees.

Everything here blocks and raises OSError. Names are ``str`` or ``bytes`` as with ``os``; names that come out
of directories are ``bytes`` wherever a caller may meet any name.
"""

import ctypes
import errno
import fcntl
import os
import stat
import struct
from array import array
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from sampan.kernel.libc import check, libc, syscall

# linux/openat2.h
RESOLVE_NO_XDEV: Final = 1
RESOLVE_NO_MAGICLINKS: Final = 2
RESOLVE_NO_SYMLINKS: Final = 4
RESOLVE_BENEATH: Final = 8
RESOLVE_IN_ROOT: Final = 16

FICLONE: Final = 0x40049409  # _IOW(0x94, 9, int), linux/fs.h
_RENAME_EXCHANGE: Final = 2
_FS_IOC_GETFLAGS: Final = 0x80086601  # _IOR('f', 1, long)
_FS_IOC_SETFLAGS: Final = 0x40086602  # _IOW('f', 2, long)
_FS_IMMUTABLE_FL: Final = 0x10
_FS_APPEND_FL: Final = 0x20
_FS_TOPDIR_FL: Final = 0x20000
_DT_UNKNOWN: Final = 0
_COPY_CHUNK: Final = 1 << 30
_MAX_DEPTH: Final = 128

_open_how: Final = struct.Struct("QQQ").pack  # struct open_how: flags, mode, resolve

OPEN_DIR: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""Flags to open one directory by its name, never through a symbolic link."""


def openat2(dir_fd: int, path: str | bytes, flags: int, *, mode: int = 0, resolve: int = 0) -> int:
    """Open ``path`` relative to ``dir_fd`` with the restrictions ``resolve`` (openat2(2)); close-on-exec.

    With ``RESOLVE_IN_ROOT`` the directory is the root of the world: absolute paths and links, and ``..``,
    stay inside it.
    """
    how = _open_how(flags | os.O_CLOEXEC, mode, resolve)
    while True:
        fd = syscall("openat2", dir_fd, os.fsencode(path), how, len(how))
        # EAGAIN: something was renamed during the resolution, openat2(2) says to try again
        if fd >= 0 or ctypes.get_errno() not in (errno.EINTR, errno.EAGAIN):
            return check(fd, os.fsdecode(path))


def exchange(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> None:
    """Let two entries of one file system change places, at once (renameat2(2), ``RENAME_EXCHANGE``)."""
    first, second = os.fspath(one), os.fspath(other)
    check(syscall("renameat2", -100, os.fsencode(first), -100, os.fsencode(second), _RENAME_EXCHANGE), first)


def entry_path(dir_fd: int, name: bytes) -> bytes:
    """Return a path for calls that take no directory descriptor; only ``name`` itself is not resolved yet."""
    return b"/proc/self/fd/%d/%s" % (dir_fd, name)


def list_xattrs(fd: int, name: bytes = b"") -> dict[str, bytes]:
    """Return the extended attributes of entry ``name`` of the directory ``fd``; {} if it cannot have any.

    A link is not followed. Without a name they are those of ``fd`` itself, possibly opened with ``O_PATH``.
    """
    path, follow = (entry_path(fd, name), False) if name else (b"/proc/self/fd/%d" % fd, True)
    try:
        return {
            key: os.getxattr(path, key, follow_symlinks=follow)
            for key in os.listxattr(path, follow_symlinks=follow)
        }
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.ENODATA):
            return {}
        raise


def set_xattr(dir_fd: int, name: bytes, key: str, value: bytes) -> None:
    """Set an extended attribute of the entry ``name``, which is not followed."""
    os.setxattr(entry_path(dir_fd, name), key, value, follow_symlinks=False)


def reflink(source_fd: int, target_fd: int) -> bool:
    """Make the empty file ``target_fd`` share the blocks of ``source_fd``; False if this cannot be here."""
    try:
        fcntl.ioctl(target_fd, FICLONE, source_fd)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS):
            return False
        raise
    return True


def data_segments(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield ``(offset, length)`` of each stretch of data in the file of ``size`` bytes; holes lie between."""
    offset = 0
    while offset < size:
        try:
            start = os.lseek(fd, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                return
            raise
        offset = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        if start < offset:
            yield start, offset - start


def copy_data(source_fd: int, target_fd: int, size: int) -> None:
    """Copy ``size`` bytes into the empty file ``target_fd``: as a reflink if possible, holes kept."""
    if not size or reflink(source_fd, target_fd):
        return
    os.ftruncate(target_fd, size)
    for start, length in data_segments(source_fd, size):
        copied = 0
        while copied < length:
            at = start + copied
            step = _copy_range(source_fd, target_fd, min(length - copied, _COPY_CHUNK), at)
            if step == 0:
                return  # the source was cut short meanwhile
            copied += step


def _copy_range(source_fd: int, target_fd: int, count: int, offset: int) -> int:
    try:
        return os.copy_file_range(source_fd, target_fd, count, offset, offset)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        return os.pwrite(target_fd, os.pread(source_fd, min(count, 1 << 20), offset), offset)


def sync_filesystem(path: str | os.PathLike[str]) -> None:
    """Bring everything that was written to the file system of ``path`` to the disk (syncfs(2)). Blocks.

    Raises OSError as well for what the kernel could not write since anybody last asked (Linux 5.8).
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        check(libc.syncfs(fd), os.fspath(path))
    finally:
        os.close(fd)


def is_ext4_without_journal(path: str) -> bool:
    """Return whether ``path`` lies on ext4 without a journal; False as well where it cannot be told."""
    device = os.stat(path).st_dev
    try:
        name = os.path.basename(os.readlink(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}"))
    except OSError:
        return False
    if not os.path.isdir(f"/proc/fs/ext4/{name}"):
        return False
    with suppress(FileNotFoundError):
        return not any(journal.startswith(f"{name}-") for journal in os.listdir("/proc/fs/jbd2"))
    return True


def spread_children(directory: str) -> None:
    """Ask ext4 to put each directory made in ``directory`` into a block group of its own (``chattr +T``).

    Else it keeps them together and, for each new file, looks at every inode of the group that was freed in
    the last seconds: unpacking becomes ten times slower after a removal. Other file systems need no such
    thing.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flags = array("l", [0])
        with suppress(OSError):
            fcntl.ioctl(fd, _FS_IOC_GETFLAGS, flags)
            if not flags[0] & _FS_TOPDIR_FL:
                flags[0] |= _FS_TOPDIR_FL
                fcntl.ioctl(fd, _FS_IOC_SETFLAGS, flags)
    finally:
        os.close(fd)


def supports_d_type(directory: str | os.PathLike[str]) -> bool:
    """Return whether the file system of ``directory`` tells types when it is listed (overlay needs it).

    The directory must not be empty. See readdir(3), DT_UNKNOWN.
    """
    path = os.fspath(directory)
    stream = libc.opendir(os.fsencode(path))
    if not stream:
        check(-1, path)
    try:
        while entry := libc.readdir(stream):
            # struct dirent: d_ino u64, d_off s64, d_reclen u16, d_type u8, d_name
            if ctypes.string_at(entry + 19) not in (b".", b".."):
                return ctypes.string_at(entry + 18, 1)[0] != _DT_UNKNOWN
    finally:
        libc.closedir(stream)
    return True


libc.opendir.argtypes = (ctypes.c_char_p,)
libc.opendir.restype = ctypes.c_void_p
libc.readdir.argtypes = (ctypes.c_void_p,)
libc.readdir.restype = ctypes.c_void_p
libc.closedir.argtypes = (ctypes.c_void_p,)


def remove_tree(path: str | bytes | os.PathLike[str], *, dir_fd: int | None = None) -> None:
    """Remove ``path`` and all below it; nothing there is no error. Symbolic links are not followed.

    Copes with any depth and with the immutable and append-only flags. A mount inside fails with EBUSY (or
    EXDEV) and is never emptied.
    """
    name = os.fsencode(path)
    try:
        root = os.open(name, OPEN_DIR, dir_fd=dir_fd)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        _unlink(name, dir_fd)
        return
    try:
        while _empty(root, root, 0):
            pass
    finally:
        os.close(root)
    _rmdir(name, dir_fd)


def _empty(fd: int, root: int, depth: int) -> bool:
    """Remove everything in the directory ``fd``; return True if ``root`` has to be emptied once more.

    Depth is bounded: what lies deeper than ``_MAX_DEPTH`` is moved up into ``root``, so neither descriptors
    nor the interpreter's stack run out.
    """
    again = False
    with os.scandir(fd) as entries:
        found = [(os.fsencode(e.name), e.is_dir(follow_symlinks=False)) for e in entries]
    for name, is_dir in found:
        if not is_dir:
            _unlink(name, fd)
            continue
        with suppress(OSError):  # empty, as most directories are
            os.rmdir(name, dir_fd=fd)
            continue
        if depth == _MAX_DEPTH:
            os.rename(name, b".deep-" + os.urandom(12).hex().encode(), src_dir_fd=fd, dst_dir_fd=root)
            again = True
            continue
        child = openat2(fd, name, OPEN_DIR, resolve=RESOLVE_NO_XDEV | RESOLVE_BENEATH)
        try:
            again |= _empty(child, root, depth + 1)
        finally:
            os.close(child)
        _rmdir(name, fd)
    return again


def _unlink(name: bytes, dir_fd: int | None) -> None:
    try:
        os.unlink(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return
    except PermissionError:
        _make_mutable(name, dir_fd)
        os.unlink(name, dir_fd=dir_fd)


def _rmdir(name: bytes, dir_fd: int | None) -> None:
    try:
        os.rmdir(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return
    except PermissionError:
        _make_mutable(name, dir_fd)
        os.rmdir(name, dir_fd=dir_fd)


def _make_mutable(name: bytes, dir_fd: int | None) -> None:
    """Clear the flags that stand against removal: of the directory that ``name`` lies in, and its own."""
    for target in (os.path.dirname(name) or b".", name):
        with suppress(OSError):
            mode = os.stat(target, dir_fd=dir_fd, follow_symlinks=False).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                continue
            fd = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
            try:
                flags = array("l", [0])
                fcntl.ioctl(fd, _FS_IOC_GETFLAGS, flags)
                flags[0] &= ~(_FS_IMMUTABLE_FL | _FS_APPEND_FL)
                fcntl.ioctl(fd, _FS_IOC_SETFLAGS, flags)
            finally:
                os.close(fd)
