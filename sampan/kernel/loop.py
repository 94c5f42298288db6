"""Loop devices: files as block devices (loop(4)). Everything here blocks and raises OSError."""

import errno
import fcntl
import os
import struct
from typing import Final

_CTL_GET_FREE: Final = 0x4C82
_CONFIGURE: Final = 0x4C0A  # Linux 5.8
_SET_FD: Final = 0x4C00
_CLR_FD: Final = 0x4C01
_SET_STATUS64: Final = 0x4C04
_AUTOCLEAR: Final = 4
_TRIES: Final = 64
_LOOP_MAJOR: Final = 7
_info = struct.Struct("=QQQQQIIII64s64s32s2Q")  # struct loop_info64, linux/loop.h


def attach_file(path: str) -> tuple[int, str]:
    """Make the file ``path`` a block device; return an open descriptor of the device, and its path.

    The device goes away by itself when nobody has it open any more, this descriptor included.
    """
    backing = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(_TRIES):
            device = _free_device()
            fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
            try:
                _configure(fd, backing, path)
            except OSError as error:
                os.close(fd)
                if error.errno == errno.EBUSY:  # somebody was quicker
                    continue
                raise OSError(error.errno, error.strerror, device) from None
            return fd, device
    finally:
        os.close(backing)
    raise OSError(errno.EBUSY, "no free loop device", path)


def _free_device() -> str:
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        number = fcntl.ioctl(control, _CTL_GET_FREE)
    finally:
        os.close(control)
    path = f"/dev/loop{number}"
    if not os.path.exists(path):  # a /dev without devtmpfs
        os.mknod(path, 0o060660, os.makedev(_LOOP_MAJOR, number))
    return path


def _configure(fd: int, backing: int, path: str) -> None:
    name = os.fsencode(path)[:63]
    info = _info.pack(0, 0, 0, 0, 0, 0, 0, 0, _AUTOCLEAR, name, b"", b"", 0, 0)
    config = struct.pack("=II", backing, 0) + info + bytes(64)  # struct loop_config
    try:
        fcntl.ioctl(fd, _CONFIGURE, config)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTTY):
            raise
        fcntl.ioctl(fd, _SET_FD, backing)
        try:
            fcntl.ioctl(fd, _SET_STATUS64, info)
        except OSError:
            fcntl.ioctl(fd, _CLR_FD)
            raise
