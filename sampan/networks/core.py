"""What the halves of the network service share: its parts, and the state that it keeps. Event loop only."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from sampan.base.errors import HostFailure, InvalidParameter, NotFound
from sampan.base.events import EventBus
from sampan.base.plugins import PluginFolders
from sampan.base.state import StateDB
from sampan.base.tasks import Tasks
from sampan.base.threads import blocking
from sampan.kernel.threads import DedicatedThread
from sampan.networks.config import NetworkConfig
from sampan.networks.desired import Desired
from sampan.networks.endpoint import Held
from sampan.networks.firewall.apply import forget_flows
from sampan.networks.healing import Healing
from sampan.networks.host import HostNetworks
from sampan.networks.ipam.leases import AddressPools
from sampan.networks.model import Forward, Network
from sampan.networks.names import Names
from sampan.networks.plugins import NetworkPlugins
from sampan.networks.publish import Publisher
from sampan.networks.store import NetworkStore

P = ParamSpec("P")
T = TypeVar("T")
_log = logging.getLogger(__name__)
SETUP: Final = "failed to set up container networking"


class NetworkCore:
    """The parts of the service. ``segments`` and ``sandboxes`` build on it, and ``service`` on both.

    ``_broken`` has the reason why a network (by id) cannot be used, ``_pending`` the ids of those that are
    not begun to be made.
    """

    def __init__(
        self,
        exec_root: Path,
        state: StateDB,
        events: EventBus,
        config: NetworkConfig,
        plugins: PluginFolders | None = None,
    ) -> None:
        self._store = NetworkStore(state)
        self._events = events
        self._config = config
        self._host = HostNetworks(exec_root / "netns", firewall=config.iptables)
        self._publisher = Publisher(config)
        self._names = Names()
        self._plugins = NetworkPlugins(plugins)
        self._thread: DedicatedThread | None = None
        self._pools: dict[str, AddressPools] = {}
        self._open_sandboxes: dict[str, Held] = {}
        self._broken: dict[str, str] = {}
        self._pending: set[str] = set()
        self._desired = Desired(
            self._store, config, self._plugins, self._open_sandboxes, self._broken, self._pending
        )
        self._tasks = Tasks("networks")
        self._healing: Healing | None = None
        self._ipv6 = False

    def find(self, name: str) -> Network:
        """Return a network by name, id or unambiguous start of its id. Raises NotFound, InvalidParameter."""
        if (exact := self._store.networks.get(name)) is not None:
            return exact
        named = self._store.named(name)
        if len(named) == 1:
            return named[0]
        networks = self._store.networks.values()
        by_id = [network for network in networks if name and network.id.startswith(name)]
        for found, what in ((named, "name"), (by_id, "ID prefix")):
            if len(found) > 1:
                raise InvalidParameter(f"network {name} is ambiguous ({len(found)} matches found on {what})")
            if found:
                return found[0]
        raise NotFound(f"network {name} not found")

    def _pools_of(self, network: Network) -> AddressPools | None:
        """Return what leases the addresses of ``network``, made when first asked for; None if it went."""
        if network.id not in self._pools and network.id in self._store.networks:
            self._pools[network.id] = self._plugins.pools_of(network)
        return self._pools.get(network.id)

    def _thread_now(self) -> DedicatedThread:
        """Return the wiring thread. Raises HostFailure when the service is closed."""
        if self._thread is None:
            raise HostFailure(f"{SETUP}: the network service is closed")
        return self._thread

    async def _on_host(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``call`` in the wiring thread. Raises HostFailure when the service is closed."""
        return await self._thread_now().call(call, *args, **kwargs)

    def _require_usable(self, network: Network) -> None:
        if reason := self._broken.get(network.id):
            raise HostFailure(f"{SETUP}: network {network.name} cannot be used: {reason}")

    async def _put_firewall(self, thread: DedicatedThread) -> None:
        """Put the rules in place; without nftables, networks that need them are broken."""
        if not self._config.iptables:
            return
        try:
            plans = [plan for _, plan in self._desired.usable()]
            await thread.call(self._host.apply_firewall, self._desired.firewall(), plans)
        except (HostFailure, OSError) as error:
            _log.error("no firewall", extra={"error": str(error)})
            self._broken.update(
                (network.id, str(error)) for network, plan in self._desired.plans() if plan.rules
            )

    def _forget_flows(self, forwards: Sequence[Forward], ended: Sequence[Forward] = ()) -> None:
        """Let tracked UDP flows to ``forwards`` be seen anew, and those of every protocol to ``ended``."""
        flows = {("udp", f.host_port) for f in forwards if f.protocol == "udp" and f.by_nat}
        flows |= {(f.protocol, f.host_port) for f in ended if f.by_nat}
        if flows and self._config.iptables:
            self._tasks.spawn(blocking(forget_flows, flows), name="forget flows")

    def _announce(self, action: str, network: Network, container: str = "") -> None:
        attributes = {"name": network.name, "type": network.driver}
        if container:
            attributes = {"container": container, **attributes}
        self._events.publish("network", action, network.id, attributes)


async def wait_for(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Wait until all of ``tasks`` have ended, however they end."""
    if waiting := [task for task in tasks if not task.done()]:
        await asyncio.wait(waiting)
