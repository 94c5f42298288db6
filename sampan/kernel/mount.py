"""Mounts: ``mount(2)``, the file-descriptor API that followed it, and the mount table.

A ``Mount`` is a value that drivers return and plans contain; ``mount`` performs it. Everything here blocks
and raises OSError. What a mount is for is not known here.
"""

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from sampan.kernel.capabilities import CAP_SYS_RESOURCE, without_capability
from sampan.kernel.fuse import FUSE, mount_fuse
from sampan.kernel.libc import check, libc, syscall

# linux/mount.h and sys/mount.h
MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_SYNCHRONOUS: Final = 16
MS_REMOUNT: Final = 32
MS_MANDLOCK: Final = 64
MS_DIRSYNC: Final = 128
MS_NOSYMFOLLOW: Final = 256
MS_NOATIME: Final = 1024
MS_NODIRATIME: Final = 2048
MS_BIND: Final = 4096
MS_MOVE: Final = 8192
MS_REC: Final = 16384
MS_SILENT: Final = 32768
MS_UNBINDABLE: Final = 1 << 17
MS_PRIVATE: Final = 1 << 18
MS_SLAVE: Final = 1 << 19
MS_SHARED: Final = 1 << 20
MS_RELATIME: Final = 1 << 21
MS_I_VERSION: Final = 1 << 23
MS_STRICTATIME: Final = 1 << 24
MS_LAZYTIME: Final = 1 << 25

MNT_FORCE: Final = 1
MNT_DETACH: Final = 2
UMOUNT_NOFOLLOW: Final = 8

OPEN_TREE_CLONE: Final = 1
AT_EMPTY_PATH: Final = 0x1000
AT_RECURSIVE: Final = 0x8000
MOVE_MOUNT_F_EMPTY_PATH: Final = 4
FSOPEN_CLOEXEC: Final = 1
FSMOUNT_CLOEXEC: Final = 1
MOUNT_ATTR_RDONLY: Final = 1
MOUNT_ATTR_NOSUID: Final = 2
MOUNT_ATTR_NODEV: Final = 4
MOUNT_ATTR_NOEXEC: Final = 8
MOUNT_ATTR_IDMAP: Final = 0x00100000
ENFORCE_QUOTA: Final = "x-enforce-quota"
"""An option for overlay alone, not for the kernel: what is written through the mount keeps to quotas below.

Overlay writes with the privileges of whoever mounted it, and CAP_SYS_RESOURCE passes every quota of ext4.
"""

_FSCONFIG_SET_FLAG: Final = 0
_FSCONFIG_SET_STRING: Final = 1
_FSCONFIG_SET_FD: Final = 5
_FSCONFIG_CMD_CREATE: Final = 6

_SET: Final = {
    "ro": MS_RDONLY,
    "nosuid": MS_NOSUID,
    "nodev": MS_NODEV,
    "noexec": MS_NOEXEC,
    "sync": MS_SYNCHRONOUS,
    "remount": MS_REMOUNT,
    "mand": MS_MANDLOCK,
    "dirsync": MS_DIRSYNC,
    "nosymfollow": MS_NOSYMFOLLOW,
    "noatime": MS_NOATIME,
    "nodiratime": MS_NODIRATIME,
    "bind": MS_BIND,
    "rbind": MS_BIND | MS_REC,
    "silent": MS_SILENT,
    "relatime": MS_RELATIME,
    "iversion": MS_I_VERSION,
    "strictatime": MS_STRICTATIME,
    "lazytime": MS_LAZYTIME,
}
_CLEAR: Final = {
    "rw": MS_RDONLY,
    "suid": MS_NOSUID,
    "dev": MS_NODEV,
    "exec": MS_NOEXEC,
    "async": MS_SYNCHRONOUS,
    "nomand": MS_MANDLOCK,
    "symfollow": MS_NOSYMFOLLOW,
    "atime": MS_NOATIME,
    "diratime": MS_NODIRATIME,
    "loud": MS_SILENT,
    "norelatime": MS_RELATIME,
    "noiversion": MS_I_VERSION,
    "nostrictatime": MS_STRICTATIME,
    "nolazytime": MS_LAZYTIME,
    "defaults": 0,
}
_PROPAGATION: Final = {
    "private": MS_PRIVATE,
    "rprivate": MS_PRIVATE | MS_REC,
    "shared": MS_SHARED,
    "rshared": MS_SHARED | MS_REC,
    "slave": MS_SLAVE,
    "rslave": MS_SLAVE | MS_REC,
    "unbindable": MS_UNBINDABLE,
    "runbindable": MS_UNBINDABLE | MS_REC,
}
_AT_SYMLINK_NOFOLLOW: Final = 0x100
_AT_NO_AUTOMOUNT: Final = 0x800
_STATX_ATTR_MOUNT_ROOT: Final = 0x2000
_STATX_MNT_ID: Final = 0x1000
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")

