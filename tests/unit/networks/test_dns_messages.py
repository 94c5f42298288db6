"""DNS messages: what is parsed, what is answered, and what hostile ones come to."""

import random
import struct
from ipaddress import ip_address

import pytest
from support.dns import question

from sampan.networks.dns import message
from sampan.networks.dns.message import Frames, Malformed, Query, parse_query

A_RECORD = bytes([10, 0, 0, 2])


def test_a_question_is_read() -> None:
    query = parse_query(question("DB.My_Net"))
    assert (query.id, query.name, query.kind, query.family) == (7, "db.my_net", message.A, message.IN)
    assert (query.size, query.edns) == (512, False)
    assert query.question == question("DB.My_Net")[12:], "the answer repeats the question as it was asked"
    assert parse_query(question("")).name == ""


@pytest.mark.parametrize(("offered", "taken"), [(1232, 1232), (100, 512), (65535, 4096)])
def test_the_size_that_is_offered(offered: int, taken: int) -> None:
    query = parse_query(question("db", edns=offered))
    assert (query.size, query.edns) == (taken, True)
    answer = message.render_answer(query, [A_RECORD])
    assert answer[-11:-8] == b"\0\0\x29"
    assert answer[10:12] == b"\0\1"


def test_the_answer() -> None:
    query = parse_query(question("db"))
    answer = message.render_answer(query, [A_RECORD, bytes([10, 0, 0, 3])], limit=query.size)
    ident, flags, questions, answers, authorities, additional = struct.unpack_from(">HHHHHH", answer)
    assert (ident, flags, questions, answers, authorities, additional) == (7, 0x8180, 1, 2, 0, 0)
    records = answer[12 + len(query.question) :]
    assert records[:16] == struct.pack(">HHHIH", 0xC00C, 1, 1, 600, 4) + A_RECORD
    assert message.rcode_of(answer) == message.NOERROR


def test_an_answer_without_records_is_no_error() -> None:
    answer = message.render_answer(parse_query(question("db", message.AAAA)), [])
    assert (message.rcode_of(answer), answer[6:8]) == (message.NOERROR, b"\0\0")


def test_what_does_not_fit_is_marked() -> None:
    query = parse_query(question("db"))
    answer = message.render_answer(query, [A_RECORD] * 100, limit=query.size)
    assert len(answer) <= 512
    assert answer[2] & 0x02
    assert int.from_bytes(answer[6:8], "big") == (512 - 12 - len(query.question)) // 16
    whole = message.render_answer(query, [A_RECORD] * 100)
    assert not whole[2] & 0x02
    stub = message.truncate(whole, query)
    assert stub[2] & 0x02
    assert len(stub) < 512
    assert message.truncate(answer, query) == answer


@pytest.mark.parametrize(
    ("data", "rcode"),
    [
        (b"", None),
        (b"\0" * 11, None),
        (question("db", flags=0x8180), None),  # an answer: answering it could go on for ever
        (question("db", flags=0x2800), message.NOTIMP),
        (struct.pack(">HHHHHH", 7, 0, 0, 0, 0, 0), message.FORMERR),
        (struct.pack(">HHHHHH", 7, 0, 2, 0, 0, 0) + question("db")[12:] * 2, message.FORMERR),
        (question("db")[:14], message.FORMERR),
        (question("db")[:-1], message.FORMERR),
        (struct.pack(">HHHHHH", 7, 0, 1, 0, 0, 0) + b"\xc0\x0c\0\1\0\1", message.FORMERR),
        (struct.pack(">HHHHHH", 7, 0, 1, 0, 0, 0) + b"\x3fa" * 200, message.FORMERR),
        (struct.pack(">HHHHHH", 7, 0, 1, 0, 0, 0) + (b"\x01a" * 130) + b"\0\0\1\0\1", message.FORMERR),
    ],
)
def test_what_is_no_question_is_refused_or_ignored(data: bytes, rcode: int | None) -> None:
    with pytest.raises(Malformed) as raised:
        parse_query(data)
    answer = message.render_refusal(data, raised.value.rcode)
    if rcode is None:
        assert answer == b""
    else:
        assert (message.rcode_of(answer), answer[:2], answer[2] & 0x80) == (rcode, b"\0\7", 0x80)


def test_noise_never_does_more_than_be_refused() -> None:
    chooser = random.Random(5)  # noqa: S311 - the same noise in every run
    whole = question("some.name.of.a.container", edns=1232)
    for _ in range(20_000):
        data = bytearray(whole[: chooser.randrange(len(whole) + 1)])
        for _ in range(chooser.randrange(4)):
            if data:
                data[chooser.randrange(len(data))] = chooser.randrange(256)
        try:
            query = parse_query(bytes(data))
        except Malformed as error:
            message.render_refusal(bytes(data), error.rcode)
        else:
            assert len(message.render_answer(query, [A_RECORD] * 3, limit=query.size)) <= query.size
            message.parse_pointer(query.name)


@pytest.mark.parametrize("address", ["10.0.0.2", "192.168.255.1", "fd00::2", "2001:db8::1"])
def test_pointers(address: str) -> None:
    assert message.parse_pointer(ip_address(address).reverse_pointer) == ip_address(address)


@pytest.mark.parametrize(
    "name",
    [
        "db",
        "in-addr.arpa",
        "2.0.0.in-addr.arpa",
        "1.2.0.0.10.in-addr.arpa",
        "a.0.0.10.in-addr.arpa",
        "300.0.0.10.in-addr.arpa",
        "².0.0.10.in-addr.arpa",
        "1.ip6.arpa",
        ".".join("g" * 32) + ".ip6.arpa",
        ".".join(["10"] * 32) + ".ip6.arpa",
    ],
)
def test_no_pointers(name: str) -> None:
    assert message.parse_pointer(name) is None


def test_frames_come_in_any_pieces() -> None:
    stream = message.frame(b"first") + message.frame(b"") + message.frame(b"x" * 300)
    frames, found = Frames(), []
    for byte in stream:
        found += frames.feed(bytes([byte]))
    assert found == [b"first", b"", b"x" * 300]
    assert Frames().feed(stream) == found


def test_answers_of_others_must_fit_the_question() -> None:
    query = parse_query(question("example.com"))
    answer = bytearray(message.render_answer(query, [A_RECORD]))
    assert message.answers(query, bytes(answer), 7)
    assert not message.answers(query, bytes(answer), 8), "the id of somebody else"
    assert not message.answers(query, question("example.com"), 7), "no answer"
    other = message.render_answer(parse_query(question("example.org")), [A_RECORD])
    assert not message.answers(query, other, 7), "the answer to another question"
    assert not message.answers(query, b"\0\7\x80", 7)


def test_names_that_cannot_be_encoded() -> None:
    for name in ("", "a..b", "x" * 64, ".".join(["x" * 60] * 5)):
        with pytest.raises(ValueError, match="not a name"):
            message.encode_name(name)
    assert isinstance(parse_query(question("x" * 63)), Query)
