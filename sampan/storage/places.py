"""Directories of a tree into which an archive is being unpacked, found by names from that archive.

The names are not trusted. Each step is one name, taken from a directory that is open already and never
followed by the kernel; symbolic links are followed here, and an absolute one or ``..`` goes no higher than
the root of the tree. So nothing outside can be reached, whatever the archive made before.

A layer over others is unpacked into an overlay's upper directory, while its names mean the whole stack: a
directory or link that only the lower tree has is followed too, and directories on the way are copied up.
"""

import errno
import os
import stat
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from sampan.kernel.fs import OPEN_DIR
from sampan.storage.overlay import OPAQUE, is_whiteout
from sampan.storage.tar_header import BadArchive, shown
from sampan.storage.tree import content_xattrs, open_at, stat_at

_MAX_LINKS: Final = 40  # as the kernel, path_resolution(7)
_MAX_PATH: Final = 4000  # what a tree holds must be reachable by one path from its root
_MAX_OPEN: Final = 256


@dataclass(slots=True, eq=False)
class Place:
    """A directory of the tree, open as ``fd``; ``path`` has no links in it and is empty for the root."""

    path: bytes
    fd: int
    below: bool  # the lower tree shows a directory here
    sets_group: bool  # new entries get the directory's group (its set-group-ID bit)


