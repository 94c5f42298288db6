"""Endpoints: how a sandbox comes to its addresses, and what it holds while it is open."""

from copy import copy
from dataclasses import dataclass, field
from ipaddress import IPv4Interface

from sampan.base.ids import new_id
from sampan.networks.addresses import mac_of, parse_mac
from sampan.networks.host import Wiring
from sampan.networks.ipam.leases import Leases
from sampan.networks.model import Endpoint, Network
from sampan.networks.ports import Reservation
from sampan.networks.proxy import PortProxy
from sampan.networks.request import OPTION_IFNAME, SandboxRequest
from sampan.wire.containers import EndpointSettings


@dataclass(slots=True)
class Held:
    """What an open (or half-open) sandbox holds, so that it can be given back."""

    name: str
    endpoints: list[Endpoint] = field(default_factory=list)
    leases: list[tuple[Leases, IPv4Interface]] = field(default_factory=list)
    reservations: list[Reservation] = field(default_factory=list)
    proxies: list[PortProxy] = field(default_factory=list)
    wiring: Wiring = field(default_factory=lambda: Wiring(new_id()))

    def add(self, endpoint: Endpoint, leases: Leases | None) -> None:
        """Hold ``endpoint``, whose address is leased from ``leases``."""
        self.endpoints.append(endpoint)
        if endpoint.address is not None and leases is not None:
            self.leases.append((leases, endpoint.address))

    def give_back_leases(self) -> None:
        """End the leases of all addresses."""
        for leases, address in self.leases:
            leases.give_back(address.ip)
        self.leases.clear()


def create_endpoint(
    request: SandboxRequest, network: Network, number: int, leases: Leases | None
) -> tuple[Endpoint, Leases | None]:
    """Make the endpoint of ``request`` on ``network``, its ``number``-th (0: the default route's).

    Without ``leases`` the network gives no addresses. Raises HostFailure if none is left.
    """
    if leases is None:
        return Endpoint(new_id(), request.container, None, None, ""), None
    settings = request.settings(network)
    mac = settings.mac_address or (request.mac_address if number == 0 else "")
    address = leases.take()
    endpoint = Endpoint(
        id=new_id(),
        container=request.container,
        address=IPv4Interface((address, leases.pool.subnet.prefixlen)),
        gateway=leases.pool.gateway if number == 0 and not network.internal else None,
        mac=parse_mac(mac) if mac else mac_of(address),
        ifname=(settings.driver_opts or {}).get(OPTION_IFNAME) or f"eth{number}",
    )
    return endpoint, leases


def adopt_endpoint(
    container: str, settings: EndpointSettings, leases: Leases | None
) -> tuple[Endpoint, Leases | None]:
    """Return the endpoint that ``settings`` describe, its address leased again. Raises EngineError."""
    address = None
    if settings.ip_address and leases is not None:
        address = IPv4Interface(f"{settings.ip_address}/{settings.ip_prefix_len}")
        leases.take(address.ip)
    return Endpoint(settings.endpoint_id, container, address, None, settings.mac_address), leases


def describe_endpoint(wanted: EndpointSettings, network: Network, endpoint: Endpoint) -> EndpointSettings:
    """Return what inspect shows of an attachment: what was asked for, and what it became."""
    shown = copy(wanted)
    shown.network_id = network.id
    shown.endpoint_id = endpoint.id
    shown.mac_address = endpoint.mac
    if endpoint.address is not None:
        shown.ip_address = str(endpoint.address.ip)
        shown.ip_prefix_len = endpoint.address.network.prefixlen
        shown.gateway = str(endpoint.gateway or "")
    return shown
