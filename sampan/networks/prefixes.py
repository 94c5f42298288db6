"""What the host's own addresses, routes and name servers occupy, for the choice of a subnet."""

from dataclasses import replace

from sampan.base.threads import blocking
from sampan.kernel.linkevents import PrefixEvents
from sampan.networks import apply
from sampan.networks.defaults import HostView


class HostPrefixes:
    """Looks at the host, and again once something has changed there. Event loop only."""

    def __init__(self) -> None:
        self._events: PrefixEvents | None = None
        self._view: HostView | None = None

    async def look(self) -> HostView:
        """Return what the host has, as far as a new network may collide with it. Raises OSError."""
        if self._events is None:
            self._events = PrefixEvents()
        if self._events.changed() or self._view is None:
            self._view = await blocking(apply.look_around)
        return replace(self._view, name_servers=apply.name_servers())

    def close(self) -> None:
        """Stop listening to changes."""
        if self._events is not None:
            self._events.close()
            self._events = self._view = None