class Places:
    """The directories of the tree ``root``, over the tree ``lower`` (None: the tree is complete by itself).

    Descriptors are cached by path and limited in number: a place may be closed by the next call of a method.
    What an entry of the archive replaces or removes must be reported by ``forget``.
    """

    def __init__(self, root: int, lower: int | None) -> None:
        self.lower = lower
        self.made: set[bytes] = set()
        """Paths of what this archive brought, and of the directories above it."""
        self.times: dict[bytes, tuple[int, int]] = {}
        """mtime (ns) to set in the end, and inode, of directories that something is put into."""
        self._hidden: set[bytes] = set()  # made opaque by this archive
        self._steps: set[bytes] = set()  # paths of directories and links on the way to some place
        self._aliases: dict[bytes, bytes] = {}  # a name of a directory as the archive says it → its path
        self._root = self._new(b"", os.dup(root), below=lower is not None)
        self._open: OrderedDict[bytes, Place] = OrderedDict()
        self._last = (b"", self._root)  # what find returned last: entries of a directory come together
        self._keep_time(self._root)

    def close(self) -> None:
        """Close every descriptor that was opened here."""
        for place in (self._root, *self._open.values()):
            os.close(place.fd)
        self._open.clear()

    def find(self, name: bytes) -> Place:
        """Return the directory ``name`` (clean, relative to the root), making what is not there.

        Raises BadArchive if this archive has put something else at that place.
        """
        if name == self._last[0]:
            return self._last[1]
        path = self._aliases.get(name)
        if path is None:
            place = self._walk(name)
            self._aliases[name] = place.path
        else:
            place = self._at(path)
        self._last = (name, place)
        return place

    def enter(self, place: Place, name: bytes, alias: bytes, *, fresh: bool) -> Place:
        """Return the directory ``name`` in ``place``, which the archive names ``alias`` and just made or met.

        ``fresh``: it was made in the tree just now.
        """
        path = place.path + b"/" + name
        if fresh and path in self._steps:
            self.forget(path)  # the way led through a link that is now hidden
        child = self._open.get(path)
        if child is None:
            child = self._remember(self._opened(place, name, path))
        self._aliases[alias] = path
        self._steps.add(path)
        return child

    def status_below(self, place: Place, path: bytes) -> os.stat_result | None:
        """Return the status of the lower tree's entry ``path`` in ``place``, None if none shows."""
        if self.lower is None or not place.below:
            return None
        status = stat_at(self.lower, path)
        return None if status is None or is_whiteout(status) else status

    def hide_below(self, place: Place) -> None:
        """Make ``place``, not the root, opaque: nothing that the lower tree has in it is to be seen."""
        if place.below:
            os.setxattr(place.fd, OPAQUE, b"y")
            self._hidden.add(place.path)
            place.below = False
            for path in [p for p in self._open if p.startswith(place.path + b"/")]:
                self._open[path].below = False

    def forget(self, path: bytes) -> None:
        """Take note that the entry at ``path`` is no longer what it was."""
        self._aliases.clear()
        self._last = (b"", self._root)
        for known in [p for p in self._open if p == path or p.startswith(path + b"/")]:
            os.close(self._open.pop(known).fd)

    def forget_step(self, path: bytes) -> None:
        """Take note that something was made at ``path`` that is no directory."""
        if path in self._steps:
            self.forget(path)

    def note(self, path: bytes) -> None:
        """Record ``path`` as brought by this archive."""
        self.made.add(path)
        above = path.rpartition(b"/")[0]
        while above not in self.made:
            self.made.add(above)
            above = above.rpartition(b"/")[0]

    def set_time(self, place: Place, mtime_ns: int) -> None:
        """Let the directory ``place`` have ``mtime_ns`` in the end."""
        self.times[place.path] = (mtime_ns, os.fstat(place.fd).st_ino)

    def _walk(self, name: bytes) -> Place:
        place = self._root
        pending = name.split(b"/")[::-1]
        links = 0
        while pending:
            step = pending.pop()
            if step in (b"", b"."):
                continue
            if step == b"..":
                place = self._at(place.path.rpartition(b"/")[0])
                continue
            path = place.path + b"/" + step
            if len(path) > _MAX_PATH:
                raise BadArchive(f"{shown(name)}: {os.strerror(errno.ENAMETOOLONG)}")
            self._steps.add(path)
            if path in self._open:
                place = self._at(path)
                continue
            found = self._step(place, step, path)
            if isinstance(found, Place):
                place = found
                continue
            links += 1
            if links > _MAX_LINKS:
                raise BadArchive(f"{shown(name)}: too many levels of symbolic links")
            if found.startswith(b"/"):
                place = self._root
            pending += found.split(b"/")[::-1]
        return place

    def _step(self, place: Place, name: bytes, path: bytes) -> Place | bytes:
        """Return the directory ``name`` in ``place``, made if need be, or the target of the link it is."""
        status = status_in(place.fd, name)
        if status is None:
            below = self.status_below(place, path)
            if below is None or self.lower is None:
                return self._make(place, name, path)
            if stat.S_ISLNK(below.st_mode):
                fd = open_at(self.lower, path, os.O_PATH | os.O_NOFOLLOW)
                try:
                    return os.readlink(b"", dir_fd=fd)
                finally:
                    os.close(fd)
            if not stat.S_ISDIR(below.st_mode):
                return self._make(place, name, path)
            return self._copy_up(place, name, path, below)
        if stat.S_ISLNK(status.st_mode):
            return os.readlink(name, dir_fd=place.fd)
        if stat.S_ISDIR(status.st_mode):
            child = self._remember(self._opened(place, name, path))
            if path not in self.times:
                self._keep_time(child)
            return child
        if path in self.made:
            raise BadArchive(f"{shown(path[1:])} is not a directory")
        os.unlink(name, dir_fd=place.fd)
        child = self._make(place, name, path)
        self.hide_below(child)
        return child

    def _make(self, place: Place, name: bytes, path: bytes) -> Place:
        """Make a directory that the archive uses but does not list."""
        os.mkdir(name, 0o755, dir_fd=place.fd)
        child = self._remember(self._opened(place, name, path))
        os.fchown(child.fd, 0, 0)
        os.fchmod(child.fd, 0o755)
        child.sets_group = False
        self.note(path)
        return child

    def _copy_up(self, place: Place, name: bytes, path: bytes, below: os.stat_result) -> Place:
        os.mkdir(name, 0o700, dir_fd=place.fd)
        child = self._remember(self._opened(place, name, path))
        os.fchown(child.fd, below.st_uid, below.st_gid)
        if self.lower is not None:
            fd = open_at(self.lower, path, OPEN_DIR)
            try:
                for key, value in content_xattrs(fd).items():
                    os.setxattr(child.fd, key, value)
            finally:
                os.close(fd)
        os.fchmod(child.fd, stat.S_IMODE(below.st_mode))
        child.sets_group = bool(below.st_mode & stat.S_ISGID)
        self.set_time(child, below.st_mtime_ns)
        return child

    def _at(self, path: bytes) -> Place:
        """Return the directory at ``path``, which has no links in it."""
        if not path:
            return self._root
        place = self._open.get(path)
        if place is None:
            hidden = any(path == h or path.startswith(h + b"/") for h in self._hidden)
            status = None if hidden or self.lower is None else stat_at(self.lower, path)
            below = status is not None and stat.S_ISDIR(status.st_mode)
            return self._remember(self._new(path, open_at(self._root.fd, path, OPEN_DIR), below=below))
        self._open.move_to_end(path)
        return place

    def _opened(self, place: Place, name: bytes, path: bytes) -> Place:
        status = None if path in self._hidden else self.status_below(place, path)
        below = status is not None and stat.S_ISDIR(status.st_mode)
        return self._new(path, os.open(name, OPEN_DIR, dir_fd=place.fd), below=below)

    def _new(self, path: bytes, fd: int, *, below: bool) -> Place:
        return Place(path, fd, below, bool(os.fstat(fd).st_mode & stat.S_ISGID))

    def _remember(self, place: Place) -> Place:
        if len(self._open) >= _MAX_OPEN:
            oldest = self._open.popitem(last=False)[1]
            os.close(oldest.fd)
            if oldest is self._last[1]:
                self._last = (b"", self._root)
        self._open[place.path] = place
        return place

    def _keep_time(self, place: Place) -> None:
        status = os.fstat(place.fd)
        self.times[place.path] = (status.st_mtime_ns, status.st_ino)


def status_in(dir_fd: int, name: bytes) -> os.stat_result | None:
    """Return the status of the entry ``name`` (not followed) of an open directory, None without it."""
    try:
        return os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
