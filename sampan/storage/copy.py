"""Copies of directory trees, as exact as the file system allows.

Owners, modes, times, extended attributes, devices, hard links within the tree and holes are kept; data is
shared where the file system can share it. Nobody else may be writing in either tree.
"""

import os
import stat

from sampan.kernel.fs import OPEN_DIR, copy_data, set_xattr
from sampan.storage.tree import content_xattrs, list_directory, open_at, opened


def copy_tree(source: int, target: int) -> None:
    """Copy what is in the directory ``source`` into the empty directory ``target``, and its attributes."""
    links: dict[int, bytes] = {}
    done: list[tuple[bytes, os.stat_result]] = []
    waiting = [(b"", os.fstat(source))]
    while waiting:
        path, status = waiting.pop()
        done.append((path, status))
        old, new = open_at(source, path, OPEN_DIR), open_at(target, path, OPEN_DIR)
        try:
            for name, entry in list_directory(old):
                place = path + b"/" + name
                if stat.S_ISDIR(entry.st_mode):
                    os.mkdir(name, 0o700, dir_fd=new)
                    waiting.append((place, entry))
                elif entry.st_nlink > 1 and (first := links.setdefault(entry.st_ino, place)) is not place:
                    os.link(first[1:], name, src_dir_fd=target, dst_dir_fd=new, follow_symlinks=False)
                else:
                    copy_entry(old, new, name, entry)
        finally:
            os.close(old)
            os.close(new)
    for path, status in reversed(done):  # a directory's time changes with each entry made in it
        old, new = open_at(source, path, OPEN_DIR), open_at(target, path, OPEN_DIR)
        try:
            _copy_directory(old, new, status)
        finally:
            os.close(old)
            os.close(new)


def copy_attributes(source: str, target: str) -> None:
    """Give the directory ``target`` the owner, mode, attributes and times of the directory ``source``."""
    with opened(source) as old, opened(target) as new:
        _copy_directory(old, new, os.fstat(old))


def copy_entry(old: int, new: int, name: bytes, status: os.stat_result) -> None:
    """Copy the entry ``name``, no directory, from the directory ``old`` into ``new``."""
    mode = status.st_mode
    if stat.S_ISLNK(mode):
        os.symlink(os.readlink(name, dir_fd=old), name, dir_fd=new)
    elif stat.S_ISREG(mode):
        _copy_file(old, new, name, status)
    else:
        os.mknod(name, mode, device=status.st_rdev, dir_fd=new)
    os.chown(name, status.st_uid, status.st_gid, dir_fd=new, follow_symlinks=False)
    for key, value in content_xattrs(old, name).items():  # after chown, which drops capabilities
        set_xattr(new, name, key, value)
    if not stat.S_ISLNK(mode):
        os.chmod(name, stat.S_IMODE(mode), dir_fd=new)
    os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=new, follow_symlinks=False)


def _copy_file(old: int, new: int, name: bytes, status: os.stat_result) -> None:
    source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=old)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        target = os.open(name, flags, 0o600, dir_fd=new)
        try:
            copy_data(source, target, status.st_size)
        finally:
            os.close(target)
    finally:
        os.close(source)


def _copy_directory(old: int, new: int, status: os.stat_result) -> None:
    os.fchown(new, status.st_uid, status.st_gid)
    for key, value in content_xattrs(old).items():
        os.setxattr(new, key, value)
    os.fchmod(new, stat.S_IMODE(status.st_mode))
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
