"""Network namespaces: made, bound to a path, entered, dropped.

Everything that changes the namespace of the calling thread says so; such calls are made only in the threads
of ``threads``. A namespace lives as long as something refers to it: a bind, a process, an open socket.
"""

import ctypes
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sampan.kernel.libc import check, libc, syscall

CLONE_NEWNET: Final = 0x40000000  # linux/sched.h
_MS_BIND: Final = 0x1000  # linux/mount.h
_MS_REC: Final = 0x4000
_MS_SHARED: Final = 1 << 20
_MNT_DETACH: Final = 2
_NSFS_MAGIC: Final = 0x6E736673  # linux/magic.h
# /proc/self is the main thread's: only thread-self follows the thread that reads it.
_OWN: Final = "/proc/thread-self/ns/net"


def open_own_network() -> int:
    """Return a descriptor of the calling thread's network namespace."""
    return os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)


def enter_network(path: Path) -> None:
    """Move the calling thread, for good, into the network namespace bound at ``path``."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        set_network(descriptor)
    finally:
        os.close(descriptor)


def set_network(descriptor: int) -> None:
    """Move the calling thread into the network namespace of ``descriptor``."""
    check(syscall("setns", descriptor, CLONE_NEWNET), "setns")


@contextmanager
def entered_network(descriptor: int, home: int) -> Iterator[None]:
    """Be in the network namespace ``descriptor`` for the block, then in ``home`` again."""
    set_network(descriptor)
    try:
        yield
    finally:
        set_network(home)


def create_network(path: Path, home: int) -> int:
    """Make a network namespace, bind it to ``path`` (created) and return a descriptor of it.

    The calling thread is in the new namespace for a moment and in ``home`` afterwards, also on failure; then
    nothing is left at ``path``. Raises OSError.
    """
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    try:
        check(syscall("unshare", CLONE_NEWNET), "unshare the network namespace")
        try:
            check(_mount(_OWN.encode(), os.fsencode(path), None, _MS_BIND, None), str(path))
            return open_own_network()
        finally:
            set_network(home)
    except BaseException:
        drop_network(path)
        raise


def drop_network(path: Path) -> None:
    """Take the bind at ``path`` away, and the file with it; a path that is not there is no error."""
    while is_bound(path):
        check(libc.umount2(os.fsencode(path), _MNT_DETACH), str(path))
    path.unlink(missing_ok=True)


def is_bound(path: Path) -> bool:
    """Tell whether a namespace is bound at ``path``."""
    buffer = ctypes.create_string_buffer(512)  # struct statfs; f_type is its first long
    if libc.statfs(os.fsencode(path), buffer) < 0:
        if ctypes.get_errno() in {errno.ENOENT, errno.ENOTDIR}:
            return False
        check(-1, str(path))
    return int.from_bytes(buffer.raw[: ctypes.sizeof(ctypes.c_long)], sys.byteorder) == _NSFS_MAGIC


def share_directory(path: Path) -> None:
    """Make ``path`` (created) a mount whose binds come and go in every copy of the mount table.

    A process in a mount namespace of its own holds a copy of each bind; in a private mount, that copy would
    keep a namespace alive after we let go of it.
    """
    path.mkdir(mode=0o755, parents=True, exist_ok=True)
    raw = os.fsencode(path)
    if not _is_mount(path):
        check(_mount(raw, raw, None, _MS_BIND | _MS_REC, None), str(path))
    check(_mount(None, raw, None, _MS_SHARED, None), str(path))


def unshare_directory(path: Path) -> None:
    """Take back ``share_directory``; a directory that is not there or not a mount is no error."""
    if _is_mount(path):
        check(libc.umount2(os.fsencode(path), _MNT_DETACH), str(path))


def _mount(source: bytes | None, target: bytes, kind: bytes | None, flags: int, data: bytes | None) -> int:
    return int(libc.mount(source, target, kind, ctypes.c_ulong(flags), data))


def _is_mount(path: Path) -> bool:
    """Tell whether something is mounted exactly at ``path``; a bind on itself has the same device number."""
    wanted = os.path.realpath(path).translate(_ESCAPES).encode()
    with open("/proc/thread-self/mountinfo", "rb") as table:
        return any(line.split(b" ", 5)[4] == wanted for line in table)


_ESCAPES: Final = {ord(c): f"\\{ord(c):03o}" for c in " \t\n\\"}
