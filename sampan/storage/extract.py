"""Puts the entries of an archive into a directory of a tree that may be in use (``docker cp``).

Every path is resolved by openat2(2) inside the tree, links included, each time anew: whatever the archive or
the container makes of its directories meanwhile, nothing outside is reached. Marks of deletions mean nothing
here, they are names like others. The rules are Docker's (pkg/archive, archive.go, "Unpack").
"""

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sampan.base.errors import HostFailure
from sampan.kernel.fs import RESOLVE_IN_ROOT, openat2, remove_tree
from sampan.storage.places import status_in
from sampan.storage.tar_header import (
    BLOCK_DEVICE,
    CHARACTER_DEVICE,
    DIRECTORY,
    FIFO,
    FILE,
    HARD_LINK,
    SYMBOLIC_LINK,
    BadArchive,
    Entry,
    shown,
)
from sampan.storage.tar_reader import Source, TarReader
from sampan.storage.unpack import HOST_ERRORS, set_xattrs

_OPEN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NODES: Final = {CHARACTER_DEVICE: stat.S_IFCHR, BLOCK_DEVICE: stat.S_IFBLK, FIFO: stat.S_IFIFO}


@dataclass(frozen=True, slots=True)
class Rules:
    """``owner``: user and group of everything, instead of what the archive says.

    ``keep_kinds``: a directory is never replaced by something else, nor something else by one. ``root``: what
    the archive says of the directory itself holds for it too.
    """

    owner: tuple[int, int] | None = None
    keep_kinds: bool = False
    root: bool = False


def extract(root: int, directory: bytes, source: Source, rules: Rules) -> None:
    """Put the entries of the tar ``source`` into ``directory``, an existing one of the tree ``root``.

    Blocking; reads ``source`` to its end. What was put in before an error stays. Raises BadArchive, naming
    the entry, and HostFailure if the disk refuses.
    """
    extractor = _Extractor(root, directory.rstrip(b"/"), rules)
    try:
        reader = TarReader(source)
        for entry in reader:
            try:
                extractor.put(reader, entry)
            except OSError as error:
                kind = HostFailure if error.errno in HOST_ERRORS else BadArchive
                raise kind(f"{shown(entry.name)}: {(error.strerror or str(error)).lower()}") from error
            except (ValueError, OverflowError) as error:
                raise BadArchive(f"{shown(entry.name)}: {error}") from error
        reader.drain()
        extractor.set_times()
    finally:
        extractor.close()


def open_inside(root: int, path: bytes, flags: int) -> int:
    """Open ``path`` of the tree ``root``; links, absolute ones too, and ``..`` stay inside."""
    return openat2(root, path or b"/", flags, resolve=RESOLVE_IN_ROOT)


def make_directories(root: int, path: bytes) -> int:
    """Return a descriptor of the directory ``path``; what is missing of it is made (root's, 0755).

    A link on the way is followed if it leads somewhere. Raises OSError.
    """
    fd, missing = _open_deepest(root, path.rstrip(b"/"))
    for name in reversed(missing):
        parent = fd
        try:
            fd = _make_directory(parent, name)
        finally:
            os.close(parent)
    return fd


def _open_deepest(root: int, path: bytes) -> tuple[int, list[bytes]]:
    """Return the lowest directory that is there on the way to ``path``, and the names below, last first."""
    missing: list[bytes] = []
    while True:
        try:
            return open_inside(root, path, _OPEN), missing
        except FileNotFoundError:
            if not path:
                raise
            path, _, name = path.rpartition(b"/")
            if name:
                missing.append(name)


def _make_directory(parent: int, name: bytes) -> int:
    try:
        os.mkdir(name, 0o755, dir_fd=parent)
        os.chmod(name, 0o755, dir_fd=parent)  # noqa: S103 - as mkdir -p does, whatever the umask
    except FileExistsError:
        pass  # somebody was quicker; if it is a link, opening it says that it leads nowhere
    try:
        return os.open(name, _OPEN | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name) from error
        raise


class _Extractor:
    """One archive on its way into ``base``."""

    def __init__(self, root: int, base: bytes, rules: Rules) -> None:
        self._root = root
        self._base = base
        self._rules = rules
        self._above: bytes | None = None  # the directory that the last entry was in, open as _directory
        self._directory = -1
        self._times: dict[bytes, int] = {}
        self._make: dict[bytes, Callable[[Entry, int, bytes], None]] = {
            SYMBOLIC_LINK: self._symbolic_link,
            HARD_LINK: self._hard_link,
            CHARACTER_DEVICE: self._node,
            BLOCK_DEVICE: self._node,
            FIFO: self._node,
        }

    def close(self) -> None:
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1

    def put(self, reader: TarReader, entry: Entry) -> None:
        """Make one entry."""
        path = self._inside(entry.name)
        if not path:
            if self._rules.root and entry.type == DIRECTORY:
                self._directory_attributes(entry, os.dup(self._open_directory(b"")), b"")
            return
        above, _, name = path.rpartition(b"/")
        directory = self._open_directory(above)
        self._clear(entry, directory, name, path)
        if entry.type == FILE:
            self._file(reader, entry, directory, name)
        elif entry.type == DIRECTORY:
            self._make_directory(entry, directory, name, path)
        elif (make := self._make.get(entry.type)) is not None:
            make(entry, directory, name)
        else:
            raise BadArchive(f"unhandled tar header type {entry.type[0]}")

    def set_times(self) -> None:
        """Set the times of directories, now that nothing is made in them any more."""
        for path, mtime_ns in self._times.items():
            try:
                fd = open_inside(self._root, self._base + b"/" + path, _OPEN)
            except OSError:
                continue  # replaced by something else later in the archive
            try:
                os.utime(fd, ns=(mtime_ns, mtime_ns))
            finally:
                os.close(fd)

    def _inside(self, name: bytes) -> bytes:
        """Return where ``name`` is below the directory, b"" for itself. Raises BadArchive if it is not."""
        path = os.path.normpath(name)
        if self._base and (path == b".." or path.startswith(b"../")):
            raise BadArchive(f'"{shown(path)}" is outside of "{shown(self._base)}"')
        return os.path.normpath(b"/" + path).lstrip(b"/")

    def _open_directory(self, above: bytes) -> int:
        if above != self._above:
            fd = make_directories(self._root, self._base + b"/" + above)
            self.close()
            self._above, self._directory = above, fd
        return self._directory

    def _clear(self, entry: Entry, directory: int, name: bytes, path: bytes) -> None:
        """Remove what stands in the way of ``entry``; a directory for a directory does not."""
        status = status_in(directory, name)
        if status is None:
            return
        old, new = stat.S_ISDIR(status.st_mode), entry.type == DIRECTORY
        if old and new:
            return
        if self._rules.keep_kinds and old != new:
            place = shown(self._base + b"/" + path)
            kinds = ("directory", "non-directory") if old else ("non-directory", "directory")
            base = shown(self._base or b"/")
            raise BadArchive(f'cannot overwrite {kinds[0]} "{place}" with {kinds[1]} "{base}"')
        remove_tree(name, dir_fd=directory)
        if old:
            self._above = None  # it might be the one that is open

    def _owner(self, entry: Entry) -> tuple[int, int]:
        return self._rules.owner or (entry.uid, entry.gid)

    def _file(self, reader: TarReader, entry: Entry, directory: int, name: bytes) -> None:
        fd = os.open(name, _NEW_FILE, 0o600, dir_fd=directory)
        try:
            if entry.size or entry.length:
                reader.copy_to(fd, entry)
            os.fchown(fd, *self._owner(entry))
            set_xattrs(fd, b"", entry.xattrs)  # after fchown, which drops capabilities
            os.fchmod(fd, entry.mode)
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)

    def _make_directory(self, entry: Entry, directory: int, name: bytes, path: bytes) -> None:
        if status_in(directory, name) is None:
            os.mkdir(name, 0o700, dir_fd=directory)
        fd = os.open(name, _OPEN | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        self._directory_attributes(entry, fd, path)

    def _directory_attributes(self, entry: Entry, fd: int, path: bytes) -> None:
        """Give the open directory ``fd``, which is closed then, what its header says."""
        try:
            os.fchown(fd, *self._owner(entry))
            set_xattrs(fd, b"", entry.xattrs)
            os.fchmod(fd, entry.mode)
        finally:
            os.close(fd)
        self._times[path] = entry.mtime_ns

    def _symbolic_link(self, entry: Entry, directory: int, name: bytes) -> None:
        os.symlink(entry.link, name, dir_fd=directory)
        self._attributes(entry, directory, name)

    def _node(self, entry: Entry, directory: int, name: bytes) -> None:
        os.mknod(name, _NODES[entry.type] | entry.mode, os.makedev(*entry.device), dir_fd=directory)
        self._attributes(entry, directory, name)

    def _hard_link(self, entry: Entry, directory: int, name: bytes) -> None:
        target = self._inside(entry.link)
        above, _, source_name = target.rpartition(b"/")
        if not source_name:
            raise BadArchive("hard link to a directory")
        source = open_inside(self._root, self._base + b"/" + above, _OPEN)
        try:
            os.link(source_name, name, src_dir_fd=source, dst_dir_fd=directory, follow_symlinks=False)
        finally:
            os.close(source)

    def _attributes(self, entry: Entry, directory: int, name: bytes) -> None:
        os.chown(name, *self._owner(entry), dir_fd=directory, follow_symlinks=False)
        set_xattrs(directory, name, entry.xattrs)
        if entry.type != SYMBOLIC_LINK:
            os.chmod(name, entry.mode, dir_fd=directory)
        os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=directory, follow_symlinks=False)
