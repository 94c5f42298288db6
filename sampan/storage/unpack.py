"""Applies a layer's tar to a snapshot: files, links, devices, and what the layer says is gone.

Rules: OCI image-spec, layer.md ("Applying Changesets", "Whiteouts"); where that is silent, Docker's
(pkg/archive, diff.go). A whiteout takes away what lower layers have and nothing of its own layer, wherever
it stands in the archive. ``.wh..wh.*`` other than the opaque mark are notes of AUFS and are left out.
"""

import errno
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sampan.base.errors import HostFailure
from sampan.kernel.fs import OPEN_DIR, remove_tree, set_xattr
from sampan.kernel.mount import Mount
from sampan.storage.copy import copy_entry
from sampan.storage.marks import META, OPAQUE_NAME, WHITEOUT, overlay_to_aufs
from sampan.storage.overlay import PRIVATE_XATTRS, is_whiteout
from sampan.storage.places import Place, Places, status_in
from sampan.storage.stacks import AUFS_TYPE, layers_of, open_lowers
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
from sampan.storage.tree import content_xattrs, list_directory, measure, open_at, opened

_AUFS_LINKS: Final = b".wh..wh.plnk"

_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# What the host, not the archive, is to blame for.
HOST_ERRORS: Final = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EIO,
        errno.EROFS,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.EPERM,
        errno.EACCES,
        errno.EBADF,
    }
)


@dataclass(frozen=True, slots=True)
class Applied:
    """What a layer came to: ``size`` as ``Usage.size`` counts, and the number of ``entries`` in its tar."""

    size: int
    entries: int


def unpack(mounts: Sequence[Mount], source: Source) -> Applied:
    """Apply the tar stream ``source`` to the active snapshot that ``mounts`` would show.

    The last of them, which shows its root, is not mounted; what is before it must be (``storage.mounting``).
    ``source`` is read to its end. Raises BadArchive, naming the entry, and HostFailure if the disk fails; the
    snapshot is then in no defined state and is to be removed.
    """
    last = mounts[-1]
    layers = layers_of(last)
    try:
        with opened(layers[0] if layers else last.source) as upper, open_lowers(last) as lower:
            unpacker = _Unpacker(upper, lower)
            try:
                applied = unpacker.run(TarReader(source))
            finally:
                unpacker.places.close()
            if last.type == AUFS_TYPE:
                overlay_to_aufs(upper)
            return applied
    except OSError as error:
        raise HostFailure(f"cannot unpack the layer: {error.strerror or error}") from error


class _Unpacker:
    """One layer on its way into the tree ``root``, over the tree ``lower`` if there is one."""

    def __init__(self, root: int, lower: int | None) -> None:
        self._root = root
        self.places = Places(root, lower)
        self._size = 0
        self._owner = (os.geteuid(), os.getegid())
        self._umask = _umask()
        self._aufs_links: int | None = None
        self._make: dict[bytes, Callable[[Entry, Place, bytes, bytes], None]] = {
            HARD_LINK: self._hard_link,
            SYMBOLIC_LINK: self._symbolic_link,
            CHARACTER_DEVICE: self._node,
            BLOCK_DEVICE: self._node,
            FIFO: self._node,
        }

    def run(self, reader: TarReader) -> Applied:
        entries = 0
        try:
            for entry in reader:
                entries += 1
                try:
                    self._entry(reader, entry)
                except OSError as error:
                    if error.errno in HOST_ERRORS:
                        raise HostFailure(f"cannot unpack {shown(entry.name)}: {error.strerror}") from error
                    raise BadArchive(f"{shown(entry.name)}: {error.strerror}") from error
                except (ValueError, OverflowError) as error:
                    raise BadArchive(f"{shown(entry.name)}: {error}") from error
        finally:
            if self._aufs_links is not None:
                os.close(self._aufs_links)
                remove_tree(_AUFS_LINKS, dir_fd=self._root)
        reader.drain()
        self._set_times()
        return Applied(self._size, entries)

    def _entry(self, reader: TarReader, entry: Entry) -> None:
        name = clean(entry.name)
        above, _, base = name.rpartition(b"/")
        if base[:4] == WHITEOUT:
            self._whiteout(reader, entry, above, base)
            return
        if name.startswith(META):  # something in a directory of AUFS
            self._aufs(reader, entry, name)
            return
        if not base:
            if entry.type != DIRECTORY:
                raise BadArchive(f"{shown(entry.name)}: the root is a directory")
            self._directory_attributes(entry, self.places.find(b""), fresh=False)
            return
        place = self.places.find(above)
        path = place.path + b"/" + base
        if entry.type == FILE:
            self._file(reader, entry, place, base, path)
        elif entry.type == DIRECTORY:
            self._directory(entry, place, base, name)
            return
        elif (make := self._make.get(entry.type)) is not None:
            make(entry, place, base, path)
        else:
            raise BadArchive(f"{shown(entry.name)}: unhandled tar header type {entry.type[0]}")
        self.places.forget_step(path)
        self.places.note(path)

    def _file(self, reader: TarReader, entry: Entry, place: Place, name: bytes, path: bytes) -> None:
        mode = entry.mode
        try:
            fd = os.open(name, _NEW_FILE, mode & 0o777, dir_fd=place.fd)
        except FileExistsError:
            self._displace(place, name, path)
            fd = os.open(name, _NEW_FILE, mode & 0o777, dir_fd=place.fd)
        try:
            if entry.size or entry.length:
                reader.copy_to(fd, entry)
            changed = (entry.uid, entry.gid) != self._owner or place.sets_group
            if changed:
                os.fchown(fd, entry.uid, entry.gid)
            if entry.xattrs:  # after fchown, which drops capabilities
                set_xattrs(fd, b"", entry.xattrs)
            if mode & 0o7000 or mode & self._umask:
                os.fchmod(fd, mode)
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)
        self._size += entry.length

    def _directory(self, entry: Entry, place: Place, name: bytes, alias: bytes) -> None:
        path = place.path + b"/" + name
        fresh, hides = True, False
        try:
            os.mkdir(name, 0o700, dir_fd=place.fd)
        except FileExistsError:
            if stat.S_ISDIR(os.stat(name, dir_fd=place.fd, follow_symlinks=False).st_mode):
                fresh = False
            else:
                self._displace(place, name, path)
                os.mkdir(name, 0o700, dir_fd=place.fd)
                hides = True  # a directory further down does not come back
        child = self.places.enter(place, name, alias, fresh=fresh)
        if hides:
            self.places.hide_below(child)
        self._directory_attributes(entry, child, fresh=fresh)
        self.places.note(child.path)

    def _directory_attributes(self, entry: Entry, place: Place, *, fresh: bool) -> None:
        if not fresh or (entry.uid, entry.gid) != self._owner or place.sets_group:
            os.fchown(place.fd, entry.uid, entry.gid)
        if not fresh:
            for key in content_xattrs(place.fd):
                if key not in entry.xattrs:
                    os.removexattr(place.fd, key)
        if entry.xattrs:
            set_xattrs(place.fd, b"", entry.xattrs)
        os.fchmod(place.fd, entry.mode)
        place.sets_group = bool(entry.mode & stat.S_ISGID)
        self.places.set_time(place, entry.mtime_ns)

    def _symbolic_link(self, entry: Entry, place: Place, name: bytes, path: bytes) -> None:
        try:
            os.symlink(entry.link, name, dir_fd=place.fd)
        except FileExistsError:
            self._displace(place, name, path)
            os.symlink(entry.link, name, dir_fd=place.fd)
        self._size += len(entry.link)
        self._attributes(entry, place, name)

    def _node(self, entry: Entry, place: Place, name: bytes, path: bytes) -> None:
        kind = {CHARACTER_DEVICE: stat.S_IFCHR, BLOCK_DEVICE: stat.S_IFBLK, FIFO: stat.S_IFIFO}[entry.type]
        device = os.makedev(*entry.device)
        if kind == stat.S_IFCHR and device == 0:
            # overlay's own mark of a deleted name, in a tar made of an upper directory
            self._delete(place, name)
            return
        try:
            os.mknod(name, kind | entry.mode, device, dir_fd=place.fd)
        except FileExistsError:
            self._displace(place, name, path)
            os.mknod(name, kind | entry.mode, device, dir_fd=place.fd)
        self._attributes(entry, place, name)

    def _hard_link(self, entry: Entry, place: Place, name: bytes, path: bytes) -> None:
        target = clean(entry.link)
        source, source_name, source_path = self._link_source(entry, target)
        try:
            if source_path == path:
                return
            # the search for the source may have closed it
            place = self.places.find(clean(entry.name).rpartition(b"/")[0])
            try:
                os.link(source_name, name, src_dir_fd=source, dst_dir_fd=place.fd, follow_symlinks=False)
            except FileExistsError:
                self._displace(place, name, path)
                os.link(source_name, name, src_dir_fd=source, dst_dir_fd=place.fd, follow_symlinks=False)
        finally:
            os.close(source)
        self._link_attributes(entry, place, name)

    def _link_source(self, entry: Entry, target: bytes) -> tuple[int, bytes, bytes]:
        """Return an open directory, a name in it, and its path: what the hard link ``entry`` is to share."""
        above, _, name = target.rpartition(b"/")
        if above == _AUFS_LINKS and self._aufs_links is not None:
            return os.dup(self._aufs_links), name, b""
        if not name:
            raise BadArchive(f"{shown(entry.name)}: hard link to a directory")
        place = self.places.find(above)
        path = place.path + b"/" + name
        status = status_in(place.fd, name)
        if status is None and (status := self.places.status_below(place, path)) is not None:
            self._copy_up(place, name, status)
        if status is None or is_whiteout(status):
            raise BadArchive(f"{shown(entry.name)}: hard link to {shown(entry.link)}, which does not exist")
        if stat.S_ISDIR(status.st_mode):
            raise BadArchive(f"{shown(entry.name)}: hard link to a directory")
        return os.dup(place.fd), name, path

    def _copy_up(self, place: Place, name: bytes, status: os.stat_result) -> None:
        """Bring an entry of the lower tree into ours, so that it can be linked to."""
        if self.places.lower is not None and not stat.S_ISDIR(status.st_mode):
            old = open_at(self.places.lower, place.path, OPEN_DIR)
            try:
                copy_entry(old, place.fd, name, status)
            finally:
                os.close(old)
            self._size += status.st_size

    def _link_attributes(self, entry: Entry, place: Place, name: bytes) -> None:
        """Give a hard link what its header says, as Docker does; owner and mode only if they differ."""
        status = os.stat(name, dir_fd=place.fd, follow_symlinks=False)
        if (status.st_uid, status.st_gid) != (entry.uid, entry.gid):
            os.chown(name, entry.uid, entry.gid, dir_fd=place.fd, follow_symlinks=False)
        if entry.xattrs:
            set_xattrs(place.fd, name, entry.xattrs)
        if stat.S_IMODE(status.st_mode) != entry.mode and not stat.S_ISLNK(status.st_mode):
            os.chmod(name, entry.mode, dir_fd=place.fd)
        os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=place.fd, follow_symlinks=False)

    def _attributes(self, entry: Entry, place: Place, name: bytes) -> None:
        """Give the new entry ``name``, no file and no directory, its owner, attributes, mode and time."""
        if (entry.uid, entry.gid) != self._owner or place.sets_group:
            os.chown(name, entry.uid, entry.gid, dir_fd=place.fd, follow_symlinks=False)
        if entry.xattrs:
            set_xattrs(place.fd, name, entry.xattrs)
        if entry.type != SYMBOLIC_LINK:
            os.chmod(name, entry.mode, dir_fd=place.fd)
        os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=place.fd, follow_symlinks=False)

    def _displace(self, place: Place, name: bytes, path: bytes) -> None:
        """Remove what stands in the way of a new entry ``name``, whatever it is."""
        status = os.stat(name, dir_fd=place.fd, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            if path in self.places.made:
                fd = os.open(name, OPEN_DIR, dir_fd=place.fd)
                try:
                    self._size = max(self._size - measure(fd).size, 0)
                finally:
                    os.close(fd)
            self.places.forget(path)
            remove_tree(name, dir_fd=place.fd)
        else:
            if path in self.places.made and status.st_nlink == 1:
                self._size -= status.st_size
            os.unlink(name, dir_fd=place.fd)
        self.places.forget_step(path)

    # --- what the layer takes away ---

    def _whiteout(self, reader: TarReader, entry: Entry, above: bytes, base: bytes) -> None:
        if base == OPAQUE_NAME:
            self._delete_below(self.places.find(above))
        elif base.startswith(META):
            self._aufs(reader, entry, base)
        elif (name := base[len(WHITEOUT) :]) in (b"", b".", b".."):
            raise BadArchive(f"{shown(entry.name)}: a whiteout of nothing")
        else:
            self._delete(self.places.find(above), name)

    def _delete(self, place: Place, name: bytes) -> None:
        """Take the entry ``name`` of the layers below away; what this layer brought itself stays."""
        path = place.path + b"/" + name
        status = status_in(place.fd, name)
        if status is not None:
            if path in self.places.made:
                if stat.S_ISDIR(status.st_mode):
                    self._delete_below(self.places.enter(place, name, path[1:], fresh=False))
                return
            if is_whiteout(status) and self.places.lower is not None:
                return
            self._displace(place, name, path)
        if self.places.status_below(place, path) is not None:
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=place.fd)
            self.places.forget_step(path)

    def _delete_below(self, place: Place) -> None:
        """Take away what the layers below have in the directory ``place``."""
        if not place.path and self.places.lower is not None:
            for name, _ in list_directory(self.places.lower):  # overlay knows no opaque root
                self._delete(place, name)
            return
        self.places.hide_below(place)
        fd = os.dup(place.fd)
        try:
            self._prune(fd, place.path)
        finally:
            os.close(fd)

    def _prune(self, fd: int, path: bytes) -> None:
        """Remove from the open directory at ``path`` all that this layer has not brought."""
        for name, status in list_directory(fd):
            below = path + b"/" + name
            if below not in self.places.made:
                self.places.forget(below)
                remove_tree(name, dir_fd=fd)
            elif stat.S_ISDIR(status.st_mode):
                child = os.open(name, OPEN_DIR, dir_fd=fd)
                try:
                    self._prune(child, below)
                finally:
                    os.close(child)

    # --- the rest ---

    def _aufs(self, reader: TarReader, entry: Entry, name: bytes) -> None:
        """Keep a file that AUFS put aside for hard links to it until the end; leave its other notes out."""
        above, _, base = name.rpartition(b"/")
        if above != _AUFS_LINKS or entry.type != FILE:
            return
        if self._aufs_links is None:
            os.mkdir(_AUFS_LINKS, 0o700, dir_fd=self._root)
            self._aufs_links = os.open(_AUFS_LINKS, OPEN_DIR, dir_fd=self._root)
        place = Place(b"/" + _AUFS_LINKS, self._aufs_links, below=False, sets_group=False)
        self._file(reader, entry, place, base, b"")

    def _set_times(self) -> None:
        """Set the times of directories, now that nothing is made in them any more."""
        for path, (mtime_ns, inode) in self.places.times.items():
            try:
                fd = open_at(self._root, path, OPEN_DIR)
            except (FileNotFoundError, NotADirectoryError):
                continue  # replaced by something else later in the archive
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise
                continue
            try:
                if os.fstat(fd).st_ino == inode:
                    os.utime(fd, ns=(mtime_ns, mtime_ns))
            finally:
                os.close(fd)


def clean(name: bytes) -> bytes:
    """Return the path that ``name`` in an archive means: relative, and never above the root.

    ``.``, ``..`` and empty parts are resolved by their letters, as Docker does; b"" is the root itself.
    """
    if name[:2] == b"./":
        name = name[2:]
    if name[:1] not in b"/." and name[-1:] != b"/" and b"//" not in name and b"/." not in name:
        return name  # most names
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            del parts[-1:]
        elif part not in (b"", b"."):
            parts.append(part)
    return b"/".join(parts)


def set_xattrs(fd: int, name: bytes, xattrs: dict[str, bytes]) -> None:
    """Set the extended attributes of ``fd``, or of the entry ``name`` in it, as far as the host allows."""
    for key, value in xattrs.items():
        if key.startswith(PRIVATE_XATTRS):
            continue  # overlay's own notes would make it see things
        try:
            if name:
                set_xattr(fd, name, key, value)
            else:
                os.setxattr(fd, key, value)
        except OSError as error:
            # Docker drops these too: no such attributes on this file system, or not on this kind of file
            if error.errno not in (errno.EOPNOTSUPP, errno.EPERM):
                raise


def _umask() -> int:
    """Return the process's umask, which can otherwise only be read by setting it."""
    with open("/proc/self/status", "rb") as file:
        for line in file:
            if line.startswith(b"Umask:"):
                return int(line.split()[1], 8)
    return 0o777
