"""Endpoints: how a sandbox comes to its addresses, and what it holds while it is open."""

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address
from typing import Final

from sampan.base.ids import new_id, short_id
from sampan.kernel.links import IpAddress
from sampan.networks.addresses import mac_of, parse_mac
from sampan.networks.dns.service import Resolver
from sampan.networks.drivers.bridge import interface_prefix
from sampan.networks.host import Wiring
from sampan.networks.ipam.leases import AddressPools
from sampan.networks.model import Endpoint, Network, with_prefix
from sampan.networks.ports import Reservation
from sampan.networks.proxy import PortProxy
from sampan.networks.request import OPTION_IFNAME, SandboxRequest
from sampan.wire.containers import EndpointSettings

_LINK_LOCAL: Final = {4: 16, 6: 64}  # prefix lengths of 169.254.0.0 and fe80::


@dataclass(slots=True)
class Attachment:
    """An endpoint of a sandbox on ``network``, and the settings it was asked for with.

    ``pools`` is None where the network gives no addresses; ``names`` are what the others on the network know
    the container by.
    """

    network: Network
    endpoint: Endpoint
    wanted: EndpointSettings
    pools: AddressPools | None
    names: list[str] = field(default_factory=list)

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

    def gateway(self) -> Attachment | None:
        """Return the attachment that has the default route, and publishes the ports; None without any.

        Docker's order: the highest priority, both families before one, then the first network by name.
        """
        able = [attached for attached in self.attachments.values() if attached.endpoint.gateways]
        return min(
            able,
            key=lambda a: (-a.wanted.gw_priority, -len(a.endpoint.gateways), a.network.name),
            default=None,
        )

    def free_name(self, prefix: str) -> str:
        """Return the first name ``prefix`` and a number that no interface of the sandbox has."""
        used = {attached.endpoint.ifname for attached in self.attachments.values()}
        return next(name for number in range(len(used) + 1) if (name := f"{prefix}{number}") not in used)

    @property
    def needs_names(self) -> bool:
        """Whether one of its networks has names: all but the predefined ones do."""
        return any(attached.names for attached in self.attachments.values())


def attach(request: SandboxRequest, network: Network, pools: AddressPools | None, held: Held) -> Attachment:
    """Make the endpoint of ``request`` on ``network`` and let ``held`` hold it.

    Without ``pools`` the network gives no addresses. Raises InvalidParameter or Conflict if the address that
    was asked for cannot be had, HostFailure if none is left.
    """
    wanted = request.settings(network)
    if pools is None or not (pools.ipv4 or pools.ipv6):
        attached = Attachment(network, Endpoint(new_id(), request.container, None, None, ""), wanted, None)
        held.attachments[network.id] = attached
        return attached
    fixed = wanted.ipam_config
    first = _address(fixed.ipv4_address if fixed is not None else "")
    second = _address(fixed.ipv6_address if fixed is not None else "")
    mac = wanted.mac_address or (request.mac_address if not held.attachments else "")
    ifname = (wanted.driver_opts or {}).get(OPTION_IFNAME) or held.free_name(interface_prefix(network))
    ipv4, ipv6 = pools.take(first, second)
    local = (fixed.link_local_ips if fixed is not None else None) or ()
    endpoint = Endpoint(
        id=new_id(),
        container=request.container,
        address=ipv4,
        gateway=_gateway4(network, pools),
        mac=parse_mac(mac) if mac else _mac(ipv4, ipv6),
        ifname=ifname,
        address6=ipv6,
        gateway6=_gateway6(network, pools),
        extra=tuple(with_prefix(ip, _LINK_LOCAL[ip.version]) for ip in map(ip_address, local)),
    )
    attached = Attachment(network, endpoint, wanted, pools, names_of(request, network, wanted))
    held.attachments[network.id] = attached
    return attached


def names_of(request: SandboxRequest, network: Network, wanted: EndpointSettings) -> list[str]:
    """Return the names of the container on ``network``, as Docker lists them; none on predefined ones."""
    if network.predefined:
        return []
    names = [request.name, *(wanted.aliases or ()), short_id(request.container), request.hostname]
    return list(dict.fromkeys(name for name in names if name))


def adopt(
    container: str, network: Network, settings: EndpointSettings, ifname: str, pools: AddressPools | None
) -> Attachment:
    """Return the attachment that ``settings`` describe, its addresses leased again. Raises EngineError."""
    ipv4: IPv4Interface | None = None
    ipv6: IPv6Interface | None = None
    if pools is not None:
        if settings.ip_address and pools.ipv4 is not None:
            ipv4 = IPv4Interface(f"{settings.ip_address}/{settings.ip_prefix_len}")
            pools.ipv4.take(ipv4.ip)
        if settings.global_ipv6_address and pools.ipv6 is not None:
            ipv6 = IPv6Interface(f"{settings.global_ipv6_address}/{settings.global_ipv6_prefix_len}")
            pools.ipv6.take(ipv6.ip)
    endpoint = Endpoint(
        id=settings.endpoint_id,
        container=container,
        address=ipv4,
        gateway=_gateway4(network, pools) if ipv4 is not None and pools is not None else None,
        mac=settings.mac_address,
        ifname=ifname,
        address6=ipv6,
        gateway6=_gateway6(network, pools) if ipv6 is not None and pools is not None else None,
    )
    return Attachment(network, endpoint, settings, pools, list(settings.dns_names or ()))


def addresses_of(attachments: Iterable[Attachment]) -> list[IpAddress]:
    """Return all leased addresses, without their prefixes."""
    return [address.ip for attached in attachments for address in attached.endpoint.addresses]


def _address(text: str) -> IpAddress | None:
    return ip_address(text) if text else None


def _gateway4(network: Network, pools: AddressPools) -> IPv4Address | None:
    gateway = pools.ipv4.pool.gateway if pools.ipv4 is not None and not network.internal else None
    return gateway if isinstance(gateway, IPv4Address) else None


def _gateway6(network: Network, pools: AddressPools) -> IPv6Address | None:
    gateway = pools.ipv6.pool.gateway if pools.ipv6 is not None and not network.internal else None
    return gateway if isinstance(gateway, IPv6Address) else None


def _mac(ipv4: IPv4Interface | None, ipv6: IPv6Interface | None) -> str:
    """Return a MAC address that nobody else on the network has: made of the one that nobody else has."""
    if ipv4 is not None:
        return mac_of(ipv4.ip)
    return (b"\x02\x42" + ipv6.ip.packed[-4:]).hex(":") if ipv6 is not None else ""
