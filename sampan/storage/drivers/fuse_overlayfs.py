"""Snapshots as directories, stacked by the program fuse-overlayfs; for the layout see ``stacked``.

For hosts whose kernel cannot stack on the data root's file system. Layers lie on disk as overlay2's do. Each
mounted snapshot has a process, which ends when it is unmounted; if it is killed, its mount answers ENOTCONN
until the container is started again.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from sampan.base.errors import InvalidParameter
from sampan.kernel.fs import remove_tree
from sampan.kernel.fuse import find_program
from sampan.kernel.mount import Mount, mount, umount
from sampan.storage.backing import backing_filesystem
from sampan.storage.driver import NO_OPTIONS
from sampan.storage.drivers.overlay2 import lacks_for_stacking
from sampan.storage.drivers.stacked import Stacked
from sampan.storage.marks import FUSE_MARKS, Marks
from sampan.storage.stacks import FUSE_TYPE, fuse_readonly, fuse_writable


class FuseOverlayfs(Stacked):
    """The driver ``fuse-overlayfs``; see the module, and ``SnapshotDriver`` for its contract."""

    name: ClassVar[str] = "fuse-overlayfs"
    options: ClassVar[Mapping[str, str]] = {}
    size_refusal: ClassVar[str] = "--storage-opt is not supported"
    max_layers: ClassVar[int] = 500
    marks: ClassVar[Marks] = FUSE_MARKS

    @classmethod
    def supported(cls, root: Path, options: Mapping[str, str] = NO_OPTIONS) -> str | None:
        if find_program(FUSE_TYPE) is None:
            return "the program fuse-overlayfs is not installed (Debian: apt install fuse-overlayfs)"
        if not os.path.exists("/dev/fuse"):
            return "this kernel has no /dev/fuse"
        probe = os.path.join(root, f".fuse-{os.urandom(8).hex()}")
        try:
            os.makedirs(probe, mode=0o700)
            if (lacks := lacks_for_stacking(root, probe)) is not None:
                return lacks
            lower, upper, work, merged = (
                os.path.join(probe, n) for n in ("lower", "upper", "work", "merged")
            )
            for path in (upper, work, merged):
                os.mkdir(path, 0o700)
            mount(fuse_writable(merged, [lower], upper, work))
            umount(merged, lazy=True)
        except OSError as error:
            return f"fuse-overlayfs cannot be mounted on {root}: {error.strerror}"
        finally:
            with suppress(OSError):
                remove_tree(probe)
        return None

    def check_size(self, size: int) -> None:
        # the program, not the container, writes, and it may pass any limit
        raise InvalidParameter(self.size_refusal)

    def writable(self, target: str, lowers: Sequence[str], upper: str, work: str) -> Mount:
        return fuse_writable(target, lowers, upper, work)

    def readonly(self, target: str, layers: Sequence[str]) -> Mount:
        return fuse_readonly(target, layers)

    def status(self) -> list[tuple[str, str]]:
        return [("Backing Filesystem", backing_filesystem(self._root))]
