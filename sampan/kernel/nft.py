"""nftables: libnftables for structure, raw nfnetlink for what must be quick.

``Nftables`` runs commands of nft's language, each call one atomic transaction. The functions below it speak
nfnetlink: elements of maps (7 µs a piece), and what foreign chains look like. Both act on the network
namespace of the thread that opened them.
"""

import ctypes
import errno
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sampan.kernel.netlink import (
    NETLINK_NETFILTER,
    NLM_F_CREATE,
    Netlink,
    NetlinkError,
    Request,
    attribute,
    nested,
    parse_attributes,
    text,
    walk_attributes,
)

NFPROTO_INET: Final = 1  # linux/netfilter.h
NFPROTO_IPV4: Final = 2
NFPROTO_BRIDGE: Final = 7
NFPROTO_IPV6: Final = 10
FAMILIES: Final = {NFPROTO_INET: "inet", NFPROTO_IPV4: "ip"}
HOOK_FORWARD: Final = 2

# linux/netfilter/nfnetlink.h, nf_tables.h
_SUBSYSTEM: Final = 10 << 8
_GETCHAIN: Final = _SUBSYSTEM | 4
_GETRULE: Final = _SUBSYSTEM | 7
_NEWSETELEM: Final = _SUBSYSTEM | 12
_GETSETELEM: Final = _SUBSYSTEM | 13
_DELSETELEM: Final = _SUBSYSTEM | 14
_BATCH: Final = struct.pack(">BBH", 0, 0, 10)
_LIST_ELEM: Final = 1
_SET_ELEM_LIST_TABLE: Final = 1
_SET_ELEM_LIST_SET: Final = 2
_SET_ELEM_LIST_ELEMENTS: Final = 3
_SET_ELEM_KEY: Final = 1
_SET_ELEM_DATA: Final = 2
_DATA_VALUE: Final = 1
_CHAIN_TABLE: Final = 1
_CHAIN_NAME: Final = 3
_CHAIN_HOOK: Final = 4
_CHAIN_POLICY: Final = 5
_CHAIN_TYPE: Final = 7
_HOOK_NUMBER: Final = 1
_RULE_TABLE: Final = 1
_RULE_CHAIN: Final = 2
_RULE_HANDLE: Final = 3
_RULE_EXPRESSIONS: Final = 4
_RULE_USERDATA: Final = 7
_EXPR_NAME: Final = 1
_EXPR_DATA: Final = 2
_UDATA_COMMENT: Final = 0  # libnftnl/udata.h
_CHUNK: Final = 500  # elements a message: a nested attribute holds at most 64 KiB
_SO_SNDBUFFORCE: Final = 32
_SEND_BUFFER: Final = 8 << 20


class NftError(OSError):
    """nftables refused ``commands``; the text is libnftables' own, with line numbers."""

    def __init__(self, message: str, commands: str) -> None:
        super().__init__(errno.EINVAL, message)
        self.commands = commands


class Nftables:
    """A context of libnftables. Raises OSError if the library is not there."""

    def __init__(self) -> None:
        library = _load()
        self._library = library
        self._context = library.nft_ctx_new(0)
        if not self._context:
            raise OSError(errno.ENOMEM, "libnftables gives no context")
        library.nft_ctx_buffer_output(self._context)
        library.nft_ctx_buffer_error(self._context)

    def run(self, commands: str) -> str:
        """Run ``commands`` as one transaction and return what they print. Raises NftError."""
        result = self._library.nft_run_cmd_from_buffer(self._context, commands.encode())
        output: bytes = self._library.nft_ctx_get_output_buffer(self._context) or b""
        complaint: bytes = self._library.nft_ctx_get_error_buffer(self._context) or b""
        if result != 0:
            message = complaint.decode("utf-8", "replace").strip() or "refused without a reason"
            raise NftError(message, commands)
        return output.decode("utf-8", "replace")

    def close(self) -> None:
        """Free the context."""
        if self._context:
            self._library.nft_ctx_free(self._context)
            self._context = None


def _load() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libnftables.so.1", use_errno=True)
    except OSError as error:
        raise OSError(errno.ENOENT, "libnftables.so.1 is not installed (package libnftables1)") from error
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error", "nft_ctx_free"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
        getattr(library, name).restype = ctypes.c_char_p
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    return library


def open_netfilter() -> Netlink:
    """Return an nfnetlink socket whose send buffer holds tens of thousands of elements."""
    netlink = Netlink(NETLINK_NETFILTER)
    netlink.set_option(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SEND_BUFFER)
    return netlink


_NEWGEN: Final = _SUBSYSTEM | 15  # ends the report of a transaction
_GROUP: Final = 7  # NFNLGRP_NFTABLES
_GEN_PROC_NAME: Final = 3
_OWN_NAME: Final = Path("/proc/thread-self/comm")
# Classic BPF: keep the message if its type (at 4, in the machine's order) is NEWGEN.
_ONLY_NEWGEN: Final = (
    (0x28, 0, 0, 4),  # ldh [4]
    (0x15, 0, 1, int.from_bytes(_NEWGEN.to_bytes(2, sys.byteorder), "big")),  # jeq NEWGEN
    (0x06, 0, 0, 0xFFFFFFFF),
    (0x06, 0, 0, 0),
)


