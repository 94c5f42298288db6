"""What ``docker cp`` tells of a path: the document in the header ``X-Docker-Container-Path-Stat``."""

import stat
from typing import Final

import msgspec

STAT_HEADER: Final = "X-Docker-Container-Path-Stat"

# io/fs.FileMode of Go's library: its bits are not the kernel's.
GO_DIRECTORY: Final = 1 << 31
GO_SYMLINK: Final = 1 << 27
GO_DEVICE: Final = 1 << 26
GO_NAMED_PIPE: Final = 1 << 25
GO_SOCKET: Final = 1 << 24
GO_SETUID: Final = 1 << 23
GO_SETGID: Final = 1 << 22
GO_CHARACTER_DEVICE: Final = 1 << 21
GO_STICKY: Final = 1 << 20
_KINDS: Final = {
    stat.S_IFDIR: GO_DIRECTORY,
    stat.S_IFLNK: GO_SYMLINK,
    stat.S_IFBLK: GO_DEVICE,
    stat.S_IFCHR: GO_DEVICE | GO_CHARACTER_DEVICE,
    stat.S_IFIFO: GO_NAMED_PIPE,
    stat.S_IFSOCK: GO_SOCKET,
}
_BITS: Final = ((stat.S_ISUID, GO_SETUID), (stat.S_ISGID, GO_SETGID), (stat.S_ISVTX, GO_STICKY))


class PathStat(msgspec.Struct, rename="camel"):
    """One path of a container. ``mode`` is Go's, ``link_target`` what a link leads to in the end."""

    name: str
    size: int
    mode: int
    mtime: str
    link_target: str


def go_mode(mode: int) -> int:
    """Turn a mode of stat(2) into Go's."""
    bits = sum(go for bit, go in _BITS if mode & bit)
    return _KINDS.get(stat.S_IFMT(mode), 0) | bits | (mode & 0o777)
