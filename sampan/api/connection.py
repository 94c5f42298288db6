"""One client's connection: requests in, answers out, in order; or, once hijacked, bytes both ways.

Requests are taken up one after the other: while one is being answered, what the client sends ahead waits in
the buffer (and, past a limit, in the kernel). The parser never reads beyond the request at hand, so a
hijack finds the bytes behind it untouched.
"""

import asyncio
import logging
import select
import socket
from asyncio.trsock import TransportSocket
from collections.abc import Callable, Coroutine
from contextlib import aclosing, closing, suppress
from typing import Any, Final, Protocol, cast

from sampan.api.body import EMPTY, Body, BodyTruncated
from sampan.api.hijack import Hijacked
from sampan.api.http1 import LAST_CHUNK, MAX_HEAD, BadRequest, ChunkedDecoder, Head, chunk, parse_head
from sampan.api.response import Answer, FileResponse, Hijack, Response, StreamResponse
from sampan.api.sending import SocketSink, send_file
from sampan.base.outflow import Outflow
from sampan.base.tasks import Tasks

_log = logging.getLogger(__name__)

_AHEAD: Final = 1 << 16  # bytes of further requests that are read while one is answered
_HEAD_TIMEOUT_S: Final = 60.0
_LINGER_S: Final = 2.0
_REST: Final = 1 << 18  # bytes of a body that are read although nobody wants them, as Go's server does
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_HANDSHAKE: Final = 0x16  # with which a client begins that speaks TLS (RFC 8446, 5.1)
_END_OF_HEAD: Final = b"\r\n\r\n"


Work = Callable[[], Coroutine[Any, Any, Answer]]  # not begun yet: the client may go before it is its turn


class Application(Protocol):
    """What answers the requests: the server."""

    tasks: Tasks

    def opened(self, connection: "Connection") -> None:
        """Take note of a new connection."""

    def closed(self, connection: "Connection") -> None:
        """Forget a connection."""

    def handle(self, head: Head, body: Body) -> Answer | Work:
        """Answer at once, or return what to call and await for the answer. Neither raises."""

    def head(self, answer: Answer, length: int | None, *, close: bool) -> bytes:
        """Render the answer's head; ``length`` None: chunked, negative: until the connection closes."""

    def refusal(self, error: BadRequest) -> Response:
        """Turn a protocol error into an answer."""


