"""The network service: networks, and the sandboxes of containers on them.

Calls come from the event loop; what blocks runs in the wiring thread, one sandbox after the other (the kernel
takes its own lock for nearly all of it). Kernel state is derived: after a restart, ``open`` adopts the
sandboxes of containers that live and takes back everything else.
"""

import logging
from collections.abc import Collection
from pathlib import Path

from sampan.base.errors import EngineError, HostFailure
from sampan.kernel.threads import DedicatedThread
from sampan.networks import defaults
from sampan.networks.config import NetworkConfig
from sampan.networks.endpoint import Held, adopt
from sampan.networks.forwarding import enable_forwarding, restore_forwarding
from sampan.networks.healing import Healing
from sampan.networks.host import ipv6_available
from sampan.networks.model import BRIDGE
from sampan.networks.request import SandboxRequest
from sampan.networks.sandboxes import Sandboxes
from sampan.networks.store import Sandbox, SandboxRow
from sampan.networks.views import NetworkViews

__all__ = ["NetworkConfig", "NetworksService", "Sandbox", "SandboxRequest"]

_log = logging.getLogger(__name__)


class NetworksService(Sandboxes):
    """Networks of this host, and sandboxes by container id: how all of it is opened and closed."""

    @property
    def views(self) -> NetworkViews:
        """What others may look at."""
        return NetworkViews(
            self._desired,
            self._open_sandboxes,
            self._names,
            self._host,
            self.find,
            self._on_host,
            self.settle,
        )

    async def open(self, keep: Collection[str] = ()) -> None:
        """Set the networks up, adopt the sandboxes of the containers ``keep``, take back all others.

        A network that the host cannot have is reported in the log and refuses containers; the service opens
        all the same. Raises HostFailure or InvalidParameter if the settings cannot be met.
        """
        self._thread = DedicatedThread("networks")
        try:
            await self._open(self._thread, keep)
        except BaseException:
            self._thread.close()
            self._thread = None
            raise

    async def _open(self, thread: DedicatedThread, keep: Collection[str]) -> None:
        self._ipv6 = ipv6_available()
        self._publisher.ipv6 = self._ipv6
        rows = [row for container, row in self._store.sandboxes.items() if container in keep]
        in_use = any(BRIDGE in row.sandbox.networks for row in rows)
        view = await thread.call(self._host.look)
        networks = defaults.predefined(self._store.networks, self._config, view, in_use=in_use)
        self._store.replace_predefined(networks)
        self._pools.clear()
        for container, row in [(c, row) for c, row in self._store.sandboxes.items() if c not in keep]:
            self._plugins.forget(row, self._store.networks)
            self._store.remove_sandbox(container)
        for row in rows:
            self._adopt(row)
        live = self._open_sandboxes.values()
        self._desired.router = not self._config.ip_forward or enable_forwarding(self._store)
        self._broken |= await thread.call(
            self._host.open,
            list(self._desired.plans()),
            leaving=self._store.leaving(),
            keep={str(held.wiring.path) for held in live},
            keep_links={port for held in live for port in held.wiring.ports},
        )
        self._store.forget_leaving(self._store.leaving())
        await self._put_firewall(thread)
        self._healing = Healing(
            self._host,
            thread,
            self._events,
            self._desired.wanted,
            self._desired.owns,
            self._store.networks.values,
            self._desired.sysctls,
            self._retry,
        )
        for held in list(live):
            await self._publisher.serve(held)
            if held.needs_names:
                await self._reopen_resolver(thread, held)
        self.prepare()

    async def close(self, *, remove: bool = False) -> None:
        """Stop serving. Open sandboxes and the networks stay, unless ``remove``: then nothing is left."""
        if self._thread is None:
            return
        if self._healing is not None:
            await self._healing.close()
            self._healing = None
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None
        for container in list(self._open_sandboxes) if remove else ():
            await self.close_sandbox(container)
        for held in self._open_sandboxes.values():
            await self._names.close(held)
            await self._publisher.close(held)
        self._open_sandboxes.clear()
        await self._tasks.close()
        self._close_segments()
        self._broken.clear()
        await self._plugins.close()
        thread, self._thread = self._thread, None
        try:
            await thread.call(self._host.remove_links, frozenset(self._dying))
            await thread.call(self._host.close, [plan for _, plan in self._desired.plans()], remove=remove)
            if remove:
                restore_forwarding(self._store)
        finally:
            thread.close()

    def _adopt(self, row: SandboxRow) -> None:
        """Take up the sandbox of a container that lived on while the daemon was away."""
        sandbox = row.sandbox
        held = self._open_sandboxes[sandbox.container] = Held(sandbox.container, row.name)
        held.dns = tuple(row.dns)
        held.wiring.path = Path(sandbox.sandbox_key) if sandbox.sandbox_key else None
        held.wiring.sandbox_id = sandbox.sandbox_id
        held.reaches = tuple(row.reaches)
        for number, (name, settings) in enumerate(sandbox.networks.items()):
            try:
                network = self.find(name)
                ifname = row.interfaces.get(name, f"eth{number}")
                pools = self._pools_of(network)
                driver, source = self._plugins.driver_of(network), row.sources.get(name, "")
                held.attachments[network.id] = adopt(
                    sandbox.container, network, driver, settings, ifname, pools, source
                )
            except (EngineError, ValueError) as error:
                extra = {"container": sandbox.container, "network": name, "error": str(error)}
                _log.warning("endpoint not adopted", extra=extra)
        plans = [attached.plan(default_route=False) for attached in held.attachments.values()]
        held.wiring.links = [link for plan in plans for link in plan.links]
        held.wiring.members = [*held.members(), *(member for plan in plans for member in plan.members)]
        self._publisher.restore(held, [port.forward() for port in row.ports])

    async def _reopen_resolver(self, thread: DedicatedThread, held: Held) -> None:
        try:
            await thread.call(self._host.reopen_resolver, held.wiring)
        except (HostFailure, OSError) as error:
            _log.warning("no names", extra={"container": held.container, "error": str(error)})
            return
        self._open_names(held)
        self._names.renew(held)
