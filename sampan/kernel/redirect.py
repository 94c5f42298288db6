"""Sends what is meant for one local port to another one, inside one network namespace.

The ports are rewritten in the packets as they are sent, there and back; no connection is tracked. NAT would
do it too, but then every packet of the namespace is looked up in the table of connections, which costs
throughput. ``nft``'s language would do it as well, but its library takes milliseconds to look at a namespace
for the first time; this is one nfnetlink transaction of a few hundred bytes, which takes 0.1 ms.
"""

import socket
import struct
from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Final

from sampan.kernel.netlink import NLM_F_APPEND, NLM_F_CREATE, Netlink, Request, be32, nested, text
from sampan.kernel.netlink import attribute as attr

# linux/netfilter.h, linux/netfilter_ipv4.h
_NFPROTO_IPV4: Final = 2
_HOOK_OUTPUT: Final = 3
_PRIORITY_MANGLE: Final = -150
# linux/netfilter/nfnetlink.h, nf_tables.h
_SUBSYSTEM: Final = 10 << 8
_NEWTABLE: Final = _SUBSYSTEM | 0
_DELTABLE: Final = _SUBSYSTEM | 2
_NEWCHAIN: Final = _SUBSYSTEM | 3
_NEWRULE: Final = _SUBSYSTEM | 6
_BATCH: Final = struct.pack(">BBH", 0, 0, 10)
_HEADER: Final = struct.pack(">BBH", _NFPROTO_IPV4, 0, 0)
_LIST_ELEM: Final = 1
_DATA_VALUE: Final = 1
_REGISTER: Final = 1  # NFT_REG_1
_BASE_NETWORK: Final = 1  # NFT_PAYLOAD_NETWORK_HEADER
_BASE_TRANSPORT: Final = 2
_META_L4PROTO: Final = 16
_CSUM_INET: Final = 1  # NFT_PAYLOAD_CSUM_INET
_SOURCE: Final = (_BASE_NETWORK, 12, 4)  # of struct iphdr
_DESTINATION: Final = (_BASE_NETWORK, 16, 4)
_SOURCE_PORT: Final = (_BASE_TRANSPORT, 0, 2)
_DESTINATION_PORT: Final = (_BASE_TRANSPORT, 2, 2)
_CHECKSUM: Final = {socket.IPPROTO_TCP: 16, socket.IPPROTO_UDP: 6}  # offsets in the transport's header
RULES: Final = 2
"""How many rules there are for each protocol."""


def redirect_port(
    netlink: Netlink,
    table: str,
    address: IPv4Address,
    port: int,
    targets: Mapping[int, int],
    *,
    renew: bool = False,
) -> None:
    """Send what local programs send to ``address`` and ``port`` to another port there.

    ``targets``: that port by IP protocol number, of TCP and UDP. ``netlink`` is an nfnetlink socket there.
    ``renew``: the table may be there and is made anew; otherwise it must not be. Raises NetlinkError.
    """
    name = text(1, table)
    chain = (
        name,
        text(3, "output"),
        nested(4, be32(1, _HOOK_OUTPUT), be32(2, _PRIORITY_MANGLE & 0xFFFFFFFF)),
        text(7, "filter"),
    )
    make_table = Request(_NEWTABLE, NLM_F_CREATE, _HEADER + name, f"nft table {table}")
    # Not always: after a deletion, the closing of the socket waits for the kernel's own clearing up.
    clear = [make_table, Request(_DELTABLE, 0, _HEADER + name, f"nft table {table}")] if renew else []
    requests = [
        *clear,
        make_table,
        Request(_NEWCHAIN, NLM_F_CREATE, _HEADER + b"".join(chain), f"nft chain {table} output"),
    ]
    for protocol, target in targets.items():
        ways = (
            (_DESTINATION, _DESTINATION_PORT, port, target),
            (_SOURCE, _SOURCE_PORT, target, port),  # and back
        )
        for where, field, old, new in ways:
            expressions = (
                *_match(_payload(*where), address.packed),
                *_match(_expression("meta", be32(2, _META_L4PROTO), be32(1, _REGISTER)), bytes([protocol])),
                *_match(_payload(*field), struct.pack(">H", old)),
                _immediate(struct.pack(">H", new)),
                _write(*field, checksum=_CHECKSUM[protocol]),
            )
            body = (name, text(2, "output"), nested(4, *expressions))
            requests.append(
                Request(
                    _NEWRULE,
                    NLM_F_CREATE | NLM_F_APPEND,
                    _HEADER + b"".join(body),
                    f"redirection of {address}:{port}",
                )
            )
    netlink.send_batch(_BATCH, requests, _BATCH)


def _expression(name: str, *attributes: bytes) -> bytes:
    return nested(_LIST_ELEM, text(1, name), nested(2, *attributes))


def _payload(base: int, offset: int, length: int) -> bytes:
    return _expression("payload", be32(1, _REGISTER), be32(2, base), be32(3, offset), be32(4, length))


def _write(base: int, offset: int, length: int, *, checksum: int) -> bytes:
    """Return the expression that writes the register into the packet and corrects its checksum."""
    return _expression(
        "payload",
        be32(5, _REGISTER),
        be32(2, base),
        be32(3, offset),
        be32(4, length),
        be32(6, _CSUM_INET),
        be32(7, checksum),
        be32(8, 0),
    )


def _match(load: bytes, value: bytes) -> tuple[bytes, bytes]:
    """Return the expressions that let a packet on if what ``load`` loads is ``value``."""
    equal = _expression("cmp", be32(1, _REGISTER), be32(2, 0), nested(3, attr(_DATA_VALUE, value)))
    return load, equal


def _immediate(value: bytes) -> bytes:
    return _expression("immediate", be32(1, _REGISTER), nested(2, attr(_DATA_VALUE, value)))
