"""Links, addresses, routes and bridge ports over rtnetlink.

Names and numbers go in, the kernel's state changes or OSError is raised; who wants the link and why is the
business of ``sampan.networks``. All calls take the ``Netlink`` socket of the namespace that they act on.
"""

import errno
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
)
from typing import Final

from sampan.kernel.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Netlink,
    Request,
    attribute,
    nested,
    parse_attributes,
    text,
    u32,
)

IpAddress = IPv4Address | IPv6Address
IpInterface = IPv4Interface | IPv6Interface
IpNetwork = IPv4Network | IPv6Network

# linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h, linux/neighbour.h
_RTM_NEWLINK: Final = 16
_RTM_DELLINK: Final = 17
_RTM_GETLINK: Final = 18
_RTM_SETLINK: Final = 19
_RTM_NEWADDR: Final = 20
_RTM_DELADDR: Final = 21
_RTM_GETADDR: Final = 22
_RTM_NEWROUTE: Final = 24
_RTM_DELROUTE: Final = 25
_RTM_GETROUTE: Final = 26
_RTM_NEWNEIGH: Final = 28
_IFLA_ADDRESS: Final = 1
_IFLA_IFNAME: Final = 3
_IFLA_MTU: Final = 4
_IFLA_LINK: Final = 5
_IFLA_MASTER: Final = 10
_IFLA_PROTINFO: Final = 12
_IFLA_LINKINFO: Final = 18
_IFLA_IFALIAS: Final = 20
_IFLA_NET_NS_FD: Final = 28
_IFLA_NUM_TX_QUEUES: Final = 31
_IFLA_NUM_RX_QUEUES: Final = 32
_IFLA_INFO_KIND: Final = 1
_IFLA_INFO_DATA: Final = 2
_VETH_INFO_PEER: Final = 1
_IFLA_BRPORT_MODE: Final = 4  # hairpin
_IFLA_BRPORT_ISOLATED: Final = 33
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_IFA_LABEL: Final = 3
_IFA_BROADCAST: Final = 4
_IFA_FLAGS: Final = 8
_IFA_F_NODAD: Final = 0x02
_RTA_DST: Final = 1
_RTA_OIF: Final = 4
_RTA_GATEWAY: Final = 5
_RT_TABLE_MAIN: Final = 254
_RTPROT_BOOT: Final = 3
_RTN_UNICAST: Final = 1
_RT_SCOPE_LINK: Final = 253
_RT_SCOPE_NOWHERE: Final = 255
_NUD_NOARP: Final = 0x40
_NTF_MASTER: Final = 0x04
_NDA_LLADDR: Final = 2
IFF_UP: Final = 1
_EVERYTHING: Final[dict[int, IpNetwork]] = {4: IPv4Network("0.0.0.0/0"), 6: IPv6Network("::/0")}

_LINK: Final = struct.Struct("=BxHiII")
_ADDRESS: Final = struct.Struct("=BBBBI")
_ROUTE: Final = struct.Struct("=BBBBBBBBI")
_NEIGHBOUR: Final = struct.Struct("=BxxxiHBB")


@dataclass(frozen=True, slots=True)
class Link:
    """An interface as the kernel lists it; ``kind`` is "" for hardware, ``master`` 0 without one."""

    index: int
    name: str
    kind: str
    master: int
    up: bool
    mtu: int
    mac: str
    alias: str
    peer: int = 0  # the index of the other end of a veth, in its own namespace


@dataclass(frozen=True, slots=True)
class Route:
    """A unicast route of the main table: by ``gateway`` (None: directly) and the interface ``index``."""

    network: IpNetwork
    gateway: IpAddress | None
    index: int


@dataclass(frozen=True, slots=True)
class Veth:
    """A pair of virtual interfaces to be made: ``host`` here, ``peer`` in the namespace ``namespace_fd``."""

    host: str
    bridge_index: int
    peer: str
    mac: str
    mtu: int
    namespace_fd: int


def list_links(netlink: Netlink) -> list[Link]:
    """Return every interface of the namespace."""
    request = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    return [_parse_link(body) for body in netlink.dump(_RTM_GETLINK, request, "list links")]


def find_link(netlink: Netlink, name: str) -> Link | None:
    """Return the interface ``name``, None if there is none. Raises OSError."""
    body = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + text(_IFLA_IFNAME, name)
    try:
        return _parse_link(netlink.get(_RTM_GETLINK, body, f"look for link {name}"))
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
        return None


