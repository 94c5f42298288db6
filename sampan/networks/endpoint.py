"""Endpoints: how a sandbox comes to its addresses, and what it holds while it is open."""

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address
from typing import Final

from sampan.base.errors import InvalidParameter
from sampan.base.ids import new_id, short_id
from sampan.kernel.links import IpAddress, IpInterface
from sampan.networks.addresses import mac_of, parse_mac
from sampan.networks.dns.service import Resolver
from sampan.networks.driver import NetworkDriver
from sampan.networks.drivers.options import interface_prefix
from sampan.networks.drivers.plugin import PluginDriver
from sampan.networks.firewall.neighbours import plan_link
from sampan.networks.host import Wiring
from sampan.networks.ipam.leases import AddressPools, Leased
from sampan.networks.model import BRIDGE, Endpoint, EndpointPlan, Joined, Member, Network, with_prefix
from sampan.networks.ports import Reservation, parse_port
from sampan.networks.proxy import PortProxy
from sampan.networks.request import OPTION_IFNAME, SandboxRequest, endpoint_sysctls
from sampan.networks.store import Reach
from sampan.wire.containers import EndpointSettings

_LINK_LOCAL: Final = {4: 16, 6: 64}  # prefix lengths of 169.254.0.0 and fe80::


@dataclass(slots=True)
class Attachment:
    """An endpoint of a sandbox on ``network``, and the settings it was asked for with.

    ``pools`` is None where the network gives no addresses; ``names`` are what the others on the network know
    the container by.
    """

    network: Network
    driver: NetworkDriver
    endpoint: Endpoint
    wanted: EndpointSettings
    pools: AddressPools | None
    names: list[str] = field(default_factory=list)

    @property
    def plugin(self) -> bool:
        """Whether a plugin makes its link."""
        return isinstance(self.driver, PluginDriver)

    def plan(self, *, default_route: bool) -> EndpointPlan:
        """Return what it needs of the host and of the sandbox."""
        return self.driver.plan_endpoint(self.network, self.endpoint, default_route=default_route)

    def give_back(self) -> None:
        """End the leases of the endpoint's addresses."""
        if self.pools is not None:
            self.pools.give_back(self.endpoint.address, self.endpoint.address6)

    def describe(self) -> EndpointSettings:
        """Return what inspect shows of it: what was asked for, and what it became."""
        endpoint = self.endpoint
        shown = copy(self.wanted)
        shown.network_id = self.network.id
        shown.endpoint_id = endpoint.id
        shown.mac_address = endpoint.mac
        shown.dns_names = self.names or None
        if endpoint.address is not None:
            shown.ip_address = str(endpoint.address.ip)
            shown.ip_prefix_len = endpoint.address.network.prefixlen
        if endpoint.address6 is not None:
            shown.global_ipv6_address = str(endpoint.address6.ip)
            shown.global_ipv6_prefix_len = endpoint.address6.network.prefixlen
        shown.gateway = str(endpoint.gateway or "")
        shown.ipv6_gateway = str(endpoint.gateway6 or "")
        return shown


@dataclass(slots=True)
class Held:
    """What an open (or half-open) sandbox holds, so that it can be given back; attachments by network id."""

    container: str
    name: str
    attachments: dict[str, Attachment] = field(default_factory=dict)
    reservations: list[Reservation] = field(default_factory=list)
    proxies: list[PortProxy] = field(default_factory=list)
    wiring: Wiring = field(default_factory=lambda: Wiring(new_id()))
    resolver: Resolver | None = None
    dns: tuple[str, ...] = ()
    reaches: tuple[Reach, ...] = ()
    closing: bool = False

    def gateway(self) -> Attachment | None:
        """Return the attachment that has the default route, and publishes the ports; None without any.

        Docker's order: the highest priority, both families before one, then the first network by name.
        """
        able = [attached for attached in self.attachments.values() if attached.endpoint.default_routes]
        return min(
            able,
            key=lambda a: (-a.wanted.gw_priority, -len(a.endpoint.default_routes), a.network.name),
            default=None,
        )

    def members(self) -> list[Member]:
        """Return what the sets of the firewall have because of it, beside what its endpoints need."""
        bridge = next((a.endpoint for a in self.attachments.values() if a.network.name == BRIDGE), None)
        if bridge is None or bridge.address is None:
            return []
        client, owner = bridge.address.ip, f"container {self.name}"
        return [
            member
            for reach in self.reaches
            for member in plan_link(client, ip_address(reach.address), reach.protocol, reach.port, owner)
        ]

    def free_name(self, prefix: str) -> str:
        """Return the first name ``prefix`` and a number that no interface of the sandbox has."""
        used = {attached.endpoint.ifname for attached in self.attachments.values()}
        return next(name for number in range(len(used) + 1) if (name := f"{prefix}{number}") not in used)

    @property
    def needs_names(self) -> bool:
        """Whether one of its networks has names: all but the predefined ones do."""
        return any(attached.names for attached in self.attachments.values())


