"""Watching files and directories for changes (inotify(7)).

The descriptor is non-blocking, made to be given to an event loop's reader.
"""

import ctypes
import errno
import os
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from sampan.kernel.libc import check, libc

# sys/inotify.h
MODIFY: Final = 0x2
CLOSE_WRITE: Final = 0x8
CLOSE_NOWRITE: Final = 0x10
MOVED_FROM: Final = 0x40
MOVED_TO: Final = 0x80
CREATE: Final = 0x100
DELETE: Final = 0x200
DELETE_SELF: Final = 0x400
MOVE_SELF: Final = 0x800
IGNORED: Final = 0x8000  # the watch is gone: removed, or its object was deleted
OVERFLOW: Final = 0x4000  # events were lost
ONLYDIR: Final = 0x1000000

_EVENT: Final = struct.Struct("iIII")  # wd, mask, cookie, length of the name that follows
_READ: Final = 65536

libc.inotify_init1.argtypes = [ctypes.c_int]
libc.inotify_add_watch.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32]
libc.inotify_rm_watch.argtypes = [ctypes.c_int, ctypes.c_int]


@dataclass(frozen=True, slots=True)
class Event:
    """``watch`` (-1 on OVERFLOW) saw ``mask``; ``name`` is the entry of a watched directory, else empty."""

    watch: int
    mask: int
    name: str


class Inotify:
    """A set of watches with one queue of events. Raises OSError (EMFILE, ENOSPC when limits are reached)."""

    def __init__(self) -> None:
        self._fd = check(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """Return the descriptor, readable when events wait."""
        return self._fd

    def add(self, path: str | os.PathLike[str], mask: int) -> int:
        """Watch ``path`` for the events in ``mask`` and return the watch's number."""
        name = os.fspath(path)
        return check(libc.inotify_add_watch(self._fd, os.fsencode(name), mask), name)

    def remove(self, watch: int) -> None:
        """End a watch; one that ended by itself is no error."""
        if libc.inotify_rm_watch(self._fd, watch) < 0 and ctypes.get_errno() != errno.EINVAL:
            check(-1, f"inotify watch {watch}")

    def read(self) -> list[Event]:
        """Return the events that wait, oldest first, without waiting for any."""
        events: list[Event] = []
        while True:
            try:
                data = os.read(self._fd, _READ)
            except BlockingIOError:
                return events
            offset = 0
            while offset < len(data):
                watch, mask, _, length = _EVENT.unpack_from(data, offset)
                offset += _EVENT.size
                name = data[offset : offset + length].rstrip(b"\0")
                events.append(Event(watch, mask, os.fsdecode(name)))
                offset += length

    def close(self) -> None:
        """End all watches. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