libc.mount.argtypes = (
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
)
libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount as a value, in the words of fstab(5).

    ``options`` holds flags (``ro``, ``nosuid``, ``bind``, ``rprivate``, …) and, for everything else, data for
    the file system (``lowerdir=…``), one option an item.
    """

    type: str
    source: str
    target: str
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Render the command that does the same from a shell."""
        options = f" -o {','.join(self.options)}" if self.options else ""
        return f"mount -t {self.type or 'none'}{options} {self.source} {self.target}"


@dataclass(frozen=True, slots=True)
class MountInfo:
    """A line of ``/proc/self/mountinfo`` (proc(5)); ``propagation`` holds the optional fields."""

    id: int
    parent: int
    device: tuple[int, int]
    root: str
    target: str
    options: str
    propagation: tuple[str, ...]
    type: str
    source: str
    super_options: str


def mount(m: Mount) -> None:
    """Perform ``m``. A bind mount gets its flags by a second call, propagation is changed by a third.

    A type ``fuse.NAME`` is mounted by the program NAME (``sampan.kernel.fuse``).
    Overlay options that would not fit the one page that mount(2) takes are shortened or passed through the
    newer API (5.2; ``lowerdir+`` needs 6.5).
    """
    flags, propagation, data = _split(m.options)
    if ENFORCE_QUOTA in data:
        with without_capability(CAP_SYS_RESOURCE):
            mount(Mount(m.type, m.source, m.target, tuple(o for o in m.options if o != ENFORCE_QUOTA)))
    elif m.type.startswith(FUSE):
        mount_fuse(m.type, m.target, m.options)
    elif m.type == "overlay" and len(",".join(data)) >= _PAGE:
        _mount_long_overlay(m, flags, data)
    elif flags & MS_BIND and not flags & MS_REMOUNT:
        _mount(m.source, m.target, None, flags & (MS_BIND | MS_REC | MS_SILENT), None)
        rest = flags & ~(MS_BIND | MS_REC | MS_SILENT)
        if rest:
            try:
                _mount(None, m.target, None, MS_REMOUNT | MS_BIND | rest, None)
            except OSError:
                umount(m.target, lazy=True)
                raise
    elif flags or data or m.type:
        _mount(m.source, m.target, m.type or None, flags, ",".join(data) or None)
    for change in propagation:
        _mount(None, m.target, None, change, None)


def umount(path: str | os.PathLike[str], *, lazy: bool = False) -> None:
    """Unmount what is mounted at ``path`` (a final symbolic link is not followed).

    ``lazy`` detaches a busy mount, which goes away with its last user. OSError EINVAL: not a mount point.
    """
    text = os.fspath(path)
    check(libc.umount2(os.fsencode(text), UMOUNT_NOFOLLOW | (MNT_DETACH if lazy else 0)), text)


def bind(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    readonly: bool = False,
    recursive: bool = False,
) -> None:
    """Make ``source`` (file or directory) visible at ``target`` too."""
    kind = "rbind" if recursive else "bind"
    mount(Mount("none", os.fspath(source), os.fspath(target), (kind, "ro") if readonly else (kind,)))


def is_mount_point(path: str | os.PathLike[str]) -> bool:
    """Return whether ``path`` is the root of a mount; False where there is nothing (statx(2), Linux 5.8)."""
    try:
        buffer = _statx(path, 0)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        if error.errno == errno.ENOTCONN:  # of a file system whose program has died
            return True
        raise
    return bool(int.from_bytes(buffer[8:16], sys.byteorder) & _STATX_ATTR_MOUNT_ROOT)


def mount_id(path: str | os.PathLike[str]) -> int:
    """Return the id (``MountInfo.id``) of the mount that ``path`` itself is on (statx(2), Linux 5.8)."""
    return int.from_bytes(_statx(path, _STATX_MNT_ID)[144:152], sys.byteorder)


