"""The websocket: framing, the handshake, and its likeness to a hijacked connection."""

import asyncio
from typing import Any, cast

import pytest
from support.wires import FakeTransport, request

from sampan.api.body import EMPTY
from sampan.api.hijack import Hijacked
from sampan.api.http1 import parse_head
from sampan.api.request import Request
from sampan.api.websocket import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    BadFrame,
    Demultiplexer,
    FrameDecoder,
    WebSocket,
    accept_websocket,
    closing_frame,
    encode_frame,
)
from sampan.base.errors import InvalidParameter


def masked(kind: int, payload: bytes, *, final: bool = True, mask: bytes = b"\x01\x02\x03\x04") -> bytes:
    size = len(payload)
    head = bytes([(0x80 if final else 0) | kind])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 1 << 16:
        head += bytes([0x80 | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([0x80 | 127]) + size.to_bytes(8, "big")
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


@pytest.mark.parametrize("size", [1, 2, 5, 100_000])
def test_frames_come_out_however_they_are_cut(size: int) -> None:
    wire = (
        masked(TEXT, b"hello")
        + masked(BINARY, b"a", final=False)
        + masked(PING, b"p")
        + masked(0, b"b")
        + masked(BINARY, bytes(300))
        + masked(BINARY, bytes(70_000))
        + masked(CLOSE, b"\x03\xe8")
    )
    decoder, found = FrameDecoder(), []
    step = size if size != 1 else 7
    for at in range(0, len(wire), step):
        found += decoder.feed(wire[at : at + step])
    assert found == [
        (TEXT, b"hello"),
        (BINARY, b"a"),
        (PING, b"p"),
        (BINARY, b"b"),
        (BINARY, bytes(300)),
        (BINARY, bytes(70_000)),
        (CLOSE, b"\x03\xe8"),
    ]


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (b"\x82\x01a", 1002),  # not masked
        (b"\xc2\x81\0\0\0\0a", 1002),  # a reserved bit
        (b"\x83\x81\0\0\0\0a", 1002),  # an unknown opcode
        (masked(PING, bytes(126)), 1002),
        (masked(PING, b"", final=False), 1002),
        (masked(0, b"a"), 1002),  # continues nothing
        (masked(BINARY, b"a", final=False) + masked(BINARY, b"b"), 1002),
        (b"\x82\xff" + (1 << 30).to_bytes(8, "big"), 1009),
    ],
)
def test_bad_frames_are_refused(wire: bytes, code: int) -> None:
    with pytest.raises(BadFrame) as caught:
        FrameDecoder().feed(wire)
    assert caught.value.code == code


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_our_frames_carry_their_length(size: int) -> None:
    frame = encode_frame(BINARY, bytes(size))
    assert frame[0] == 0x82
    assert not frame[1] & 0x80, "a server does not mask"
    assert len(frame) - size == (2 if size < 126 else 4 if size < 65536 else 10)


@pytest.mark.parametrize("size", [1, 3, 8, 100])
def test_the_headers_of_multiplexed_output_are_dropped(size: int) -> None:
    wire = b"\1\0\0\0\0\0\0\5hello" + b"\2\0\0\0\0\0\0\0" + b"\2\0\0\0\0\0\0\1!"
    plain = Demultiplexer()
    assert b"".join(plain.feed(wire[at : at + size]) for at in range(0, len(wire), size)) == b"hello!"


def test_it_reads_and_writes_like_a_hijacked_connection() -> None:
    async def scene() -> None:
        transport = FakeTransport()
        raw = Hijacked(transport, transport.close, masked(PING, b"p") + masked(BINARY, b"in"), eof=False)
        socket = WebSocket(raw, kind=BINARY, tty=False)
        assert socket.socket is None
        assert await socket.read() == b"in"
        assert transport.take() == encode_frame(PONG, b"p")
        await socket.write(b"\1\0\0\0\0\0\0\3out")
        assert transport.take() == encode_frame(BINARY, b"out")
        raw.feed(masked(CLOSE, b"\x03\xe8"))
        assert await socket.read() == b""
        assert transport.take() == closing_frame(1000)
        with pytest.raises(ConnectionResetError):
            await socket.write(b"\1\0\0\0\0\0\0\3out")
        socket.close()
        assert transport.closed
        assert transport.take() == b"", "one goodbye is enough"

    asyncio.run(scene())


def test_nonsense_ends_it() -> None:
    async def scene() -> None:
        transport = FakeTransport()
        raw = Hijacked(transport, transport.close, b"nonsense", eof=False)
        assert await WebSocket(raw, kind=BINARY, tty=True).read() == b""
        assert transport.take() == closing_frame(1002)

    asyncio.run(scene())


def handshake(**headers: str) -> Request:
    defaults = {
        "Connection": "keep-alive, Upgrade",
        "Upgrade": "websocket",
        "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec_WebSocket_Version": "13",
    }
    return Request(parse_head(request("GET /x", b"", **{**defaults, **headers})), EMPTY, {}, "", (1, 51))


def test_the_handshake_is_the_rfcs_own_example() -> None:
    hijack = accept_websocket(handshake())(cast("Any", None), True)
    assert hijack.upgrade is not None
    assert hijack.upgrade["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize(
    "headers",
    [
        {"Upgrade": "tcp"},
        {"Connection": "keep-alive"},
        {"Sec_WebSocket_Key": "short"},
        {"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25j"},
        {"Sec_WebSocket_Version": "8"},
    ],
)
def test_other_requests_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidParameter):
        accept_websocket(handshake(**headers))
