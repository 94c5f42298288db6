"""The device mapper by its ioctls: block devices made of others, thin ones above all.

Devices are named; ``node`` is where a device is found. udev is not needed: the nodes in /dev/mapper are made
here where nobody else does. Everything here blocks and raises OSError. Source: linux/dm-ioctl.h and
Documentation/admin-guide/device-mapper/thin-provisioning.rst.
"""

import errno
import fcntl
import os
import stat
import struct
import time
from contextlib import suppress
from typing import Final

_CONTROL: Final = "/dev/mapper/control"
_CONTROL_DEVICE: Final = (10, 236)  # DM: misc major, MAPPER_CTRL_MINOR
_VERSION: Final = (4, 0, 0)
_LIST_DEVICES, _DEV_CREATE, _DEV_REMOVE, _DEV_SUSPEND, _DEV_STATUS = 2, 3, 4, 6, 7
_TABLE_LOAD, _TABLE_STATUS, _LIST_VERSIONS, _TARGET_MSG = 9, 12, 13, 14
_SUSPEND: Final = 1 << 1
_BUFFER_FULL: Final = 1 << 8
_HEADER: Final = struct.Struct("=IIIIIIiIIIQ128s129s7x")  # struct dm_ioctl
_TARGET: Final = struct.Struct("=QQiI16s")  # struct dm_target_spec
_ROOM: Final = 1 << 16
_DEFERRED_REMOVE: Final = 1 << 17
_BUSY_WAIT_S: Final = 5.0
_PAUSE_S: Final = 0.01

SECTOR: Final = 512


def targets() -> dict[str, tuple[int, int, int]]:
    """Return the kinds of devices that the kernel can make, with their versions; {} without device mapper."""
    try:
        data = _call(_LIST_VERSIONS, "")
    except OSError:
        return {}
    found, at = {}, 0
    while at + 16 <= len(data):
        step, *version = struct.unpack_from("=IIII", data, at)  # struct dm_target_versions
        name = data[at + 16 : data.index(b"\0", at + 16)].decode()
        if name:
            found[name] = (version[0], version[1], version[2])
        if not step:
            break
        at += step
    return found


def node(name: str) -> str:
    """Return the path of the block device ``name``."""
    return f"/dev/mapper/{name}"


def exists(name: str) -> bool:
    """Return whether the device ``name`` is there."""
    try:
        _call(_DEV_STATUS, name)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENOENT):
            return False
        raise
    return True


def names(prefix: str) -> list[str]:
    """Return the names of the devices that begin with ``prefix``."""
    data, found, at = _call(_LIST_DEVICES, ""), [], 0
    while at + 12 < len(data):
        device, step = struct.unpack_from("=QI", data, at)  # struct dm_name_list
        if not device:
            break
        name = data[at + 12 : data.index(b"\0", at + 12)].decode(errors="replace")
        if name.startswith(prefix):
            found.append(name)
        if not step:
            break
        at += step
    return found


def create(name: str, sectors: int, kind: str, parameters: str) -> None:
    """Make the device ``name`` of ``sectors`` sectors, of one target ``kind``; nothing stays on failure.

    OSError EBUSY: there is one of that name.
    """
    header = _call_header(_DEV_CREATE, name)
    try:
        table = parameters.encode() + b"\0"
        table += bytes(-len(table) % 8)
        spec = _TARGET.pack(0, sectors, 0, _TARGET.size + len(table), kind.encode())
        _call(_TABLE_LOAD, name, spec + table, count=1)
        _call(_DEV_SUSPEND, name)  # without the flag it means: resume
        _make_node(name, header[10])
    except BaseException:
        with suppress(OSError):
            remove(name)
        raise


