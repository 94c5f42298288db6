"""Directory trees on disk: listing, walking and measuring them.

A tree is a descriptor of its root; a place in it is a path in ``bytes`` that is empty for the root and begins
with a slash otherwise. A container may rename under our feet, so a place is always reached by openat2(2)
beneath the root and without symbolic links: never by a path that the kernel would follow elsewhere.
"""

import errno
import os
import stat
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from sampan.kernel.fs import (
    OPEN_DIR,
    RESOLVE_BENEATH,
    RESOLVE_NO_SYMLINKS,
    list_xattrs,
    openat2,
)
from sampan.storage.driver import Usage
from sampan.storage.overlay import PRIVATE_XATTRS

GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
"""Errors that say: there is no such entry (ELOOP: a link instead of a directory on the way)."""

_CONFINED: Final = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
# Labels and measurements belong to a host, not to a file: a copy gets its own.
_HOST_XATTRS: Final = ("security.selinux", "security.ima", "security.evm", "security.SMACK64")


@contextmanager
def opened(path: str) -> Iterator[int]:
    """Yield a descriptor of the directory ``path``, whose own name is trusted."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def open_at(root: int, path: bytes, flags: int) -> int:
    """Open the entry ``path`` of the tree ``root``; a symbolic link anywhere in it fails with ELOOP."""
    return openat2(root, path.lstrip(b"/") or b".", flags, resolve=_CONFINED)


def stat_at(root: int, path: bytes) -> os.stat_result | None:
    """Return the status of the entry ``path`` (which is not followed), None if there is none."""
    try:
        fd = open_at(root, path, os.O_PATH | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno in GONE:
            return None
        raise
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


def list_at(root: int, path: bytes) -> list[tuple[bytes, os.stat_result]]:
    """Return name and status of all in the directory ``path``, sorted; nothing if it has gone meanwhile."""
    try:
        fd = open_at(root, path, OPEN_DIR)
    except OSError as error:
        if error.errno in GONE:
            return []
        raise
    try:
        return list_directory(fd)
    finally:
        os.close(fd)


def list_directory(fd: int) -> list[tuple[bytes, os.stat_result]]:
    """Return names and states of the open directory ``fd``, sorted; what vanishes meanwhile is left out."""
    found = []
    with os.scandir(fd) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                found.append((os.fsencode(entry.name), entry.stat(follow_symlinks=False)))
    found.sort()
    return found


def walk(root: int, *, closed: Container[int] = ()) -> Iterator[tuple[bytes, os.stat_result]]:
    """Yield path and status of everything below the tree's root, each directory before what is in it.

    What lies in a directory on a device of ``closed`` is left out.
    """
    stack = [(b"", iter(list_at(root, b"")))]
    while stack:
        above, entries = stack[-1]
        for name, status in entries:
            path = above + b"/" + name
            yield path, status
            if stat.S_ISDIR(status.st_mode) and status.st_dev not in closed:
                stack.append((path, iter(list_at(root, path))))
                break
        else:
            stack.pop()


def measure(root: int) -> Usage:
    """Add up what lies in the tree ``root``; see ``Usage`` for what is counted."""
    size, disk, inodes = 0, os.fstat(root).st_blocks * 512, 1
    linked: set[int] = set()
    for _, status in walk(root):
        if not stat.S_ISDIR(status.st_mode):
            if status.st_nlink > 1:
                if status.st_ino in linked:
                    continue
                linked.add(status.st_ino)
            size += status.st_size
        disk += status.st_blocks * 512
        inodes += 1
    return Usage(size, inodes, disk)


def content_xattrs(fd: int, name: bytes = b"") -> dict[str, bytes]:
    """Return the extended attributes that belong to the content of entry ``name`` of the directory ``fd``.

    Without a name they are those of ``fd`` itself, which may be opened with ``O_PATH``.
    """
    return {
        key: value
        for key, value in list_xattrs(fd, name).items()
        if not key.startswith(PRIVATE_XATTRS) and key not in _HOST_XATTRS
    }
