"""DNS messages, as far as the engine's resolver needs them. Pure: bytes in, values and bytes out.

Questions come from containers and are hostile until parsed; what is not understood raises ``Malformed`` and
never anything else. Answers point back at the question for every name, so no compression has to be made up.
Source: RFC 1035 (4.1), RFC 6891 (EDNS).
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from sampan.kernel.links import IpAddress

A: Final = 1
CNAME: Final = 5
PTR: Final = 12
AAAA: Final = 28
OPT: Final = 41
IN: Final = 1
NOERROR: Final = 0
FORMERR: Final = 1
SERVFAIL: Final = 2
NXDOMAIN: Final = 3
NOTIMP: Final = 4
REFUSED: Final = 5
RCODES: Final = {
    NOERROR: "NOERROR",
    FORMERR: "FORMERR",
    SERVFAIL: "SERVFAIL",
    NXDOMAIN: "NXDOMAIN",
    NOTIMP: "NOTIMP",
    REFUSED: "REFUSED",
}
TYPES: Final = {"A": A, "AAAA": AAAA, "PTR": PTR}
TTL_S: Final = 600  # Docker's
UDP_SIZE: Final = 512  # without EDNS
_UDP_MOST: Final = 4096  # ours: more is truncated even where the asker would take it
_HEADER: Final = struct.Struct(">HHHHHH")
_QUESTION: Final = struct.Struct(">HH")
_RECORD: Final = struct.Struct(">HHHIH")  # name (a pointer), type, class, ttl, length
_NAME_MOST: Final = 255
_NAME: Final = 0xC00C  # a pointer to the question's name
_QR: Final = 0x8000
_OPCODE: Final = 0x7800
_TC: Final = 0x0200
_RD: Final = 0x0100
_RA: Final = 0x0080
_OPT_ANSWER: Final = b"\0" + struct.pack(">HHIH", OPT, _UDP_MOST, 0, 0)


class Malformed(ValueError):
    """The message is no question that can be answered; ``rcode`` says why."""

    def __init__(self, reason: str, rcode: int = FORMERR) -> None:
        super().__init__(reason)
        self.rcode = rcode


@dataclass(frozen=True, slots=True)
class Query:
    """One question. ``name`` is in lower case without the last dot, ``question`` its bytes as they came.

    ``size`` is the largest UDP answer that the asker takes; ``edns``: it speaks EDNS.
    """

    id: int
    flags: int
    name: str
    kind: int
    family: int  # the class; 1 is the Internet
    question: bytes
    size: int
    edns: bool


def parse_query(data: bytes) -> Query:
    """Parse a question. Raises Malformed."""
    if len(data) < _HEADER.size:
        raise Malformed("shorter than a header")
    ident, flags, questions, answers, authorities, additional = _HEADER.unpack_from(data)
    if flags & _QR:
        raise Malformed("an answer, not a question")
    if flags & _OPCODE:
        raise Malformed("not a standard query", NOTIMP)
    if questions != 1:
        raise Malformed(f"{questions} questions")
    labels: list[bytes] = []
    at, end = _HEADER.size, len(data)
    while True:
        if at >= end:
            raise Malformed("the name has no end")
        length = data[at]
        if length == 0:
            break
        if length > 63:  # RFC 1035 4.1.4: a pointer has nothing to point at in a question
            raise Malformed("a label is too long, or a pointer")
        labels.append(data[at + 1 : at + 1 + length])
        at += 1 + length
    at += 1
    if at - _HEADER.size > _NAME_MOST:
        raise Malformed("the name is too long")
    if at + _QUESTION.size > end:
        raise Malformed("the question has no end")
    kind, family = _QUESTION.unpack_from(data, at)
    at += _QUESTION.size
    size, edns = UDP_SIZE, False
    if additional and not answers and not authorities and at + 11 <= end and data[at] == 0:
        found, offered = _QUESTION.unpack_from(data, at + 1)
        if found == OPT:
            size, edns = min(max(offered, UDP_SIZE), _UDP_MOST), True
    name = b".".join(labels).decode("utf-8", "surrogateescape").lower()
    return Query(ident, flags, name, kind, family, data[_HEADER.size : at], size, edns)


def render_query(name: str, kind: int, ident: int) -> bytes:
    """Return a question as a resolver library asks it. Raises ValueError for what is no name."""
    header = _HEADER.pack(ident, _RD, 1, 0, 0, 1)
    return header + encode_name(name) + _QUESTION.pack(kind, IN) + _OPT_ANSWER


def render_answer(query: Query, records: Sequence[bytes], *, limit: int = 0) -> bytes:
    """Return the answer with ``records``, the data of each of the question's type.

    Records that do not fit into ``limit`` bytes (0: no limit) are left out, and the answer is marked as
    truncated.
    """
    tail = _OPT_ANSWER if query.edns else b""
    size = _HEADER.size + len(query.question) + len(tail)
    body: list[bytes] = []
    flags = _QR | (query.flags & _RD) | _RA
    for data in records:
        size += _RECORD.size + len(data)
        if limit and size > limit:
            flags |= _TC
            break
        body.append(_RECORD.pack(_NAME, query.kind, IN, TTL_S, len(data)) + data)
    header = _HEADER.pack(query.id, flags, 1, len(body), 0, 1 if query.edns else 0)
    return b"".join((header, query.question, *body, tail))


def render_failure(query: Query, rcode: int) -> bytes:
    """Return the answer that says ``rcode``."""
    flags = _QR | (query.flags & _RD) | _RA | rcode
    tail = _OPT_ANSWER if query.edns else b""
    return _HEADER.pack(query.id, flags, 1, 0, 0, 1 if tail else 0) + query.question + tail


def render_refusal(data: bytes, rcode: int) -> bytes:
    """Return the answer to a message that was no question; b"" where none may be given.

    An answer is never answered, and what is too short for a header has no id.
    """
    if len(data) < _HEADER.size:
        return b""
    ident, flags = struct.unpack_from(">HH", data)
    if flags & _QR:
        return b""
    return _HEADER.pack(ident, _QR | (flags & (_OPCODE | _RD)) | _RA | rcode, 0, 0, 0, 0)


def truncate(answer: bytes, query: Query) -> bytes:
    """Return ``answer``, or, if it does not fit into a datagram for the asker, a stub that says so."""
    if len(answer) <= query.size:
        return answer
    flags = int.from_bytes(answer[2:4], "big") | _TC
    tail = _OPT_ANSWER if query.edns else b""
    return _HEADER.pack(query.id, flags, 1, 0, 0, 1 if tail else 0) + query.question + tail


def answers(query: Query, data: bytes, ident: int) -> bool:
    """Tell whether ``data`` is an answer to ``query`` as it was sent on under the id ``ident``."""
    if len(data) < _HEADER.size:
        return False
    got, flags, questions, *_ = _HEADER.unpack_from(data)
    if got != ident or not flags & _QR:
        return False
    start, end = _HEADER.size, _HEADER.size + len(query.question)
    return questions == 0 or data[start:end].lower() == query.question.lower()


def rcode_of(answer: bytes) -> int:
    """Return the response code of an answer."""
    return answer[3] & 0x0F


def encode_name(name: str) -> bytes:
    """Return ``name`` as labels. Raises ValueError if one is empty or too long, or the name is."""
    encoded = b""
    for label in name.encode("utf-8", "surrogateescape").split(b"."):
        if not 0 < len(label) <= 63:
            raise ValueError(f"not a name: {name!r}")
        encoded += bytes([len(label)]) + label
    if len(encoded) >= _NAME_MOST:
        raise ValueError(f"not a name: {name!r}")
    return encoded + b"\0"


def parse_pointer(name: str) -> IpAddress | None:
    """Return the address that a PTR question asks about, None if ``name`` is not of that form."""
    labels = name.split(".")
    if name.endswith(".in-addr.arpa") and len(labels) == 6:
        octets = labels[3::-1]
        if all(octet.isascii() and octet.isdigit() and len(octet) <= 3 for octet in octets):
            numbers = [int(octet) for octet in octets]
            return IPv4Address(bytes(numbers)) if max(numbers) < 256 else None
    if name.endswith(".ip6.arpa") and len(labels) == 34:
        digits = "".join(labels[31::-1])
        if len(digits) == 32 and all(digit in "0123456789abcdef" for digit in digits):
            return IPv6Address(bytes.fromhex(digits))
    return None


def parse_records(answer: bytes) -> list[tuple[int, int, str]]:
    """Return (type, ttl, text) of the answer records of a message, for people. Raises Malformed.

    Addresses, names (PTR, CNAME) are written out; other data as hexadecimal digits.
    """
    if len(answer) < _HEADER.size:
        raise Malformed("shorter than a header")
    _, _, questions, answers_, *_ = _HEADER.unpack_from(answer)
    at = _HEADER.size
    for _ in range(questions):
        at = _read_name(answer, at)[1] + _QUESTION.size
    found: list[tuple[int, int, str]] = []
    for _ in range(answers_):
        at = _read_name(answer, at)[1]
        if at + 10 > len(answer):
            raise Malformed("a record has no end")
        kind, _, ttl, length = struct.unpack_from(">HHIH", answer, at)
        at += 10
        if at + length > len(answer):
            raise Malformed("a record's data has no end")
        data = answer[at : at + length]
        if kind == A and length == 4:
            text = str(IPv4Address(data))
        elif kind == AAAA and length == 16:
            text = str(IPv6Address(data))
        elif kind in {PTR, CNAME}:
            text = _read_name(answer, at)[0]
        else:
            text = data.hex()
        found.append((kind, ttl, text))
        at += length
    return found


def _read_name(data: bytes, at: int) -> tuple[str, int]:
    """Return the name at ``at``, pointers followed, and where it ends. Raises Malformed."""
    labels: list[str] = []
    end = 0
    for _ in range(_NAME_MOST):  # pointers may lead in a circle
        if at >= len(data):
            break
        length = data[at]
        if length == 0:
            return ".".join(labels), end or at + 1
        if length >= 0xC0:
            if at + 2 > len(data):
                break
            end = end or at + 2
            at = int.from_bytes(data[at : at + 2], "big") & 0x3FFF
            continue
        labels.append(data[at + 1 : at + 1 + length].decode("utf-8", "replace"))
        at += 1 + length
    raise Malformed("a name has no end")


class Frames:
    """Cuts a TCP stream into messages: each is preceded by its length in two bytes."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take what came; return the messages that are complete now."""
        self._buffer += data
        found: list[bytes] = []
        while len(self._buffer) >= 2:
            length = int.from_bytes(self._buffer[:2], "big")
            if len(self._buffer) < 2 + length:
                break
            found.append(bytes(self._buffer[2 : 2 + length]))
            del self._buffer[: 2 + length]
        return found


def frame(message: bytes) -> bytes:
    """Return ``message`` as TCP carries it."""
    return len(message).to_bytes(2, "big") + message
