"""A connection that has left HTTP behind: bytes both ways, each direction closed on its own."""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

_HIGH: Final = 1 << 18


class Stream(Protocol):
    """What attach and exec get: a hijacked connection, or a websocket that looks like one."""

    @property
    def socket(self) -> socket.socket | None:
        """A descriptor of the plain connection for somebody else to use from now on, or None.

        None on TLS and websockets, and when bytes are under way in this process already. The caller owns what
        it gets; after that, only ``close`` may be called here (which leaves the other descriptor working).
        """

    async def read(self) -> bytes:
        """Return bytes from the client, or ``b""`` once it has closed its sending side or has gone."""

    async def write(self, data: bytes) -> None:
        """Send ``data``; wait while the client is slow. Raises ConnectionResetError when it has gone."""

    def post(self, data: bytes) -> None:
        """Send ``data`` (little of it) without waiting; no-op when the client has gone."""

    async def write_eof(self) -> None:
        """Close the sending side; the client may go on sending."""

    def close(self) -> None:
        """End the connection once what was written is sent."""


class Hijacked:
    """A hijacked connection.

    ``transport`` may be asyncio's own or ``api.tls``'s; ``finish`` closes it without losing what is under
    way; ``first`` are the bytes that arrived behind the request.
    """

    __slots__ = (
        "_eof",
        "_finish",
        "_lost",
        "_paused",
        "_pieces",
        "_reader",
        "_size",
        "_transport",
        "_writable",
        "handed_over",
    )

    def __init__(
        self, transport: asyncio.Transport, finish: Callable[[], None], first: bytes, *, eof: bool
    ) -> None:
        self._transport = transport
        self._finish = finish
        self._pieces: deque[bytes] = deque([first] if first else [])
        self._size = len(first)
        self._eof = eof
        self._lost = False
        self._paused = False
        self._reader: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self.handed_over = False

    @property
    def socket(self) -> socket.socket | None:
        """A descriptor of the plain connection, see ``Stream``."""
        plain = self._transport.get_extra_info("socket")
        if (
            plain is None
            or self._pieces
            or self._eof
            or self._lost
            or self._transport.get_write_buffer_size()
            or self._transport.is_closing()
        ):
            return None
        self._transport.pause_reading()
        self._paused = True
        self.handed_over = True
        duplicate: socket.socket = plain.dup()
        duplicate.setblocking(False)  # noqa: FBT003 - the socket module's signature
        return duplicate

    async def read(self) -> bytes:
        """Return bytes from the client, or ``b""`` once it has closed its sending side or has gone."""
        while not self._pieces:
            if self._eof or self._lost:
                return b""
            if self._paused:
                self._paused = False
                self._transport.resume_reading()
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        piece = self._pieces.popleft()
        self._size -= len(piece)
        if self._paused and self._size <= _HIGH and not self._lost:
            self._paused = False
            self._transport.resume_reading()
        return piece

    async def write(self, data: bytes) -> None:
        """Send ``data``; wait while the client is slow. Raises ConnectionResetError when it has gone."""
        if self._lost or self._transport.is_closing():
            raise ConnectionResetError("the client has gone")
        self._transport.write(data)
        if self._writable is not None:
            await self._writable

    def post(self, data: bytes) -> None:
        """Send ``data`` (little of it) without waiting; no-op when the client has gone."""
        if not (self._lost or self._transport.is_closing()):
            self._transport.write(data)

    async def write_eof(self) -> None:
        """Close the sending side; the client may go on sending."""
        if not (self._lost or self._transport.is_closing()):
            self._transport.write_eof()

    def close(self) -> None:
        """End the connection once what was written is sent."""
        if self.handed_over:
            self._transport.abort()  # the other descriptor keeps the connection up
        else:
            self._finish()

    # What the connection tells us.

    def feed(self, data: bytes) -> None:
        """Take bytes from the client."""
        self._pieces.append(data)
        self._size += len(data)
        if self._size > _HIGH and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def feed_eof(self) -> None:
        """Take note that the client has closed its sending side."""
        self._eof = True
        self._wake()

    def lose(self) -> None:
        """Take note that the connection is gone."""
        self._lost = True
        self._wake()
        if self._writable is not None and not self._writable.done():
            self._writable.set_exception(ConnectionResetError("the client has gone"))
            self._writable.exception()  # a writer may or may not be waiting

    def pause_writing(self) -> None:
        """Take note that the transport's buffer is full."""
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """Take note that the transport's buffer has room again."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
