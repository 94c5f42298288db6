"""Snapshots as directories, stacked by the kernel's aufs; for the layout see ``stacked``.

Layers hold aufs's own marks: ``.wh.NAME`` says that NAME is gone, ``.wh..wh..opq`` that nothing below shows
in its directory. aufs is not part of Linux: only kernels that were patched with it have it.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from sampan.kernel.commands import load_modules
from sampan.kernel.fs import remove_tree
from sampan.kernel.mount import Mount
from sampan.storage.backing import backing_filesystem
from sampan.storage.driver import NO_OPTIONS
from sampan.storage.drivers.stacked import Stacked
from sampan.storage.marks import AUFS_MARKS, Marks, aufs_notes
from sampan.storage.stacks import aufs_readonly, aufs_writable

_UNFIT = ("overlayfs", "aufs", "btrfs", "ecryptfs")


class Aufs(Stacked):
    """The driver ``aufs``; see the module, and ``SnapshotDriver`` for its contract."""

    name: ClassVar[str] = "aufs"
    options: ClassVar[Mapping[str, str]] = {}
    size_refusal: ClassVar[str] = "--storage-opt is not supported for aufs"
    max_layers: ClassVar[int] = 127
    marks: ClassVar[Marks] = AUFS_MARKS

    @classmethod
    def supported(cls, root: Path, options: Mapping[str, str] = NO_OPTIONS) -> str | None:
        if not _in_kernel():
            load_modules("aufs")
        if not _in_kernel():
            return "this kernel has no aufs, which is no part of Linux: it needs a patched kernel"
        os.makedirs(root, mode=0o700, exist_ok=True)
        if (kind := backing_filesystem(root)) in _UNFIT:
            return f"'aufs' is not supported over {kind}, which {root} lies on"
        return None

    def writable(self, target: str, lowers: Sequence[str], upper: str, work: str) -> Mount:
        return aufs_writable(target, lowers, upper)

    def readonly(self, target: str, layers: Sequence[str]) -> Mount:
        return aufs_readonly(target, layers)

    def commit(self, name: str, key: str) -> None:
        super().commit(name, key)
        for path in aufs_notes(self._catalogue.path(name, "diff")):
            remove_tree(path)

    def status(self) -> list[tuple[str, str]]:
        return [
            ("Root Dir", self._catalogue.home),
            ("Backing Filesystem", backing_filesystem(self._root)),
            ("Dirs", str(sum(1 for _ in self._catalogue.walk()))),
        ]


def _in_kernel() -> bool:
    with open("/proc/filesystems") as file:
        return any(line.split()[-1:] == ["aufs"] for line in file)
