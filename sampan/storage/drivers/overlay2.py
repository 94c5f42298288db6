"""Snapshots as directories, stacked by the kernel's overlay file system; for the layout see ``stacked``.

A deleted name is a character device 0/0 in ``diff``; a directory that hides what lies below it has the
attribute ``trusted.overlay.opaque``. Both are the kernel's own marks, so a layer applied into ``diff``
directly and one written through the mount are the same.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Final

from sampan.kernel.fs import remove_tree, supports_d_type
from sampan.kernel.mount import ENFORCE_QUOTA, Mount, mount, umount
from sampan.storage.backing import backing_filesystem
from sampan.storage.driver import NO_OPTIONS
from sampan.storage.drivers.stacked import Stacked
from sampan.storage.marks import OVERLAY_MARKS, Marks
from sampan.storage.options import SIZE_HELP
from sampan.storage.overlay import OPAQUE, readonly_mount, writable_mount

MAX_LAYERS: Final = 500
"""The kernel's own limit of lower directories (fs/overlayfs/params.h, OVL_MAX_STACK)."""


class Overlay2(Stacked):
    """The driver ``overlay2``; see the module, and ``SnapshotDriver`` for its contract."""

    name: ClassVar[str] = "overlay2"
    options: ClassVar[Mapping[str, str]] = {
        "overlay2.size": SIZE_HELP,
        "overlay2.override_kernel_check": "nothing: kernels without overlay are recognised by trying",
    }
    size_option: ClassVar[str] = "overlay2.size"
    size_refusal: ClassVar[str] = (
        "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"
    )
    max_layers: ClassVar[int] = MAX_LAYERS
    marks: ClassVar[Marks] = OVERLAY_MARKS

    @classmethod
    def supported(cls, root: Path, options: Mapping[str, str] = NO_OPTIONS) -> str | None:
        probe = os.path.join(root, f".overlay-{os.urandom(8).hex()}")
        try:
            os.makedirs(probe, mode=0o700)
            if (lacks := lacks_for_stacking(root, probe)) is not None:
                return lacks
            return _try_mount(root, probe)
        except OSError as error:
            return f"overlay cannot be mounted on {root}: {error.strerror}"
        finally:
            with suppress(OSError):
                remove_tree(probe)

    def writable(self, target: str, lowers: Sequence[str], upper: str, work: str) -> Mount:
        return writable_mount(target, lowers, upper, work)

    def readonly(self, target: str, layers: Sequence[str]) -> Mount:
        return readonly_mount(target, layers)

    def mounts(self, key: str) -> Sequence[Mount]:
        steps = super().mounts(key)
        if not self._catalogue.find(key).project or steps[-1].type != "overlay":
            return steps
        last = steps[-1]
        return [Mount(last.type, last.source, last.target, (ENFORCE_QUOTA, *last.options))]

    def status(self) -> list[tuple[str, str]]:
        return [
            ("Backing Filesystem", backing_filesystem(self._root)),
            ("Supports d_type", "true"),
            ("Using metacopy", "false"),
            ("Native Overlay Diff", "true"),
            ("userxattr", "false"),
        ]


def lacks_for_stacking(root: Path, probe: str) -> str | None:
    """Return what the file system of ``root`` lacks for overlay's layers; tried in ``probe``."""
    os.makedirs(os.path.join(probe, "lower", "old"))
    kind = backing_filesystem(root)
    if not supports_d_type(probe):
        return f"the file system of {root} ({kind}) does not tell the types of directory entries (d_type)"
    try:
        os.setxattr(probe, OPAQUE, b"y")
        os.removexattr(probe, OPAQUE)
    except OSError as error:
        return f"the file system of {root} ({kind}) has no trusted extended attributes: {error.strerror}"
    return None


def _try_mount(root: Path, probe: str) -> str | None:
    kind = backing_filesystem(root)
    lower, upper, work, merged = (os.path.join(probe, n) for n in ("lower", "upper", "work", "merged"))
    for path in (upper, work, merged):
        os.mkdir(path, 0o700)
    try:
        mount(writable_mount(merged, [lower], upper, work))
    except OSError as error:
        if kind == "overlayfs":
            return f"'overlay' is not supported over overlayfs, which {root} lies on"
        return f"overlay cannot be mounted on {root} ({kind}): {error.strerror}"
    try:
        os.rmdir(os.path.join(merged, "old"))  # must leave a mark
    except OSError as error:
        return f"overlay cannot mark a deletion on {root} ({kind}): {error.strerror}"
    finally:
        umount(merged, lazy=True)
    return None
