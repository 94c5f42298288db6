"""The ``bridge`` driver: a Linux bridge on the host, a veth for each container, NAT to the world."""

from typing import ClassVar, Final

from sampan.base.ids import short_id
from sampan.networks.firewall.rules import plan_bridge
from sampan.networks.model import Bridge, Endpoint, EndpointPlan, Network, NetworkPlan, Rule, Sysctl, VethLink

OPTION_NAME: Final = "com.docker.network.bridge.name"
OPTION_DEFAULT: Final = "com.docker.network.bridge.default_bridge"
OPTION_ICC: Final = "com.docker.network.bridge.enable_icc"
OPTION_MASQUERADE: Final = "com.docker.network.bridge.enable_ip_masquerade"
OPTION_HOST_IPV4: Final = "com.docker.network.bridge.host_binding_ipv4"
OPTION_INHIBIT: Final = "com.docker.network.bridge.inhibit_ipv4"
OPTION_SNAT_IPV4: Final = "com.docker.network.host_ipv4"
OPTION_PREFIX: Final = "com.docker.network.container_iface_prefix"
OPTION_MTU: Final = "com.docker.network.driver.mtu"
FLAGS: Final = (OPTION_DEFAULT, OPTION_ICC, OPTION_MASQUERADE, OPTION_INHIBIT)
GATEWAY_MODES: Final = tuple(f"com.docker.network.bridge.gateway_mode_ipv{version}" for version in (4, 6))
_MARK: Final = "sampan network"


def bridge_name(network: Network) -> str:
    """Return the name of the network's bridge on the host."""
    return network.options.get(OPTION_NAME) or f"br-{short_id(network.id)}"


def alias_of(network: Network) -> str:
    """Return the mark that says that a bridge was made by this engine for ``network``."""
    return f"{_MARK} {network.id}"


def parse_flag(text: str) -> bool | None:
    """Return a yes/no option, in any of the spellings of Go's strconv.ParseBool; None if it is none."""
    if text in {"1", "t", "T", "true", "TRUE", "True"}:
        return True
    return False if text in {"0", "f", "F", "false", "FALSE", "False"} else None


def interface_prefix(network: Network) -> str:
    """Return what the names of the network's interfaces in containers begin with."""
    return network.options.get(OPTION_PREFIX) or "eth"


def is_ours(alias: str) -> bool:
    """Tell by its alias whether this engine made a bridge, for whatever network."""
    return alias.startswith(_MARK)


class BridgeDriver:
    """Plans for networks of the ``bridge`` kind; the options are Docker's."""

    name: ClassVar[str] = "bridge"
    own_namespace: ClassVar[bool] = True
    addresses: ClassVar[bool] = True

    def plan_network(self, network: Network) -> NetworkPlan:
        """Return the bridge, the settings that let it route, and its firewall rules."""
        name = bridge_name(network)
        owner = f"network {network.name}"
        inhibited = _flag(network, OPTION_INHIBIT, default=False)
        bridge = Bridge(
            name=name,
            addresses=tuple(
                pool.interface for pool in network.in_use if not (inhibited and pool.subnet.version == 4)
            ),
            mtu=_mtu(network),
            alias=alias_of(network),
            owner=owner,
            reason="containers of the network are ports of this bridge, and it is their gateway",
        )
        sysctls = [
            Sysctl(
                f"net.ipv4.conf.{name}.route_localnet",
                "1",
                owner,
                "published ports answer on 127.0.0.1: the bridge must take packets from there",
            )
        ]
        rules: list[Rule] = []
        for family, version in (("ip", 4), ("ip6", 6)):
            subnets = [pool.subnet for pool in network.in_use if pool.subnet.version == version]
            if version == 6 and not subnets:
                continue
            rules += plan_bridge(
                name,
                subnets,
                icc=_flag(network, OPTION_ICC),
                masquerade=_flag(network, OPTION_MASQUERADE),
                internal=network.internal,
                owner=owner,
                family=family,
                source=network.options.get(OPTION_SNAT_IPV4, "") if version == 4 else "",
            )
            if version == 6:
                sysctls += [
                    Sysctl(f"net.ipv6.conf.{name}.accept_ra", "0", owner, "the bridge is the router itself"),
                    Sysctl("net.ipv6.conf.all.forwarding", "1", owner, "the network's IPv6 is routed"),
                ]
        return NetworkPlan(bridges=(bridge,), sysctls=tuple(sysctls), rules=tuple(rules))

    def plan_endpoint(self, network: Network, endpoint: Endpoint, *, default_route: bool) -> EndpointPlan:
        """Return the veth of ``endpoint``, which must have an address."""
        if not endpoint.addresses:
            raise ValueError(f"endpoint {endpoint.id} has no address")
        link = VethLink(
            host=endpoint.link,
            bridge=bridge_name(network),
            ifname=endpoint.ifname,
            mac=endpoint.mac,
            mtu=_mtu(network),
            addresses=(*endpoint.addresses, *endpoint.extra),
            gateways=endpoint.gateways if default_route else (),
            isolated=not _flag(network, OPTION_ICC),
            owner=f"container {short_id(endpoint.container)}",
            reason=f"its attachment to network {network.name}",
        )
        return EndpointPlan(links=(link,))


def _flag(network: Network, option: str, *, default: bool = True) -> bool:
    value = parse_flag(network.options.get(option, ""))
    return default if value is None else value


def _mtu(network: Network) -> int:
    return int(network.options.get(OPTION_MTU, "0"))
