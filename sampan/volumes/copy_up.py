"""Filling an empty volume with the image's content at the place where it is mounted."""

import contextlib
import os
import shutil
import stat
from pathlib import Path

from sampan.kernel.fs import RESOLVE_IN_ROOT, openat2


def copy_up(rootfs: Path, destination: str, data: Path) -> None:
    """Copy ``destination`` of ``rootfs`` into the directory ``data``, if that is empty.

    Owners, modes, times, xattrs, links and devices are kept; the directory itself takes over owner and mode.
    A destination that the image has not, or that is no directory, leaves the volume empty. Links in
    ``rootfs`` cannot lead out of it.
    """
    if any(data.iterdir()):
        return
    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        source = openat2(root, destination, os.O_RDONLY | os.O_CLOEXEC, resolve=RESOLVE_IN_ROOT)
    except (FileNotFoundError, NotADirectoryError):
        return
    finally:
        os.close(root)
    try:
        if not stat.S_ISDIR(os.fstat(source).st_mode):
            return
        _copy_tree(Path(f"/proc/self/fd/{source}"), data)
    finally:
        os.close(source)


def _copy_tree(source: Path, target: Path) -> None:
    linked: dict[tuple[int, int], Path] = {}

    def copy(entry: Path, to: Path) -> None:
        status = entry.lstat()
        key = (status.st_dev, status.st_ino)
        if stat.S_ISDIR(status.st_mode):
            to.mkdir(mode=0o700, exist_ok=True)
            for child in entry.iterdir():
                copy(child, to / child.name)
        elif key in linked:
            os.link(linked[key], to, follow_symlinks=False)
            return
        elif stat.S_ISLNK(status.st_mode):
            to.symlink_to(entry.readlink())
        elif stat.S_ISREG(status.st_mode):
            shutil.copyfile(entry, to, follow_symlinks=False)
        else:
            os.mknod(to, status.st_mode, status.st_rdev)
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            linked[key] = to
        _copy_metadata(entry, to, status)

    for child in source.iterdir():
        copy(child, target / child.name)
    _copy_metadata(source / ".", target, source.stat())


def _copy_metadata(source: Path, target: Path, status: os.stat_result) -> None:
    os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)
    for name in os.listxattr(source, follow_symlinks=False):
        if not name.startswith("trusted.overlay."):
            with contextlib.suppress(OSError):  # the volume's file system may lack what the image's has
                os.setxattr(
                    target, name, os.getxattr(source, name, follow_symlinks=False), follow_symlinks=False
                )
    if not stat.S_ISLNK(status.st_mode):
        target.chmod(stat.S_IMODE(status.st_mode))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)
