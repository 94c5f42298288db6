"""What can go wrong with networks, in Docker's words: clients match on these texts."""

from collections.abc import Mapping

from sampan.base.errors import Forbidden, Unavailable
from sampan.base.ids import short_id


class ActiveEndpoints(Forbidden):
    """A network that is to be removed has ``endpoints``: their ids by container."""

    def __init__(self, network: str, endpoints: Mapping[str, str]) -> None:
        who = ", ".join(f'name:"{name}" id:"{short_id(endpoint)}"' for name, endpoint in endpoints.items())
        super().__init__(f"error while removing network: network {network} has active endpoints ({who})")


class AlreadyConnected(Forbidden):
    def __init__(self, container: str, network: str) -> None:
        super().__init__(f"endpoint with name {container} already exists in network {network}")


class NoSwarmManager(Unavailable):
    def __init__(self) -> None:
        super().__init__(
            'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect '
            "this node to swarm and try again."
        )


class NotConnected(Forbidden):
    def __init__(self, container: str, network: str) -> None:
        super().__init__(f"container {container} is not connected to network {network}")