def remove(name: str, *, deferred: bool = False) -> None:
    """Remove the device ``name``; none is no error.

    ``deferred``: one that is in use goes with its last user. Else it is waited for a moment, and then
    OSError EBUSY.
    """
    deadline = time.monotonic() + _BUSY_WAIT_S
    while True:
        try:
            _call(_DEV_REMOVE, name, flags=_DEFERRED_REMOVE if deferred else 0)
        except OSError as error:
            if error.errno == errno.EBUSY and time.monotonic() < deadline:
                time.sleep(_PAUSE_S)  # the last user is on its way out
                continue
            if error.errno != errno.ENXIO:
                raise
        break
    if not deferred or not exists(name):
        with suppress(OSError):
            os.unlink(node(name))


def keep(name: str) -> bool:
    """Call a deferred removal of the device ``name`` off; return False if it is no more."""
    try:
        message(name, "@cancel_deferred_remove")
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.EBUSY):  # EBUSY: it is going just now
            return False
        raise
    _make_node(name, _call_header(_DEV_STATUS, name)[10])
    return True


def suspend(name: str) -> None:
    """Hold all writes to the device ``name``; a file system on it is brought into a whole state."""
    _call(_DEV_SUSPEND, name, flags=_SUSPEND)


def resume(name: str) -> None:
    """Let the device ``name`` work again."""
    _call(_DEV_SUSPEND, name)


def message(name: str, text: str) -> None:
    """Send ``text`` to the device's first target."""
    _call(_TARGET_MSG, name, struct.pack("=Q", 0) + text.encode() + b"\0")


def status(name: str) -> str:
    """Return what the device's first target says of itself."""
    data = _call(_TABLE_STATUS, name)
    return data[_TARGET.size : data.index(b"\0", _TARGET.size)].decode()


def _make_node(name: str, device: int) -> None:
    # struct dm_ioctl holds the kernel's encoding of a device number: minor & 0xff, major, the rest of minor
    major, minor = (device >> 8) & 0xFFF, (device & 0xFF) | ((device >> 12) & 0xFFF00)
    path = node(name)
    number = os.makedev(major, minor)
    try:
        os.mknod(path, stat.S_IFBLK | 0o600, number)
    except FileExistsError:
        with suppress(OSError):
            if os.stat(path).st_rdev == number:
                return
        os.unlink(path)  # of a device that is no more
        os.mknod(path, stat.S_IFBLK | 0o600, number)


def _call(command: int, name: str, payload: bytes = b"", *, flags: int = 0, count: int = 0) -> bytes:
    return _ioctl(command, name, payload, flags, count)[1]


def _call_header(command: int, name: str) -> tuple[int, ...]:
    return _ioctl(command, name, b"", 0, 0)[0]


def _ioctl(command: int, name: str, payload: bytes, flags: int, count: int) -> tuple[tuple[int, ...], bytes]:
    """Make one call; return the header and the data that came back."""
    room = max(_ROOM, _HEADER.size + len(payload))
    while True:
        header, data = _try_ioctl(command, name, payload, flags, count, room)
        if not header[7] & _BUFFER_FULL:
            return header, data
        room *= 4


def _try_ioctl(
    command: int, name: str, payload: bytes, flags: int, count: int, room: int
) -> tuple[tuple[int, ...], bytes]:
    size = _HEADER.size
    header = _HEADER.pack(*_VERSION, room, size, count, 0, flags, 0, 0, 0, name.encode(), b"")
    buffer = bytearray(header + payload)
    buffer.extend(bytes(room - len(buffer)))
    fd = _open_control()
    try:
        fcntl.ioctl(fd, 0xC138FD00 | command, buffer)  # _IOWR(0xfd, command, struct dm_ioctl)
    except OSError as error:
        raise OSError(error.errno, error.strerror, name or _CONTROL) from None
    finally:
        os.close(fd)
    back = _HEADER.unpack_from(buffer)
    start = back[4]
    return back[:11], bytes(buffer[start:])


def _open_control() -> int:
    try:
        return os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        if not os.path.isdir("/sys/class/misc/device-mapper"):
            raise
    os.makedirs(os.path.dirname(_CONTROL), exist_ok=True)
    with suppress(FileExistsError):
        os.mknod(_CONTROL, stat.S_IFCHR | 0o600, os.makedev(*_CONTROL_DEVICE))
    return os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
