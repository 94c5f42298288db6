"""From a create request to a network: checks in Docker's words, defaults, address pools. Pure.

What the host and the other networks occupy is handed in; options are those of moby's bridge driver.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from sampan.base import times
from sampan.base.errors import Conflict, Forbidden, InvalidParameter, NotFound, NotImplementedHere
from sampan.base.ids import new_id
from sampan.networks.addresses import check_link_name, parse_address
from sampan.networks.drivers import DRIVERS
from sampan.networks.drivers import bridge as driver
from sampan.networks.ipam import pools
from sampan.networks.model import PREDEFINED, Network, PoolConfig
from sampan.wire.networks import CreateNetwork

_ONE_INSTANCE: Final = ("host", "null")
_MTU_MAX: Final = 65535


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a new network has to fit in: the networks there are, the default pools, what the host occupies.

    ``occupied`` is asked only when the engine chooses a subnet; ``ula`` is the engine's own IPv6 prefix.
    """

    networks: Sequence[Network]
    default_pools: Sequence[tuple[IPv4Network, int]]
    occupied: Callable[[], list[tuple[IPv4Network, str]]]
    ula: Callable[[], IPv6Network]
    ipv6: bool = True


def check_create(body: CreateNetwork, networks: Iterable[Network]) -> None:
    """Raise what a look at the request and at the names there are can tell."""
    if not body.name.strip():
        raise InvalidParameter("invalid name: name is empty")
    if not body.name.isprintable() or "/" in body.name:
        raise InvalidParameter(f"invalid name: {body.name!r} has a slash or an unprintable character")
    if body.name in PREDEFINED or body.name == "default":
        raise Forbidden(f"operation is not permitted on predefined {body.name} network")
    for network in networks:
        if network.name == body.name:
            raise Conflict(f"network with name {body.name} already exists")
    kind = body.driver or "bridge"
    if kind in _ONE_INSTANCE:
        raise Forbidden(f'only one instance of "{kind}" network is allowed')
    if kind not in DRIVERS:
        raise NotFound(f'could not find plugin {kind} in v1 plugin registry: plugin "{kind}" not found')
    if body.config_only or (body.config_from is not None and body.config_from.network):
        raise NotImplementedHere("networks that only hold or copy settings (config-only) are not supported")
    if body.ingress or body.scope not in {"", "local"}:
        raise Forbidden("networks of a swarm need a swarm: this node is not in one")
    if body.ipam is not None and body.ipam.driver not in {"", "default"}:
        raise NotFound(f'could not find plugin {body.ipam.driver}: plugin "{body.ipam.driver}" not found')
    if body.enable_ipv4 is False and not body.enable_ipv6:
        raise InvalidParameter("IPv4 or IPv6 must be enabled")
    _check_options(body.options or {})


def plan_create(body: CreateNetwork, around: Surroundings) -> Network:
    """Return the network that ``body`` asks for, every choice made.

    Raises InvalidParameter, Conflict, Forbidden, NotFound or NotImplementedHere in Docker's words, and
    HostFailure if no address pool is left.
    """
    check_create(body, around.networks)
    options = dict(body.options or {})
    ipv4, ipv6 = body.enable_ipv4 is not False, bool(body.enable_ipv6)
    if ipv6 and not around.ipv6:
        raise NotImplementedHere("this host's kernel has no IPv6")
    taken = [
        (pool.subnet, f"network {network.name}") for network in around.networks for pool in network.in_use
    ]
    wanted = pools.parse_pools((body.ipam.config if body.ipam is not None else None) or (), ipv6=ipv6)
    found: list[PoolConfig] = []
    for pool in wanted:
        if ipv4 if pool.subnet.version == 4 else ipv6:
            pools.check_overlap(pool, taken)
    versions = {pool.subnet.version for pool in wanted}
    if ipv4 and 4 not in versions:
        found.append(pools.choose_pool(around.default_pools, [*taken, *around.occupied()]))
    if ipv6 and 6 not in versions:
        found.append(pools.choose_ula(around.ula(), taken))
    bridge = options.get(driver.OPTION_NAME, "")
    for network in around.networks:
        if bridge and network.driver == "bridge" and driver.bridge_name(network) == bridge:
            raise Forbidden(f"bridge {bridge} is that of network {network.name} ({network.id}) already")
    made = Network(
        id=new_id(),
        name=body.name,
        driver=body.driver or "bridge",
        created=times.now(),
        pools=tuple(sorted((*wanted, *found), key=lambda pool: pool.subnet.version)),
        internal=body.internal,
        attachable=body.attachable,
        options=options,
        labels=body.labels or {},
        ipv4=ipv4,
        ipv6=ipv6,
        ipam_options=body.ipam.options if body.ipam is not None else None,
    )
    if not bridge:  # ids are random, and the name of the bridge is a part of one
        names = {driver.bridge_name(network) for network in around.networks}
        if driver.bridge_name(made) in names:
            raise Conflict(f"bridge {driver.bridge_name(made)} exists: try again")
    return made


def _check_options(options: Mapping[str, str]) -> None:
    if name := options.get(driver.OPTION_NAME):
        check_link_name(name)
    for option in driver.FLAGS:
        if option in options and driver.parse_flag(options[option]) is None:
            raise InvalidParameter(
                f'invalid value for {option}: "{options[option]}" is neither true nor false'
            )
    mtu = options.get(driver.OPTION_MTU, "0")
    if not (mtu.isascii() and mtu.isdigit() and int(mtu[:9]) <= _MTU_MAX):
        raise InvalidParameter(f"invalid MTU number {mtu}")
    for option in (driver.OPTION_HOST_IPV4, driver.OPTION_SNAT_IPV4):
        if option in options:
            address = parse_address(options[option])
            if address is None or address.version != 4:
                raise InvalidParameter(f"invalid value for {option}: {options[option]} is no IPv4 address")
    for option in driver.GATEWAY_MODES:
        if options.get(option, "nat") != "nat":
            raise NotImplementedHere(f"gateway mode {options[option]} is not supported, only nat is")
    if prefix := options.get(driver.OPTION_PREFIX):
        check_link_name(f"{prefix}0")