def attach(
    request: SandboxRequest,
    network: Network,
    driver: NetworkDriver,
    pools: AddressPools | None,
    held: Held,
    leased: Leased | None = None,
) -> Attachment:
    """Make the endpoint of ``request`` on ``network`` and let ``held`` hold it.

    Without ``pools`` the network gives no addresses; ``leased`` are those that a plugin gave already. Raises
    InvalidParameter or Conflict if the address that was asked for cannot be had, HostFailure if none is left.
    """
    wanted = request.settings(network)
    if not pools:
        attached = Attachment(
            network, driver, Endpoint(new_id(), request.container, None, None, ""), wanted, None
        )
        held.attachments[network.id] = attached
        return attached
    fixed = wanted.ipam_config
    mac = asked_mac(request, wanted, held)
    if mac and driver.shares_mac:
        raise InvalidParameter(f"{driver.name} interfaces do not support custom mac address assignment")
    options = wanted.driver_opts or {}
    ifname = options.get(OPTION_IFNAME) or held.free_name(interface_prefix(network))
    ipv4, ipv6 = leased or pools.take(*asked_addresses(wanted))
    local = (fixed.link_local_ips if fixed is not None else None) or ()
    endpoint = Endpoint(
        id=new_id(),
        container=request.container,
        address=ipv4,
        gateway=None,
        mac="" if driver.shares_mac else parse_mac(mac) if mac else _mac(ipv4, ipv6),
        ifname=ifname,
        address6=ipv6,
        extra=_link_local(local),
        sysctls=endpoint_sysctls(wanted),
    )
    endpoint = _led_out(endpoint, network, driver, pools)
    attached = Attachment(network, driver, endpoint, wanted, pools, names_of(request, network, wanted))
    held.attachments[network.id] = attached
    return attached


def reaches(request: SandboxRequest) -> tuple[Reach, ...]:
    """Return what the legacy links of ``request`` lead to."""
    found = [(address, *parse_port(port)) for address, port in request.reaches]
    return tuple(Reach(address, protocol, port) for address, port, protocol in found)


def asked_addresses(wanted: EndpointSettings) -> tuple[IpAddress | None, IpAddress | None]:
    """Return the addresses that an endpoint asks for."""
    fixed = wanted.ipam_config
    if fixed is None:
        return None, None
    return _address(fixed.ipv4_address), _address(fixed.ipv6_address)


def asked_mac(request: SandboxRequest, wanted: EndpointSettings, held: Held) -> str:
    """Return the MAC address that an endpoint asks for; that of the container is for its first one."""
    return wanted.mac_address or (request.mac_address if not held.attachments else "")


def names_of(request: SandboxRequest, network: Network, wanted: EndpointSettings) -> list[str]:
    """Return the names of the container on ``network``, as Docker lists them; none on predefined ones."""
    if network.predefined:
        return []
    names = [request.name, *(wanted.aliases or ()), short_id(request.container), request.hostname]
    return list(dict.fromkeys(name for name in names if name))


def endpoint_of(container: str, settings: EndpointSettings, ifname: str) -> Endpoint:
    """Return the endpoint that ``settings``, as inspect shows them, describe; without default routes."""
    ipv4: IPv4Interface | None = None
    ipv6: IPv6Interface | None = None
    if settings.ip_address:
        ipv4 = IPv4Interface(f"{settings.ip_address}/{settings.ip_prefix_len}")
    if settings.global_ipv6_address:
        ipv6 = IPv6Interface(f"{settings.global_ipv6_address}/{settings.global_ipv6_prefix_len}")
    fixed = settings.ipam_config
    return Endpoint(
        id=settings.endpoint_id,
        container=container,
        address=ipv4,
        gateway=None,
        mac=settings.mac_address,
        ifname=ifname,
        address6=ipv6,
        extra=_link_local((fixed.link_local_ips if fixed is not None else None) or ()),
        sysctls=endpoint_sysctls(settings),
    )


def adopt(
    container: str,
    network: Network,
    driver: NetworkDriver,
    settings: EndpointSettings,
    ifname: str,
    pools: AddressPools | None,
    source: str = "",
) -> Attachment:
    """Return the attachment that ``settings`` describe, its addresses leased again. Raises EngineError.

    ``source``: what the interface was called on the host, if a plugin made it.
    """
    endpoint = endpoint_of(container, settings, ifname)
    if pools:
        pools.adopt(endpoint.address, endpoint.address6)
        endpoint = _led_out(endpoint, network, driver, pools)
    if source:
        endpoint = replace(
            endpoint,
            joined=Joined(source),
            gateway=IPv4Address(settings.gateway) if settings.gateway else None,
            gateway6=IPv6Address(settings.ipv6_gateway) if settings.ipv6_gateway else None,
        )
    return Attachment(network, driver, endpoint, settings, pools or None, list(settings.dns_names or ()))


def _led_out(endpoint: Endpoint, network: Network, driver: NetworkDriver, pools: AddressPools) -> Endpoint:
    """Return ``endpoint`` with the default routes that its network can give it."""
    if not driver.leads_out(network):
        return endpoint
    if driver.routes_directly(network):
        return replace(endpoint, direct=True)
    first, second = pools.gateway(endpoint.address), pools.gateway(endpoint.address6)
    return replace(
        endpoint,
        gateway=first if isinstance(first, IPv4Address) else None,
        gateway6=second if isinstance(second, IPv6Address) else None,
    )


def _link_local(addresses: Iterable[str]) -> tuple[IpInterface, ...]:
    return tuple(with_prefix(ip, _LINK_LOCAL[ip.version]) for ip in map(ip_address, addresses))


def addresses_of(attachments: Iterable[Attachment]) -> list[IpAddress]:
    """Return all leased addresses, without their prefixes."""
    return [address.ip for attached in attachments for address in attached.endpoint.addresses]


def _address(text: str) -> IpAddress | None:
    return ip_address(text) if text else None


def _mac(ipv4: IPv4Interface | None, ipv6: IPv6Interface | None) -> str:
    """Return a MAC address that nobody else on the network has: made of the one that nobody else has."""
    if ipv4 is not None:
        return mac_of(ipv4.ip)
    return (b"\x02\x42" + ipv6.ip.packed[-4:]).hex(":") if ipv6 is not None else ""
