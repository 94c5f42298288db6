"""HTTP/1.1 as a client of one daemon speaks it: keep-alive, chunked bodies both ways, hijacked connections.

A request is *sent* and its answer *received* in two steps, so that a caller may have several under way
without threads. A connection belongs to one answer until its body is read to the end; then it is kept for
the next. What the requests mean is ``api``'s business.
"""

from sampan.client.errors import ConnectionFailed
from sampan.client.wire import PIECE, Wire, describe, dial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Final

    from sampan.client.download import Output
    from sampan.client.endpoint import Endpoint
    from sampan.client.upload import Upload

    Body = bytes | int | Iterable[bytes] | None

MAX_HEAD: "Final" = 262144
_FEW: "Final" = 64  # bytes of a body that are read along with the size of a chunk, not moved by the kernel


class Connection:
    """One connection: its wire, what was read but not used yet, a request body that may still be leaving.

    ``again`` is a request that may be sent a second time, over a new wire, if a kept one turns out dead;
    ``bodiless``: the answer is a head alone, whatever it says of its length.
    """

    __slots__ = ("again", "bodiless", "buffer", "upload", "wire")

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.again = b""
        self.bodiless = False
        self.buffer = b""
        self.upload: Upload | None = None

    def fill(self, size: int = PIECE) -> bool:
        """Append what comes next to the buffer, sending the rest of the body meanwhile; False: the end."""
        if self.upload is not None and self.upload.pump(self.wire):
            self.upload = None
        data = self.wire.recv(size)
        self.buffer = self.buffer + data if self.buffer else data
        return bool(data)


class Response:
    """An answer whose head is known. Read its body to the end, or ``close``; header names are lower case."""

    __slots__ = ("_connection", "_transport", "headers", "status")

    def __init__(
        self, transport: "Transport", connection: Connection, status: int, headers: dict[str, str]
    ) -> None:
        self._transport = transport
        self._connection: Connection | None = connection
        self.status = status
        self.headers = headers

    @property
    def pending(self) -> bool:
        """Whether some of the body can be read although ``poll`` does not see it."""
        connection = self._connection
        return connection is not None and (bool(connection.buffer) or connection.wire.pending)

    def fileno(self) -> int:
        """Return the descriptor on which ``poll`` sees the body arrive."""
        return self._connection.wire.fileno() if self._connection is not None else -1

    def read(self) -> bytes:
        """Return the rest of the body. Raises ConnectionFailed if it breaks off."""
        return b"".join(self.chunks())

    def chunks(self) -> "Iterator[bytes]":
        """Yield the body in pieces as they arrive. Raises ConnectionFailed if it breaks off."""
        connection = self._connection
        if connection is None:
            return
        try:
            if self.status in {204, 304} or connection.bodiless:
                pass
            elif "chunked" in self.headers.get("transfer-encoding", ""):
                yield from self._chunked(connection)
            elif "content-length" in self.headers:
                yield from self._sized(connection, int(self.headers["content-length"]))
            else:
                while connection.buffer or connection.fill():
                    data, connection.buffer = connection.buffer, b""
                    yield data
                return
            self.release()
        finally:
            self.close()  # unless it was kept: nobody knows where the next answer would begin

    def pour(self, out: "Output") -> None:
        """Put the body into ``out``. Raises ConnectionFailed if it breaks off, OSError if it is not taken."""
        connection = self._connection
        if (
            connection is None
            or connection.upload is not None
            or "chunked" not in self.headers.get("transfer-encoding", "")
        ):
            for piece in self.chunks():
                out.write(piece)
            return
        try:
            while left := self._chunk_size(connection, _FEW):
                while left:
                    if data := connection.buffer[:left]:
                        connection.buffer = connection.buffer[left:]
                        out.write(data)
                        moved = len(data)
                    elif not (moved := out.take(connection.wire, left)):
                        raise self._broken()
                    left -= moved
                if self._line(connection, _FEW):
                    raise self._broken("a chunk is longer than it says")
            while self._line(connection):
                pass  # trailers
            self.release()
        finally:
            self.close()

    def lines(self) -> "Iterator[bytes]":
        """Yield the body line by line (without the line's end), as they arrive."""
        rest = b""
        for chunk in self.chunks():
            *whole, rest = (rest + chunk).split(b"\n")
            yield from whole
        if rest:
            yield rest

    def hijack(self) -> Wire:
        """Take the connection over for a protocol of its own; the body has not been touched."""
        connection = self._connection
        if connection is None:
            raise ConnectionFailed("the connection is closed already", self._transport.endpoint.host)
        self._connection = None
        if connection.buffer:
            connection.wire.unread(connection.buffer)
        return connection.wire

    def release(self) -> None:
        """Keep the connection for the next request; the body has been read."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if (
            connection.upload is not None
            or connection.buffer
            or "close" in self.headers.get("connection", "").lower()
        ):
            connection.wire.close()
        else:
            self._transport.idle.append(connection)

    def close(self) -> None:
        """Give the answer up, and the connection with it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.wire.close()

    def _sized(self, connection: Connection, left: int) -> "Iterator[bytes]":
        while left:
            if not connection.buffer and not connection.fill():
                raise self._broken()
            data = connection.buffer
            if len(data) > left:
                data, connection.buffer = data[:left], data[left:]
            else:
                connection.buffer = b""
            left -= len(data)
            yield data

    def _chunked(self, connection: Connection) -> "Iterator[bytes]":
        while True:
            size = self._chunk_size(connection)
            if not size:
                break
            yield from self._sized(connection, size)
            if self._line(connection):
                raise self._broken("a chunk is longer than it says")
        while self._line(connection):
            pass  # trailers

    def _chunk_size(self, connection: Connection, step: int = PIECE) -> int:
        digits = self._line(connection, step).partition(b";")[0].strip()
        try:
            return int(digits, 16)
        except ValueError:
            raise self._broken("a chunk has no size") from None

    def _line(self, connection: Connection, step: int = PIECE) -> bytes:
        while True:
            line, mark, rest = connection.buffer.partition(b"\r\n")
            if mark:
                connection.buffer = rest
                return line
            if len(line) > MAX_HEAD or not connection.fill(step):
                raise self._broken()

    def _broken(self, reason: str = "unexpected EOF") -> ConnectionFailed:
        self.close()
        return ConnectionFailed(reason, self._transport.endpoint.host)