def _parse_link(body: bytes) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(body)
    values = parse_attributes(body[_LINK.size :])
    info = parse_attributes(values.get(_IFLA_LINKINFO, b""))
    return Link(
        index=index,
        name=_string(values.get(_IFLA_IFNAME, b"")),
        kind=_string(info.get(_IFLA_INFO_KIND, b"")),
        master=_number(values.get(_IFLA_MASTER, b"")),
        up=bool(flags & IFF_UP),
        mtu=_number(values.get(_IFLA_MTU, b"")),
        mac=values.get(_IFLA_ADDRESS, b"").hex(":"),
        alias=_string(values.get(_IFLA_IFALIAS, b"")),
        peer=_number(values.get(_IFLA_LINK, b"")),
    )


def list_addresses(netlink: Netlink) -> list[tuple[int, IpInterface]]:
    """Return (interface index, address with prefix) of every address of the namespace."""
    found: list[tuple[int, IpInterface]] = []
    for body in netlink.dump(_RTM_GETADDR, _ADDRESS.pack(0, 0, 0, 0, 0), "list addresses"):
        family, prefix, _, _, index = _ADDRESS.unpack_from(body)
        values = parse_attributes(body[_ADDRESS.size :])
        raw = values.get(_IFA_LOCAL) or values.get(_IFA_ADDRESS, b"")
        if family == socket.AF_INET and len(raw) == 4:
            found.append((index, IPv4Interface((raw, prefix))))
        elif family == socket.AF_INET6 and len(raw) == 16:
            found.append((index, IPv6Interface((raw, prefix))))
    return found


def list_labels(netlink: Netlink) -> list[tuple[int, str, IPv4Interface]]:
    """Return (interface index, interface's name, address) of every IPv4 address of the namespace."""
    found: list[tuple[int, str, IPv4Interface]] = []
    for body in netlink.dump(_RTM_GETADDR, _ADDRESS.pack(socket.AF_INET, 0, 0, 0, 0), "list addresses"):
        _, prefix, _, _, index = _ADDRESS.unpack_from(body)
        values = parse_attributes(body[_ADDRESS.size :])
        raw = values.get(_IFA_LOCAL) or values.get(_IFA_ADDRESS, b"")
        label = _string(values.get(_IFA_LABEL, b"")).partition(":")[0]  # "eth0:1" is an alias of eth0
        if len(raw) == 4:
            found.append((index, label, IPv4Interface((raw, prefix))))
    return found


def list_routes(netlink: Netlink, family: int = socket.AF_UNSPEC) -> list[Route]:
    """Return the unicast routes of the main table, default routes among them (prefix length 0)."""
    found: list[Route] = []
    for body in netlink.dump(_RTM_GETROUTE, _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0), "list routes"):
        family, prefix, _, _, table, _, _, kind, _ = _ROUTE.unpack_from(body)
        if table != _RT_TABLE_MAIN or kind != _RTN_UNICAST or family not in {socket.AF_INET, socket.AF_INET6}:
            continue
        values = parse_attributes(body[_ROUTE.size :])
        raw, hop = values.get(_RTA_DST, b""), values.get(_RTA_GATEWAY, b"")
        network: IpNetwork
        if family == socket.AF_INET:
            network = IPv4Network((raw or bytes(4), prefix), strict=False)
        else:
            network = IPv6Network((raw or bytes(16), prefix), strict=False)
        found.append(Route(network, ip_address(hop) if hop else None, _number(values.get(_RTA_OIF, b""))))
    return found


def create_bridge(netlink: Netlink, name: str, *, mac: str, mtu: int, alias: str) -> None:
    """Create bridge ``name`` and bring it up. With a fixed MAC it does not change its own with its ports."""
    body = [
        _LINK.pack(socket.AF_UNSPEC, 0, 0, IFF_UP, IFF_UP),
        text(_IFLA_IFNAME, name),
        attribute(_IFLA_ADDRESS, _mac(mac)),
        nested(_IFLA_LINKINFO, text(_IFLA_INFO_KIND, "bridge")),
    ]
    if mtu:
        body.insert(3, u32(_IFLA_MTU, mtu))
    netlink.send(
        Request(_RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, b"".join(body), f"create bridge {name}"),
        # The alias of a link cannot be given while it is created (rtnetlink.c, rtnl_create_link).
        Request(
            _RTM_SETLINK,
            0,
            _LINK.pack(0, 0, 0, 0, 0) + text(_IFLA_IFNAME, name) + text(_IFLA_IFALIAS, alias),
            f"name the owner of bridge {name}",
        ),
    )


