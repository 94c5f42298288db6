"""Addresses as users write them."""

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from sampan.base.errors import InvalidParameter
from sampan.kernel.links import IpAddress

_LINK_NAME: Final = 15  # IFNAMSIZ without the NUL
_LINK_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


def parse_address(text: str) -> IpAddress | None:
    """Return the address, IPv4-mapped ones as IPv4; None if it is none."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def parse_mac(text: str) -> str:
    """Return an Ethernet address in lower case with colons (Go's three notations are taken).

    Raises InvalidParameter.
    """
    groups = text.replace("-", ":").split(":")
    if len(groups) == 1 and text.count(".") == 2:
        groups = [part[i : i + 2] for part in text.split(".") if len(part) == 4 for i in (0, 2)]
    if len(groups) == 6 and all(len(group) == 2 for group in groups):
        try:
            return bytes.fromhex("".join(groups)).hex(":")
        except ValueError:
            pass
    raise InvalidParameter(f"invalid MAC address: address {text}: invalid MAC address")


def check_link_name(name: str) -> None:
    """Raise InvalidParameter unless ``name`` can be an interface's name here.

    The kernel takes more (dev_valid_name: any 15 bytes but ``/``, ``:`` and spaces), firewall rules do not.
    """
    if not (0 < len(name) <= _LINK_NAME and name not in {".", ".."} and set(name) <= _LINK_CHARACTERS):
        raise InvalidParameter(f"invalid interface name: {name!r}")


def mac_of(address: IPv4Address) -> str:
    """Return the MAC address that Docker gives to the container with ``address``: 02:42 and its bytes."""
    return (b"\x02\x42" + address.packed).hex(":")