def mounts(pid: int | None = None, *, thread: bool = False) -> list[MountInfo]:
    """Return the mount table of process ``pid`` (None: ours), in the order in which it was built.

    ``thread``: that of the calling thread, which may have a mount namespace of its own.
    """
    with open(f"/proc/{pid or ('thread-self' if thread else 'self')}/mountinfo", "rb") as file:
        return [parse_mountinfo(line) for line in file.read().splitlines()]


def parse_mountinfo(line: bytes) -> MountInfo:
    """Parse one line of mountinfo; raises ValueError if it is none."""
    fields = line.split(b" ")
    end = fields.index(b"-", 6)
    major, _, minor = fields[2].partition(b":")
    return MountInfo(
        id=int(fields[0]),
        parent=int(fields[1]),
        device=(int(major), int(minor)),
        root=_unescape(fields[3]),
        target=_unescape(fields[4]),
        options=fields[5].decode(),
        propagation=tuple(f.decode() for f in fields[6:end]),
        type=fields[end + 1].decode(),
        source=_unescape(fields[end + 2]),
        super_options=_unescape(fields[end + 3]),
    )


def escape_overlay(path: str) -> str:
    r"""Escape ``path`` for a ``lowerdir``: a colon separates layers, a comma options (``\:``, ``\,``)."""
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def split_overlay(value: str) -> list[str]:
    """Return the paths that ``escape_overlay`` and a join with colons made ``value`` of."""
    paths, current, escaped = [], [], False
    for char in value:
        if escaped or char not in "\\:":
            current.append(char)
            escaped = False
        elif char == "\\":
            escaped = True
        else:
            paths.append("".join(current))
            current = []
    return [*paths, "".join(current)]


# --- the file-descriptor API ---


def open_tree(path: str | os.PathLike[str], *, clone: bool = False, recursive: bool = False) -> int:
    """Return a descriptor of the mount at ``path``, or with ``clone`` of a detached copy (open_tree(2))."""
    flags = os.O_CLOEXEC | (OPEN_TREE_CLONE if clone else 0) | (AT_RECURSIVE if recursive else 0)
    text = os.fspath(path)
    return check(syscall("open_tree", -100, os.fsencode(text), flags), text)


def move_mount(mount_fd: int, target: str | os.PathLike[str]) -> None:
    """Attach the mount behind ``mount_fd`` at ``target`` (move_mount(2))."""
    text = os.fspath(target)
    check(syscall("move_mount", mount_fd, b"", -100, os.fsencode(text), MOVE_MOUNT_F_EMPTY_PATH), text)


def mount_setattr(
    mount_fd: int,
    *,
    set_: int = 0,
    clear: int = 0,
    propagation: int = 0,
    userns_fd: int = 0,
    recursive: bool = False,
) -> None:
    """Change the attributes of the mount behind ``mount_fd`` (mount_setattr(2), Linux 5.12).

    ``set_`` and ``clear`` are ``MOUNT_ATTR_*``; with ``MOUNT_ATTR_IDMAP`` the mapping is that of the user
    namespace ``userns_fd``, and the mount must be detached still.
    """
    attributes = struct.pack("QQQQ", set_, clear, propagation, userns_fd)  # struct mount_attr
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    check(syscall("mount_setattr", mount_fd, b"", flags, attributes, len(attributes)), "mount_setattr")


