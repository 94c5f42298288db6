"""The ``host`` driver: containers use the host's network as it is."""

from typing import ClassVar

from sampan.networks.model import Endpoint, EndpointPlan, Network, NetworkPlan


class HostDriver:
    """Needs nothing: the sandbox is the host."""

    name: ClassVar[str] = "host"
    own_namespace: ClassVar[bool] = False
    addresses: ClassVar[bool] = False

    def plan_network(self, network: Network) -> NetworkPlan:
        """Return the empty plan."""
        return NetworkPlan()

    def plan_endpoint(self, network: Network, endpoint: Endpoint, *, default_route: bool) -> EndpointPlan:
        """Return the empty plan."""
        return EndpointPlan()
