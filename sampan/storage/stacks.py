"""Stacks of layers as mounts, of each kind that there is: the kernel's overlay, fuse-overlayfs, aufs.

Layers are given uppermost first. A stack of a single layer is shown by a bind mount.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from sampan.kernel.mount import Mount, mount, split_overlay, umount
from sampan.storage.overlay import lowerdir, readonly_mount

FUSE_TYPE: Final = "fuse.fuse-overlayfs"
"""The type of a mount by the program fuse-overlayfs, whose layers lie on disk as the kernel's do."""

AUFS_TYPE: Final = "aufs"

# dio: let direct I/O through. xino: where aufs keeps inode numbers, which must be no branch of its own.
_AUFS_OPTIONS: Final = ("dio", "xino=/dev/shm/aufs.xino")
# writeback=0: what a container has written is in the upper directory at once, where it is read from for a
# diff or a commit while the container runs, and not lost with the program.
_FUSE_OPTIONS: Final = ("dev", "suid", "writeback=0")

Show = Callable[[str, Sequence[str]], Mount]
"""Returns the read-only mount of some layers (uppermost first, at least one) at a target."""


def fuse_writable(target: str, lowers: Sequence[str], upper: str, work: str) -> Mount:
    """Return the mount, by fuse-overlayfs, of ``upper`` over ``lowers`` (at least one) at ``target``."""
    own = (f"upperdir={upper}", f"workdir={work}")
    return Mount(FUSE_TYPE, "fuse-overlayfs", target, (*_FUSE_OPTIONS, lowerdir(lowers), *own))


def fuse_readonly(target: str, layers: Sequence[str]) -> Mount:
    """Return the read-only mount, by fuse-overlayfs, of ``layers`` at ``target``."""
    if len(layers) == 1:
        return Mount("none", layers[0], target, ("bind", "ro"))
    return Mount(FUSE_TYPE, "fuse-overlayfs", target, ("ro", *_FUSE_OPTIONS, lowerdir(layers)))


def aufs_writable(target: str, lowers: Sequence[str], upper: str) -> Mount:
    """Return the mount, by aufs, of ``upper`` over ``lowers`` (at least one) at ``target``."""
    branches = ":".join([f"{upper}=rw", *(f"{layer}=ro+wh" for layer in lowers)])
    return Mount(AUFS_TYPE, "none", target, (*_AUFS_OPTIONS, f"br:{branches}"))


def aufs_readonly(target: str, layers: Sequence[str]) -> Mount:
    """Return the read-only mount, by aufs, of ``layers`` at ``target``."""
    if len(layers) == 1:
        return Mount("none", layers[0], target, ("bind", "ro"))
    branches = ":".join(f"{layer}=ro+wh" for layer in layers)
    return Mount(AUFS_TYPE, "none", target, ("ro", *_AUFS_OPTIONS, f"br:{branches}"))


_SHOWS: Final[dict[str, Show]] = {
    "overlay": readonly_mount,
    FUSE_TYPE: fuse_readonly,
    AUFS_TYPE: aufs_readonly,
}


def layers_of(m: Mount) -> tuple[str, list[str]] | None:
    """Return the upper directory and the lower ones of a writable stack; None for any other mount."""
    if m.type == AUFS_TYPE:
        branches = next((o[3:] for o in m.options if o.startswith("br:")), "").split(":")
        if not branches[0].endswith("=rw"):
            return None
        return branches[0].removesuffix("=rw"), [b.rpartition("=")[0] for b in branches[1:]]
    if m.type not in _SHOWS:
        return None
    values = dict(option.partition("=")[::2] for option in m.options)
    if "upperdir" not in values:
        return None
    return split_overlay(values["upperdir"])[0], split_overlay(values["lowerdir"])


@contextmanager
def open_lowers(m: Mount) -> Iterator[int | None]:
    """Yield a descriptor of what the lower layers of the stack ``m`` show; None if it is no writable stack.

    Its target must not be in use.
    """
    layers = layers_of(m)
    if layers is None:
        yield None
        return
    with open_stack(_SHOWS[m.type], layers[1], m.target) as fd:
        yield fd


@contextmanager
def open_stack(show: Show, layers: Sequence[str], scratch: str) -> Iterator[int | None]:
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
        mount(show(scratch, layers))
        try:
            fd = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        finally:
            umount(scratch, lazy=True)
    try:
        yield fd
    finally:
        os.close(fd)
