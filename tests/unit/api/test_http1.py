"""The HTTP/1.1 parser: what it takes, what it refuses, and that it does not matter how bytes are cut."""

import time

import pytest

from sampan.api.http1 import MAX_HEADERS, BadRequest, ChunkedDecoder, Head, chunk, parse_head, tokens


def parse(text: str) -> Head:
    return parse_head(text.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n")


def test_a_head_is_taken_apart() -> None:
    head = parse(
        "POST /v1.47/containers/create?name=a HTTP/1.1\nHost: docker\nContent-Type:application/json  \n"
        "CONTENT-LENGTH: 12\nX-A: 1\nx-a: 2"
    )
    assert (head.method, head.target, head.length) == ("POST", "/v1.47/containers/create?name=a", 12)
    assert head.headers["content-type"] == "application/json"
    assert head.headers["x-a"] == "1, 2"
    assert head.keep_alive
    assert not head.http10


@pytest.mark.parametrize(
    ("line", "target"),
    [
        ("GET http://docker/v1.47/info HTTP/1.1", "/v1.47/info"),
        ("GET http://docker HTTP/1.1", "/"),
        ("OPTIONS * HTTP/1.1", "*"),
    ],
)
def test_targets_come_in_several_forms(line: str, target: str) -> None:
    assert parse(f"{line}\nHost: docker").target == target


def test_the_length_of_a_body() -> None:
    assert parse("GET / HTTP/1.1\nHost: d").length == 0
    assert parse("POST / HTTP/1.1\nHost: d\nTransfer-Encoding: chunked").length is None
    assert parse("POST / HTTP/1.1\nHost: d\nContent-Length: 5\nContent-Length: 5").length == 5


def test_connections_stay_unless_told() -> None:
    assert parse("GET / HTTP/1.1\nHost: d").keep_alive
    assert not parse("GET / HTTP/1.1\nHost: d\nConnection: Close").keep_alive
    assert not parse("GET / HTTP/1.0").keep_alive


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("GET / HTTP/1.1", 400),  # no Host
        ("GET /", 400),
        ("GET / HTTP/2.0\nHost: d", 505),
        ("GET / HTTP/1.2\nHost: d", 400),
        ("GET  / HTTP/1.1\nHost: d", 400),
        ("G ET / HTTP/1.1\nHost: d", 400),
        ("GET relative HTTP/1.1\nHost: d", 400),
        ("GET ftp://x/ HTTP/1.1\nHost: d", 400),
        ("GET / HTTP/1.1\nHost: d\n folded", 400),
        ("GET / HTTP/1.1\nHost : d", 400),
        ("GET / HTTP/1.1\nHost: d\nA\x00b: c", 400),
        ("GET / HTTP/1.1\nHost: d\nA: b\x00c", 400),
        ("GET / HTTP/1.1\nHost: d\nno colon", 400),
        ("GET / HTTP/1.1\nHost: d\nHost: e", 400),
        ("POST / HTTP/1.1\nHost: d\nContent-Length: 5\nContent-Length: 6", 400),
        ("POST / HTTP/1.1\nHost: d\nContent-Length: +5", 400),
        ("POST / HTTP/1.1\nHost: d\nContent-Length: 5, 5", 400),
        ("POST / HTTP/1.1\nHost: d\nContent-Length: 0x5", 400),
        ("POST / HTTP/1.1\nHost: d\nContent-Length: ²", 400),
        ("POST / HTTP/1.1\nHost: d\nContent-Length: 9999999999999999999", 400),
        ("POST / HTTP/1.1\nHost: d\nContent-Length: 5\nTransfer-Encoding: chunked", 400),
        ("POST / HTTP/1.0\nTransfer-Encoding: chunked", 400),
        ("POST / HTTP/1.1\nHost: d\nTransfer-Encoding: gzip, chunked", 501),
        ("GET / HTTP/1.1\nHost: d\n" + "\n".join(f"A{i}: b" for i in range(MAX_HEADERS)), 431),
    ],
)
def test_what_two_readers_could_see_differently_is_refused(text: str, status: int) -> None:
    with pytest.raises(BadRequest) as caught:
        parse(text)
    assert caught.value.status == status


def test_bare_line_feeds_are_refused() -> None:
    with pytest.raises(BadRequest):
        parse_head(b"GET / HTTP/1.1\nHost: d\r\n\r\n")
    with pytest.raises(BadRequest):
        parse_head(b"GET / HTTP/1.1\r\nHost: d\nContent-Length: 3\r\n\r\n")


@pytest.mark.parametrize("filler", [" ", "\t", "a", ":"])
def test_large_heads_are_read_in_one_pass(filler: str) -> None:
    wire = f"GET / HTTP/1.1\r\nHost: d\r\nX:{filler * (1 << 20)}\x00\r\n\r\n".encode()
    started = time.process_time()
    with pytest.raises(BadRequest):
        parse_head(wire)
    assert time.process_time() - started < 1, "a square of the size would be minutes"


def test_tokens() -> None:
    assert tokens("Upgrade, HTTP2-Settings") == {"upgrade", "http2-settings"}
    assert tokens("") == set()


BODY = b"4;ext=1\r\nWiki\r\n5 \r\npedia\r\nE\r\n in\r\n\r\nchunks.\r\n0\r\nTrailer: x\r\n\r\nNEXT"


@pytest.mark.parametrize("size", [1, 2, 3, 7, len(BODY)])
def test_chunks_come_out_however_they_are_cut(size: int) -> None:
    decoder, out, at = ChunkedDecoder(), b"", 0
    while not decoder.done:
        out += b"".join(decoder.feed(BODY[at : at + size]))
        at += size
    assert out == b"Wikipedia in\r\n\r\nchunks."
    assert decoder.rest + BODY[at:] == b"NEXT"


@pytest.mark.parametrize(
    "data",
    [
        b"x\r\n",
        b"-1\r\n",
        b"\r\n",
        b"4\r\nWikiX\r\n",
        b"4\r\nWiki5\r\n",
        b"FFFFFFFFFFFFFFFF\r\n",
        b"1" * 5000,
        b"0\r\n" + b"A: b\r\n" * 5000,
        b"0\r\n" + b"A" * 20000,
    ],
)
def test_bad_chunks_are_refused(data: bytes) -> None:
    with pytest.raises(BadRequest):
        ChunkedDecoder().feed(data)


def test_chunks_are_written_as_they_are_read() -> None:
    decoder = ChunkedDecoder()
    assert b"".join(decoder.feed(chunk(b"a" * 300) + chunk(b"b") + b"0\r\n\r\n")) == b"a" * 300 + b"b"
    assert decoder.done
