"""What a network driver promises."""

from collections.abc import Mapping
from typing import Protocol

from sampan.networks.model import Endpoint, EndpointPlan, Network, NetworkPlan


class NetworkDriver(Protocol):
    """Says what a network and its endpoints need, as plans; it does nothing itself.

    All methods are pure: the same arguments give the same plan.
    """

    @property
    def name(self) -> str:
        """The name that users give (``docker network create -d``)."""

    @property
    def own_namespace(self) -> bool:
        """False where a sandbox is the host's own network namespace."""

    @property
    def addresses(self) -> bool:
        """False where endpoints get no address."""

    @property
    def shares_mac(self) -> bool:
        """Whether its endpoints have the MAC address of the host's link, and none of their own."""

    @property
    def publishes(self) -> bool:
        """Whether ports of its endpoints can be published on the host."""

    @property
    def subnets(self) -> int:
        """How many subnets of one IP version a network can have; 0: users cannot create any network."""

    @property
    def deferred(self) -> bool:
        """Whether a network is answered for before what it needs of the host is made (docs/adr/0007)."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The kinds of links that the kernel must have."""

    def check_options(self, options: Mapping[str, str], *, internal: bool) -> None:
        """Raise InvalidParameter if a network cannot have ``options``."""

    def leads_out(self, network: Network) -> bool:
        """Tell whether containers have a default route by ``network``."""

    def routes_directly(self, network: Network) -> bool:
        """Tell whether that route leads to the link itself, without a gateway."""

    def plan_network(self, network: Network) -> NetworkPlan:
        """Return what ``network`` needs of the host as long as it exists."""

    def plan_endpoint(self, network: Network, endpoint: Endpoint, *, default_route: bool) -> EndpointPlan:
        """Return what ``endpoint`` of ``network`` needs as long as its sandbox is open."""
