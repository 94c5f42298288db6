"""What is taken away from the interfaces of a namespace, as the kernel reports it (rtnetlink(7) groups).

Only losses are reported: an interface that is gone, is no port of a bridge any more or goes down, an address
that is gone, routing that was turned on or off. What a container's start or end does beside that never wakes
the reader up: a filter in the kernel sees to it.
"""

import socket
import struct
import sys
from dataclasses import dataclass
from typing import Final

from sampan.kernel.netlink import NETLINK_ROUTE, Netlink, parse_attributes

# linux/rtnetlink.h
_NEWLINK: Final = 16
_DELLINK: Final = 17
_DELADDR: Final = 21
_NEWNETCONF: Final = 80
_GROUPS: Final = (
    0x1 | 0x10 | 0x100 | 1 << 23 | 1 << 24  # LINK, IPV4_IFADDR, IPV6_IFADDR, IPV4_NETCONF, IPV6_NETCONF
)
_PREFIXES: Final = 0x10 | 0x40  # IPV4_IFADDR, IPV4_ROUTE
_IFLA_IFNAME: Final = 3
_IFA_LABEL: Final = 3  # of IPv4 only
_ADDRESS_SIZE: Final = 8  # struct ifaddrmsg
_IPV6: Final = bytes([socket.AF_INET6])
_LINK_SCOPE: Final = b"\xfd"  # RT_SCOPE_LINK
_LINK: Final = struct.Struct("=BxHiII")


def _type(number: int) -> int:
    """Return a message type as the filter loads it: in network byte order, as if it were such."""
    return int.from_bytes(number.to_bytes(2, sys.byteorder), "big")


# Classic BPF over struct nlmsghdr (16 bytes, type at 4) and what follows.
_LOSSES: Final = (
    (0x28, 0, 0, 4),  # ldh [4]
    (0x15, 6, 0, _type(_DELLINK)),
    (0x15, 5, 0, _type(_DELADDR)),
    (0x15, 2, 0, _type(_NEWNETCONF)),
    (0x15, 0, 4, _type(_NEWLINK)),
    (0x05, 0, 0, 4),  # ja: look at the flags
    (0x20, 0, 0, 24),  # ld [24]: NETCONFA_IFINDEX, the first attribute, behind struct netconfmsg
    (0x15, 0, 1, 0xFFFFFFFF),  # NETCONFA_IFINDEX_ALL
    (0x06, 0, 0, 0xFFFFFFFF),
    (0x06, 0, 0, 0),
    (0x30, 0, 0, 24 if sys.byteorder == "little" else 27),  # ldb: the low byte of ifi_flags
    (0x45, 0, 1, 1),  # IFF_UP
    (0x06, 0, 0, 0),
    (0x06, 0, 0, 0xFFFFFFFF),
)


@dataclass(frozen=True, slots=True)
class Loss:
    """Something was taken away; ``link`` is the interface's name, "" where the kernel does not say."""

    link: str


class LinkEvents:
    """Losses in the network namespace of the thread that opens it."""

    def __init__(self) -> None:
        self._netlink = Netlink(NETLINK_ROUTE, _GROUPS)
        try:
            self._netlink.keep(_LOSSES)
        except OSError:
            self._netlink.close()
            raise

    def fileno(self) -> int:
        """Return the descriptor, for an event loop."""
        return self._netlink.fileno()

    def read(self) -> list[Loss]:
        """Return the losses so far. Raises OSError ENOBUFS if some were lost."""
        found = []
        for kind, body in self._netlink.events():
            name = b""
            if kind in {_NEWLINK, _DELLINK}:
                name = parse_attributes(body[_LINK.size :]).get(_IFLA_IFNAME, b"")
            elif kind == _DELADDR:
                if body[:1] == _IPV6 and body[3:4] == _LINK_SCOPE:
                    continue  # every link has one of its own, which goes with it
                name = parse_attributes(body[_ADDRESS_SIZE:]).get(_IFA_LABEL, b"").partition(b":")[0]
            found.append(Loss(name.rstrip(b"\0").decode("utf-8", "replace")))
        return found

    def close(self) -> None:
        """Stop listening."""
        self._netlink.close()


class PrefixEvents:
    """Tells whether IPv4 addresses or routes have changed in the namespace of the thread that opens it.

    Nobody is woken up by it. Routes that go with their link are no change: the kernel does not report them.
    """

    def __init__(self) -> None:
        self._netlink = Netlink(NETLINK_ROUTE, _PREFIXES)

    def changed(self) -> bool:
        """Tell whether there was a change since the last call."""
        try:
            return self._netlink.drain()
        except OSError:  # more than fit
            self._netlink.drain()
            return True

    def close(self) -> None:
        """Stop listening."""
        self._netlink.close()
