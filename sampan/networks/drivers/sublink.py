"""The ``macvlan`` and ``ipvlan`` drivers: interfaces of containers sit directly on a link of the host.

The host's firewall does not see their traffic, no port is published, and the host itself is not reached (the
kernel does not pass frames between a parent and what sits on it). Options and words are moby's
(libnetwork/drivers).
"""

from collections.abc import Mapping
from typing import ClassVar, Final

from sampan.base.errors import InvalidParameter
from sampan.base.ids import short_id
from sampan.kernel.sublinks import IPVLAN_FLAGS, IPVLAN_MODES, MACVLAN_MODES
from sampan.networks.addresses import check_link_name
from sampan.networks.drivers.bridge import alias_of
from sampan.networks.drivers.options import OPTION_PREFIX, check_mtu, mtu
from sampan.networks.model import Endpoint, EndpointPlan, Inside, Network, NetworkPlan, Parent, SubLink

OPTION_PARENT: Final = "parent"
PASSTHRU: Final = "passthru"
_VLANS: Final = range(1, 4095)
_MANY: Final = 64  # subnets of a family: a bound, not a limit that Docker has


def parent_name(network: Network) -> str:
    """Return the name of the link that the network's interfaces sit on."""
    return network.options.get(OPTION_PARENT) or f"dm-{short_id(network.id)}"


class SublinkDriver:
    """What both drivers share; ``modes`` and ``flags`` are their options' values, the first the default."""

    name: ClassVar[str]
    modes: ClassVar[tuple[str, ...]]
    flags: ClassVar[tuple[str, ...]] = ()
    own_namespace: ClassVar[bool] = True
    addresses: ClassVar[bool] = True
    shares_mac: ClassVar[bool] = False
    publishes: ClassVar[bool] = False
    subnets: ClassVar[int] = _MANY
    deferred: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]]

    def check_options(self, options: Mapping[str, str], *, internal: bool) -> None:
        """Raise InvalidParameter, in Docker's words, if ``options`` are none of the driver."""
        check_mtu(options)
        mode = options.get(f"{self.name}_mode") or self.modes[0]
        if mode not in self.modes:
            raise InvalidParameter(
                f"requested {self.name} mode '{mode}' is not valid, '{self.modes[0]}' mode is the "
                f"{self.name} driver default"
            )
        if self.flags and (flag := options.get(f"{self.name}_flag") or self.flags[0]) not in self.flags:
            raise InvalidParameter(
                f"requested {self.name} flag '{flag}' is not valid, '{self.flags[0]}' is the "
                f"{self.name} driver default"
            )
        parent = options.get(OPTION_PARENT, "")
        if parent == "lo":
            raise InvalidParameter(f"loopback interface is not a valid {self.name} parent link")
        if parent:
            check_link_name(parent)
        if prefix := options.get(OPTION_PREFIX):
            check_link_name(f"{prefix}0")

    def leads_out(self, network: Network) -> bool:
        """Tell whether containers have a default route by this network."""
        return not network.internal and bool(network.options.get(OPTION_PARENT))

    def routes_directly(self, network: Network) -> bool:
        """Tell whether that route leads to the link itself, without a gateway."""
        return self.mode(network) in {"l3", "l3s"}

    def mode(self, network: Network) -> str:
        """Return the mode of the network's interfaces."""
        return network.options.get(f"{self.name}_mode") or self.modes[0]

    def plan_network(self, network: Network) -> NetworkPlan:
        """Return the parent of interfaces: a link of the host, a VLAN of one, or one that leads nowhere."""
        name, owner = parent_name(network), f"network {network.name}"
        base, dot, number = name.rpartition(".")
        if not network.options.get(OPTION_PARENT):
            kind, base, tag = "dummy", "", 0
        elif dot and number.isascii() and number.isdigit() and int(number[:5]) in _VLANS and "." not in base:
            kind, tag = "vlan", int(number[:5])
        else:
            kind, base, tag = "", "", 0
        reason = "interfaces of containers sit on this link"
        return NetworkPlan(parents=(Parent(name, kind, base, tag, alias_of(network), owner, reason),))

    def plan_endpoint(self, network: Network, endpoint: Endpoint, *, default_route: bool) -> EndpointPlan:
        """Return the interface of ``endpoint``."""
        inside = Inside(
            ifname=endpoint.ifname,
            mac=endpoint.mac,
            mtu=mtu(network.options),
            addresses=(*endpoint.addresses, *endpoint.extra),
            gateways=endpoint.gateways if default_route else (),
            owner=f"container {short_id(endpoint.container)}",
            reason=f"its attachment to network {network.name}",
            direct=endpoint.direct_versions if default_route else (),
            sysctls=endpoint.sysctls,
        )
        flag = network.options.get(f"{self.name}_flag") or "bridge"
        link = SubLink(
            f"sub{endpoint.id[:7]}", self.name, parent_name(network), self.mode(network), flag, inside
        )
        return EndpointPlan((link,))


class MacvlanDriver(SublinkDriver):
    """Each container has a MAC address of its own on the parent's segment."""

    name: ClassVar[str] = "macvlan"
    modes: ClassVar[tuple[str, ...]] = ("bridge", *(mode for mode in MACVLAN_MODES if mode != "bridge"))
    needs: ClassVar[tuple[str, ...]] = ("macvlan",)


class IpvlanDriver(SublinkDriver):
    """Containers share the parent's MAC address; in the modes l3 and l3s the parent routes for them."""

    name: ClassVar[str] = "ipvlan"
    modes: ClassVar[tuple[str, ...]] = tuple(IPVLAN_MODES)
    flags: ClassVar[tuple[str, ...]] = tuple(IPVLAN_FLAGS)
    shares_mac: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("ipvlan",)
