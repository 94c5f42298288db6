"""Btrfs: subvolumes, snapshots of them, and limits on what one may hold (its quota group).

Everything here blocks and raises OSError. Numbers and structures are those of linux/btrfs.h and
linux/btrfs_tree.h.
"""

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from sampan.kernel.libc import check, libc

SUPER_MAGIC: Final = 0x9123683E  # linux/magic.h, BTRFS_SUPER_MAGIC

_SUBVOL_CREATE: Final = 0x5000940E  # _IOW(0x94, 14, struct btrfs_ioctl_vol_args)
_SNAP_DESTROY: Final = 0x5000940F
_SNAP_CREATE_V2: Final = 0x50009417  # _IOW(0x94, 23, struct btrfs_ioctl_vol_args_v2)
_INO_LOOKUP: Final = 0xD0009412
_QUOTA_CTL: Final = 0xC0109428
_QGROUP_CREATE: Final = 0x4010942A
_QGROUP_LIMIT: Final = 0x8030942B
_QUOTA_RESCAN_WAIT: Final = 0x942E
_QUOTA_ENABLE: Final = 1
_LIMIT_MAX_RFER: Final = 1
_FIRST_FREE_OBJECT: Final = 256
"""The inode number of every subvolume's root."""

_NAME_LIMIT: Final = 255
_vol_args = struct.Struct("=q4088s")  # fd, name
_vol_args_v2 = struct.Struct("=qQQ32x4040s")  # fd, transid, flags, unused, name


def is_btrfs(path: str | os.PathLike[str]) -> bool:
    """Return whether ``path`` lies on a btrfs file system."""
    buffer = ctypes.create_string_buffer(256)  # struct statfs, sys/statfs.h: f_type comes first
    check(libc.statfs(os.fsencode(path), buffer), os.fspath(path))
    return int(struct.unpack_from("l", buffer)[0]) & 0xFFFFFFFF == SUPER_MAGIC


def is_subvolume(path: str | os.PathLike[str]) -> bool:
    """Return whether ``path`` is the root of a subvolume; False if there is nothing."""
    with suppress(FileNotFoundError):
        return os.stat(path, follow_symlinks=False).st_ino == _FIRST_FREE_OBJECT
    return False


def create_subvolume(path: str) -> None:
    """Make the empty subvolume ``path``."""
    with _opened(os.path.dirname(path)) as parent:
        _call(parent, _SUBVOL_CREATE, _vol_args.pack(0, _name(path)), path)


def snapshot(source: str, path: str) -> None:
    """Make ``path`` a writable snapshot of the subvolume ``source``."""
    with _opened(source) as old, _opened(os.path.dirname(path)) as parent:
        _call(parent, _SNAP_CREATE_V2, _vol_args_v2.pack(old, 0, 0, _name(path)), path)


def destroy_subvolume(path: str) -> None:
    """Remove the subvolume ``path`` and all that is in it; what it held is given back in the background.

    OSError ENOTEMPTY: there are subvolumes in it.
    """
    with _opened(os.path.dirname(path)) as parent:
        _call(parent, _SNAP_DESTROY, _vol_args.pack(0, _name(path)), path)


def subvolume_id(path: str) -> int:
    """Return the number of the subvolume that ``path`` lies in."""
    with _opened(path) as fd:
        found = _call(fd, _INO_LOOKUP, struct.pack("=QQ4080x", 0, _FIRST_FREE_OBJECT), path)
    return int(struct.unpack_from("=Q", found)[0])


def enable_quota(path: str) -> None:
    """Let the file system of ``path`` count what each subvolume holds, if it does not yet; waits for it."""
    with _opened(path) as fd:
        with suppress(FileExistsError):
            _call(fd, _QUOTA_CTL, struct.pack("=QQ", _QUOTA_ENABLE, 0), path)
        with suppress(OSError):  # nothing is being counted
            fcntl.ioctl(fd, _QUOTA_RESCAN_WAIT)


def limit_subvolume(path: str, size: int) -> None:
    """Let the subvolume ``path`` show at most ``size`` bytes, shared ones included; quota must be enabled."""
    with _opened(path) as fd:
        # struct btrfs_ioctl_qgroup_limit_args: qgroupid (0: of this subvolume), then flags and four limits
        _call(fd, _QGROUP_LIMIT, struct.pack("=QQQQQQ", 0, _LIMIT_MAX_RFER, size, 0, 0, 0), path)


def forget_quota(directory: str, number: int) -> None:
    """Remove the quota group of subvolume ``number``, which lay in ``directory``; none is no error."""
    with _opened(directory) as fd, suppress(OSError):
        _call(fd, _QGROUP_CREATE, struct.pack("=QQ", 0, number), directory)


def _name(path: str) -> bytes:
    name = os.fsencode(os.path.basename(path))
    if not 0 < len(name) <= _NAME_LIMIT:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path)
    return name


@contextmanager
def _opened(path: str) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _call(fd: int, request: int, argument: bytes, path: str) -> bytes:
    buffer = bytearray(argument)
    try:
        fcntl.ioctl(fd, request, buffer)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    return bytes(buffer)
