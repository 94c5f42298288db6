"""What a network driver promises."""

from typing import ClassVar, Protocol

from sampan.networks.model import Endpoint, EndpointPlan, Network, NetworkPlan


class NetworkDriver(Protocol):
    """Says what a network and its endpoints need, as plans; it does nothing itself.

    All methods are pure: the same arguments give the same plan. ``own_namespace`` is False where a sandbox
    is the host's own network namespace; ``addresses`` is False where endpoints get no address.
    """

    name: ClassVar[str]
    own_namespace: ClassVar[bool]
    addresses: ClassVar[bool]

    def plan_network(self, network: Network) -> NetworkPlan:
        """Return what ``network`` needs of the host as long as it exists."""

    def plan_endpoint(self, network: Network, endpoint: Endpoint, *, default_route: bool) -> EndpointPlan:
        """Return what ``endpoint`` of ``network`` needs as long as its sandbox is open."""