class Connection(asyncio.Protocol):
    """The HTTP/1.1 side of one connection."""

    __slots__ = (
        "_answering",
        "_app",
        "_at",
        "_body",
        "_buffer",
        "_deaf",
        "_decoder",
        "_eof",
        "_expects",
        "_hangup",
        "_hijacked",
        "_last",
        "_left",
        "_paused",
        "_scanned",
        "_streaming",
        "_task",
        "_timer",
        "_transport",
        "_writable",
    )
    _transport: asyncio.Transport

    def __init__(self, app: Application) -> None:
        self._app = app
        self._buffer: bytes | bytearray = b""
        self._at = 0  # start of what is unread in the buffer
        self._scanned = 0  # no head ends before this offset
        self._body: Body | None = None  # the body that is still arriving
        self._decoder: ChunkedDecoder | None = None
        self._left = 0  # bytes of a body of known length still to come
        self._expects = False
        self._task: asyncio.Task[None] | None = None
        self._answering = False
        self._streaming = False
        self._hijacked: Hijacked | None = None
        self._hangup: _HangupWatch | None = None
        self._paused = False
        self._last = False  # close after the answer at hand
        self._deaf = False  # drop what the client sends
        self._eof = False
        self._timer: asyncio.TimerHandle | None = None
        self._writable: asyncio.Future[None] | None = None

    # What the transport tells us.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to serve."""
        self._transport = cast("asyncio.Transport", transport)
        self._app.opened(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes from the client."""
        if self._hijacked is not None:
            self._hijacked.feed(data)
            return
        if self._deaf:
            return
        if self._body is not None:
            data = self._feed_body(self._body, data)
            if not data:
                return
        if self._at:
            self._buffer = self._buffer[self._at :]
            self._scanned -= self._at
            self._at = 0
        if self._buffer:
            self._buffer += data
        else:
            self._buffer = data
        if not self._answering:
            self._serve()
        if (self._answering or self._writable is not None) and len(self._buffer) - self._at > _AHEAD:
            self._pause()

    def eof_received(self) -> bool:
        """Take note that the client sends nothing more; return True to keep the other direction open.

        As with Docker, that ends an answer which is being streamed. A finite answer is still given, unless
        the client of a unix socket has verifiably gone.
        """
        self._eof = True
        if self._hijacked is not None:
            self._hijacked.feed_eof()
            self._watch_hangup()
            return True
        if self._body is not None:
            self._body.fail("unexpected EOF in the request body")
        if not self._answering:
            return False
        if self._task is not None and (self._streaming or _hung_up(self._transport)):
            self._transport.abort()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """Stop what was done for the client."""
        self._app.closed(self)
        self._deaf = self._last = True
        self._stop_timer()
        if self._hangup is not None:
            self._hangup.close()
            self._hangup = None
        if self._body is not None:
            self._body.fail("the client closed the connection")
        if self._hijacked is not None:
            self._hijacked.lose()
        if self._task is not None:
            self._task.cancel()
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    def pause_writing(self) -> None:
        """Take note that the transport's buffer is full."""
        if self._hijacked is not None:
            self._hijacked.pause_writing()
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """Take note that the transport's buffer has room again."""
        if self._hijacked is not None:
            self._hijacked.resume_writing()
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None
        if not (self._answering or self._deaf):
            self._resume()
            self._serve()

    def shut(self) -> None:
        """End the connection: now if it is idle or streams, else after the answer at hand."""
        self._last = True
        if not self._answering:
            self._transport.close()
        elif self._task is not None and (self._streaming or self._hijacked is not None):
            self._task.cancel()

    def cut(self) -> None:
        """End the connection whatever it does."""
        self._transport.abort()

    # Reading.

    def _serve(self) -> None:
        """Answer the complete requests in the buffer until one has to be waited for.

        A client that sends but does not read its answers is not served further, either.
        """
        while not (self._answering or self._deaf or self._writable is not None):
            while self._buffer[self._at : self._at + 2] == b"\r\n":  # tolerated before a request line
                self._at += 2
            if self._at == len(self._buffer):
                self._buffer, self._at, self._scanned = b"", 0, 0
                return
            end = self._buffer.find(_END_OF_HEAD, max(self._at, self._scanned))
            if end < 0 or end - self._at > MAX_HEAD:
                self._wait_for_head()
                return
            self._stop_timer()
            raw = bytes(self._buffer[self._at : end + 4])
            self._at = self._scanned = end + 4
            try:
                head = parse_head(raw)
            except BadRequest as error:
                self._refuse(error)
                return
            self._begin(head)

    def _wait_for_head(self) -> None:
        if self._buffer[self._at] == _HANDSHAKE:  # it would wait for an answer, and so would we
            self._refuse(BadRequest(400, "malformed HTTP request"))
            return
        if len(self._buffer) - self._at > MAX_HEAD:
            self._refuse(BadRequest(431, "request header is too large"))
            return
        if self._at or not isinstance(self._buffer, bytearray):
            self._buffer = bytearray(self._buffer[self._at :])  # grows in place while the head trickles in
            self._at = 0
        self._scanned = max(0, len(self._buffer) - 3)
        if self._timer is None:
            late = BadRequest(408, "timed out waiting for the request")
            self._timer = asyncio.get_running_loop().call_later(_HEAD_TIMEOUT_S, self._refuse, late)

    def _begin(self, head: Head) -> None:
        body = EMPTY
        if head.length != 0:
            body = self._body = Body(self._want_body)
            self._left = head.length or 0
            self._decoder = ChunkedDecoder() if head.length is None else None
            self._expects = "100-continue" in head.headers.get("expect", "").lower()
            rest = bytes(self._buffer[self._at :])
            self._buffer, self._at, self._scanned = b"", 0, 0
            if rest:
                self._buffer = self._feed_body(body, rest)
        self._answering = True
        answer = self._app.handle(head, body)
        if isinstance(answer, Response):
            self._write_response(head, answer)
            self._end(head)
        elif isinstance(answer, (StreamResponse, FileResponse, Hijack)):
            self._task = self._app.tasks.spawn(self._answer(head, answer), name=head.target)
        else:
            self._task = self._app.tasks.spawn(self._work(head, answer), name=head.target)

    def _feed_body(self, body: Body, data: bytes) -> bytes:
        """Give ``data`` (not empty) to the body; return what is behind its end."""
        more = True
        if self._decoder is None:
            rest = data[self._left :]
            piece = data[: self._left] if rest else data
            self._left -= len(piece)
            more = body.feed(piece)
            ended = self._left == 0
        else:
            try:
                for piece in self._decoder.feed(data):
                    more = body.feed(piece)
            except BadRequest as error:
                body.fail(str(error))
                self._deaf = self._last = True
                return b""
            rest, ended = self._decoder.rest, self._decoder.done
        if ended:
            self._body = None
            self._decoder = None
            body.end()
        elif not more:
            self._pause()
        return rest

    def _want_body(self) -> None:
        if self._expects:
            self._expects = False
            if not (self._transport.is_closing() or self._streaming):
                self._transport.write(_CONTINUE)
        self._resume()

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    # Answering.

    async def _work(self, head: Head, work: Work) -> None:
        try:
            answer = await work()
        except BaseException:
            self._abandon()
            raise
        await self._answer(head, answer)

    async def _answer(self, head: Head, answer: Answer) -> None:
        try:
            if isinstance(answer, Hijack):
                await self._hijack(answer)
                return
            if isinstance(answer, StreamResponse):
                await self._stream(head, answer)
            elif isinstance(answer, FileResponse):
                await self._send(head, answer)
            else:
                await self._take_rest()
                self._write_response(head, answer)
                await self._drain()
        except ConnectionError:
            self._abandon()
        except asyncio.CancelledError:
            self._abandon()
            raise
        except Exception:
            self._abandon()  # the head is out: breaking off is the only way left to say it
            _log.exception("answer broke off", extra={"target": head.target})
        else:
            self._end(head)
            self._serve()

    async def _take_rest(self) -> None:
        """Read the rest of a short body before the answer: Go's client takes an early one for a break."""
        if (body := self._body) is None or self._expects or self._left > _REST:
            return
        left = _REST
        with suppress(TimeoutError, BodyTruncated):
            async with asyncio.timeout(_LINGER_S):
                while left > 0 and (piece := await body.read()):
                    left -= len(piece)

    def _write_response(self, head: Head, answer: Response) -> None:
        out = self._app.head(answer, len(answer.body), close=not self._stays(head))
        if not self._transport.is_closing():
            self._transport.write(out + answer.body if head.method != "HEAD" else out)

    async def _stream(self, head: Head, answer: StreamResponse) -> None:
        chunked = answer.length is None and not head.http10
        self._streaming = True
        if self._eof and self._task is not None:
            self._task.cancel()  # takes effect inside the generator, which then cleans up
        if not self._transport.is_closing():
            length = None if chunked else -1 if answer.length is None else answer.length
            self._transport.write(self._app.head(answer, length, close=not self._stays(head)))
        pieces = answer.pieces
        if isinstance(pieces, Outflow):
            if (sink := self._sink(chunked=chunked)) is not None:
                with closing(sink):
                    await pieces.pour(sink)
                self._streaming = False
                return
            pieces = aiter(pieces)
        async with aclosing(pieces):
            async for piece in pieces:
                if self._transport.is_closing():
                    raise ConnectionResetError
                if piece:
                    self._transport.write(chunk(piece) if chunked else piece)
                    if self._writable is not None:
                        await self._drain()
            if chunked:
                self._transport.write(LAST_CHUNK)
        self._streaming = False

    def _sink(self, *, chunked: bool) -> SocketSink | None:
        """Return the plain socket for a thread to write to, None if there is none or bytes wait here."""
        plain: TransportSocket | None = self._transport.get_extra_info("socket")
        if plain is None or self._transport.get_write_buffer_size() or self._transport.is_closing():
            return None
        return SocketSink(plain, chunked=chunked)

    async def _send(self, head: Head, answer: FileResponse) -> None:
        with answer.file:
            if self._transport.is_closing():
                raise ConnectionResetError
            self._transport.write(self._app.head(answer, answer.count, close=not self._stays(head)))
            if head.method != "HEAD":
                await send_file(self._transport, answer.file, answer.offset, answer.count, self._drain)

    async def _drain(self) -> None:
        if self._writable is not None:
            await self._writable
        if self._transport.is_closing():
            raise ConnectionResetError

    async def _hijack(self, answer: Hijack) -> None:
        first = bytes(self._buffer[self._at :])
        self._buffer, self._at = b"", 0
        self._hijacked = stream = Hijacked(self._transport, self._linger, first, eof=self._eof)
        if self._transport.is_closing():
            stream.lose()
        else:
            self._resume()
            self._transport.write(self._app.head(answer, -1, close=False))
            if self._eof:
                self._watch_hangup()
        try:
            await answer.run(stream)
        finally:
            stream.close()

    def _watch_hangup(self) -> None:
        """Cancel the hijacker when a unix client that has closed its sending side goes away for good.

        asyncio no longer looks at the socket once it has read the end, and a stream that has nothing to send
        would never notice.
        """
        if self._hangup is None and self._task is not None and (plain := _unix_socket(self._transport)):
            self._hangup = _HangupWatch(plain, self._task)

    def _stays(self, head: Head) -> bool:
        """Tell whether the connection can carry another request after this one."""
        return head.keep_alive and not (self._last or self._eof or self._body is not None)

    def _end(self, head: Head) -> None:
        """Be ready for the next request, or close."""
        self._answering = False
        self._task = None
        if self._stays(head):
            self._resume()
        else:
            self._linger()

    def _refuse(self, error: BadRequest) -> None:
        """Answer a request that cannot be read, and close."""
        self._stop_timer()
        answer = self._app.refusal(error)
        if not self._transport.is_closing():
            self._transport.write(self._app.head(answer, len(answer.body), close=True) + answer.body)
        self._linger()

    def _linger(self) -> None:
        """Close once what was written is sent and the client had the time to read it.

        Closing with unread bytes in the kernel would reset the connection and could take the end of the
        answer with it: so close our side first, and drop what comes until the client closes its own.
        """
        self._deaf = self._last = True
        self._answering = False
        self._hijacked = None
        self._body = None
        self._buffer, self._at = b"", 0
        if self._transport.is_closing():
            return
        if self._eof:
            self._transport.close()
            return
        self._resume()
        self._transport.write_eof()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_LINGER_S, self._transport.abort)

    def _abandon(self) -> None:
        self._answering = False
        self._deaf = self._last = True
        self._task = None
        self._transport.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _unix_socket(transport: asyncio.Transport) -> TransportSocket | None:
    plain: TransportSocket | None = transport.get_extra_info("socket")
    return plain if plain is not None and plain.family == socket.AF_UNIX and plain.fileno() >= 0 else None


def _hung_up(transport: asyncio.Transport) -> bool:
    """Tell whether the peer of a unix socket has closed both directions (TCP cannot tell before a write)."""
    if (plain := _unix_socket(transport)) is None:
        return False
    poll = select.poll()
    poll.register(plain.fileno(), 0)
    return any(events & select.POLLHUP for _, events in poll.poll(0))


class _HangupWatch:
    """Cancels ``task`` once the peer of ``plain`` has closed both directions.

    An epoll set of our own reports nothing but EPOLLHUP and EPOLLERR, and is itself watched by the loop.
    """

    def __init__(self, plain: TransportSocket, task: asyncio.Task[None]) -> None:
        self._epoll = select.epoll()
        self._epoll.register(plain.fileno(), 0)
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._epoll.fileno(), self._gone)

    def _gone(self) -> None:
        self.close()
        self._task.cancel()

    def close(self) -> None:
        """Stop to watch."""
        if not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
