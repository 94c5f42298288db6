"""The ``null`` driver of network ``none``: a namespace with a loopback interface and nothing else."""

from typing import ClassVar

from sampan.networks.model import Endpoint, EndpointPlan, Network, NetworkPlan


class NullDriver:
    """Needs nothing beyond the sandbox itself."""

    name: ClassVar[str] = "null"
    own_namespace: ClassVar[bool] = True
    addresses: ClassVar[bool] = False

    def plan_network(self, network: Network) -> NetworkPlan:
        """Return the empty plan."""
        return NetworkPlan()

    def plan_endpoint(self, network: Network, endpoint: Endpoint, *, default_route: bool) -> EndpointPlan:
        """Return the empty plan."""
        return EndpointPlan()
