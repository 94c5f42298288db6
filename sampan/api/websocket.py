"""Attach over a websocket: the server's side of RFC 6455, no extensions."""

import base64
import binascii
import hashlib
import socket
from collections.abc import Awaitable, Callable
from typing import Final

from sampan.api.hijack import Stream
from sampan.api.request import Request
from sampan.api.response import Hijack
from sampan.base.errors import InvalidParameter

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MAX_FRAME: Final = 1 << 20
_CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_NORMAL: Final = 1000
_PROTOCOL_ERROR: Final = 1002
_TOO_BIG: Final = 1009


class BadFrame(Exception):
    """The client broke the protocol; ``code`` goes into the closing frame."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def encode_frame(kind: int, payload: bytes) -> bytes:
    """Return one whole unmasked frame."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | kind, size))
    elif size < 1 << 16:
        head = bytes((0x80 | kind, 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | kind, 127)) + size.to_bytes(8, "big")
    return head + payload


def closing_frame(code: int) -> bytes:
    """Return the frame that ends our side, with a status code."""
    return encode_frame(CLOSE, code.to_bytes(2, "big"))


class FrameDecoder:
    """Takes a client's frames apart: bytes in, (kind, payload) out. Continuations come as BINARY."""

    def __init__(self) -> None:
        self._buffer = b""
        self._fragmented = False

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take ``data`` and return the frames that are complete. Raises BadFrame."""
        buffer = self._buffer + data
        frames: list[tuple[int, bytes]] = []
        at = 0
        while (found := self._frame(buffer, at)) is not None:
            kind, payload, at = found
            frames.append((kind, payload))
        self._buffer = buffer[at:]
        return frames

    def _frame(self, buffer: bytes, at: int) -> tuple[int, bytes, int] | None:
        if len(buffer) < at + 2:
            return None
        first, second = buffer[at], buffer[at + 1]
        kind, final, size = first & 0x0F, bool(first & 0x80), second & 0x7F
        if first & 0x70 or not second & 0x80:
            raise BadFrame(_PROTOCOL_ERROR, "reserved bits, or a frame that is not masked")
        extra = {126: 2, 127: 8}.get(size, 0)
        start = at + 2 + extra
        if extra:
            if len(buffer) < start:
                return None
            size = int.from_bytes(buffer[at + 2 : start], "big")
        self._check(kind, size, final=final)
        if size > _MAX_FRAME:
            raise BadFrame(_TOO_BIG, "frame too large")
        end = start + 4 + size
        if len(buffer) < end:
            return None
        if kind < CLOSE:
            self._fragmented = not final
            kind = kind or BINARY
        return kind, unmask(buffer[start + 4 : end], buffer[start : start + 4]), end

    def _check(self, kind: int, size: int, *, final: bool) -> None:
        if kind not in {_CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG}:
            raise BadFrame(_PROTOCOL_ERROR, "unknown opcode")
        if kind >= CLOSE and (size > 125 or not final):
            raise BadFrame(_PROTOCOL_ERROR, "bad control frame")
        if kind < CLOSE and (kind == _CONTINUATION) != self._fragmented:
            raise BadFrame(_PROTOCOL_ERROR, "bad continuation")


def unmask(payload: bytes, mask: bytes) -> bytes:
    """Apply the mask (4 bytes) to ``payload``."""
    size = len(payload)
    pad = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big")


class Demultiplexer:
    """Drops the headers from a stream of Docker's frames, however it is cut."""

    def __init__(self) -> None:
        self._header = b""
        self._left = 0

    def feed(self, data: bytes) -> bytes:
        """Take ``data`` and return the bytes of all streams in it."""
        plain = bytearray()
        at = 0
        while at < len(data):
            if self._left:
                piece = data[at : at + self._left]
                plain += piece
                at += len(piece)
                self._left -= len(piece)
                continue
            piece = data[at : at + 8 - len(self._header)]
            self._header += piece
            at += len(piece)
            if len(self._header) == 8:
                self._left = int.from_bytes(self._header[4:], "big")
                self._header = b""
        return bytes(plain)


class WebSocket:
    """A websocket that looks like a hijacked connection; output that comes in frames is taken out of them."""

    def __init__(self, raw: Stream, *, kind: int, tty: bool) -> None:
        self._raw = raw
        self._kind = kind
        self._decoder = FrameDecoder()
        self._frames: list[tuple[int, bytes]] = []
        self._plain = None if tty else Demultiplexer()
        self._ended = False  # the client's side
        self._closed = False  # our side

    @property
    def socket(self) -> socket.socket | None:
        """None: nobody else speaks the protocol."""
        return None

    async def read(self) -> bytes:
        """Return the payload of the next data frame, ``b""`` at the end."""
        while not self._ended:
            while not self._frames:
                data = await self._raw.read()
                if not data:
                    self._ended = True
                    return b""
                try:
                    self._frames = self._decoder.feed(data)
                except BadFrame as error:
                    self._finish(error.code)
                    return b""
            kind, payload = self._frames.pop(0)
            if kind == PING:
                self._raw.post(encode_frame(PONG, payload))
            elif kind == CLOSE:
                self._finish(_NORMAL)
            elif kind != PONG and payload:
                return payload
        return b""

    async def write(self, data: bytes) -> None:
        """Send ``data`` as one frame. Raises ConnectionResetError when the client has gone."""
        if self._closed:
            raise ConnectionResetError("the websocket is closed")
        payload = data if self._plain is None else self._plain.feed(data)
        if payload:
            await self._raw.write(encode_frame(self._kind, payload))

    def post(self, data: bytes) -> None:
        """Send ``data`` without waiting."""
        if not self._closed:
            self._raw.post(encode_frame(self._kind, data))

    async def write_eof(self) -> None:
        """Send the closing frame: a websocket cannot say "end" and go on listening for long."""
        self._say_goodbye(_NORMAL)

    def close(self) -> None:
        """Close both sides."""
        self._say_goodbye(_NORMAL)
        self._raw.close()

    def _finish(self, code: int) -> None:
        self._ended = True
        self._say_goodbye(code)

    def _say_goodbye(self, code: int) -> None:
        if not self._closed:
            self._closed = True
            self._raw.post(closing_frame(code))


def accept_websocket(
    request: Request,
) -> Callable[[Callable[[Stream], Awaitable[None]], bool], Hijack]:
    """Check the opening handshake; return what makes the answer of a hijacker and whether it has a terminal.

    Raises InvalidParameter.
    """
    headers = request.head.headers
    key = headers.get("sec-websocket-key", "")
    try:
        valid = len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        valid = False
    if not (request.wants("websocket") and valid and headers.get("sec-websocket-version") == "13"):
        raise InvalidParameter("not a websocket handshake")
    accept = base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()  # noqa: S324 - RFC 6455
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Accept": accept}
    kind = BINARY if request.version >= (1, 28) else TEXT

    def answer(run: Callable[[Stream], Awaitable[None]], tty: bool) -> Hijack:  # noqa: FBT001 - a callback
        return Hijack(lambda raw: run(WebSocket(raw, kind=kind, tty=tty)), "", upgrade=upgrade)

    return answer
