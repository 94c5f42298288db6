"""Filling an empty volume with the image's content at the place where it is mounted."""

import os
import stat
from pathlib import Path

from sampan.base.faults import point
from sampan.kernel.fs import RESOLVE_IN_ROOT, openat2, remove_tree
from sampan.volumes.driver import Trees


def fill(trees: Trees, rootfs: Path, destination: str, data: Path, *, aside: bool) -> None:
    """Copy ``destination`` of ``rootfs`` into the directory ``data``, if that is empty; blocking.

    The directory itself takes over owner and mode. A destination that the image has not, or that is no
    directory, leaves the volume empty. Links in ``rootfs`` cannot lead out of it. ``aside``: nobody else has
    ``data`` mounted, so the copy is made beside it and is whole or absent.
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
        found = Path(f"/proc/self/fd/{source}")
        if aside:
            _fill_aside(trees, found, data)
        else:
            trees.copy(found, data)
    finally:
        os.close(source)


def _fill_aside(trees: Trees, source: Path, data: Path) -> None:
    copy = data.with_name("_new")
    remove_tree(copy)  # of a start that was broken off
    copy.mkdir(mode=0o700)
    try:
        trees.copy(source, copy)
        point("volumes.fill")
        copy.rename(data)  # over the empty directory
    except BaseException:
        remove_tree(copy)
        raise
