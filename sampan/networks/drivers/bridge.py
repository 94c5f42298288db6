"""The ``bridge`` driver: a Linux bridge on the host, a veth for each container, NAT to the world."""

from typing import ClassVar, Final

from sampan.base.ids import short_id
from sampan.networks.firewall.rules import plan_bridge
from sampan.networks.model import Bridge, Endpoint, EndpointPlan, Network, NetworkPlan, Sysctl, VethLink

OPTION_NAME: Final = "com.docker.network.bridge.name"
OPTION_DEFAULT: Final = "com.docker.network.bridge.default_bridge"
OPTION_ICC: Final = "com.docker.network.bridge.enable_icc"
OPTION_MASQUERADE: Final = "com.docker.network.bridge.enable_ip_masquerade"
OPTION_HOST_IPV4: Final = "com.docker.network.bridge.host_binding_ipv4"
OPTION_MTU: Final = "com.docker.network.driver.mtu"
_MARK: Final = "sampan network"


def bridge_name(network: Network) -> str:
    """Return the name of the network's bridge on the host."""
    return network.options.get(OPTION_NAME) or f"br-{short_id(network.id)}"


def alias_of(network: Network) -> str:
    """Return the mark that says that a bridge was made by this engine for ``network``."""
    return f"{_MARK} {network.id}"


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
        bridge = Bridge(
            name=name,
            addresses=tuple(pool.interface for pool in network.pools),
            mtu=_mtu(network),
            alias=alias_of(network),
            owner=owner,
            reason="containers of the network are ports of this bridge, and it is their gateway",
        )
        localnet = Sysctl(
            f"net.ipv4.conf.{name}.route_localnet",
            "1",
            owner,
            "published ports answer on 127.0.0.1: the bridge must take packets from there",
        )
        rules = plan_bridge(
            name,
            [pool.subnet for pool in network.pools],
            icc=_flag(network, OPTION_ICC),
            masquerade=_flag(network, OPTION_MASQUERADE),
            internal=network.internal,
            owner=owner,
        )
        return NetworkPlan(bridges=(bridge,), sysctls=(localnet,), rules=tuple(rules))

    def plan_endpoint(self, network: Network, endpoint: Endpoint) -> EndpointPlan:
        """Return the veth of ``endpoint``, which must have an address."""
        if endpoint.address is None:
            raise ValueError(f"endpoint {endpoint.id} has no address")
        link = VethLink(
            host=endpoint.link,
            bridge=bridge_name(network),
            ifname=endpoint.ifname,
            mac=endpoint.mac,
            mtu=_mtu(network),
            address=endpoint.address,
            gateway=endpoint.gateway,
            isolated=not _flag(network, OPTION_ICC),
            owner=f"container {short_id(endpoint.container)}",
            reason=f"its attachment to network {network.name}",
        )
        return EndpointPlan(links=(link,))


def _flag(network: Network, option: str) -> bool:
    return network.options.get(option, "true") == "true"


def _mtu(network: Network) -> int:
    return int(network.options.get(OPTION_MTU, "0"))
