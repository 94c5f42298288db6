"""The ``bridge`` driver: a Linux bridge on the host, a veth for each container, NAT to the world."""

from collections.abc import Mapping
from typing import ClassVar, Final

from sampan.base.errors import InvalidParameter
from sampan.base.ids import short_id
from sampan.networks.addresses import check_link_name, parse_address
from sampan.networks.drivers.options import OPTION_PREFIX, check_flags, check_mtu, flag, mtu
from sampan.networks.firewall import neighbours, rules
from sampan.networks.model import (
    Bridge,
    Endpoint,
    EndpointPlan,
    Inside,
    Network,
    NetworkPlan,
    Rule,
    Sysctl,
    VethLink,
)

OPTION_NAME: Final = "com.docker.network.bridge.name"
OPTION_DEFAULT: Final = "com.docker.network.bridge.default_bridge"
OPTION_ICC: Final = "com.docker.network.bridge.enable_icc"
OPTION_MASQUERADE: Final = "com.docker.network.bridge.enable_ip_masquerade"
OPTION_HOST_IPV4: Final = "com.docker.network.bridge.host_binding_ipv4"
OPTION_INHIBIT: Final = "com.docker.network.bridge.inhibit_ipv4"
OPTION_TRUSTED: Final = "com.docker.network.bridge.trusted_host_interfaces"
OPTION_SPOOFING: Final = "sampan.network.bridge.allow_spoofing"
SNAT: Final = {4: "com.docker.network.host_ipv4", 6: "com.docker.network.host_ipv6"}
GATEWAY_MODES: Final = {version: f"com.docker.network.bridge.gateway_mode_ipv{version}" for version in (4, 6)}
_FLAGS: Final = (OPTION_DEFAULT, OPTION_ICC, OPTION_MASQUERADE, OPTION_INHIBIT, OPTION_SPOOFING)
_FAMILIES: Final = {4: "ip", 6: "ip6"}
_MARK: Final = "sampan network"


def bridge_name(network: Network) -> str:
    """Return the name of the network's bridge on the host."""
    return network.options.get(OPTION_NAME) or f"br-{short_id(network.id)}"


def alias_of(network: Network) -> str:
    """Return the mark that says that a link was made by this engine for ``network``."""
    return f"{_MARK} {network.id}"


def gateway_mode(network: Network, version: int) -> str:
    """Return how the network's containers are reached from outside by IP ``version``."""
    return network.options.get(GATEWAY_MODES[version]) or rules.NAT


def trusted_interfaces(network: Network) -> list[str]:
    """Return the host's interfaces by which published ports are reached where the container is."""
    return [name for name in network.options.get(OPTION_TRUSTED, "").split(":") if name]


def is_ours(alias: str) -> bool:
    """Tell by its alias whether this engine made a link, for whatever network."""
    return alias.startswith(_MARK)


