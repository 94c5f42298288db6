"""HTTP/1.1 on the wire, without I/O: request heads, chunked bodies, answer heads.

The parser takes one head at a time and never looks behind it, so the bytes that follow belong to whoever
comes next: the body, the next request, or a hijacked stream. It is strict where laxness would let two
readers see two different requests (RFC 9112, sections 2.2, 5 and 6): no bare LF, no folded lines, no space
before a colon, not both lengths, no coding but ``chunked``.
"""

import re
import time
from dataclasses import dataclass
from typing import Final

MAX_HEAD: Final = 1 << 20  # bytes; Go's default, X-Registry-Auth and long filters need much of it
MAX_HEADERS: Final = 256
_MAX_CHUNK_LINE: Final = 4096
_MAX_TRAILER: Final = 16384
_SINGLE: Final = frozenset({"content-length", "host", "transfer-encoding"})  # may not be said twice

_NAME: Final = r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+)"
_FIELD: Final = _NAME + r":([^\x00-\x08\x0a-\x1f\x7f]*)\r\n"
_REQUEST_LINE: Final = re.compile(_NAME + r" ([\x21-\x7e\x80-\xff]+) HTTP/(1\.[01])\r\n")
_FIELDS: Final = re.compile(f"(?:{_FIELD})*\r\n")
_HEADER: Final = re.compile(_FIELD)
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?")

REASONS: Final = {
    100: "Continue",
    101: "UPGRADED",
    200: "OK",
    201: "Created",
    204: "No Content",
    304: "Not Modified",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    408: "Request Timeout",
    409: "Conflict",
    413: "Request Entity Too Large",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}


class BadRequest(Exception):
    """What arrived is not HTTP/1.1, or more of it than is taken; the connection cannot be used further."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True)
class Head:
    """A request's first line and headers.

    ``target`` is in origin form (``/path?query``, or ``*``); names in ``headers`` are in lower case and
    repeated ones joined by ``", "``. ``length`` is that of the body in bytes, None for a chunked one.
    """

    method: str
    target: str
    headers: dict[str, str]
    length: int | None
    keep_alive: bool
    http10: bool


def parse_head(data: bytes) -> Head:
    """Parse ``data``, which ends with the empty line that ends a head. Raises BadRequest."""
    text = data.decode("latin-1")
    first = _REQUEST_LINE.match(text)
    if first is None:
        raise _bad_request_line(text)
    method, target, version = first.groups()
    at = first.end()
    if _FIELDS.fullmatch(text, at) is None:
        raise BadRequest(400, "malformed HTTP header")
    headers: dict[str, str] = {}
    fields = _HEADER.findall(text, at)
    for name, value in fields:
        name, value = name.lower(), value.strip(" \t")
        if name in headers:
            if name not in _SINGLE:
                value = f"{headers[name]}, {value}"
            elif headers[name] != value:
                raise BadRequest(400, f"conflicting {name} headers")
        headers[name] = value
    if len(fields) > MAX_HEADERS:
        raise BadRequest(431, "too many HTTP headers")
    http10 = version == "1.0"
    if not http10 and "host" not in headers:
        raise BadRequest(400, "missing required Host header")
    return Head(
        method=method,
        target=_origin_form(target),
        headers=headers,
        length=_body_length(headers, http10),
        keep_alive=not http10 and "close" not in tokens(headers.get("connection", "")),
        http10=http10,
    )


def tokens(value: str) -> set[str]:
    """Return the comma-separated tokens of a header's value, in lower case."""
    return {token.strip().lower() for token in value.split(",")} if value else set()


def _bad_request_line(text: str) -> BadRequest:
    words = text.partition("\r\n")[0].split(" ")
    if len(words) == 3 and words[2].startswith("HTTP/") and not words[2].startswith("HTTP/1."):
        return BadRequest(505, "unsupported protocol version")
    return BadRequest(400, "malformed HTTP request")


def _origin_form(target: str) -> str:
    if target.startswith("/") or target == "*":
        return target
    scheme, separator, rest = target.partition("://")  # absolute form, as sent through proxies
    if separator and scheme.lower() in {"http", "https", "tcp"}:
        slash = rest.find("/")
        return rest[slash:] if slash >= 0 else "/"
    raise BadRequest(400, "invalid URI for request")


def _body_length(headers: dict[str, str], http10: bool) -> int | None:  # noqa: FBT001
    length, coding = headers.get("content-length"), headers.get("transfer-encoding")
    if coding is not None:
        if length is not None or http10:
            raise BadRequest(400, "Transfer-Encoding beside Content-Length or in HTTP/1.0")
        if coding.strip().lower() != "chunked":
            raise BadRequest(501, f"unsupported transfer encoding: {coding!r}")
        return None
    if length is None:
        return 0
    if not (length.isascii() and length.isdigit() and len(length) <= 18):
        raise BadRequest(400, f"bad Content-Length {length!r}")
    return int(length)


class ChunkedDecoder:
    """Takes a chunked body apart (RFC 9112, section 7.1). Feed it bytes until ``done``; ``rest`` is what
    follows.

    Raises BadRequest on anything malformed. Trailer fields are read and dropped.
    """

    __slots__ = ("_buffer", "_left", "_state", "done", "rest")

    def __init__(self) -> None:
        self._buffer = b""
        self._left = 0
        self._state = "size"
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Take ``data`` and return the pieces of the body that are complete now, in order."""
        pieces: list[bytes] = []
        buffer = self._buffer + data if self._buffer else data
        at = 0
        while not self.done:
            if self._state == "data":
                piece = buffer[at : at + self._left]
                if not piece:
                    break
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if self._left == 0:
                    self._state = "end"
                continue
            end = buffer.find(b"\r\n", at)
            if end < 0:
                limit = _MAX_TRAILER if self._state == "trailer" else _MAX_CHUNK_LINE
                if len(buffer) - at > limit:
                    raise BadRequest(400, "malformed chunked encoding")
                break
            self._line(buffer[at:end])
            at = end + 2
        self._buffer = b""
        if self.done:
            self.rest = buffer[at:]
        elif at < len(buffer):
            self._buffer = buffer[at:]
        return pieces

    def _line(self, line: bytes) -> None:
        if self._state == "size":
            size = _CHUNK_SIZE.fullmatch(line)
            if size is None:
                raise BadRequest(400, "malformed chunked encoding")
            self._left = int(size[1], 16)
            self._state = "data" if self._left else "trailer"
        elif self._state == "end":
            if line:
                raise BadRequest(400, "malformed chunked encoding")
            self._state = "size"
        elif not line:
            self.done = True
        else:
            self._left += len(line)  # in the trailer: its size so far
            if self._left > _MAX_TRAILER:
                raise BadRequest(400, "trailer of the chunked body is too long")


def chunk(data: bytes) -> bytes:
    """Return ``data`` (not empty) as one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK: Final = b"0\r\n\r\n"


_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class _Clock:
    """The Date header, rendered once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._line = b""

    def line(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second = second
            t = time.gmtime(second)
            clock = f"{t.tm_hour:02d}:{t.tm_min:02d}:{t.tm_sec:02d}"
            day, month = _DAYS[t.tm_wday], _MONTHS[t.tm_mon - 1]
            self._line = f"Date: {day}, {t.tm_mday:02d} {month} {t.tm_year:04d} {clock} GMT\r\n".encode()
        return self._line


date_line: Final = _Clock().line
