"""Netlink: messages, attributes and a blocking socket, for rtnetlink and nfnetlink alike.

What the messages mean is not known here: links, addresses and routes are in ``links``, nftables in ``nft``,
connection tracking in ``conntrack``. A socket belongs to the network namespace of the thread that made it,
for life, and to one thread at a time.
"""

import ctypes
import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final, Self

# linux/netlink.h
NETLINK_ROUTE: Final = 0
NETLINK_NETFILTER: Final = 12
NLM_F_REQUEST: Final = 0x1
NLM_F_ACK: Final = 0x4
NLM_F_DUMP: Final = 0x300
NLM_F_REPLACE: Final = 0x100
NLM_F_EXCL: Final = 0x200
NLM_F_CREATE: Final = 0x400
NLM_F_APPEND: Final = 0x800
NLA_F_NESTED: Final = 0x8000
_NLM_F_DUMP_INTR: Final = 0x10
_NLM_F_CAPPED: Final = 0x100
_NLM_F_ACK_TLVS: Final = 0x200
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_SOL_NETLINK: Final = 270
_NETLINK_ADD_MEMBERSHIP: Final = 1
_NETLINK_CAP_ACK: Final = 10
_NETLINK_EXT_ACK: Final = 11
_NETLINK_GET_STRICT_CHK: Final = 12
_NLMSGERR_ATTR_MSG: Final = 1
_SO_ATTACH_FILTER: Final = 26  # asm-generic/socket.h
_FILTER_STEP: Final = struct.Struct("=HBBI")  # linux/filter.h, struct sock_filter
_READ: Final = 1 << 15  # the most that the kernel puts into one datagram of a dump (af_netlink.c)

