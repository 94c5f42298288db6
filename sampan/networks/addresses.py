"""Addresses as users write them."""

from ipaddress import IPv4Address, IPv4Interface, IPv6Address, ip_address

from sampan.base.errors import InvalidParameter
from sampan.kernel.links import IpAddress


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


def mac_of(address: IPv4Address) -> str:
    """Return the MAC address that Docker gives to the container with ``address``: 02:42 and its bytes."""
    return (b"\x02\x42" + address.packed).hex(":")


def with_prefix(address: IPv4Interface | None) -> str:
    """Write an address with its prefix length, or "" for none."""
    return str(address) if address is not None else ""
