"""What the host's own addresses, routes and name servers occupy, for the choice of a subnet."""

from ipaddress import IPv4Network

from sampan.base.threads import blocking
from sampan.kernel.linkevents import PrefixEvents
from sampan.networks import apply
from sampan.networks.defaults import HostView
from sampan.networks.resolv import read_host


class HostPrefixes:
    """Looks at the host, and again once something has changed there. Event loop only."""

    def __init__(self) -> None:
        self._events: PrefixEvents | None = None
        self._view: HostView | None = None
        self._servers: tuple[str, ...] = ()
        self._occupied: dict[frozenset[str], list[tuple[IPv4Network, str]]] = {}  # the last answer

    async def occupied(self, but: frozenset[str]) -> list[tuple[IPv4Network, str]]:
        """Return the IPv4 prefixes in use, and by what; the links ``but`` do not count. Raises OSError."""
        if self._events is None:
            self._events = PrefixEvents()
        servers = read_host(follow_systemd=True).servers
        if self._events.changed() or self._view is None or servers != self._servers:
            self._view = await blocking(apply.look_around)
            self._servers = servers
            self._occupied.clear()
        if but not in self._occupied:
            self._occupied = {but: self._view.occupied(but)}
        return self._occupied[but]

    def close(self) -> None:
        """Stop listening to changes."""
        if self._events is not None:
            self._events.close()
            self._events = self._view = None
