"""Self-healing: what somebody else took from the host is put back, logged, and told as an event."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from sampan.base.errors import HostFailure
from sampan.base.events import EventBus
from sampan.base.tasks import Tasks
from sampan.kernel.threads import DedicatedThread
from sampan.networks.drift import Wanted
from sampan.networks.endpoint import Held
from sampan.networks.host import HostNetworks
from sampan.networks.mend import names_of
from sampan.networks.model import Network, Sysctl
from sampan.networks.watch import HostWatch

_log = logging.getLogger(__name__)
_SHOWN: Final = 20  # differences that a log line or an event names
_RESOLVER_SETTLE_S: Final = 0.2


class Healing:
    """Watches the host and keeps it as ``wanted`` says; ``owns`` tells whether a link is the engine's.

    ``networks`` returns all networks, for the events, ``settings`` the kernel settings that are wanted, and
    ``retry`` makes the networks that could not be made. Used from the event loop; what is done to the host is
    done in the wiring thread ``thread``, behind whatever that one is doing.
    """

    def __init__(
        self,
        host: HostNetworks,
        thread: DedicatedThread,
        events: EventBus,
        wanted: Callable[[], Wanted],
        owns: Callable[[str], bool],
        networks: Callable[[], Iterable[Network]],
        settings: Callable[[], set[str]],
        retry: Callable[[], Awaitable[None]],
    ) -> None:
        self._host = host
        self._thread = thread
        self._events = events
        self._wanted = wanted
        self._networks = networks
        self._settings = settings
        self._retry = retry
        self._tasks = Tasks("healing")
        self._watch = HostWatch(self.heal, owns, host.signature)
        self._resolvers: set[str] = set()
        self.follow(wanted().sysctls)
        self._watch.look_soon()  # at what happened while nobody watched

    async def close(self) -> None:
        """Stop healing."""
        await self._watch.close()
        await self._tasks.close()

    def follow(self, settings: Iterable[Sysctl]) -> None:
        """Watch kernel settings, too."""
        self._watch.follow(sysctl.key for sysctl in settings)

    def forget(self, settings: Iterable[Sysctl]) -> None:
        """Watch kernel settings no longer, but for those that others want as well."""
        others = self._settings()
        self._watch.forget(sysctl.key for sysctl in settings if sysctl.key not in others)

    async def heal(self) -> bool:
        """Make the host be as it shall be; tell whether there was anything to mend."""
        await self._retry()
        wanted = self._wanted()
        started = time.monotonic()
        try:
            drifts, failures = await self._thread.call(self._host.mend, wanted)
        except OSError as error:
            _log.error("the host cannot be looked at", extra={"error": str(error)})
            return True
        if drifts:
            extra = {
                "lost": names_of(drifts, _SHOWN),
                "count": len(drifts),
                "ms": round((time.monotonic() - started) * 1000, 1),
            }
            _log.warning("the host had drifted, and was mended", extra=extra)
        for failure in failures:
            _log.error("drift not mended", extra={"drift": failure})
        for network in list(self._networks()):
            if mine := [drift for drift in drifts if drift.owner == f"network {network.name}"]:
                attributes = {
                    "name": network.name,
                    "type": network.driver,
                    "lost": names_of(mine, _SHOWN),
                }
                self._events.publish("network", "heal", network.id, attributes)
        self.follow(wanted.sysctls)
        return bool(drifts or failures)

    def watch_resolver(self, held: Held) -> Callable[[], None]:
        """Return what is to be called when somebody changed the firewall in the sandbox of ``held``."""

        def changed() -> None:
            if held.container not in self._resolvers:
                self._resolvers.add(held.container)
                self._tasks.spawn(self._heal_resolver(held), name="look at a resolver")

        return changed

    async def _heal_resolver(self, held: Held) -> None:
        await asyncio.sleep(_RESOLVER_SETTLE_S)  # such changes come in bursts, and a container may make many
        self._resolvers.discard(held.container)
        try:
            gone = not held.closing and await self._thread.call(self._host.restore_resolver, held.wiring)
        except (HostFailure, OSError) as error:
            _log.warning("no names", extra={"container": held.container, "error": str(error)})
            return
        if gone:
            extra = {"container": held.container, "lost": "rules in its namespace that lead to the resolver"}
            _log.warning("a sandbox had drifted, and was mended", extra=extra)
