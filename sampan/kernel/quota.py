"""Project quotas: how much the files below a directory may take (xfs; ext4 made with ``-O quota,project``).

Everything here blocks and raises OSError. Numbers and structures are those of linux/fs.h, linux/quota.h and
linux/dqblk_xfs.h; ext4 takes the calls that were made for xfs.
"""

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sampan.kernel.libc import check, syscall
from sampan.kernel.mount import mounts

_FSGETXATTR: Final = 0x801C581F
_FSSETXATTR: Final = 0x401C5820
_XFLAG_PROJINHERIT: Final = 0x200
_fsxattr = struct.Struct("=IIIII8x")  # xflags, extsize, nextents, projid, cowextsize

_PRJQUOTA: Final = 2
_Q_XGETQUOTA: Final = 0x5803
_Q_XSETQLIM: Final = 0x5804
_Q_XGETQSTAT: Final = 0x5805
_PROJECT_ENFORCED: Final = 1 << 5  # FS_QUOTA_PDQ_ENFD
_BLOCK_LIMITS: Final = (1 << 2) | (1 << 3)  # FS_DQ_BSOFT, FS_DQ_BHARD
_BLOCK: Final = 512
_disk_quota = struct.Struct("=bbHIQQQQQQ64x")  # version, flags, fields, id, four limits, blocks, inodes, …


def enforced(directory: str) -> bool:
    """Return whether the file system of ``directory`` holds projects to their limits."""
    buffer = ctypes.create_string_buffer(512)  # struct fs_quota_stat: version i8, flags u16, …
    try:
        with _opened(directory) as fd:
            _quotactl(fd, _Q_XGETQSTAT, 0, buffer, directory)
            _attributes(fd)
    except OSError:
        return False
    return bool(struct.unpack_from("=H", buffer, 2)[0] & _PROJECT_ENFORCED)


def set_project(directory: str, project: int) -> None:
    """Make ``directory``, which is empty, and all that will be made in it belong to ``project``."""
    with _opened(directory) as fd:
        flags, extent, count, _, cow = _attributes(fd)
        packed = _fsxattr.pack(flags | _XFLAG_PROJINHERIT, extent, count, project, cow)
        fcntl.ioctl(fd, _FSSETXATTR, packed)


def project_of(directory: str) -> int:
    """Return the project that ``directory`` belongs to, 0 for none."""
    with _opened(directory) as fd:
        return _attributes(fd)[3]


def limit_project(directory: str, project: int, size: int) -> None:
    """Let ``project``, on the file system of ``directory``, take at most ``size`` bytes; 0: any number."""
    blocks = -(-size // _BLOCK)
    quota = _disk_quota.pack(1, _PRJQUOTA, _BLOCK_LIMITS, project, blocks, blocks, 0, 0, 0, 0)
    with _opened(directory) as fd:
        _quotactl(fd, _Q_XSETQLIM, project, quota, directory)


def project_limit(directory: str, project: int) -> tuple[int, int]:
    """Return the limit of ``project`` (0: none) and what it takes, in bytes."""
    buffer = ctypes.create_string_buffer(_disk_quota.size)
    with _opened(directory) as fd:
        _quotactl(fd, _Q_XGETQUOTA, project, buffer, directory)
    fields = _disk_quota.unpack(buffer.raw)
    return fields[4] * _BLOCK, fields[8] * _BLOCK


def _attributes(fd: int) -> tuple[int, int, int, int, int]:
    buffer = bytearray(_fsxattr.size)
    fcntl.ioctl(fd, _FSGETXATTR, buffer)
    flags, extent, count, project, cow = _fsxattr.unpack(buffer)
    return flags, extent, count, project, cow


def _quotactl(fd: int, command: int, project: int, argument: object, path: str) -> None:
    word = (command << 8) | _PRJQUOTA
    result = syscall("quotactl_fd", fd, word, project, argument)  # Linux 5.14
    if result < 0 and ctypes.get_errno() == errno.ENOSYS:
        device = os.fstat(fd).st_dev
        major_minor = (os.major(device), os.minor(device))
        source = next((m.source for m in mounts() if m.device == major_minor), "")
        result = syscall("quotactl", word, os.fsencode(source), project, argument)
    check(result, path)


@contextmanager
def _opened(path: str) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)