def create_veth(netlink: Netlink, veth: Veth) -> None:
    """Create a veth pair in one message: attached to its bridge, up, its peer born in its namespace.

    The peer is still down, its host end is up. Each end has one queue: by default it would be one per
    possible CPU, which costs a fifth of the whole call and gives a link without queueing discipline nothing.
    """
    mtu = u32(_IFLA_MTU, veth.mtu) if veth.mtu else b""
    queues = u32(_IFLA_NUM_TX_QUEUES, 1) + u32(_IFLA_NUM_RX_QUEUES, 1)
    peer = (
        _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0),
        text(_IFLA_IFNAME, veth.peer),
        attribute(_IFLA_ADDRESS, _mac(veth.mac)),
        mtu,
        queues,
        u32(_IFLA_NET_NS_FD, veth.namespace_fd),
    )
    body = (
        _LINK.pack(socket.AF_UNSPEC, 0, 0, IFF_UP, IFF_UP),
        text(_IFLA_IFNAME, veth.host),
        mtu,
        queues,
        u32(_IFLA_MASTER, veth.bridge_index),
        nested(
            _IFLA_LINKINFO,
            text(_IFLA_INFO_KIND, "veth"),
            nested(_IFLA_INFO_DATA, attribute(_VETH_INFO_PEER, b"".join(peer))),
        ),
    )
    netlink.send(Request(_RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, b"".join(body), f"create link {veth.host}"))


def set_master(netlink: Netlink, index: int, bridge_index: int) -> None:
    """Make interface ``index`` a port of the bridge ``bridge_index`` and bring it up."""
    body = _LINK.pack(socket.AF_UNSPEC, 0, index, IFF_UP, IFF_UP) + u32(_IFLA_MASTER, bridge_index)
    netlink.send(Request(_RTM_SETLINK, 0, body, "attach link to bridge"))


def set_bridge_port(netlink: Netlink, index: int, *, mac: str, hairpin: bool, isolated: bool) -> None:
    """Set up the bridge port ``index``: hairpin, isolation from other isolated ports, and who is behind it.

    The entry for ``mac`` makes the bridge forward to this port at once: without it, frames for an address
    that was used a moment ago would still go to the port that is on its way out.
    """
    port = (
        _LINK.pack(socket.AF_BRIDGE, 0, index, 0, 0),
        nested(
            _IFLA_PROTINFO,
            attribute(_IFLA_BRPORT_MODE, bytes([hairpin])),
            attribute(_IFLA_BRPORT_ISOLATED, bytes([isolated])),
        ),
    )
    neighbour = (
        _NEIGHBOUR.pack(socket.AF_BRIDGE, index, _NUD_NOARP, _NTF_MASTER, 0),
        attribute(_NDA_LLADDR, _mac(mac)),
    )
    netlink.send(
        Request(_RTM_SETLINK, 0, b"".join(port), "set bridge port"),
        Request(_RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, b"".join(neighbour), f"bridge entry {mac}"),
    )


def configure(
    netlink: Netlink,
    index: int,
    addresses: Sequence[IpInterface],
    gateways: Sequence[IpAddress] = (),
    *,
    direct: Sequence[int] = (),
    routes: Sequence[tuple[IpNetwork, IpAddress | None]] = (),
) -> None:
    """Bring interface ``index`` up with ``addresses`` and default routes by ``gateways``, in one send.

    ``direct``: IP versions whose default route leads to the link itself. ``routes``: further ones, by a next
    hop or (None) directly.
    """
    requests = [request_up(index)]
    requests += [_request_address(index, address) for address in addresses]
    requests += [_request_route(index, network, hop) for network, hop in routes]
    requests += [_request_route(index, _EVERYTHING[gateway.version], gateway) for gateway in gateways]
    requests += [_request_route(index, _EVERYTHING[version], None) for version in direct]
    netlink.send(*requests)


def add_address(netlink: Netlink, index: int, address: IpInterface) -> None:
    """Give interface ``index`` the address ``address``."""
    netlink.send(_request_address(index, address))


def set_default_route(netlink: Netlink, index: int, version: int, gateway: IpAddress | None) -> None:
    """Let the default route of IP ``version`` lead by link ``index``, whatever it was; None: directly."""
    request = _request_route(index, _EVERYTHING[version], gateway)
    request.flags = NLM_F_CREATE | NLM_F_REPLACE
    netlink.send(request)


