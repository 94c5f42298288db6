"""Adding up every byte below the data root, by owner. Blocking; meets files that come and go meanwhile.

What is mounted below the root is left out: its bytes are elsewhere, or counted where they are. A file with
several names counts where it is met first. Bytes are those of blocks, as ``du`` counts.
"""

import errno
import os
import stat
from collections.abc import Collection
from typing import Final

from sampan.insight.claims import Claims
from sampan.kernel.fs import OPEN_DIR
from sampan.storage.tree import list_at, open_at, opened
from sampan.wire.disk import DiskAccount, DiskEntry

_BLOCK: Final = 512
_LONG: Final = 3000  # bytes of a path that is gone on from a descriptor: the kernel takes 4096


def add_up(claims: Claims, mounts: Collection[str]) -> DiskAccount:
    """Return the account of ``claims.root``; ``mounts`` are the mount points below it. Raises OSError."""
    walk = _Walk(claims, mounts)
    with opened(claims.root) as root:
        own = os.fstat(root)
        walk.folders += own.st_blocks * _BLOCK
        walk.folder_count += 1
        walk.visit(root, claims.root)
    entries = [
        DiskEntry("engine", "folders", claims.root, walk.folders, walk.folder_count),
        *sorted(walk.entries, key=lambda entry: (entry.orphan, entry.kind, -entry.disk, entry.name)),
    ]
    disk, files = sum(entry.disk for entry in entries), sum(entry.files for entry in entries)
    return DiskAccount(claims.root, disk, files, entries, sorted(mounts))


class _Walk:
    def __init__(self, claims: Claims, mounts: Collection[str]) -> None:
        self._claims = claims
        self._mounts = frozenset(mounts)
        self._linked: set[tuple[int, int]] = set()
        self.entries: list[DiskEntry] = []
        self.folders = 0
        self.folder_count = 0

    def visit(self, fd: int, path: str) -> None:
        """Look at what is in ``path``, one of the engine's folders, open as ``fd``."""
        for raw, status in list_at(fd, b""):
            name = os.fsdecode(raw)
            below = f"{path}/{name}"
            if below in self._mounts:
                continue
            if below in self._claims.folders and stat.S_ISDIR(status.st_mode):
                self.folders += status.st_blocks * _BLOCK
                self.folder_count += 1
                child = _open(fd, b"/" + raw)
                if child is not None:
                    try:
                        self.visit(child, below)
                    finally:
                        os.close(child)
                continue
            disk, files = self._measure(fd, b"/" + raw, status, below)
            claim = self._claims.of(path, name)
            if claim is None:
                why = self._claims.folders[path]
                self.entries.append(DiskEntry("unknown", name, below, disk, files, orphan=True, why=why))
            else:
                users = list(claim.users)
                self.entries.append(
                    DiskEntry(claim.kind, claim.name, below, disk, files, users, why=claim.why)
                )

    def _measure(self, root: int, path: bytes, status: os.stat_result, shown: str) -> tuple[int, int]:
        """Return the bytes on the disk and the number of entries of ``path``, itself included."""
        disk, files = self._own(status), 1
        if not stat.S_ISDIR(status.st_mode):
            return disk, files
        stack = [(path, shown)]
        while stack:
            above, above_shown = stack.pop()
            for name, entry in list_at(root, above):
                at, at_shown = above + b"/" + name, f"{above_shown}/{os.fsdecode(name)}"
                if at_shown in self._mounts:
                    continue
                disk += self._own(entry)
                files += 1
                if not stat.S_ISDIR(entry.st_mode):
                    continue
                if len(at) < _LONG:
                    stack.append((at, at_shown))
                elif (deeper := _open(root, at)) is not None:
                    try:
                        more = self._below(deeper, at_shown)
                    finally:
                        os.close(deeper)
                    disk, files = disk + more[0], files + more[1]
        return disk, files

    def _below(self, fd: int, shown: str) -> tuple[int, int]:
        disk, files = 0, 0
        for name, status in list_at(fd, b""):
            more = self._measure(fd, b"/" + name, status, f"{shown}/{os.fsdecode(name)}")
            disk, files = disk + more[0], files + more[1]
        return disk, files

    def _own(self, status: os.stat_result) -> int:
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            key = (status.st_dev, status.st_ino)
            if key in self._linked:
                return 0
            self._linked.add(key)
        return status.st_blocks * _BLOCK


def _open(root: int, path: bytes) -> int | None:
    """Open a directory of the tree; None if it has gone, or is none any more."""
    try:
        return open_at(root, path, OPEN_DIR)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise
