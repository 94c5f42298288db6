"""What overlayfs puts on disk, and its mounts as values; shared by every driver that stacks with it.

Source: Documentation/filesystems/overlayfs.rst ("whiteouts and opaque directories").
"""

import stat
from collections.abc import Sequence
from os import stat_result
from typing import Final

from sampan.kernel.mount import Mount, escape_overlay

OPAQUE: Final = "trusted.overlay.opaque"
"""Set to ``y`` on a directory that hides the directories of its name in lower layers."""

PRIVATE_XATTRS: Final = ("trusted.overlay.", "user.overlay.", "user.fuseoverlayfs.")
"""Prefixes of attributes that are overlay's own notes: never content of a layer."""

# index=off: an index would tie an upper directory to its first lower one (overlayfs.rst, "Sharing and copying
# layers"). metacopy=off and redirect_dir=off: with them an upper directory would not hold all of its layer.
_OPTIONS: Final = ("index=off", "metacopy=off", "redirect_dir=off")


def is_whiteout(status: stat_result) -> bool:
    """Return whether the entry is overlay's mark of a deleted name: a character device 0/0."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def writable_mount(target: str, lowers: Sequence[str], upper: str, work: str) -> Mount:
    """Return the mount of ``upper`` over ``lowers`` (uppermost first, at least one) at ``target``."""
    own = (f"upperdir={escape_overlay(upper)}", f"workdir={escape_overlay(work)}")
    return Mount("overlay", "overlay", target, (*_OPTIONS, lowerdir(lowers), *own))


def readonly_mount(target: str, layers: Sequence[str]) -> Mount:
    """Return the read-only mount of ``layers`` (uppermost first) at ``target``: a bind mount if it is one."""
    if len(layers) == 1:
        return Mount("none", layers[0], target, ("bind", "ro"))
    return Mount("overlay", "overlay", target, ("ro", *_OPTIONS, lowerdir(layers)))


def lowerdir(layers: Sequence[str]) -> str:
    """Return the option that stacks ``layers``, the uppermost first."""
    return "lowerdir=" + ":".join(map(escape_overlay, layers))
