"""The ``host`` and ``null`` drivers, behind the networks ``host`` and ``none``: they need nothing."""

from collections.abc import Mapping
from typing import ClassVar

from sampan.networks.model import Endpoint, EndpointPlan, Network, NetworkPlan


class NullDriver:
    """A namespace with a loopback interface and nothing else. Networks that only hold settings have it."""

    name: ClassVar[str] = "null"
    own_namespace: ClassVar[bool] = True
    addresses: ClassVar[bool] = False
    shares_mac: ClassVar[bool] = False
    publishes: ClassVar[bool] = False
    subnets: ClassVar[int] = 0
    deferred: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ()

    def check_options(self, options: Mapping[str, str], *, internal: bool) -> None:
        """Take everything."""

    def leads_out(self, network: Network) -> bool:
        """It does not."""
        return False

    def routes_directly(self, network: Network) -> bool:
        """It does not."""
        return False

    def plan_network(self, network: Network) -> NetworkPlan:
        """Return the empty plan."""
        return NetworkPlan()

    def plan_endpoint(self, network: Network, endpoint: Endpoint, *, default_route: bool) -> EndpointPlan:
        """Return the empty plan."""
        return EndpointPlan()


class HostDriver(NullDriver):
    """Containers use the host's network as it is: the sandbox is the host."""

    name: ClassVar[str] = "host"
    own_namespace: ClassVar[bool] = False
