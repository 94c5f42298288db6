"""An answer's body on its way into a file or a pipe: moved by the kernel where that can be."""

import errno
import posix
import select

from sampan.client.wire import PIECE, Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_STEP: "Final" = 1 << 20
_WRITE_BACK: "Final" = 32 << 20
_KIND: "Final" = 0o170000
_PIPE: "Final" = 0o010000
_REGULAR: "Final" = 0o100000
_CANNOT: "Final" = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


class Output:
    """An open descriptor that takes a body; ``size`` is what it has taken. ``close`` leaves it open.

    ``write_back``: let the disk begin early, because somebody will wait for it (fsync).
    """

    __slots__ = ("_begun", "_fd", "_in", "_out", "_write_back", "size")

    def __init__(self, fd: int, *, write_back: bool = False) -> None:
        self._fd = fd
        self._begun = 0
        self._write_back = write_back
        self.size = 0
        self._in = self._out = -1  # of the pipe that splice(2) wants between a socket and a file
        kind = posix.fstat(fd).st_mode & _KIND
        if kind == _PIPE:
            self._in = fd
        elif kind == _REGULAR:
            self._out, self._in = posix.pipe2(posix.O_CLOEXEC)
        if self._in >= 0:
            from contextlib import suppress
            from fcntl import F_SETPIPE_SZ, fcntl

            with suppress(OSError):  # this user's pipes have come to their limit
                fcntl(self._in, F_SETPIPE_SZ, _STEP)

    def close(self) -> None:
        """Give back what was needed for it."""
        if self._out >= 0:
            posix.close(self._in)
            posix.close(self._out)
        self._in = self._out = -1

    def write(self, data: "bytes | memoryview") -> None:
        """Write all of ``data``, also where somebody has made the descriptor non-blocking."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[posix.write(self._fd, rest) :]
            except BlockingIOError:
                self._wait()
        self._taken(len(data))

    def take(self, wire: Wire, count: int) -> int:
        """Take up to ``count`` bytes that arrive; return how many, 0 if the connection has ended."""
        if self._in < 0 or wire.pending or not wire.plain:
            return self._copied(wire, count)
        try:
            moved = posix.splice(wire.fileno(), self._in, min(count, _STEP))
        except ConnectionResetError:
            return 0
        except BlockingIOError:  # only the pipe can be meant: the socket waits
            self._wait()
            return self.take(wire, count)
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
            self.close()
            return self._copied(wire, count)
        if self._out >= 0:
            self._empty(moved)
        self._taken(moved)
        return moved

    def _copied(self, wire: Wire, count: int) -> int:
        data = wire.recv(min(count, PIECE))
        if len(data) > count:  # it had been read before
            wire.unread(data[count:])
            data = data[:count]
        self.write(data)
        return len(data)

    def _empty(self, held: int) -> None:
        """Move what the pipe holds into the file."""
        while held:
            try:
                held -= posix.splice(self._out, self._fd, held)
            except OSError as error:
                if error.errno not in _CANNOT:
                    raise
                self.size -= held  # as ``write`` counts them, and so does our caller
                while held:
                    data = posix.read(self._out, held)
                    self.write(data)
                    held -= len(data)
                self.close()

    def _taken(self, count: int) -> None:
        self.size += count
        if self._write_back and self.size - self._begun >= _WRITE_BACK:
            # what is not on the disk yet is not dropped, it is only told to get there (mm/fadvise.c)
            posix.posix_fadvise(self._fd, self._begun, self.size - self._begun, posix.POSIX_FADV_DONTNEED)
            self._begun = self.size

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        poll.poll()
