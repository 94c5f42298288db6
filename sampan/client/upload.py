"""A request body that leaves while its answer is awaited: archives, pipes, whatever an iterable gives."""

import errno
import posix
import select

from sampan.client.errors import ClientError
from sampan.client.wire import PIECE, Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Final

_LOST: "Final" = (errno.EPIPE, errno.ECONNRESET, errno.ECONNABORTED, errno.ENOTCONN)
_FILE_PIECE: "Final" = 1 << 20
_KIND: "Final" = 0o170000
_REGULAR: "Final" = 0o100000
_SEEK_CUR: "Final" = 1


class Upload:
    """Sends a source in chunks, from a descriptor or an iterable of bytes.

    A descriptor is only read when it has something, so that a slow writer does not keep the daemon's answer
    from being seen.
    """

    __slots__ = ("_data", "_ended", "_source", "header", "source_fd")

    def __init__(self, source: "int | Iterable[bytes]") -> None:
        self.source_fd = source if isinstance(source, int) else -1
        self._source: Iterator[bytes] | None = None if isinstance(source, int) else iter(source)
        self._data = memoryview(b"")
        self._ended = False
        self.header = "Transfer-Encoding: chunked\r\n"

    @property
    def hungry(self) -> bool:
        """Whether more of the source is needed before anything can be sent."""
        return not self._data and not self._ended

    @property
    def done(self) -> bool:
        """Whether everything has been sent."""
        return self._ended and not self._data

    def refill(self) -> None:
        """Take the next piece of the source."""
        piece = posix.read(self.source_fd, PIECE) if self._source is None else next(self._source, None)
        if piece:
            self._data = memoryview(b"%x\r\n%b\r\n" % (len(piece), piece))
        elif piece is None or self._source is None:
            self._ended = True
            self._data = memoryview(b"0\r\n\r\n")

    def advance(self, wire: Wire) -> None:
        """Send what fits now. Raises OSError when the daemon is gone."""
        self._data = self._data[wire.send(self._data) :]

    def pump(self, wire: Wire) -> bool:
        """Send until the daemon says something (return False) or nothing is left."""
        poll = select.poll()
        while not self.done or wire.backlog:
            if wire.pending:
                return False
            hungry = self.hungry
            if hungry and self.source_fd < 0:
                self.refill()
                continue
            poll.register(wire.fileno(), select.POLLIN | (0 if hungry else select.POLLOUT))
            if hungry:
                poll.register(self.source_fd, select.POLLIN)
            ready = dict(poll.poll())
            if hungry:
                poll.unregister(self.source_fd)
                if self.source_fd in ready:
                    self.refill()
            state = ready.get(wire.fileno(), 0)
            if state & select.POLLIN:
                return False
            if state:
                try:
                    self.advance(wire)
                except OSError as error:
                    if error.errno not in _LOST:
                        raise
                    break  # it may have said why before it hung up
        return True


class FileUpload(Upload):
    """Sends the rest of a regular file, whose ``size`` is known; the kernel copies it."""

    __slots__ = ("_left",)

    def __init__(self, fd: int, size: int) -> None:
        super().__init__(fd)
        self._left = size
        self.header = f"Content-Length: {size}\r\n"

    @property
    def hungry(self) -> bool:
        return False

    @property
    def done(self) -> bool:
        return not self._left

    def advance(self, wire: Wire) -> None:
        try:
            sent = wire.send_file(self.source_fd, min(self._left, _FILE_PIECE))
        except BlockingIOError:
            return
        if not sent:
            raise ClientError("the file became shorter while it was sent")
        self._left -= sent


def open_upload(source: "int | Iterable[bytes]", *, tls: bool) -> Upload:
    """Return the best way to send ``source``; what goes through TLS cannot be copied by the kernel."""
    if isinstance(source, int) and not tls:
        state = posix.fstat(source)
        if state.st_mode & _KIND == _REGULAR:
            return FileUpload(source, max(0, state.st_size - posix.lseek(source, 0, _SEEK_CUR)))
    return Upload(source)
