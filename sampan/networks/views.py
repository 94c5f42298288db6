"""What others may look at: the networks and sandboxes as they are, what they want and what the kernel has."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any

from sampan.base.errors import NotFound
from sampan.networks.desired import Desired
from sampan.networks.dns.zone import Record
from sampan.networks.drift import Seen, Wanted
from sampan.networks.endpoint import Held
from sampan.networks.host import HostNetworks
from sampan.networks.model import Network
from sampan.networks.names import Names
from sampan.networks.sandbox import SeenNamespace
from sampan.wire.explain import Traced


class NetworkViews:
    """Read-only.

    ``call`` runs a function in the wiring thread; ``settle`` waits for networks that are on their way.
    """

    def __init__(
        self,
        desired: Desired,
        sandboxes: Mapping[str, Held],
        names: Names,
        host: HostNetworks,
        find: Callable[[str], Network],
        call: Callable[..., Awaitable[Any]],
        settle: Callable[[], Awaitable[None]],
    ) -> None:
        self.find = find
        self._desired = desired
        self._sandboxes = sandboxes
        self._names = names
        self._host = host
        self._call = call
        self.settle = settle

    def wanted(self) -> Wanted:
        """Return everything that shall be there."""
        return self._desired.wanted()

    def sandboxes(self) -> Iterable[Held]:
        """Return the open sandboxes."""
        return list(self._sandboxes.values())

    def sandbox(self, container: str) -> Held:
        """Return the open sandbox of a container by its id. Raises NotFound if it has none."""
        held = self._sandboxes.get(container)
        if held is None or held.closing:
            raise NotFound(
                f"container {container} has no network sandbox: it does not run, or shares another's"
            )
        return held

    def records(self, network: str) -> Mapping[str, tuple[Record, ...]]:
        """Return the names on the network with the id ``network``."""
        zone = self._names.zone(network)
        return zone.records() if zone is not None else {}

    async def seen(self, wanted: Wanted) -> Seen:
        """Return what the kernel has of ``wanted``. Raises OSError."""
        seen: Seen = await self._call(self._host.look_at, wanted)
        return seen

    async def inside(self, held: Held | None) -> SeenNamespace:
        """Return what a sandbox has, the host's namespace for None. Raises OSError."""
        path = held.wiring.path if held is not None else None
        found: SeenNamespace = await self._call(self._host.look_inside, path)
        return found

    async def firewall(self, families: Collection[str]) -> str:
        """Return the engine's tables in nftables' language."""
        text: str = await self._call(self._host.list_firewall, families)
        return text

    async def trace(self, container: str, name: str, kind: str) -> Traced:
        """Ask for ``name`` as the container with that id would. Raises NotFound, InvalidParameter."""
        held = self.sandbox(container)
        if held.resolver is None:
            raise NotFound(
                f"container {held.name} is on no network with names: it asks the servers of its resolv.conf"
            )
        return await held.resolver.trace(name, kind, held.name)
