"""The daemon's settings for networks, as ``sampand`` flags and ``daemon.json`` give them."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Final

ANY: Final = IPv4Address(0)
DEFAULT_POOLS: Final[tuple[tuple[IPv4Network, int], ...]] = (
    (IPv4Network("172.17.0.0/16"), 16),
    (IPv4Network("172.18.0.0/16"), 16),
    (IPv4Network("172.19.0.0/16"), 16),
    (IPv4Network("172.20.0.0/14"), 16),
    (IPv4Network("172.24.0.0/14"), 16),
    (IPv4Network("172.28.0.0/14"), 16),
    (IPv4Network("192.168.0.0/16"), 20),
)
"""Docker's default-address-pools: (base, prefix length of the networks cut from it)."""


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Settings by the names of dockerd's options.

    ``bridge`` "" means docker0, or sampan0 where another engine holds docker0; any other name is a bridge
    that must be there and is used as it is; "none" leaves the default network out. ``ip`` is where ports are
    published from the default network unless a host address is given, ``publish_host`` where from any other.
    """

    bridge: str = ""
    bip: IPv4Interface | None = None
    fixed_cidr: IPv4Network | None = None
    mtu: int = 1500
    icc: bool = True
    ip_forward: bool = True
    ip_masq: bool = True
    iptables: bool = True
    userland_proxy: bool = True
    ip: IPv4Address = ANY
    publish_host: IPv4Address = ANY
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    host_gateway_ip: tuple[str, ...] = ()
    default_address_pools: tuple[tuple[IPv4Network, int], ...] = DEFAULT_POOLS