_HEADER: Final = struct.Struct("=IHHII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_PAD: Final = (b"", b"\0\0\0", b"\0\0", b"\0")


class NetlinkError(OSError):
    """The kernel refused a request; ``reason`` is its own explanation where it gave one."""

    def __init__(self, number: int, reason: str, what: str) -> None:
        super().__init__(number, reason or os.strerror(number), what or None)
        self.reason = reason


def attribute(kind: int, payload: bytes) -> bytes:
    """Return one attribute: length, kind, payload, padding to four bytes."""
    length = 4 + len(payload)
    return _ATTRIBUTE.pack(length, kind) + payload + _PAD[length & 3]


def nested(kind: int, *children: bytes) -> bytes:
    """Return an attribute that holds the attributes ``children``."""
    return attribute(kind | NLA_F_NESTED, b"".join(children))


def text(kind: int, value: str) -> bytes:
    """Return an attribute with ``value`` as a C string."""
    return attribute(kind, value.encode() + b"\0")


def u32(kind: int, value: int) -> bytes:
    """Return an attribute with a 32-bit number in the machine's byte order."""
    return attribute(kind, struct.pack("=I", value))


def be32(kind: int, value: int) -> bytes:
    """Return an attribute with a 32-bit number in network byte order (nfnetlink)."""
    return attribute(kind, struct.pack(">I", value))


def parse_attributes(data: bytes) -> dict[int, bytes]:
    """Return the attributes in ``data`` by kind (flags removed); of equal kinds the last one counts.

    A truncated tail is left out rather than guessed at.
    """
    return dict(walk_attributes(data))


def walk_attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (kind, payload) of each attribute in ``data``, flags removed from the kind."""
    offset, end = 0, len(data)
    while offset + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4 or offset + length > end:
            return
        yield kind & 0x3FFF, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


class Request:
    """One message to be sent: ``kind``, ``flags`` beside REQUEST, ``body``, and what to say if it fails."""

    __slots__ = ("body", "flags", "kind", "what")

    def __init__(self, kind: int, flags: int, body: bytes, what: str = "") -> None:
        self.kind = kind
        self.flags = flags
        self.body = body
        self.what = what


class Netlink:
    """A netlink socket in the network namespace of the thread that opens it.

    ``groups`` is the mask of multicast groups that it listens to: ``events`` returns what they say.
    """

    def __init__(self, protocol: int = NETLINK_ROUTE, groups: int = 0) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._sequence = 0
        try:
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
            if protocol == NETLINK_ROUTE:
                self._socket.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
            self._socket.bind((0, groups))
        except OSError:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket (an open one keeps its namespace alive)."""
        self._socket.close()

    def fileno(self) -> int:
        """Return the descriptor, for an event loop."""
        return self._socket.fileno()

    def events(self) -> list[tuple[int, bytes]]:
        """Return (kind, body) of the messages that have arrived unasked, without waiting.

        Raises OSError ENOBUFS if the kernel had to drop some.
        """
        found: list[tuple[int, bytes]] = []
        self._socket.settimeout(0)
        try:
            while True:
                found += [(kind, body) for kind, _, _, body in self._read()]
        except BlockingIOError:
            return found
        finally:
            self._socket.settimeout(None)

    def keep(self, program: Sequence[tuple[int, int, int, int]]) -> None:
        """Let the kernel throw away what ``program`` does not want, before it wakes anybody up.

        The program is classic BPF over the message with its header, steps as (code, jt, jf, k).
        """
        code = ctypes.create_string_buffer(b"".join(_FILTER_STEP.pack(*step) for step in program))
        description = struct.pack("@HP", len(program), ctypes.addressof(code))  # struct sock_fprog
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, description)

    def listen(self, group: int) -> None:
        """Listen to the multicast group with the number ``group``, beside those of the mask."""
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)

    def set_option(self, level: int, option: int, value: int) -> None:
        """Set a socket option."""
        self._socket.setsockopt(level, option, value)

    def send(self, *requests: Request) -> None:
        """Send ``requests`` in one datagram and wait for the acknowledgement of each.

        The kernel works them off in order and goes on after a refused one; all answers are read, then the
        first refusal is raised as NetlinkError.
        """
        first = self._sequence + 1
        parts: list[bytes] = []
        for request in requests:
            self._sequence += 1
            flags = request.flags | NLM_F_REQUEST | NLM_F_ACK
            parts.append(_frame(request.kind, flags, self._sequence, request.body))
        self._socket.sendto(b"".join(parts), (0, 0))
        waiting = len(requests)
        failure: NetlinkError | None = None
        while waiting:
            for kind, flags, sequence, body in self._read():
                if kind != _NLMSG_ERROR or not first <= sequence <= self._sequence:
                    continue
                waiting -= 1
                if error := _error(body, flags, requests[sequence - first].what):
                    failure = failure or error
        if failure is not None:
            raise failure

    def send_batch(self, begin: bytes, requests: list[Request], end: bytes) -> None:
        """Send an nfnetlink transaction: all of ``requests`` take effect, or none.

        ``begin`` and ``end`` are the bodies of the batch messages. Only the last request asks for an
        acknowledgement, which the kernel sends after the commit; a refusal of any is raised.
        """
        self._sequence += 1
        start = self._sequence
        parts = [_frame(_NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, start, begin)]
        last = len(requests) - 1
        for index, request in enumerate(requests):
            self._sequence += 1
            flags = request.flags | NLM_F_REQUEST | (NLM_F_ACK if index == last else 0)
            parts.append(_frame(request.kind, flags, self._sequence, request.body))
        final = self._sequence
        self._sequence += 1
        parts.append(_frame(_NFNL_MSG_BATCH_END, NLM_F_REQUEST, self._sequence, end))
        self._socket.sendto(b"".join(parts), (0, 0))
        failure: NetlinkError | None = None
        done = False
        while not done:
            for kind, flags, sequence, body in self._read():
                if kind != _NLMSG_ERROR or not start <= sequence <= self._sequence:
                    continue
                what = requests[sequence - start - 1].what if start < sequence <= final else "nft batch"
                failure = failure or _error(body, flags, what)
                done = done or sequence == final or failure is not None
        if failure is not None:
            self.drain()
            raise failure

    def get(self, kind: int, body: bytes, what: str = "") -> bytes:
        """Return the body of the one object that a request without dump asks for. Raises NetlinkError."""
        self._sequence += 1
        self._socket.sendto(_frame(kind, NLM_F_REQUEST, self._sequence, body), (0, 0))
        while True:
            for reply, flags, sequence, content in self._read():
                if sequence != self._sequence:
                    continue
                if reply != _NLMSG_ERROR:
                    return content
                if error := _error(content, flags, what):
                    raise error

    def dump(self, kind: int, body: bytes, what: str = "") -> list[bytes]:
        """Return the bodies of all objects that a dump request yields.

        A dump that the kernel marks as interrupted by a change is made again.
        """
        while True:
            self._sequence += 1
            self._socket.sendto(_frame(kind, NLM_F_REQUEST | NLM_F_DUMP, self._sequence, body), (0, 0))
            found: list[bytes] = []
            interrupted = done = False
            while not done:
                for reply, flags, sequence, content in self._read():
                    if sequence != self._sequence:
                        continue
                    interrupted = interrupted or bool(flags & _NLM_F_DUMP_INTR)
                    if reply in {_NLMSG_DONE, _NLMSG_ERROR}:
                        done = True
                        if error := _error(content, flags, what):
                            raise error
                        break
                    found.append(content)
            if not interrupted:
                return found

    def _read(self) -> Iterator[tuple[int, int, int, bytes]]:
        data = self._socket.recv(_READ)
        offset, end = 0, len(data)
        while offset + 16 <= end:
            length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
            if length < 16 or offset + length > end:
                raise NetlinkError(errno.EBADMSG, "truncated netlink message", "")
            yield kind, flags, sequence, data[offset + 16 : offset + length]
            offset += (length + 3) & ~3

    def drain(self) -> bool:
        """Throw away what has arrived: a failed batch may report several refusals. Tell if there was any."""
        found = False
        with suppress(BlockingIOError):
            while self._socket.recv(_READ, socket.MSG_DONTWAIT):
                found = True
        return found


_NFNL_MSG_BATCH_BEGIN: Final = 16  # linux/netfilter/nfnetlink.h
_NFNL_MSG_BATCH_END: Final = 17


def _frame(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    length = 16 + len(body)
    return _HEADER.pack(length, kind, flags, sequence, 0) + body + _PAD[length & 3]


def _error(body: bytes, flags: int, what: str) -> NetlinkError | None:
    """Return the refusal in the body of an NLMSG_ERROR or NLMSG_DONE, None for a plain acknowledgement."""
    code = int.from_bytes(body[:4], sys.byteorder, signed=True) if len(body) >= 4 else 0
    if code >= 0:
        return None
    reason = ""
    if flags & _NLM_F_ACK_TLVS:
        header = 20 if flags & _NLM_F_CAPPED else 4 + int.from_bytes(body[4:8], sys.byteorder)
        message = parse_attributes(body[(header + 3) & ~3 :]).get(_NLMSGERR_ATTR_MSG, b"")
        reason = message.rstrip(b"\0").decode("utf-8", "replace")
    return NetlinkError(-code, reason, what)