class Download:
    """The body of an answer: the pieces of it as they arrive, or all of it put somewhere."""

    __slots__ = ("_response",)

    def __init__(self, response: Response) -> None:
        self._response = response

    def __iter__(self) -> "Iterator[bytes]":
        return self._response.chunks()

    def copy_to(self, fd: int, *, write_back: bool = False) -> int:
        """Put it into the open file or pipe ``fd``, moved by the kernel where it can; return its size.

        ``write_back`` lets the disk begin early. Raises ConnectionFailed if it breaks off, OSError.
        """
        from sampan.client.download import Output

        out = Output(fd, write_back=write_back)
        try:
            self._response.pour(out)
        finally:
            out.close()
            self._response.close()
        return out.size


class Transport:
    """Requests to one daemon. ``headers`` go with each of them. Not for use from several threads at once."""

    __slots__ = ("_fixed", "endpoint", "idle", "timeout")

    def __init__(
        self,
        endpoint: "Endpoint",
        *,
        headers: "Mapping[str, str] | None" = None,
        timeout: float | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.timeout = timeout
        self.idle: list[Connection] = []
        host = "localhost" if endpoint.kind != "tcp" else endpoint.host.partition("://")[2].partition("/")[0]
        fixed = {"Host": host, **(headers or {})}
        self._fixed = "".join(f"{name}: {value}\r\n" for name, value in fixed.items())

    def send(
        self,
        method: str,
        target: str,
        *,
        body: "Body" = None,
        content_type: str = "",
        headers: "Mapping[str, str] | None" = None,
        upgrade: bool = False,
    ) -> Connection:
        """Send a request and return the connection on which ``receive`` waits for its answer.

        ``target`` is path and query, percent-encoded. ``body`` is bytes, or a descriptor or an iterable of
        bytes to be sent while the answer is awaited. Raises ConnectionFailed, ClientError.
        """
        extra = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        if upgrade:
            extra += "Connection: Upgrade\r\nUpgrade: tcp\r\n"
        if content_type:
            extra += f"Content-Type: {content_type}\r\n"
        data = b""
        upload: Upload | None = None
        if isinstance(body, bytes):
            data = body
        elif body is not None:
            from sampan.client.upload import open_upload

            upload = open_upload(body, tls=self.endpoint.tls is not None)
            extra += upload.header
        if isinstance(body, bytes) or (body is None and method in {"POST", "PUT"}):
            extra += f"Content-Length: {len(data)}\r\n"
        head = f"{method} {self.endpoint.base}{target} HTTP/1.1\r\n{self._fixed}{extra}\r\n"
        request = head.encode("latin-1") + data
        if (connection := self._kept()) is not None:
            try:
                connection.wire.sendall(request)
            except OSError:
                connection.wire.close()  # it was closed just now; the request has not been seen
            else:
                connection.upload = upload
                connection.again = request if method in {"GET", "HEAD"} else b""
                connection.bodiless = method == "HEAD"
                return connection
        connection = self._dial(request)
        connection.upload = upload
        connection.bodiless = method == "HEAD"
        return connection

    def receive(self, connection: Connection) -> Response:
        """Wait for the head of the answer. Raises ConnectionFailed if none comes."""
        try:
            while True:
                try:
                    head = self._head(connection)
                except ConnectionFailed:
                    if not connection.again or connection.buffer:
                        raise
                    connection.wire.close()
                    connection.wire, connection.again = self._dial(connection.again).wire, b""
                    continue
                status, headers = parse_head(head, self.endpoint.host)
                if status >= 200 or status == 101:
                    connection.again = b""
                    return Response(self, connection, status, headers)
        except BaseException:
            connection.wire.close()
            raise

    def _head(self, connection: Connection) -> str:
        while (end := connection.buffer.find(b"\r\n\r\n")) < 0:
            if len(connection.buffer) > MAX_HEAD:
                raise ConnectionFailed("the answer's head is too long", self.endpoint.host)
            if not connection.fill():
                raise ConnectionFailed(
                    f"error during connect: the daemon at {self.endpoint.host} hung up: unexpected EOF",
                    self.endpoint.host,
                )
        head = connection.buffer[:end].decode("latin-1")
        connection.buffer = connection.buffer[end + 4 :]
        return head

    def warm(self) -> None:
        """Connect ahead of the first request. Raises ConnectionFailed, ClientError."""
        if not self.idle:
            self.idle.append(Connection(dial(self.endpoint, self.timeout)))

    def close(self) -> None:
        """Close the connections that are kept; answers that are being read keep theirs."""
        while self.idle:
            self.idle.pop().wire.close()

    def _kept(self) -> Connection | None:
        """Return a connection that is free, None if there is none."""
        while self.idle:
            connection = self.idle.pop()
            if not connection.wire.ended():
                return connection
            connection.wire.close()
        return None

    def _dial(self, request: bytes) -> Connection:
        """Send ``request`` over a new connection."""
        wire = dial(self.endpoint, self.timeout)
        try:
            wire.sendall(request)
        except OSError as error:
            wire.close()
            raise ConnectionFailed(describe(self.endpoint, error), self.endpoint.host) from error
        return Connection(wire)


def parse_head(head: str, host: str) -> tuple[int, dict[str, str]]:
    """Return the status and the headers (lower-case names) of an answer's head. Raises ConnectionFailed."""
    first, *rest = head.split("\r\n")
    version, _, status = first.partition(" ")
    if not version.startswith("HTTP/1.") or not status[:3].isdigit():
        raise ConnectionFailed(f"what answers at {host} is not a daemon: {first[:80]!r}", host)
    headers: dict[str, str] = {}
    for line in rest:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return int(status[:3]), headers