class BridgeDriver:
    """Plans for networks of the ``bridge`` kind; the options are Docker's."""

    name: ClassVar[str] = "bridge"
    own_namespace: ClassVar[bool] = True
    addresses: ClassVar[bool] = True
    shares_mac: ClassVar[bool] = False
    publishes: ClassVar[bool] = True
    subnets: ClassVar[int] = 1
    deferred: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("bridge",)

    def check_options(self, options: Mapping[str, str], *, internal: bool) -> None:
        """Raise InvalidParameter if ``options`` are none of a bridge."""
        if name := options.get(OPTION_NAME):
            check_link_name(name)
        check_flags(options, _FLAGS)
        check_mtu(options)
        for version, option in ((4, OPTION_HOST_IPV4), *SNAT.items()):
            if option in options:
                address = parse_address(options[option])
                if address is None or address.version != version:
                    raise InvalidParameter(
                        f"invalid value for {option}: {options[option]} is no IPv{version} address"
                    )
        for option in GATEWAY_MODES.values():
            mode = options.get(option) or rules.NAT
            if mode not in rules.MODES:
                raise InvalidParameter(f"invalid value for {option}: unknown gateway mode {mode}")
            if mode == rules.ISOLATED and not internal:
                raise InvalidParameter("gateway mode 'isolated' can only be used for an internal network")
        for name in options.get(OPTION_TRUSTED, "").split(":"):
            if name:
                check_link_name(name)
        if prefix := options.get(OPTION_PREFIX):
            check_link_name(f"{prefix}0")

    def leads_out(self, network: Network) -> bool:
        """Tell whether containers have a default route by this network."""
        return not network.internal

    def routes_directly(self, network: Network) -> bool:
        """Tell whether that route leads to the link itself, without a gateway."""
        return False

    def plan_network(self, network: Network) -> NetworkPlan:
        """Return the bridge, the settings that let it route, and its firewall rules."""
        name = bridge_name(network)
        owner = f"network {network.name}"
        versions = [version for version in (4, 6) if self._has(network, version)]
        bridge = Bridge(
            name=name,
            addresses=tuple(
                pool.interface for pool in network.in_use if self._addressed(network, pool.subnet.version)
            ),
            mtu=mtu(network.options),
            alias=alias_of(network),
            owner=owner,
            reason="containers of the network are ports of this bridge, and it is their gateway",
        )
        made: list[Rule] = []
        for version in versions:
            made += rules.plan_bridge(
                name,
                [pool.subnet for pool in network.in_use if pool.subnet.version == version],
                icc=flag(network.options, OPTION_ICC),
                masquerade=flag(network.options, OPTION_MASQUERADE),
                internal=network.internal,
                owner=owner,
                family=_FAMILIES[version],
                source=network.options.get(SNAT[version], ""),
                mode=gateway_mode(network, version),
                trusted=trusted_interfaces(network),
            )
        sysctls = [
            Sysctl(
                f"net.ipv4.conf.{name}.route_localnet",
                "1",
                owner,
                "published ports answer on 127.0.0.1: the bridge must take packets from there",
            )
        ]
        if 6 in versions:
            sysctls += [
                Sysctl(f"net.ipv6.conf.{name}.accept_ra", "0", owner, "the bridge is the router itself"),
                # Nothing can be passed on to containers while the bridge waits for objections to an address.
                Sysctl(f"net.ipv6.conf.{name}.accept_dad", "0", owner, "nobody else has its addresses"),
                Sysctl("net.ipv6.conf.all.forwarding", "1", owner, "the network's IPv6 is routed"),
            ]
        isolated = rules.ISOLATED in (gateway_mode(network, version) for version in versions)
        if isolated and not self._addressed(network, 6):
            # Not even the kernel's own link-local address: containers would reach the host by it.
            key = f"net.ipv6.conf.{name}.disable_ipv6"
            sysctls.append(Sysctl(key, "1", owner, "the host has no IPv6 address on the bridge"))
        families = (neighbours.FAMILY, *(_FAMILIES[version] for version in versions))
        return NetworkPlan((bridge,), sysctls=tuple(sysctls), rules=tuple(made), families=families)

    def plan_endpoint(self, network: Network, endpoint: Endpoint, *, default_route: bool) -> EndpointPlan:
        """Return the veth of ``endpoint``, which must have an address."""
        if not endpoint.addresses:
            raise ValueError(f"endpoint {endpoint.id} has no address")
        owner = f"container {short_id(endpoint.container)}"
        closed = not flag(network.options, OPTION_ICC)
        inside = Inside(
            ifname=endpoint.ifname,
            mac=endpoint.mac,
            mtu=mtu(network.options),
            addresses=(*endpoint.addresses, *endpoint.extra),
            gateways=endpoint.gateways if default_route else (),
            owner=owner,
            reason=f"its attachment to network {network.name}",
            sysctls=endpoint.sysctls,
        )
        link = VethLink(endpoint.link, bridge_name(network), isolated=closed, inside=inside)
        spoofing = flag(network.options, OPTION_SPOOFING, default=False)
        members = neighbours.plan_port(endpoint, owner, spoofing=spoofing, closed=closed)
        return EndpointPlan(links=(link,), members=tuple(members))

    @staticmethod
    def _has(network: Network, version: int) -> bool:
        return version == 4 or any(pool.subnet.version == version for pool in network.in_use)

    @staticmethod
    def _addressed(network: Network, version: int) -> bool:
        """Tell whether the host has an address on the bridge."""
        if version == 6 and not any(pool.subnet.version == 6 for pool in network.in_use):
            return False
        inhibited = version == 4 and flag(network.options, OPTION_INHIBIT, default=False)
        return not inhibited and gateway_mode(network, version) != rules.ISOLATED
