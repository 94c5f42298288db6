"""What a route answers: a whole document, a stream, a piece of a file, or the connection itself."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, BinaryIO, Final

import msgspec

from sampan.api.hijack import Stream
from sampan.base.outflow import Outflow

JSON: Final = "application/json"
RAW_STREAM: Final = "application/vnd.docker.raw-stream"
MULTIPLEXED_STREAM: Final = "application/vnd.docker.multiplexed-stream"

_encode: Final = msgspec.json.Encoder().encode
_NONE: Final[Mapping[str, str]] = {}


class Response:
    """A complete answer. Without ``content_type`` it has no Content-Type (204, 304).

    ``head`` is the server's rendering of all but the date, kept because some answers are given often.
    """

    __slots__ = ("body", "content_type", "head", "headers", "status")

    def __init__(
        self, status: int, body: bytes = b"", content_type: str = "", headers: Mapping[str, str] = _NONE
    ) -> None:
        self.status = status
        self.body = body
        self.content_type = content_type
        self.headers = headers
        self.head = b""


class StreamResponse:
    """An answer whose head is sent at once and whose body follows piece by piece, as ``pieces`` yields them.

    An ``Outflow`` has them sent by the thread that makes them, where the connection allows it.
    ``length`` is that of all pieces together, in bytes, where it is known beforehand. When the client goes
    away, or the daemon stops, the generator is cancelled and closed.
    """

    __slots__ = ("content_type", "headers", "length", "pieces", "status")

    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None] | Outflow,
        content_type: str = JSON,
        *,
        status: int = 200,
        headers: Mapping[str, str] = _NONE,
        length: int | None = None,
    ) -> None:
        self.length = length
        self.status = status
        self.pieces = pieces
        self.content_type = content_type
        self.headers = headers


class FileResponse:
    """``count`` bytes of an open file from ``offset``, which the kernel sends where it can.

    The file is closed when they are sent, or the client has gone.
    """

    __slots__ = ("content_type", "count", "file", "headers", "offset", "status")

    def __init__(
        self,
        file: BinaryIO,
        offset: int,
        count: int,
        content_type: str,
        *,
        status: int = 200,
        headers: Mapping[str, str] = _NONE,
    ) -> None:
        self.file = file
        self.offset = offset
        self.count = count
        self.status = status
        self.content_type = content_type
        self.headers = headers


class Hijack:
    """The answer of attach and exec: after ``head`` the connection carries raw bytes, both ways.

    ``run`` gets the connection as a Stream; it is closed when ``run`` returns.
    """

    __slots__ = ("content_type", "run", "upgrade")

    def __init__(
        self,
        run: Callable[[Stream], Awaitable[None]],
        content_type: str = RAW_STREAM,
        *,
        upgrade: Mapping[str, str] | None = None,
    ) -> None:
        self.run = run
        self.content_type = content_type
        self.upgrade = upgrade  # headers of the 101 answer; None: the client did not ask, answer 200


Answer = Response | StreamResponse | FileResponse | Hijack


def json(value: Any, status: int = 200) -> Response:
    """Answer with ``value`` (a wire struct or plain data) as JSON and a newline, as Go's encoder does."""
    return Response(status, _encode(value) + b"\n", JSON)


def json_line(value: Any) -> bytes:
    """Render one document of a JSON stream."""
    return _encode(value) + b"\r\n"