class FsContext:
    """A file system being configured: ``fsopen``, options one by one, then ``mount`` (fsopen(2), Linux 5.2).

    Its errors carry the kernel's own sentence where the file system left one. Use it as a context manager.
    """

    def __init__(self, type_: str) -> None:
        self._type = type_
        self._fd = check(syscall("fsopen", type_.encode(), FSOPEN_CLOEXEC), type_)

    def set(self, key: str, value: str | None = None) -> None:
        """Set option ``key`` to ``value`` (at most 255 bytes); None sets a flag."""
        command = _FSCONFIG_SET_FLAG if value is None else _FSCONFIG_SET_STRING
        encoded = None if value is None else os.fsencode(value)
        self._check(syscall("fsconfig", self._fd, command, key.encode(), encoded, 0))

    def set_fd(self, key: str, fd: int) -> None:
        """Set option ``key`` to an open file (overlay's layers: Linux 6.13)."""
        self._check(syscall("fsconfig", self._fd, _FSCONFIG_SET_FD, key.encode(), None, fd))

    def mount(self, attributes: int = 0) -> int:
        """Create the file system and return a descriptor of its mount, not attached anywhere yet."""
        self._check(syscall("fsconfig", self._fd, _FSCONFIG_CMD_CREATE, None, None, 0))
        return self._check(syscall("fsmount", self._fd, FSMOUNT_CLOEXEC, attributes))

    def close(self) -> None:
        """Give the context back; a mount made from it lives on."""
        os.close(self._fd)

    def __enter__(self) -> "FsContext":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check(self, result: int) -> int:
        if result >= 0:
            return result
        number = ctypes.get_errno()
        messages = []
        with suppress(OSError):
            while message := os.read(self._fd, 4096):
                messages.append(message.decode(errors="replace").strip().removeprefix("e "))
        raise OSError(number, "; ".join(messages) or os.strerror(number), self._type)


# --- details ---


def _statx(path: str | os.PathLike[str], mask: int) -> bytes:
    """Return the ``struct statx`` (linux/stat.h) of ``path``, no symbolic link followed."""
    buffer = ctypes.create_string_buffer(256)
    flags = _AT_SYMLINK_NOFOLLOW | _AT_NO_AUTOMOUNT
    check(syscall("statx", -100, os.fsencode(path), flags, mask, buffer), os.fspath(path))
    return buffer.raw


def _split(options: Sequence[str]) -> tuple[int, list[int], list[str]]:
    """Return the flags, the changes of propagation and the file system's own options in ``options``."""
    flags, propagation, data = 0, [], []
    for option in options:
        if option in _SET:
            flags |= _SET[option]
        elif option in _CLEAR:
            flags &= ~_CLEAR[option]
        elif option in _PROPAGATION:
            propagation.append(_PROPAGATION[option])
        else:
            data.append(option)
    return flags, propagation, data


def _mount(source: str | None, target: str, type_: str | None, flags: int, data: str | None) -> None:
    check(
        libc.mount(
            None if source is None else os.fsencode(source),
            os.fsencode(target),
            None if type_ is None else type_.encode(),
            flags,
            None if data is None else os.fsencode(data),
        ),
        target,
    )


def _mount_long_overlay(m: Mount, flags: int, data: Sequence[str]) -> None:
    # mount(2) cuts its data off at one page without a word, and the layers cut off are "not found".
    lowers = next((split_overlay(o[9:]) for o in data if o.startswith("lowerdir=")), [])
    others = [o for o in data if not o.startswith("lowerdir=")]
    opened: dict[str, int] = {}
    try:
        for folder in {os.path.dirname(path) for path in lowers}:
            opened[folder] = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        short = [f"/proc/self/fd/{opened[os.path.dirname(p)]}/{os.path.basename(p)}" for p in lowers]
        text = ",".join([*others, "lowerdir=" + ":".join(map(escape_overlay, short))])
        if len(os.fsencode(text)) < _PAGE:
            _mount(m.source, m.target, "overlay", flags, text)
            return
        with FsContext("overlay") as context:
            context.set("source", m.source)
            for option in others:
                key, _, value = option.partition("=")
                context.set(key, value.replace("\\,", ",").replace("\\\\", "\\"))
            for path in short:
                context.set("lowerdir+", path)
            fd = context.mount(_attributes(flags))
        try:
            move_mount(fd, m.target)
        finally:
            os.close(fd)
    finally:
        for fd in opened.values():
            os.close(fd)


def _attributes(flags: int) -> int:
    """Translate ``MS_*`` flags that a mount (not its file system) has into ``MOUNT_ATTR_*``."""
    known = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC  # the same values in both (linux/mount.h)
    if flags & ~known:
        raise OSError(errno.EINVAL, "flag not possible with so many layers", hex(flags))
    return flags


def _unescape(field: bytes) -> str:
    return os.fsdecode(b"".join(_pieces(field)) if b"\\" in field else field)


def _pieces(field: bytes) -> Iterator[bytes]:
    """Yield ``field`` with its octal escapes (``\\040``) replaced."""
    first, *rest = field.split(b"\\")
    yield first
    for piece in rest:
        yield bytes([int(piece[:3], 8)])
        yield piece[3:]
