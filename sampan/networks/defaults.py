"""The networks that are always there: ``bridge``, ``host``, ``none``; and the choice of the bridge's subnet.

Pure: what the host has is handed in as ``HostView``.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Interface, IPv4Network
from typing import Final

from sampan.base import times
from sampan.base.errors import HostFailure, InvalidParameter
from sampan.base.ids import new_id
from sampan.kernel.links import IpAddress, IpInterface, IpNetwork, Link
from sampan.networks.addresses import check_link_name
from sampan.networks.config import NetworkConfig
from sampan.networks.drivers import bridge as driver
from sampan.networks.drivers.options import OPTION_MTU
from sampan.networks.ipam.subnets import choose_subnet
from sampan.networks.model import BRIDGE, HOST, NONE, Network, PoolConfig

_log = logging.getLogger(__name__)
DEFAULT_BRIDGE: Final = "docker0"
OTHER_BRIDGE: Final = "sampan0"


@dataclass(frozen=True, slots=True)
class HostView:
    """The host's links, addresses and routes (by interface index), and the name servers it asks.

    ``names`` are those of links that are not in ``links``.
    """

    links: Sequence[Link]
    addresses: Sequence[tuple[int, IpInterface]]
    routes: Sequence[tuple[int, IpNetwork]]
    name_servers: Sequence[IpAddress] = ()
    names: Mapping[int, str] = field(default_factory=dict)

    def link(self, name: str) -> Link | None:
        """Return the link ``name``, None if there is none."""
        return next((link for link in self.links if link.name == name), None)

    def interface(self, link: Link) -> IPv4Interface | None:
        """Return the first IPv4 address of ``link``."""
        return next((a for i, a in self.addresses if i == link.index and isinstance(a, IPv4Interface)), None)

    def occupied(self, but: Collection[str]) -> list[tuple[IPv4Network, str]]:
        """Return what IPv4 prefixes are in use, and by what; the links ``but`` do not count."""
        names = {**self.names, **{link.index: link.name for link in self.links}}
        found = [
            (address.network, f"{address} on {names.get(index, index)}")
            for index, address in self.addresses
            if isinstance(address, IPv4Interface) and names.get(index) not in but
        ]
        found += [
            (route, f"the route to {route} by {names.get(index, index)}")
            for index, route in self.routes
            if isinstance(route, IPv4Network) and names.get(index) not in but
        ]
        found += [
            (IPv4Network(str(server)), f"the name server {server}")
            for server in self.name_servers
            if server.version == 4
        ]
        return found


def predefined(
    stored: Mapping[str, Network], config: NetworkConfig, host: HostView, *, in_use: bool
) -> list[Network]:
    """Return the predefined networks as they shall be, with the ids that they have in ``stored``.

    ``in_use``: containers are on ``bridge`` already, so it stays as it is. Raises HostFailure if no subnet is
    free or the bridge that was asked for cannot be used, InvalidParameter if settings contradict each other.
    """
    known = {network.name: network for network in stored.values()}
    networks = [
        known.get(name) or Network(new_id(), name, kind, times.now())
        for name, kind in ((NONE, "null"), (HOST, "host"))
    ]
    before = known.get(BRIDGE)
    if config.bridge == "none":
        return networks
    if before is not None and in_use:
        return [before, *networks]
    options = {
        driver.OPTION_DEFAULT: "true",
        driver.OPTION_ICC: _text(config.icc),
        driver.OPTION_MASQUERADE: _text(config.ip_masq),
        driver.OPTION_HOST_IPV4: str(config.ip),
        driver.OPTION_NAME: choose_bridge(config, host),
        OPTION_MTU: str(config.mtu),
    }
    pool = choose_pool(config, host, options[driver.OPTION_NAME], before)
    if before is None:
        before = Network(new_id(), BRIDGE, "bridge", times.now())
    return [replace(before, pools=(pool,), options=options), *networks]


def choose_bridge(config: NetworkConfig, host: HostView) -> str:
    """Return the name of the default network's bridge.

    Unless one is asked for, docker0; sampan0 where docker0 is somebody else's, whose containers would share
    its addresses with ours. Raises HostFailure, InvalidParameter.
    """
    if config.bridge:
        check_link_name(config.bridge)
        present = host.link(config.bridge)
        if present is None and config.bridge != DEFAULT_BRIDGE:
            raise HostFailure(f"bridge device with non default name {config.bridge} must be created manually")
        if present is not None and not driver.is_ours(present.alias):
            ports = [link.name for link in host.links if link.master == present.index]
            if present.name == DEFAULT_BRIDGE and ports:
                raise HostFailure(
                    f"bridge {present.name} belongs to another engine, with {len(ports)} containers on it:"
                    " stop it, or choose another bridge"
                )
        return config.bridge
    present = host.link(DEFAULT_BRIDGE)
    if present is None or driver.is_ours(present.alias):
        return DEFAULT_BRIDGE
    other = host.link(OTHER_BRIDGE)
    if other is not None and not driver.is_ours(other.alias):
        raise HostFailure(f"bridges {DEFAULT_BRIDGE} and {OTHER_BRIDGE} exist and belong to somebody else")
    _log.warning("docker0 belongs to another engine: the default network uses sampan0 instead")
    return OTHER_BRIDGE


def choose_pool(config: NetworkConfig, host: HostView, bridge: str, before: Network | None) -> PoolConfig:
    """Return the address pool of the default network.

    In this order: ``bip``, the address that a bridge of the user's has, ``fixed-cidr``, the pool it had
    before, the first default pool that collides with nothing.
    """
    present = host.link(bridge)
    user_made = present is not None and not driver.is_ours(present.alias)
    given = config.bip or (host.interface(present) if present is not None and user_made else None)
    fixed = config.fixed_cidr
    if given is not None:
        if fixed is not None and not fixed.subnet_of(given.network):
            raise InvalidParameter(
                f"fixed-cidr {fixed} is outside the subnet {given.network} of bridge {bridge}"
            )
        return PoolConfig(given.network, fixed or given.network, given.ip)
    if fixed is not None:
        return PoolConfig(fixed, fixed, fixed.network_address + 1)
    taken = host.occupied({bridge})
    pools = config.default_address_pools
    if before is not None and before.pools:
        subnet = before.pools[0].subnet
        still = isinstance(subnet, IPv4Network) and any(
            subnet.prefixlen == length and subnet.subnet_of(base) for base, length in pools
        )
        if still and not any(prefix.overlaps(subnet) for prefix, _ in taken):
            return PoolConfig(subnet, subnet, subnet.network_address + 1)
    subnet = choose_subnet(pools, taken)
    return PoolConfig(subnet, subnet, subnet.network_address + 1)


def _text(flag: bool) -> str:  # noqa: FBT001 - a value, not a mode
    return "true" if flag else "false"
