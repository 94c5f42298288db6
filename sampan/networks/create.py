"""From a create request to a network: checks in Docker's words, defaults, address pools. Pure.

What the host and the other networks occupy is handed in; options are those of moby's drivers.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from sampan.base import times
from sampan.base.errors import Conflict, Forbidden, InvalidParameter, NotFound, NotImplementedHere
from sampan.base.ids import new_id
from sampan.networks.driver import NetworkDriver
from sampan.networks.drivers import bridge, sublink
from sampan.networks.errors import NoSwarmManager
from sampan.networks.ipam import pools
from sampan.networks.model import PREDEFINED, Network, PoolConfig
from sampan.wire.networks import CreateNetwork

_ONE_INSTANCE: Final = ("host", "null")
_DEFAULT_IPAM: Final = frozenset({"", "default"})


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a new network has to fit in: the networks there are, the default pools, what the host occupies.

    ``occupied`` is of use only if the engine chooses a subnet; ``ula`` is the engine's own IPv6 prefix.
    ``drivers`` are those that can be used, by name. ``given``: pools that an IPAM plugin gave, None without
    one.
    """

    networks: Sequence[Network]
    default_pools: Sequence[tuple[IPv4Network, int]]
    occupied: Sequence[tuple[IPv4Network, str]]
    ula: Callable[[], IPv6Network]
    drivers: Mapping[str, NetworkDriver]
    ipv6: bool = True
    given: Sequence[PoolConfig] | None = None


def check_create(body: CreateNetwork, networks: Iterable[Network]) -> None:
    """Raise what a look at the request and at the names there are can tell, whatever its driver."""
    if not body.name.strip():
        raise InvalidParameter("invalid name: name is empty")
    if not body.name.isprintable() or "/" in body.name:
        raise InvalidParameter(f"invalid name: {body.name!r} has a slash or an unprintable character")
    if body.name in PREDEFINED or body.name == "default":
        raise Forbidden(f"operation is not permitted on predefined {body.name} network")
    for network in networks:
        if network.name == body.name:
            raise Conflict(f"network with name {body.name} already exists")
    if (kind := body.driver or "bridge") in _ONE_INSTANCE:
        raise Forbidden(f'only one instance of "{kind}" network is allowed')
    if kind == "overlay":
        raise NoSwarmManager
    if body.ingress:
        raise Forbidden("Ingress network can only be global scope network")
    if body.scope not in {"", "local"}:
        raise Forbidden("cannot create a swarm scoped network when swarm is not active")
    if body.enable_ipv4 is False and not body.enable_ipv6:
        raise InvalidParameter("IPv4 or IPv6 must be enabled")
    if body.config_only and (body.internal or body.attachable or body.scope):
        raise Forbidden(
            "configuration network can only contain network specific fields. Network operator fields like "
            "[ ingress | internal | attachable | scope ] are not supported."
        )


def chooses_subnet(body: CreateNetwork) -> bool:
    """Tell whether the engine has to choose an IPv4 subnet for the network that ``body`` asks for."""
    configs = (body.ipam.config if body.ipam is not None else None) or ()
    return body.enable_ipv4 is not False and not any(c.subnet and ":" not in c.subnet for c in configs)


def follow_config(body: CreateNetwork, networks: Iterable[Network]) -> CreateNetwork:
    """Return ``body`` with the settings of the network that it names in ``ConfigFrom``, if it does.

    Raises Forbidden if it has settings of its own, NotFound, in Docker's words.
    """
    source = body.config_from.network if body.config_from is not None else ""
    if not source:
        return body
    if body.config_only:
        raise Forbidden("a configuration network cannot depend on another configuration network")
    ipam = body.ipam
    own_ipam = ipam is not None and (ipam.driver not in _DEFAULT_IPAM or ipam.config or ipam.options)
    if own_ipam or body.labels or body.enable_ipv6 or body.enable_ipv4 is False:
        raise Forbidden(
            "user-specified configurations are not supported if the network depends on a configuration "
            "network"
        )
    if body.options:
        raise Forbidden(
            "network driver options are not supported if the network depends on a configuration network"
        )
    for network in networks:
        if network.config_only and source in {network.name, network.id}:
            return replace_settings(body, network)
    raise NotFound(f'configuration network "{source}" does not exist')


def replace_settings(body: CreateNetwork, source: Network) -> CreateNetwork:
    """Return ``body`` with the settings that ``source`` keeps."""
    import copy

    followed = copy.copy(body)
    followed.ipam = pools.describe_ipam(source)
    followed.options, followed.labels = dict(source.options), dict(source.labels)
    followed.enable_ipv4, followed.enable_ipv6 = source.ipv4, source.ipv6
    return followed


