"""Sending files, and what is made of them: by the kernel (sendfile) over a plain socket, else in pieces."""

import asyncio
import errno
import os
import select
import socket
from asyncio.trsock import TransportSocket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import BinaryIO, Final

from sampan.api.http1 import LAST_CHUNK
from sampan.base.outflow import FilePart, zeros
from sampan.base.threads import blocking

_PIECE: Final = 1 << 20  # bytes at a time: others get their turn in between
_READ: Final = 1 << 18  # bytes in memory, where TLS wants them there
_CANNOT: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})  # the file system does not do it
_STALLED_S: Final = 300.0  # a client that takes no piece in that time is gone, or means harm


async def send_file(
    transport: asyncio.Transport,
    file: BinaryIO,
    offset: int,
    count: int,
    drain: Callable[[], Awaitable[None]],
) -> None:
    """Send ``count`` bytes of ``file`` from ``offset``; ``drain`` waits for room in the transport's buffer.

    Raises ConnectionError when the client is gone or takes nothing; EOFError when the file is too short.
    """
    plain = transport.get_extra_info("socket") is not None  # what TLS is spoken on is nobody else's
    try:
        while count:
            async with asyncio.timeout(_STALLED_S):
                if plain:
                    sent = await _by_kernel(transport, file, offset, min(count, _PIECE))
                else:
                    sent = await _copied(transport, file, offset, min(count, _READ))
                    await drain()
            if not sent:
                raise EOFError(f"the file ends {count} bytes too early")
            offset += sent
            count -= sent
    except TimeoutError:
        raise ConnectionResetError("the client takes nothing") from None


async def _by_kernel(transport: asyncio.Transport, file: BinaryIO, offset: int, size: int) -> int:
    if transport.is_closing():
        raise ConnectionResetError
    return await asyncio.get_running_loop().sendfile(transport, file, offset, size, fallback=False)


async def _copied(transport: asyncio.Transport, file: BinaryIO, offset: int, size: int) -> int:
    data = await blocking(os.pread, file.fileno(), size, offset)
    transport.write(data)
    return len(data)


class SocketSink:
    """A client's plain socket, to which one thread writes a body, past the event loop. ``close`` it then.

    Nobody else may write to the socket meanwhile. Raises ConnectionError when the client is gone or takes
    nothing.
    """

    def __init__(self, plain: TransportSocket, *, chunked: bool) -> None:
        self._socket: socket.socket = plain.dup()  # non-blocking like the one of which it is a copy
        self._socket.settimeout(_STALLED_S)
        self._chunked = chunked
        self._owed = b""  # what ends the last chunk

    def write(self, data: bytes) -> None:
        """Send ``data`` (not empty) as a chunk."""
        self._begin(len(data))
        self._send(data)

    def send(self, part: FilePart) -> None:
        """Send a part of a file in chunks of a size that clients read at once."""
        at, end = part.offset, part.offset + part.count
        while at < end:
            count = min(_PIECE, end - at)
            self._begin(count)
            self._send_file(FilePart(part.fd, at, count))
            at += count

    def finish(self) -> None:
        """Send what says that this was all."""
        if self._chunked:
            self._send(self._owed + LAST_CHUNK)

    def cut(self) -> None:
        """Let a call that waits in the thread fail; the connection is of no use any more."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()

    def _begin(self, size: int) -> None:
        if self._chunked:
            self._send(b"%b%x\r\n" % (self._owed, size), socket.MSG_MORE)
            self._owed = b"\r\n"

    def _send(self, data: bytes, flags: int = 0) -> None:
        try:
            self._socket.sendall(data, flags)
        except TimeoutError:
            raise ConnectionResetError("the client takes nothing") from None

    def _send_file(self, part: FilePart) -> None:
        at, end = part.offset, part.offset + part.count
        while at < end:
            try:
                sent = os.sendfile(self._socket.fileno(), part.fd, at, end - at)
            except BlockingIOError:
                self._wait()
                continue
            except OSError as error:
                if error.errno not in _CANNOT:
                    raise
                for piece in FilePart(part.fd, at, end - at).read():
                    self._send(piece)
                return
            if not sent:  # it has become shorter
                for piece in zeros(end - at):
                    self._send(piece)
                return
            at += sent

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLOUT)
        if not poll.poll(_STALLED_S * 1000):
            raise ConnectionResetError("the client takes nothing")
