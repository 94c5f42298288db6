"""The address pools of a network that is to be created: what was asked for, checked, and what is chosen.

Pure. The rules and the words are moby's (api/types/network/ipam.go, libnetwork/ipams/defaultipam).
"""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface
from typing import Final

from sampan.base.errors import Forbidden, InvalidParameter
from sampan.kernel.links import IpAddress, IpNetwork
from sampan.networks.ipam.subnets import choose_subnet
from sampan.networks.model import Network, PoolConfig
from sampan.wire.networks import Ipam, IpamConfig

Taken = Sequence[tuple[IpNetwork, str]]  # (prefix, what has it)
_ULA_LENGTH: Final = 64
_LOOPBACK: Final = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
_MULTICAST: Final = (IPv4Network("224.0.0.0/4"), IPv6Network("ff00::/8"))


def parse_pools(configs: Sequence[IpamConfig], *, ipv6: bool, most: int = 1) -> list[PoolConfig]:
    """Return the pools that ``configs`` ask for, gateways filled in; ``most``: how many a family may have.

    A config without a subnet may only hold what an automatic one does not need. IPv6 ones are kept unchecked
    by addresses where the network has no IPv6, as Docker does. Raises InvalidParameter with every complaint.
    """
    complaints: list[str] = []
    pools: list[PoolConfig] = []
    for config in configs:
        try:
            pool = _parse_pool(config, complaints)
        except ValueError as error:
            complaints.append(str(error))
            continue
        if pool is None:
            continue
        complaints += [
            f"invalid subnet {pool.subnet}: overlaps with {other.subnet}"
            for other in pools
            if _overlaps(other.subnet, pool.subnet)
        ]
        pools.append(pool)
    if complaints:
        raise InvalidParameter("invalid network config:\n" + "\n".join(complaints))
    counted = [pool.subnet.version for pool in pools if ipv6 or pool.subnet.version == 4]
    if any(counted.count(version) > most for version in (4, 6)):
        raise Forbidden(
            "bridge driver doesn't support multiple subnets" if most == 1 else f"more than {most} subnets"
        )
    return pools


def _parse_pool(config: IpamConfig, complaints: list[str]) -> PoolConfig | None:
    """Return the pool of ``config``; complaints that leave it a pool are added to the list.

    Raises ValueError with the complaint that does not.
    """
    if not config.subnet:
        if config.ip_range or config.gateway or config.aux_address:
            raise ValueError("every ip-range or gateway must have a corresponding subnet")
        return None
    subnet = _prefix(config.subnet, "subnet")
    if any(_overlaps(subnet, special) for special in (*_LOOPBACK, *_MULTICAST)):
        raise ValueError(f"invalid subnet {subnet}: it is reserved for loopback or multicast")
    leased = subnet
    if config.ip_range:
        leased = _prefix(config.ip_range, "ip-range")
        if leased.version != subnet.version:
            raise ValueError(f"invalid ip-range {leased}: parent subnet is an IPv{subnet.version} block")
        if leased.prefixlen < subnet.prefixlen:
            raise ValueError(
                f"invalid ip-range {leased}: CIDR block is bigger than its parent subnet {subnet}"
            )
        if leased.network_address not in subnet:
            raise ValueError(f"invalid ip-range {leased}: parent subnet {subnet} doesn't contain ip-range")
    reserved: dict[str, str] = {}
    for name, text in (config.aux_address or {}).items():
        if (member := _member(text, subnet, "auxiliary address", complaints)) is not None:
            reserved[name] = str(member)
    if config.gateway:
        gateway = _member(config.gateway, subnet, "gateway", complaints)
        if gateway is not None and str(gateway) in reserved.values():
            complaints.append(f"invalid gateway {gateway}: it is an auxiliary address, too")
    else:
        gateway = first_free(subnet, leased, reserved)
    if gateway is None:
        return None
    return PoolConfig(subnet, leased, gateway, reserved)


def describe_pools(network: Network) -> list[IpamConfig]:
    """Return the pools of ``network`` as the API shows them."""
    return [
        IpamConfig(
            subnet=str(pool.subnet),
            ip_range="" if pool.range == pool.subnet else str(pool.range),
            gateway=str(pool.gateway),
            aux_address=pool.reserved or None,
        )
        for pool in network.pools
    ]


def describe_ipam(network: Network) -> Ipam:
    """Return how ``network`` gives addresses, as a create request asks for it."""
    return Ipam(network.ipam_driver, network.ipam_options, describe_pools(network))


def first_free(subnet: IpNetwork, leased: IpNetwork, reserved: Mapping[str, str]) -> IpAddress:
    """Return the first address of ``leased`` that a gateway can have. Raises ValueError if there is none."""
    taken = {int(ip_address(text)) for text in reserved.values()}
    if subnet.prefixlen < subnet.max_prefixlen - 1:
        taken |= {int(subnet.network_address), int(subnet.broadcast_address)}
    first, last = int(leased.network_address), int(leased.broadcast_address)
    for number in range(first, min(last, first + len(taken)) + 1):
        if number not in taken:
            return type(subnet.network_address)(number)
    raise ValueError(f"invalid subnet {subnet}: no address is left for the gateway")


def choose_pool(pools: Sequence[tuple[IPv4Network, int]], taken: Taken) -> PoolConfig:
    """Return a pool that collides with nothing in ``taken``. Raises HostFailure if there is none."""
    used = [(prefix, what) for prefix, what in taken if isinstance(prefix, IPv4Network)]
    subnet = choose_subnet(pools, used)
    return PoolConfig(subnet, subnet, subnet.network_address + 1, automatic=True)


def choose_ula(base: IPv6Network, taken: Taken) -> PoolConfig:
    """Return a /64 of ``base``, the engine's unique local prefix (a /48), that nobody has."""
    used = {int(prefix.network_address) for prefix, _ in taken if prefix.version == 6}
    step = 1 << (base.max_prefixlen - _ULA_LENGTH)
    number = int(base.network_address)
    while number in used:
        number += step
    subnet = IPv6Network((number, _ULA_LENGTH))
    return PoolConfig(subnet, subnet, subnet.network_address + 1, automatic=True)


def check_overlap(pool: PoolConfig, taken: Taken) -> None:
    """Raise Forbidden, in Docker's words and with the holder's name, if ``pool`` is taken."""
    for prefix, what in taken:
        if _overlaps(pool.subnet, prefix):
            raise Forbidden(
                "invalid pool request: Pool overlaps with other one on this address space"
                f" ({pool.subnet} with {prefix} of {what})"
            )


def _overlaps(first: IpNetwork, second: IpNetwork) -> bool:
    if isinstance(first, IPv4Network) and isinstance(second, IPv4Network):
        return first.overlaps(second)
    return isinstance(first, IPv6Network) and isinstance(second, IPv6Network) and first.overlaps(second)


def _prefix(text: str, what: str) -> IpNetwork:
    try:
        if "/" not in text or "%" in text:
            raise ValueError(text)
        interface = ip_interface(text)
    except ValueError:
        raise ValueError(f"invalid {what} {text}: invalid CIDR block notation") from None
    if interface.ip != interface.network.network_address:
        raise ValueError(f"invalid {what} {text}: it should be {interface.network}")
    return interface.network


def _member(text: str, subnet: IpNetwork, what: str, complaints: list[str]) -> IpAddress | None:
    try:
        address = ip_address(text)
    except ValueError:
        complaints.append(f"invalid {what} {text}: invalid address")
        return None
    if address.version != subnet.version or address not in subnet:
        complaints.append(f"invalid {what} {text}: parent subnet {subnet} doesn't contain this address")
        return None
    return address
