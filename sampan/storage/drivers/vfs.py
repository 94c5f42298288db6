"""Snapshots as whole copies, in ``<name>/tree``: works on every file system; for the rest see ``whole``.

It costs the space and time of a copy. Where the file system has reflinks (btrfs, xfs) a copy shares its data
with the original, and only the directories are made anew.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from sampan.kernel.fs import remove_tree
from sampan.storage.backing import backing_filesystem
from sampan.storage.catalogue import Record
from sampan.storage.copy import copy_tree
from sampan.storage.driver import NO_OPTIONS
from sampan.storage.drivers.folders import TREE, TreeFolders
from sampan.storage.options import SIZE_HELP, size_option
from sampan.storage.projects import Projects
from sampan.storage.tree import opened


class Vfs(TreeFolders):
    """The driver ``vfs``; see the module, and ``SnapshotDriver`` for its contract."""

    name: ClassVar[str] = "vfs"
    options: ClassVar[Mapping[str, str]] = {"size": SIZE_HELP}

    def __init__(self, root: Path, options: Mapping[str, str] = NO_OPTIONS) -> None:
        super().__init__(root, options)
        used = (self._catalogue.find(s.key).project for s in self._catalogue.walk())
        refusal = "Filesystem does not support, or has not enabled quotas"
        self._projects = Projects(self._catalogue.home, used, refusal)
        self._size = size_option(options, "size")
        if self._size:
            self.check_size(self._size)

    @classmethod
    def supported(cls, root: Path, options: Mapping[str, str] = NO_OPTIONS) -> str | None:
        return None

    def check_size(self, size: int) -> None:
        self._projects.check()

    def commit(self, name: str, key: str) -> None:
        project = self._catalogue.find(key).project
        super().commit(name, key)
        self._projects.release(project)

    def status(self) -> list[tuple[str, str]]:
        return [("Backing Filesystem", backing_filesystem(self._root))]

    def _make(self, new: str, record: Record, size: int) -> Record:
        kept = record
        if size:
            project = self._projects.limit(new, size)
            kept = Record(record.key, record.kind, record.parent, project=project, size=size)
        tree = os.path.join(new, TREE)
        os.mkdir(tree, 0o755)
        if record.parent is not None:
            with opened(self._catalogue.path(record.parent, TREE)) as old, opened(tree) as copy:
                copy_tree(old, copy)
        return kept

    def _dispose(self, path: str) -> None:
        self._projects.release_of(path)
        remove_tree(path)
