"""What a port of a bridge may say, and to which other ports: the rules of nftables' bridge family, as values.

One table, ``bridge sampan``, with the same few look-ups however many ports there are:

- ``spoofing``  prerouting: a container speaks as its own MAC and IP addresses only, in ARP and neighbour
  discovery, too, and is no router to its neighbours; links that are not ours pass
- ``apart``     forward: on networks without icc, neighbours reach each other only where a legacy link says so

The kernel need not track connections for that (it often cannot in this family), so answers over a link are
known by their source port, and a TCP connection cannot be opened backwards.
"""

import struct
from ipaddress import IPv4Address
from typing import Final

from sampan.kernel.links import IpAddress
from sampan.networks.firewall.rules import ENGINE, PROTOCOLS
from sampan.networks.model import Endpoint, Member, Rule

FAMILY: Final = "bridge"
_IFNAME: Final = 16
_LINK: Final = "ipv4_addr . ipv4_addr . inet_proto . inet_service"
_BASE: Final = (
    # chain, statement, reason
    ("", "set ports { type ifname; }", "the ports of containers"),
    ("", "set macs { type ifname . ether_addr; }", "the MAC address of each"),
    ("", "set speaks { type ifname . ether_addr . ipv4_addr; }", "whose IPv4 packets each sends"),
    ("", "set speaks6 { type ifname . ether_addr . ipv6_addr; }", "whose IPv6 packets each sends"),
    ("", "set addresses { type ifname . ipv4_addr; }", "the IPv4 addresses of each"),
    ("", "set addresses6 { type ifname . ipv6_addr; }", "the IPv6 addresses of each"),
    ("", "set claims6 { typeof iifname . @th,64,128; }", "the IPv6 addresses that each may claim"),
    ("", "set closed { type ifname; }", "ports on networks whose containers may not talk to each other"),
    ("", f"set links {{ type {_LINK}; }}", "who may all the same: client, server, port"),
    (
        "",
        "chain spoofing { type filter hook prerouting priority -300; policy accept; }",
        "who says he is who",
    ),
    # Nearly every packet ends at the first of these, with one look-up.
    ("spoofing", "iifname . ether saddr . ip saddr @speaks accept", "its own IPv4 packets"),
    (
        "spoofing",
        "meta l4proto { tcp, udp } iifname . ether saddr . ip6 saddr @speaks6 accept",
        "its own IPv6 packets; what finds neighbours and routers is looked at below",
    ),
    ("spoofing", "iifname != @ports accept", "not a container's port"),
    ("spoofing", "iifname . ether saddr != @macs drop", "a forged MAC address"),
    ("spoofing", "ip saddr != 0.0.0.0 iifname . ip saddr != @addresses drop", "a forged IPv4 address"),
    ("spoofing", "iifname . arp saddr ether != @macs drop", "ARP with a forged MAC address"),
    (
        "spoofing",
        "arp saddr ip != 0.0.0.0 iifname . arp saddr ip != @addresses drop",
        "ARP for another's address",
    ),
    ("spoofing", "icmpv6 type nd-router-advert drop", "a container is no router"),
    (
        "spoofing",
        "ip6 saddr != { ::, fe80::/10 } iifname . ip6 saddr != @addresses6 drop",
        "a forged IPv6 address",
    ),
    (
        "spoofing",
        "icmpv6 type nd-neighbor-advert @th,64,16 & 0xffc0 != 0xfe80 iifname . @th,64,128 != @claims6 drop",
        "a claim to another's IPv6 address",
    ),
    ("", "chain apart { type filter hook forward priority -200; policy accept; }", "from port to port"),
    ("apart", "iifname != @closed accept", "its network lets containers talk to each other"),
    ("apart", "ether type arp accept", "needed to find the other end of a link"),
    ("apart", "ip saddr . ip daddr . meta l4proto . th dport @links accept", "over a link"),
    ("apart", "tcp flags & (syn | ack) == syn drop", "links lead one way"),
    ("apart", "ip daddr . ip saddr . meta l4proto . th sport @links accept", "answers over a link"),
    ("apart", "drop", "containers of the network may not talk to each other"),
)


def plan_base() -> list[Rule]:
    """Return the rules of the table that are there once, whatever networks exist."""
    return [Rule(chain, statement, ENGINE, reason, FAMILY) for chain, statement, reason in _BASE]


def plan_port(endpoint: Endpoint, owner: str, *, spoofing: bool, closed: bool) -> list[Member]:
    """Return what is known of the port of ``endpoint``.

    ``spoofing``: it may say what it wants. ``closed``: its network keeps neighbours apart.
    """
    port, name = endpoint.link, _ifname(endpoint.link)
    members: list[Member] = []

    def add(where: str, text: str, key: bytes, reason: str) -> None:
        tail = f" . {text}" if text else ""
        members.append(Member(where, f'"{port}"{tail}', name + key, owner, reason, FAMILY))

    if not spoofing:
        mac = bytes.fromhex(endpoint.mac.replace(":", "")) + b"\0\0"
        add("macs", endpoint.mac, mac, "its MAC address")
        for interface in (*endpoint.addresses, *endpoint.extra):
            address = interface.ip
            pair = f"{endpoint.mac} . {address}"
            if address.version == 4:
                add("speaks", pair, mac + address.packed, "it speaks with its addresses")
                add("addresses", str(address), address.packed, "its IPv4 address")
            elif not address.is_link_local:
                add("speaks6", pair, mac + address.packed, "it speaks with its addresses")
                add("addresses6", str(address), address.packed, "its IPv6 address")
                add("claims6", f"0x{address.packed.hex()}", address.packed, "it may claim its IPv6 address")
        add("ports", "", b"", "it speaks as itself only")
    if closed:
        add("closed", "", b"", "its network keeps neighbours apart")
    return members


def plan_link(client: IpAddress, server: IpAddress, protocol: str, port: int, owner: str) -> list[Member]:
    """Return what lets ``client`` reach ``port`` of ``server`` on a network without icc; IPv4 only."""
    if not (isinstance(client, IPv4Address) and isinstance(server, IPv4Address)):
        return []
    text = f"{client} . {server} . {protocol} . {port}"
    key = client.packed + server.packed + struct.pack(">B3xH2x", PROTOCOLS[protocol], port)
    return [Member("links", text, key, owner, "a link", family) for family in (FAMILY, "ip")]


def _ifname(name: str) -> bytes:
    return name.encode().ljust(_IFNAME, b"\0")
