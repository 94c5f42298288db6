"""Netlink messages byte by byte."""

import struct

from sampan.kernel import nft
from sampan.kernel.netlink import attribute, be32, nested, parse_attributes, text, u32, walk_attributes


def test_an_attribute_is_padded_but_its_length_is_not() -> None:
    assert attribute(3, b"eth0\0") == struct.pack("=HH", 9, 3) + b"eth0\0\0\0\0"
    assert attribute(1, b"") == struct.pack("=HH", 4, 1)


def test_what_is_written_is_read() -> None:
    inner = (text(3, "docker0"), u32(10, 7))
    data = b"".join((u32(4, 1500), nested(18, *inner), be32(2, 1)))
    values = parse_attributes(data)
    assert values[4] == struct.pack("=I", 1500)
    assert values[2] == b"\0\0\0\1"
    assert parse_attributes(values[18]) == {3: b"docker0\0", 10: struct.pack("=I", 7)}


def test_a_truncated_or_absurd_tail_is_left_out() -> None:
    good = attribute(1, b"abcd")
    for tail in (b"\x08", b"\x03\0\x01\0", b"\xff\xff\x02\0x", b"\0\0\0\0"):
        assert list(walk_attributes(good + tail)) == [(1, b"abcd")]


def _rule(*expressions: bytes) -> bytes:
    return b"".join(nested(1, expression) for expression in expressions)


def _immediate(code: int, chain: str = "") -> bytes:
    verdict = be32(1, code & 0xFFFFFFFF) + (text(2, chain) if chain else b"")
    return text(1, "immediate") + nested(2, be32(1, 0), nested(2, nested(2, verdict)))


def test_verdicts_of_foreign_rules() -> None:
    counter, compare = text(1, "counter"), text(1, "cmp")
    assert nft._verdict(_rule(counter, _immediate(0))) == (True, "")
    assert nft._verdict(_rule(compare, _immediate(0))) == (False, "")
    assert nft._verdict(_rule(_immediate(1))) == (False, "")
    assert nft._verdict(_rule(text(1, "reject"))) == (True, "")
    assert nft._verdict(_rule(counter, _immediate(-3, "DOCKER-USER"))) == (False, "DOCKER-USER")


def test_the_comment_in_a_rules_user_data() -> None:
    assert nft._comment(b"\x02\x01x" + b"\x00\x05mine\0") == "mine"
    assert nft._comment(b"") == ""
    assert nft._comment(b"\x00\x50cut") == "cut"