def plan_config(body: CreateNetwork) -> Network:
    """Return the network that only keeps the settings of ``body`` for others. Raises InvalidParameter."""
    ipam = body.ipam
    ipv6 = bool(body.enable_ipv6)
    return Network(
        id=new_id(),
        name=body.name,
        driver="null",
        created=times.now(),
        pools=tuple(pools.parse_pools((ipam.config if ipam is not None else None) or (), ipv6=ipv6, most=64)),
        options=dict(body.options or {}),
        labels=body.labels or {},
        ipv4=body.enable_ipv4 is not False,
        ipv6=ipv6,
        ipam_options=ipam.options if ipam is not None else None,
        ipam_driver=(ipam.driver if ipam is not None else "") or "default",
        config_only=True,
    )


def plan_create(body: CreateNetwork, around: Surroundings) -> Network:
    """Return the network that ``body`` asks for, every choice made.

    Raises InvalidParameter, Conflict, Forbidden, NotFound or NotImplementedHere in Docker's words, and
    HostFailure if no address pool is left.
    """
    check_create(body, around.networks)
    if body.config_only:
        return plan_config(body)
    wanted = follow_config(body, around.networks)
    kind = wanted.driver or "bridge"
    driver = around.drivers.get(kind)
    if driver is None:
        raise NotFound(f'could not find plugin {kind} in v1 plugin registry: plugin "{kind}" not found')
    options = dict(wanted.options or {})
    driver.check_options(options, internal=wanted.internal)
    ipv4, ipv6 = wanted.enable_ipv4 is not False, bool(wanted.enable_ipv6)
    if ipv6 and not around.ipv6:
        raise NotImplementedHere("this host's kernel has no IPv6")
    made = Network(
        id=new_id(),
        name=wanted.name,
        driver=kind,
        created=times.now(),
        pools=_pools(wanted, around, driver.subnets),
        internal=wanted.internal,
        attachable=wanted.attachable,
        options=options,
        labels=wanted.labels or {},
        ipv4=ipv4,
        ipv6=ipv6,
        ipam_options=wanted.ipam.options if wanted.ipam is not None else None,
        ipam_driver=(wanted.ipam.driver if wanted.ipam is not None else "") or "default",
        config_from=body.config_from.network if body.config_from is not None else "",
    )
    _check_bridge(made, around.networks)
    _check_parent(made, around.networks)
    return made


def _pools(body: CreateNetwork, around: Surroundings, most: int) -> tuple[PoolConfig, ...]:
    """Return the address pools of a network: those asked for, and one for each family that has none."""
    if around.given is not None:
        return tuple(sorted(around.given, key=lambda pool: pool.subnet.version))
    others = [other for other in around.networks if not other.config_only]
    taken = [(pool.subnet, f"network {other.name}") for other in others for pool in other.in_use]
    configs = (body.ipam.config if body.ipam is not None else None) or ()
    ipv4, ipv6 = body.enable_ipv4 is not False, bool(body.enable_ipv6)
    wanted = pools.parse_pools(configs, ipv6=ipv6, most=most)
    for pool in wanted:
        if ipv4 if pool.subnet.version == 4 else ipv6:
            pools.check_overlap(pool, taken)
    versions = {pool.subnet.version for pool in wanted}
    found: list[PoolConfig] = []
    if ipv4 and 4 not in versions:
        found.append(pools.choose_pool(around.default_pools, [*taken, *around.occupied]))
    if ipv6 and 6 not in versions:
        found.append(pools.choose_ula(around.ula(), taken))
    return tuple(sorted((*wanted, *found), key=lambda pool: pool.subnet.version))


def _check_bridge(made: Network, networks: Iterable[Network]) -> None:
    if made.driver != "bridge":
        return
    name = bridge.bridge_name(made)
    for network in networks:
        if network.driver == "bridge" and bridge.bridge_name(network) == name:
            if bridge.OPTION_NAME not in made.options:  # ids are random, and the name is a part of one
                raise Conflict(f"bridge {name} exists: try again")
            raise Forbidden(
                f"cannot create network {made.id} ({name}): conflicts with network {network.id} ({name}): "
                "networks have same bridge name"
            )


def _check_parent(made: Network, networks: Iterable[Network]) -> None:
    """Raise Forbidden, in Docker's words, if the parent cannot be shared with a network that has it."""
    kinds = ("ipvlan", "macvlan")
    if made.driver not in kinds:
        return
    parent = sublink.parent_name(made)
    passthru = made.options.get("macvlan_mode") == sublink.PASSTHRU
    for network in networks:
        if network.driver not in kinds or sublink.parent_name(network) != parent:
            continue
        if passthru:
            raise Forbidden(
                f"cannot use mode passthru, macvlan network {network.name} is already using parent interface "
                f"{parent}"
            )
        if network.options.get("macvlan_mode") == sublink.PASSTHRU:
            raise Forbidden(
                f"macvlan network {network.name} is already using parent interface {parent} in mode passthru"
            )
        if made.driver == "ipvlan" or network.driver == "ipvlan":
            raise Forbidden(f"network {network.name} is already using parent interface {parent}")
