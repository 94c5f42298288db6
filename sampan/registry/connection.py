"""One connection to a registry: TCP, maybe through a proxy, maybe with TLS, and requests over it in turn."""

import asyncio
import socket
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import TYPE_CHECKING, Final, cast

from sampan.registry.errors import BadAnswer, BadCertificate, ConnectionFailed, NotTLS
from sampan.registry.http1 import MAX_HEAD, ChunkedDecoder, Head, parse_head, render_request
from sampan.registry.proxies import Proxy

if TYPE_CHECKING:
    import ssl

_CONNECT_S: Final = 30.0
_SILENCE_S: Final = 60.0  # without a byte: the other side is taken for dead
_HIGH: Final = 2 << 20  # bytes that wait here at most


class Connection(asyncio.Protocol):
    """A connection that carries one exchange at a time. Made by ``connect``."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._paused = False
        self._ended = False
        self._error: Exception | None = None
        self._news: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self.used = False

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport, also the second one after TLS began."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Keep what came."""
        self._pieces.append(data)
        self._size += len(data)
        if self._size > _HIGH and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        """Take note that nothing more comes."""
        self._ended = True
        self._wake()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Wake whoever waits."""
        self._ended = True
        self._error = error
        self._wake()
        self.resume_writing()

    def pause_writing(self) -> None:
        """Take note that the transport's buffer is full."""
        self._room = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """Take note that there is room again."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    # Bytes.

    @property
    def fit(self) -> bool:
        """Whether another request may be sent."""
        return not self._ended and not self._pieces and self._transport is not None

    async def read(self) -> bytes:
        """Return the next bytes, b"" at the end. Raises ConnectionFailed if there is silence instead."""
        while not self._pieces:
            if self._ended:
                return b""
            self._news = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(_SILENCE_S):
                    await self._news
            except TimeoutError:
                raise ConnectionFailed("read: i/o timeout") from None
            finally:
                self._news = None
        piece = self._pieces.popleft()
        self._size -= len(piece)
        if self._paused and self._size <= _HIGH // 2 and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return piece

    def push_back(self, data: bytes) -> None:
        """Let the next ``read`` return ``data``."""
        if data:
            self._pieces.appendleft(data)
            self._size += len(data)

    async def write(self, data: bytes) -> None:
        """Send ``data``. Raises ConnectionFailed."""
        if self._ended or self._transport is None:
            raise ConnectionFailed(f"write: {_reason(self._error)}")
        self._transport.write(data)
        if self._room is not None:
            try:
                async with asyncio.timeout(_SILENCE_S):
                    await self._room
            except TimeoutError:
                raise ConnectionFailed("write: i/o timeout") from None

    def close(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()
        self._ended = True

    # Exchanges.

    async def ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: AsyncIterator[bytes] | None = None,
        *,
        chunked: bool = False,
    ) -> Head:
        """Send a request and return the head of its answer. Raises ConnectionFailed, BadAnswer.

        A registry may answer, and hang up, before it has read all of the body.
        """
        self.used = True
        await self.write(render_request(method, target, headers))
        if body is not None:
            try:
                async for piece in body:
                    if self._pieces:
                        self.used = False  # the rest of the body is owed: nothing can follow on this one
                        break
                    await self.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                else:
                    if chunked:
                        await self.write(b"0\r\n\r\n")
            except ConnectionFailed:
                if not self._pieces:
                    raise
        while True:
            head = parse_head(await self._read_head(), method)
            if head.status >= 200:
                return head

    async def _read_head(self) -> bytes:
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            if len(data) > MAX_HEAD:
                raise BadAnswer("the head of the HTTP response is too long")
            piece = await self.read()
            if not piece:
                if data:
                    raise BadAnswer(f"malformed HTTP response {data[:80]!r}")
                raise ConnectionFailed(_reason(self._error))
            if not data and not b"HTTP/".startswith(piece[:5]):
                raise BadAnswer(f"malformed HTTP response {piece[:80]!r}")
            data += piece
        self.push_back(data[end + 4 :])
        return data[: end + 4]

    async def body(self, head: Head) -> AsyncGenerator[bytes, None]:
        """Yield the body that follows ``head``. Raises ConnectionFailed if it is cut off."""
        if head.chunked:
            decoder = ChunkedDecoder()
            while not decoder.done:
                data = await self.read()
                if not data:
                    raise ConnectionFailed("unexpected EOF")
                for piece in decoder.feed(data):
                    yield piece
            self.push_back(decoder.rest)
            return
        if head.length is None:
            while data := await self.read():
                yield data
            return
        left = head.length
        while left:
            data = await self.read()
            if not data:
                raise ConnectionFailed("unexpected EOF")
            if len(data) > left:
                self.push_back(data[left:])
                data = data[:left]
            left -= len(data)
            yield data


def _reason(error: Exception | None) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "EOF"


async def connect(host: str, port: int, context: "ssl.SSLContext | None", proxy: Proxy | None) -> Connection:
    """Connect to ``host``:``port``, with TLS if there is a ``context``. Raises ConnectionFailed."""
    try:
        async with asyncio.timeout(_CONNECT_S):
            return await _connect(host, port, context, proxy)
    except TimeoutError:
        raise ConnectionFailed(f"dial tcp {join(host, port)}: i/o timeout") from None


async def _connect(host: str, port: int, context: "ssl.SSLContext | None", proxy: Proxy | None) -> Connection:
    loop = asyncio.get_running_loop()
    at_host, at_port = (proxy.host, proxy.port) if proxy is not None else (host, port)
    try:
        transport, connection = await loop.create_connection(Connection, at_host, at_port)
    except socket.gaierror as error:
        raise ConnectionFailed(f"dial tcp: lookup {at_host}: no such host", refused=True) from error
    except OSError as error:
        raise ConnectionFailed(
            f"dial tcp {join(at_host, at_port)}: connect: {_dial_reason(error)}", refused=True
        ) from error
    if context is None:
        return connection
    try:
        if proxy is not None:
            target = join(host, port)
            head = await connection.ask("CONNECT", target, {"Host": target, **proxy.headers()})
            if head.status != 200:
                raise ConnectionFailed(f"proxyconnect tcp: HTTP status {head.status}")
            connection.used = False
        return await _start_tls(transport, connection, context, host)
    except BaseException:
        connection.close()
        raise


async def _start_tls(
    transport: asyncio.Transport, connection: Connection, context: "ssl.SSLContext", host: str
) -> Connection:
    import ssl

    try:
        secured = await asyncio.get_running_loop().start_tls(
            transport, connection, context, server_hostname=host
        )
    except ssl.SSLCertVerificationError as error:
        reason = "x509: certificate signed by unknown authority"
        if "mismatch" in error.verify_message or "not valid for" in error.verify_message:
            reason = f"x509: certificate is not valid for {host}"
        elif "expired" in error.verify_message:
            reason = "x509: certificate has expired or is not yet valid"
        raise BadCertificate(f"tls: failed to verify certificate: {reason}") from error
    except ssl.SSLError as error:
        if error.reason in {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"}:
            raise NotTLS("http: server gave HTTP response to HTTPS client") from error
        raise ConnectionFailed(f"remote error: tls: {(error.reason or 'failure').lower()}") from error
    except OSError as error:
        raise ConnectionFailed(f"remote error: tls: {error.strerror or 'EOF'}") from error
    if secured is None:
        raise ConnectionFailed("remote error: tls: EOF")
    connection.connection_made(secured)
    return connection


def _dial_reason(error: OSError) -> str:
    if error.strerror and error.errno and "Connect call failed" not in error.strerror:
        return error.strerror.lower()
    import os

    return os.strerror(error.errno).lower() if error.errno else str(error)


def join(host: str, port: int) -> str:
    """Return ``host:port``, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
