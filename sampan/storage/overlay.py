"""What overlayfs puts on disk, and its mounts as values; shared by every driver that stacks with it.

Source: Documentation/filesystems/overlayfs.rst ("whiteouts and opaque directories").
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from sampan.kernel.mount import Mount, escape_overlay, mount, split_overlay, umount

OPAQUE: Final = "trusted.overlay.opaque"
"""Set to ``y`` on a directory that hides the directories of its name in lower layers."""

PRIVATE_XATTRS: Final = ("trusted.overlay.", "user.overlay.")
"""Prefixes of attributes that are overlay's own notes: never content of a layer."""

# index=off: an index would tie an upper directory to its first lower one (overlayfs.rst, "Sharing and copying
# layers"). metacopy=off and redirect_dir=off: with them an upper directory would not hold all of its layer.
_OPTIONS: Final = ("index=off", "metacopy=off", "redirect_dir=off")


def is_whiteout(status: os.stat_result) -> bool:
    """Return whether the entry is overlay's mark of a deleted name: a character device 0/0."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def writable_mount(target: str, lowers: Sequence[str], upper: str, work: str) -> Mount:
    """Return the mount of ``upper`` over ``lowers`` (uppermost first, at least one) at ``target``."""
    own = (f"upperdir={escape_overlay(upper)}", f"workdir={escape_overlay(work)}")
    return Mount("overlay", "overlay", target, (*_OPTIONS, _lowerdir(lowers), *own))


def readonly_mount(target: str, layers: Sequence[str]) -> Mount:
    """Return the read-only mount of ``layers`` (uppermost first) at ``target``: a bind mount if it is one."""
    if len(layers) == 1:
        return Mount("none", layers[0], target, ("bind", "ro"))
    return Mount("overlay", "overlay", target, ("ro", *_OPTIONS, _lowerdir(layers)))


def layers_of(m: Mount) -> tuple[str, list[str]] | None:
    """Return the upper directory and the lower ones of a writable overlay mount; None for any other mount."""
    if m.type != "overlay":
        return None
    values = dict(option.partition("=")[::2] for option in m.options)
    if "upperdir" not in values:
        return None
    return split_overlay(values["upperdir"])[0], split_overlay(values["lowerdir"])


@contextmanager
def open_stack(layers: Sequence[str], scratch: str) -> Iterator[int | None]:
    """Yield a descriptor of the directory that ``layers`` (uppermost first) show together; None without any.

    ``scratch`` is an unused directory; by the time the block runs nothing is mounted there any more, so that
    a crash inside it leaves no mount behind.
    """
    if not layers:
        yield None
        return
    if len(layers) == 1:
        fd = os.open(layers[0], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    else:
        mount(readonly_mount(scratch, layers))
        try:
            fd = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        finally:
            umount(scratch, lazy=True)
    try:
        yield fd
    finally:
        os.close(fd)


def _lowerdir(layers: Sequence[str]) -> str:
    return "lowerdir=" + ":".join(map(escape_overlay, layers))
