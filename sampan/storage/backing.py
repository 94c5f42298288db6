"""Which file system carries a directory, in the words of ``docker info``."""

import os
from pathlib import Path
from typing import Final

from sampan.kernel.mount import mounts

# Docker names file systems by their magic number (graphdriver, FsNames), so all of ext2 to ext4 are one.
_NAMES: Final = {
    "ext2": "extfs",
    "ext3": "extfs",
    "ext4": "extfs",
    "overlay": "overlayfs",
    "fuse.sshfs": "fuse",
}


def backing_filesystem(directory: Path) -> str:
    """Return the type of the file system that ``directory`` lies on, ``<unknown>`` if no mount covers it."""
    real = os.path.realpath(directory)
    found, longest = "<unknown>", -1
    for m in mounts():  # in order of mounting: of several at one place the last is seen
        inside = real == m.target or real.startswith(m.target.rstrip("/") + "/")
        if inside and len(m.target) >= longest:
            found, longest = m.type, len(m.target)
    return _NAMES.get(found, found)
