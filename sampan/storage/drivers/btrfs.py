"""Snapshots as btrfs subvolumes, in ``<name>/tree``; for the rest see ``whole``.

A new snapshot is a snapshot of its parent's subvolume: it takes no time and no space, whatever it holds. A
limit is that of the subvolume's quota group, and counts what the image brought along.
"""

import errno
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from sampan.base.errors import InvalidParameter
from sampan.kernel.btrfs import (
    create_subvolume,
    destroy_subvolume,
    enable_quota,
    forget_quota,
    is_btrfs,
    is_subvolume,
    limit_subvolume,
    snapshot,
    subvolume_id,
)
from sampan.kernel.fs import remove_tree
from sampan.storage.catalogue import Record
from sampan.storage.driver import NO_OPTIONS
from sampan.storage.drivers.folders import TREE, TreeFolders
from sampan.storage.options import size_option


class Btrfs(TreeFolders):
    """The driver ``btrfs``; see the module, and ``SnapshotDriver`` for its contract."""

    name: ClassVar[str] = "btrfs"
    options: ClassVar[Mapping[str, str]] = {"btrfs.min_space": "the least size that a container may be given"}

    def __init__(self, root: Path, options: Mapping[str, str] = NO_OPTIONS) -> None:
        super().__init__(root, options)
        self._least = size_option(options, "btrfs.min_space")

    @classmethod
    def supported(cls, root: Path, options: Mapping[str, str] = NO_OPTIONS) -> str | None:
        try:
            os.makedirs(root, mode=0o700, exist_ok=True)
            if is_btrfs(root):
                return None
        except OSError as error:
            return f"{root}: {error.strerror}"
        return f"{root} does not lie on btrfs"

    def check_size(self, size: int) -> None:
        if size < self._least:
            raise InvalidParameter(f"btrfs: storage size cannot be less than {self._least}")

    def status(self) -> list[tuple[str, str]]:
        return [("Btrfs", "")]

    def _make(self, new: str, record: Record, size: int) -> Record:
        tree = os.path.join(new, TREE)
        if record.parent is None:
            create_subvolume(tree)
            os.chmod(tree, 0o755)  # noqa: S103 - a root directory, whatever the umask
        else:
            snapshot(self._catalogue.path(record.parent, TREE), tree)
        if size:
            enable_quota(tree)
            limit_subvolume(tree, size)
        return Record(record.key, record.kind, record.parent, size=size)

    def _dispose(self, path: str) -> None:
        tree = os.path.join(path, TREE)
        if is_subvolume(tree):
            number = subvolume_id(tree)
            try:
                destroy_subvolume(tree)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EBUSY):
                    raise
                remove_tree(tree)  # a container has made subvolumes in its own
            with suppress(OSError):
                forget_quota(path, number)
        remove_tree(path)
