"""Links that sit on another link: macvlan, ipvlan and VLAN interfaces, and parents that lead nowhere.

Like ``links``, this changes the kernel's state over rtnetlink or raises OSError; EOPNOTSUPP means that the
kernel has no such kind of link.
"""

import errno
import socket
import struct
from dataclasses import dataclass
from typing import Final

from sampan.kernel.links import IFF_UP
from sampan.kernel.netlink import NLM_F_CREATE, NLM_F_EXCL, Netlink, Request, attribute, nested, text, u32

# linux/rtnetlink.h, linux/if_link.h
_RTM_NEWLINK: Final = 16
_RTM_SETLINK: Final = 19
_IFLA_ADDRESS: Final = 1
_IFLA_IFNAME: Final = 3
_IFLA_MTU: Final = 4
_IFLA_LINK: Final = 5
_IFLA_LINKINFO: Final = 18
_IFLA_IFALIAS: Final = 20
_IFLA_NET_NS_FD: Final = 28
_IFLA_INFO_KIND: Final = 1
_IFLA_INFO_DATA: Final = 2
_IFLA_MACVLAN_MODE: Final = 1
_IFLA_IPVLAN_MODE: Final = 1
_IFLA_IPVLAN_FLAGS: Final = 2
_IFLA_VLAN_ID: Final = 1
_LINK: Final = struct.Struct("=BxHiII")

MACVLAN_MODES: Final = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
IPVLAN_MODES: Final = {"l2": 0, "l3": 1, "l3s": 2}
IPVLAN_FLAGS: Final = {"bridge": 0, "private": 1, "vepa": 2}
OPTIONS: Final = {
    "bridge": "CONFIG_BRIDGE",
    "macvlan": "CONFIG_MACVLAN",
    "ipvlan": "CONFIG_IPVLAN",
    "vlan": "CONFIG_VLAN_8021Q",
    "dummy": "CONFIG_DUMMY",
}
"""The kernel's configuration option behind each kind of link."""


@dataclass(frozen=True, slots=True)
class Sublink:
    """An interface ``name`` on the link ``parent`` (an index), born in the namespace ``namespace_fd``.

    ``kind`` is ``macvlan`` or ``ipvlan`` with its ``mode``, ``flag`` is ipvlan's. ``mac`` "" leaves it to
    the kernel.
    """

    kind: str
    name: str
    parent: int
    mode: str
    namespace_fd: int
    flag: str = "bridge"
    mac: str = ""
    mtu: int = 0


def supports(netlink: Netlink, kind: str) -> bool:
    """Tell whether the kernel has links of ``kind``: a request for one with an impossible name is refused.

    The kernel loads a module for it if it can; the name is looked at last.
    """
    body = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    body += text(_IFLA_IFNAME, "/") + nested(_IFLA_LINKINFO, text(_IFLA_INFO_KIND, kind))
    try:
        netlink.send(Request(_RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, f"look for {kind}"))
    except OSError as error:
        return error.errno != errno.EOPNOTSUPP
    return True


def create_sublink(netlink: Netlink, link: Sublink) -> None:
    """Create ``link``, still down."""
    if link.kind == "macvlan":
        data = u32(_IFLA_MACVLAN_MODE, MACVLAN_MODES[link.mode])
    else:
        data = attribute(_IFLA_IPVLAN_MODE, struct.pack("=H", IPVLAN_MODES[link.mode]))
        data += attribute(_IFLA_IPVLAN_FLAGS, struct.pack("=H", IPVLAN_FLAGS[link.flag]))
    body = (
        _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0),
        text(_IFLA_IFNAME, link.name),
        u32(_IFLA_LINK, link.parent),
        u32(_IFLA_NET_NS_FD, link.namespace_fd),
        attribute(_IFLA_ADDRESS, bytes.fromhex(link.mac.replace(":", ""))) if link.mac else b"",
        u32(_IFLA_MTU, link.mtu) if link.mtu else b"",
        nested(_IFLA_LINKINFO, text(_IFLA_INFO_KIND, link.kind), nested(_IFLA_INFO_DATA, data)),
    )
    netlink.send(
        Request(_RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, b"".join(body), f"create {link.kind} {link.name}")
    )


def create_vlan(netlink: Netlink, name: str, parent: int, number: int, *, alias: str) -> None:
    """Create ``name``, up: what the link ``parent`` (an index) carries with the 802.1q tag ``number``."""
    data = attribute(_IFLA_VLAN_ID, struct.pack("=H", number))
    info = nested(_IFLA_LINKINFO, text(_IFLA_INFO_KIND, "vlan"), nested(_IFLA_INFO_DATA, data))
    _create_parent(netlink, name, u32(_IFLA_LINK, parent) + info, alias)


def create_end(netlink: Netlink, name: str, kind: str, *, alias: str) -> None:
    """Create ``name``, up, of a ``kind`` that leads nowhere: ``dummy``, or a ``bridge`` without ports."""
    _create_parent(netlink, name, nested(_IFLA_LINKINFO, text(_IFLA_INFO_KIND, kind)), alias)


def move_link(netlink: Netlink, index: int, name: str, namespace_fd: int) -> None:
    """Move the link ``index``, taken down, into another namespace and call it ``name`` there."""
    down = _LINK.pack(socket.AF_UNSPEC, 0, index, 0, IFF_UP)
    body = _LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0)
    body += u32(_IFLA_NET_NS_FD, namespace_fd) + text(_IFLA_IFNAME, name)
    netlink.send(
        Request(_RTM_SETLINK, 0, down, f"take link {name} down"),
        Request(_RTM_SETLINK, 0, body, f"move link {name}"),
    )


def _create_parent(netlink: Netlink, name: str, rest: bytes, alias: str) -> None:
    body = _LINK.pack(socket.AF_UNSPEC, 0, 0, IFF_UP, IFF_UP) + text(_IFLA_IFNAME, name) + rest
    name_it = _LINK.pack(0, 0, 0, 0, 0) + text(_IFLA_IFNAME, name) + text(_IFLA_IFALIAS, alias)
    netlink.send(
        Request(_RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, f"create link {name}"),
        Request(_RTM_SETLINK, 0, name_it, f"name the owner of link {name}"),
    )
