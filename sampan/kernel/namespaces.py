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


def create_network(home: int) -> int:
    """Make a network namespace and return a descriptor, which is all that holds it. Raises OSError.

    The calling thread is in the new namespace for a moment and in ``home`` afterwards, also on failure.
    """
    check(syscall("unshare", CLONE_NEWNET), "unshare the network namespace")
    try:
        return open_own_network()
    finally:
        set_network(home)


def bind_network(descriptor: int, path: Path) -> None:
    """Bind the network namespace ``descriptor`` to ``path`` (created), so that it outlives the descriptor.

    Raises OSError; then nothing is left at ``path``.
    """
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    try:
        source = f"/proc/self/fd/{descriptor}".encode()
        check(_mount(source, os.fsencode(path), None, _MS_BIND, None), str(path))
    except BaseException:
        path.unlink()
        raise


def drop_network(path: Path) -> None:
    """Take the bind at ``path`` away, and the file with it; a path that is not there is no error.

    To remove the file also detaches the copies of the bind in other mount namespaces, which would keep the
    namespace alive (namei.c, vfs_unlink: detach_mounts).
    """
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


def _mount(source: bytes | None, target: bytes, kind: bytes | None, flags: int, data: bytes | None) -> int:
    return int(libc.mount(source, target, kind, ctypes.c_ulong(flags), data))