def remove_default_route(netlink: Netlink, family: int) -> None:
    """Take the default route of ``family`` (AF_INET, AF_INET6) away; none there is no error."""
    body = _ROUTE.pack(family, 0, 0, 0, _RT_TABLE_MAIN, 0, _RT_SCOPE_NOWHERE, 0, 0)
    try:
        netlink.send(Request(_RTM_DELROUTE, 0, body, "remove the default route"))
    except OSError as error:
        if error.errno not in {errno.ESRCH, errno.ENOENT}:
            raise


def remove_address(netlink: Netlink, index: int, address: IpInterface) -> None:
    """Take the address ``address`` from interface ``index``."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    body = _ADDRESS.pack(family, address.network.prefixlen, 0, 0, index)
    body += attribute(_IFA_LOCAL, address.ip.packed) + attribute(_IFA_ADDRESS, address.ip.packed)
    netlink.send(Request(_RTM_DELADDR, 0, body, f"remove address {address}"))


def set_up(netlink: Netlink, index: int) -> None:
    """Bring interface ``index`` up."""
    netlink.send(request_up(index))


def set_mtu(netlink: Netlink, index: int, mtu: int) -> None:
    """Change the MTU of interface ``index``."""
    body = _LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0) + u32(_IFLA_MTU, mtu)
    netlink.send(Request(_RTM_SETLINK, 0, body, f"set MTU {mtu}"))


def set_mac(netlink: Netlink, index: int, mac: str) -> None:
    """Change the MAC address of interface ``index``; "" leaves it."""
    if mac:
        body = _LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0) + attribute(_IFLA_ADDRESS, _mac(mac))
        netlink.send(Request(_RTM_SETLINK, 0, body, f"set MAC address {mac}"))


def rename(netlink: Netlink, index: int, name: str) -> None:
    """Change the name of interface ``index``, which is down."""
    body = _LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0) + text(_IFLA_IFNAME, name)
    netlink.send(Request(_RTM_SETLINK, 0, body, f"rename link to {name}"))


def set_alias(netlink: Netlink, index: int, alias: str) -> None:
    """Change the alias of interface ``index``: free text that ``ip link`` shows."""
    body = _LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0) + text(_IFLA_IFALIAS, alias)
    netlink.send(Request(_RTM_SETLINK, 0, body, "set alias"))


def remove_link(netlink: Netlink, index: int) -> None:
    """Delete interface ``index``. For a veth this waits tens of milliseconds: drop its namespace instead."""
    netlink.send(Request(_RTM_DELLINK, 0, _LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0), "remove link"))


def request_up(index: int) -> Request:
    """Return the message that brings interface ``index`` up."""
    return Request(_RTM_SETLINK, 0, _LINK.pack(socket.AF_UNSPEC, 0, index, IFF_UP, IFF_UP), "bring link up")


def _request_address(index: int, address: IpInterface) -> Request:
    raw = address.ip.packed
    if isinstance(address, IPv4Interface):
        body = _ADDRESS.pack(socket.AF_INET, address.network.prefixlen, 0, 0, index)
        body += attribute(_IFA_LOCAL, raw) + attribute(_IFA_ADDRESS, raw)
        body += attribute(_IFA_BROADCAST, address.network.broadcast_address.packed)
    else:
        body = _ADDRESS.pack(socket.AF_INET6, address.network.prefixlen, 0, 0, index)
        body += attribute(_IFA_ADDRESS, raw) + u32(_IFA_FLAGS, _IFA_F_NODAD)
    return Request(_RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, body, f"add address {address}")


def _request_route(index: int, network: IpNetwork, gateway: IpAddress | None) -> Request:
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    scope = _RT_SCOPE_LINK if gateway is None and network.version == 4 else 0
    length = network.prefixlen
    body = _ROUTE.pack(family, length, 0, 0, _RT_TABLE_MAIN, _RTPROT_BOOT, scope, _RTN_UNICAST, 0)
    body += u32(_RTA_OIF, index)
    body += attribute(_RTA_DST, network.network_address.packed) if length else b""
    body += attribute(_RTA_GATEWAY, gateway.packed) if gateway is not None else b""
    what = f"route to {network} by {gateway or 'the link itself'}"
    return Request(_RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, body, what)


def _mac(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _string(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode("utf-8", "replace")


def _number(raw: bytes) -> int:
    return int(struct.unpack("=I", raw)[0]) if len(raw) == 4 else 0