def sign_thread(name: str) -> None:
    """Let the kernel report transactions of the calling thread as those of ``name`` (at most 15 bytes)."""
    _OWN_NAME.write_text(name)


class RulesetEvents:
    """Tells that somebody other than ``own`` (see ``sign_thread``) has changed nftables.

    ``netlink``: an nfnetlink socket of the namespace to be watched, which is used for nothing else at the
    same time; one of the calling thread's namespace is opened without.
    """

    def __init__(self, own: str, netlink: Netlink | None = None) -> None:
        self._own = own
        self._netlink = netlink or Netlink(NETLINK_NETFILTER)
        try:
            self._netlink.keep(_ONLY_NEWGEN)
            self._netlink.listen(_GROUP)
        except OSError:
            self._netlink.close()
            raise

    def fileno(self) -> int:
        """Return the descriptor, for an event loop."""
        return self._netlink.fileno()

    def read(self) -> bool:
        """Tell whether one of the transactions so far was somebody else's; some may have been lost."""
        try:
            events = self._netlink.events()
        except OSError:  # ENOBUFS
            return True
        names = [parse_attributes(body[4:]).get(_GEN_PROC_NAME) for kind, body in events if kind == _NEWGEN]
        return any(_text(name) != self._own for name in names)

    def close(self) -> None:
        """Stop listening."""
        self._netlink.close()


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a map, or (without ``data``) of a set, in the kernel's encoding.

    Parts of a concatenation are padded to four bytes.
    """

    map: str
    key: bytes
    data: bytes = b""
    family: int = NFPROTO_IPV4


def add_elements(netlink: Netlink, table: str, elements: Sequence[Element]) -> None:
    """Add ``elements`` in one transaction; those that are there already with the same data stay.

    Raises NetlinkError: EBUSY if a key has other data, ENOENT if table or map is missing.
    """
    requests = list(_element_requests(_NEWSETELEM, NLM_F_CREATE, table, elements))
    if requests:
        netlink.send_batch(_BATCH, requests, _BATCH)


def remove_elements(netlink: Netlink, table: str, elements: Sequence[Element]) -> None:
    """Remove ``elements`` in one transaction; what is not there (element, map, table) is no error."""
    requests = list(_element_requests(_DELSETELEM, 0, table, elements))
    if not requests:
        return
    try:
        netlink.send_batch(_BATCH, requests, _BATCH)
    except NetlinkError as error:
        if error.errno != errno.ENOENT:
            raise
        if len(elements) > 1:
            for element in elements:
                remove_elements(netlink, table, [element])


def _element_requests(kind: int, flags: int, table: str, elements: Sequence[Element]) -> Iterator[Request]:
    by_map: dict[tuple[int, str], list[Element]] = {}
    for element in elements:
        by_map.setdefault((element.family, element.map), []).append(element)
    for (family, name), members in by_map.items():
        for start in range(0, len(members), _CHUNK):
            encoded = [
                nested(
                    _LIST_ELEM,
                    nested(_SET_ELEM_KEY, attribute(_DATA_VALUE, element.key)),
                    nested(_SET_ELEM_DATA, attribute(_DATA_VALUE, element.data)) if element.data else b"",
                )
                for element in members[start : start + _CHUNK]
            ]
            body = (
                struct.pack(">BBH", family, 0, 0),
                text(_SET_ELEM_LIST_TABLE, table),
                text(_SET_ELEM_LIST_SET, name),
                nested(_SET_ELEM_LIST_ELEMENTS, *encoded),
            )
            yield Request(kind, flags, b"".join(body), f"element of nft map {table} {name}")


@dataclass(frozen=True, slots=True)
class Chain:
    """A base chain: ``drops`` is its policy."""

    family: int
    table: str
    name: str
    drops: bool


@dataclass(frozen=True, slots=True)
class ForeignRule:
    """A rule as far as it matters here: does it end everything that reaches it, where does it jump."""

    handle: int
    comment: str
    unconditional_drop: bool
    jumps_to: str


def list_filter_chains(netlink: Netlink, hook: int) -> list[Chain]:
    """Return the base chains of type filter on ``hook`` in the families ip and inet."""
    found = []
    for body in netlink.dump(_GETCHAIN, struct.pack(">BBH", 0, 0, 0), "list nft chains"):
        values = parse_attributes(body[4:])
        if body[0] not in FAMILIES or _CHAIN_HOOK not in values or _text(values.get(_CHAIN_TYPE)) != "filter":
            continue
        number = parse_attributes(values[_CHAIN_HOOK]).get(_HOOK_NUMBER, b"")
        if int.from_bytes(number, "big") == hook:
            drops = values.get(_CHAIN_POLICY, b"\0\0\0\1") == b"\0\0\0\0"
            found.append(
                Chain(body[0], _text(values.get(_CHAIN_TABLE)), _text(values.get(_CHAIN_NAME)), drops)
            )
    return found


def list_comments(netlink: Netlink, family: int, table: str) -> list[tuple[str, str]]:
    """Return (chain, comment) of every rule of ``table``, none if there is no such table."""
    body = struct.pack(">BBH", family, 0, 0) + text(_RULE_TABLE, table)
    found = []
    for reply in netlink.dump(_GETRULE, body, f"list rules of nft table {table}"):
        values = parse_attributes(reply[4:])
        if reply[0] == family and _text(values.get(_RULE_TABLE)) == table:
            found.append((_text(values.get(_RULE_CHAIN)), _comment(values.get(_RULE_USERDATA, b""))))
    return found


def list_chains(netlink: Netlink, family: int, table: str) -> set[str]:
    """Return the names of the chains of ``table``."""
    replies = netlink.dump(_GETCHAIN, struct.pack(">BBH", family, 0, 0), "list nft chains")
    chains = [(reply[0], parse_attributes(reply[4:])) for reply in replies]
    return {
        _text(values.get(_CHAIN_NAME))
        for found, values in chains
        if found == family and _text(values.get(_CHAIN_TABLE)) == table
    }


def list_elements(netlink: Netlink, family: int, table: str, name: str) -> list[tuple[bytes, bytes]]:
    """Return (key, data) of every element of a set or map, none if it or its table is not there."""
    body = struct.pack(">BBH", family, 0, 0)
    body += text(_SET_ELEM_LIST_TABLE, table) + text(_SET_ELEM_LIST_SET, name)
    try:
        replies = netlink.dump(_GETSETELEM, body, f"list nft set {table} {name}")
    except NetlinkError as error:
        if error.errno != errno.ENOENT:
            raise
        return []
    found = []
    for reply in replies:
        listed = parse_attributes(reply[4:]).get(_SET_ELEM_LIST_ELEMENTS, b"")
        for _, element in walk_attributes(listed):
            values = parse_attributes(element)
            key, data = (parse_attributes(values.get(kind, b"")) for kind in (_SET_ELEM_KEY, _SET_ELEM_DATA))
            found.append((key.get(_DATA_VALUE, b""), data.get(_DATA_VALUE, b"")))
    return found


def list_rules(netlink: Netlink, chain: Chain) -> list[ForeignRule]:
    """Return the rules of ``chain`` in order."""
    body = (
        struct.pack(">BBH", chain.family, 0, 0)
        + text(_RULE_TABLE, chain.table)
        + text(_RULE_CHAIN, chain.name)
    )
    found = []
    for reply in netlink.dump(_GETRULE, body, f"list rules of nft chain {chain.name}"):
        values = parse_attributes(reply[4:])
        if _text(values.get(_RULE_TABLE)) != chain.table or _text(values.get(_RULE_CHAIN)) != chain.name:
            continue
        drops, target = _verdict(values.get(_RULE_EXPRESSIONS, b""))
        found.append(
            ForeignRule(
                handle=int.from_bytes(values.get(_RULE_HANDLE, b""), "big"),
                comment=_comment(values.get(_RULE_USERDATA, b"")),
                unconditional_drop=drops,
                jumps_to=target,
            )
        )
    return found


_IMMEDIATE_DATA: Final = 2
_DATA_VERDICT: Final = 2
_VERDICT_CODE: Final = 1
_VERDICT_CHAIN: Final = 2
_NF_DROP: Final = 0


def _verdict(expressions: bytes) -> tuple[bool, str]:
    """Return (drops whatever reaches it, name of the chain that it jumps to or "")."""
    conditional, drops, target = False, False, ""
    for _, expression in walk_attributes(expressions):
        values = parse_attributes(expression)
        name = _text(values.get(_EXPR_NAME))
        if name == "reject":
            drops = True
        elif name == "immediate":
            data = parse_attributes(parse_attributes(values.get(_EXPR_DATA, b"")).get(_IMMEDIATE_DATA, b""))
            verdict = parse_attributes(data.get(_DATA_VERDICT, b""))
            if int.from_bytes(verdict.get(_VERDICT_CODE, b"\xff"), "big") == _NF_DROP:
                drops = True
            target = _text(verdict.get(_VERDICT_CHAIN))
        elif name not in {"counter", "log"}:
            conditional = True
    return drops and not conditional, target


def _comment(userdata: bytes) -> str:
    while len(userdata) >= 2:
        kind, length = userdata[0], userdata[1]
        if kind == _UDATA_COMMENT:
            return _text(userdata[2 : 2 + length])
        userdata = userdata[2 + length :]
    return ""


def _text(raw: bytes | None) -> str:
    return (raw or b"").rstrip(b"\0").decode("utf-8", "replace")
