"""HTTP/1.1 answers on the wire, without I/O: heads, chunked bodies, request heads to send.

Bytes in, events out. Strict where laxness would let two readers see two different answers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sampan.registry.errors import BadAnswer

MAX_HEAD: Final = 64 << 10
_MAX_LINE: Final = 4096
_TOKEN: Final = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_HEX: Final = frozenset(b"0123456789abcdefABCDEF")


@dataclass(frozen=True, slots=True)
class Head:
    """An answer's first line and headers; names in lower case, repeated ones joined by ``", "``.

    ``length`` is that of the body in bytes; None: ``chunked``, or until the connection ends.
    """

    status: int
    headers: Mapping[str, str]
    length: int | None
    chunked: bool
    keep_alive: bool


def parse_head(data: bytes, method: str) -> Head:
    """Parse ``data``, which ends with the empty line, as the answer to ``method``. Raises BadAnswer."""
    first, *lines = data[:-4].split(b"\r\n")
    version, _, rest = first.partition(b" ")
    status = rest[:3]
    if version not in {b"HTTP/1.1", b"HTTP/1.0"} or not status.isdigit() or rest[3:4].strip():
        raise BadAnswer(f"malformed HTTP response {first[:80]!r}")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or not _TOKEN.issuperset(name):
            raise BadAnswer(f"malformed HTTP response header {line[:80]!r}")
        key, text = name.decode("ascii").lower(), value.strip(b" \t").decode("latin-1")
        if key in headers:
            if key in {"content-length", "transfer-encoding"} and headers[key] != text:
                raise BadAnswer(f"conflicting {key} headers in HTTP response")
            if key not in {"content-length", "transfer-encoding"}:
                text = f"{headers[key]}, {text}"
        headers[key] = text
    return _head(int(status), headers, method, old=version == b"HTTP/1.0")


def _head(status: int, headers: dict[str, str], method: str, *, old: bool) -> Head:
    coding = headers.get("transfer-encoding", "").lower()
    if coding and coding != "chunked":
        raise BadAnswer(f"unsupported transfer encoding {coding!r}")
    length: int | None = None
    if not coding and (text := headers.get("content-length")) is not None:
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            raise BadAnswer(f"bad Content-Length {text!r}")
        length = int(text)
    if method == "HEAD" or status in {204, 304} or status < 200:
        return Head(status, headers, 0, chunked=False, keep_alive=_keeps(headers, old=old))
    keeps = _keeps(headers, old=old) and (length is not None or bool(coding))
    return Head(status, headers, length, chunked=bool(coding), keep_alive=keeps)


def _keeps(headers: Mapping[str, str], *, old: bool) -> bool:
    words = {word.strip().lower() for word in headers.get("connection", "").split(",")}
    return "close" not in words and (not old or "keep-alive" in words)


class ChunkedDecoder:
    """Takes the chunked coding off: ``feed`` returns data, ``done`` says that the last chunk has come.

    ``rest`` then holds what stood behind it.
    """

    __slots__ = ("_left", "_line", "_state", "done", "rest")

    def __init__(self) -> None:
        self._left = 0
        self._line = b""
        self._state = "size"
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the pieces of the body in ``data``. Raises BadAnswer."""
        pieces: list[bytes] = []
        at = 0
        while at < len(data) and not self.done:
            if self._state == "data":
                piece = data[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
                pieces.append(piece)
                if not self._left:
                    self._state = "end"
                continue
            end = data.find(b"\n", at)
            self._line += data[at:] if end < 0 else data[at : end + 1]
            at = len(data) if end < 0 else end + 1
            if len(self._line) > _MAX_LINE:
                raise BadAnswer("malformed chunked encoding: line too long")
            if self._line.endswith(b"\n"):
                line, self._line = self._line, b""
                self._take(line)
        self.rest = data[at:]
        return pieces

    def _take(self, line: bytes) -> None:
        text = line[:-1].removesuffix(b"\r")
        if self._state == "end":
            if text:
                raise BadAnswer("malformed chunked encoding")
            self._state = "size"
        elif self._state == "trailer":
            self.done = not text
        else:
            digits = text.partition(b";")[0].strip()
            if not digits or len(digits) > 15 or not _HEX.issuperset(digits):
                raise BadAnswer("malformed chunked encoding: bad size")
            self._left = int(digits, 16)
            self._state = "data" if self._left else "trailer"


def render_request(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """Render a request's head. Raises ValueError for a line break where none may be."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a line break in an HTTP header")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
