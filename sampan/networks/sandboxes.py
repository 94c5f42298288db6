"""The sandboxes of containers: opened, changed, closed. What blocks runs in the wiring thread."""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from sampan.base import faults
from sampan.base.errors import HostFailure, InvalidParameter, NotFound
from sampan.base.events import EventBus
from sampan.base.plugins import PluginFolders
from sampan.base.state import StateDB
from sampan.base.undo import Undo
from sampan.kernel.links import IpAddress
from sampan.networks import files
from sampan.networks.config import NetworkConfig
from sampan.networks.core import SETUP
from sampan.networks.endpoint import Attachment, Held, addresses_of, attach, reaches
from sampan.networks.errors import AlreadyConnected, NotConnected
from sampan.networks.model import BRIDGE, HOST, NONE, Forward, Network
from sampan.networks.request import SandboxRequest, check_endpoint, check_request
from sampan.networks.segments import Segments
from sampan.networks.store import PortRow, Sandbox, SandboxRow
from sampan.wire.containers import PortMap

_log = logging.getLogger(__name__)
_DYING_S: Final = 1.0  # a link goes within tens of milliseconds of its namespace


class Sandboxes(Segments):
    """The sandboxes by container id, on the networks that ``Segments`` has."""

    def __init__(
        self,
        exec_root: Path,
        state: StateDB,
        events: EventBus,
        config: NetworkConfig,
        plugins: PluginFolders | None = None,
    ) -> None:
        super().__init__(exec_root, state, events, config, plugins)
        self._dying: set[str] = set()
        self._reaper: asyncio.TimerHandle | None = None

    def check(self, request: SandboxRequest, *, may_lack: bool = False) -> None:
        """Raise NotFound or InvalidParameter, in Docker's words, if ``request`` can never be met.

        ``may_lack``: networks that are not there are passed over.
        """
        check_request(request, self._networks_of(request, may_lack=may_lack))

    def check_connect(self, request: SandboxRequest, network: Network) -> None:
        """Raise InvalidParameter, in Docker's words, if ``request`` cannot be attached to ``network``."""
        if network.name == HOST:
            raise InvalidParameter(
                "cannot connect container to host network - container must be created in host network mode"
            )
        if network.name == NONE or any(name == NONE for name in request.endpoints if name != network.name):
            raise InvalidParameter(
                "container cannot be connected to multiple networks with one of the networks in private "
                "(none) mode"
            )
        check_endpoint(request.settings(network), network)

    async def open_sandbox(self, request: SandboxRequest) -> Sandbox:
        """Open the sandbox of a container: namespace, addresses, names, published ports, files.

        On failure nothing is left behind. Raises NotFound, InvalidParameter, PortTaken (the holder is named)
        or HostFailure.
        """
        self.check(request)
        await self.close_sandbox(request.container)
        networks = self._networks_of(request)
        for network in networks:
            self._require_usable(network)
        held = self._open_sandboxes[request.container] = Held(request.container, request.name)
        held.dns = tuple(request.dns)
        held.reaches = reaches(request)
        async with Undo() as undo:
            undo.add(self.close_sandbox, request.container)
            for network in networks:
                await self._attach(request, network, held)
            faults.point("networks.sandbox.ports")
            ports = await self._publisher.reserve(request, held)
            held.wiring.members = held.members()
            await self._settled(networks)
            await self._wire(request, networks, held)
            if any(each.plugin for each in held.attachments.values()):
                await self._join(request, held)
            faults.point("networks.sandbox.state")
            sandbox = Sandbox(
                container=request.container,
                sandbox_id=held.wiring.sandbox_id,
                sandbox_key=str(held.wiring.path or ""),
                networks={},
                ports=ports,
            )
            self._save(held, sandbox)
            if held.wiring.resolver is not None:
                self._open_names(held)
            self._names.renew(held)
            await self._publisher.serve(held)
            self._forget_flows(held.wiring.forwards)
        for network in networks:
            self._announce("connect", network, request.container)
        return sandbox

    def prepare(self) -> None:
        """Get ready for the next sandboxes, in the background: when nobody waits for this process."""
        if self._thread is not None:
            self._thread.submit(self._host.refill)

    async def close_sandbox(self, container: str) -> None:
        """Take back all that ``open_sandbox`` did for ``container``; idempotent.

        Goes on past errors and raises HostFailure at the end.
        """
        held = self._open_sandboxes.get(container)
        if held is None:
            return
        held.closing = True
        self._names.forget(held)
        await self._names.close(held)
        await self._publisher.stop(held)
        try:
            if self._thread is not None and (held.wiring.path or held.wiring.forwards):
                await self._thread.call(self._host.close_sandbox, held.wiring)
        finally:
            self._publisher.release(held)
            for attached in held.attachments.values():
                await self._plugins.leave(attached)
                attached.give_back()
            self._open_sandboxes.pop(container, None)
            row = self._store.sandboxes.get(container)
            self._store.remove_sandbox(container)
            self._watch_dying(held.wiring.ports)
            self._forget_flows(held.wiring.forwards)
            if row is not None:
                for attached in held.attachments.values():
                    self._announce("disconnect", attached.network, container)

    async def connect(self, request: SandboxRequest, name: str) -> Sandbox:
        """Attach the open sandbox of ``request`` to network ``name``, too; its settings are in ``request``.

        On failure everything is as it was. Raises NotFound, InvalidParameter, Forbidden if it is attached
        already, PortTaken, HostFailure.
        """
        network, held = self.find(name), self._held(request.container)
        if network.id in held.attachments:
            raise AlreadyConnected(request.name, network.name)
        self.check_connect(request, network)
        self._require_usable(network)
        before, had = list(held.attachments.values()), held.needs_names
        row = self._store.sandboxes[request.container]
        async with Undo() as undo:
            undo.add(self._detach, request, network.id)
            attached = await self._attach(request, network, held)
            await self._settled([network])
            await self._plugins.join(request, attached, str(held.wiring.path or ""))
            plan = attached.plan(default_route=False)
            resolver = held.needs_names and held.wiring.resolver is None
            await self._on_host(self._host.attach, held.wiring, plan, resolver=resolver)
            if resolver:
                self._open_names(held)
            await self._settle(request, held, before, row.sandbox, had_names=had)
        self._announce("connect", network, request.container)
        return row.sandbox

    async def change_ports(self, request: SandboxRequest, add: PortMap, remove: Sequence[Forward]) -> Sandbox:
        """Publish ``add`` from the open sandbox of ``request``, and ``remove`` no longer; all or nothing.

        The other ports, and connections through them, are not touched. Raises InvalidParameter, PortTaken
        (the holder is named), HostFailure.
        """
        held, row = self._held(request.container), self._store.sandboxes[request.container]
        new = await self._publisher.add(request, held, add)
        async with Undo() as undo:
            undo.add(self._publisher.settle, request, held)
            undo.add(self._publisher.give_back, held, new)
            undo.add(self._on_host, self._host.withdraw, new)
            self._publisher.settle(request, held)
            await self._on_host(self._host.publish, new)
            faults.point("networks.ports.published")
        held.wiring.forwards = [forward for forward in held.wiring.forwards if forward not in remove]
        await self._on_host(self._host.withdraw, remove)
        await self._publisher.give_back(held, remove)
        if shared := [r.forward for r in held.reservations if r.forward.open and remove]:
            await self._on_host(self._host.publish, shared)  # several ports may lead to the same place
        await self._publisher.serve(held)
        row.sandbox.ports = self._publisher.settle(request, held)
        self._save(held, row.sandbox)
        self._forget_flows([*new, *remove], ended=remove)
        return row.sandbox

    def forwards(self, container: str) -> list[Forward]:
        """Return the published ports of the open sandbox of ``container``."""
        return [reservation.forward for reservation in self._held(container).reservations]

    async def disconnect(self, request: SandboxRequest, name: str) -> Sandbox:
        """Detach the open sandbox of ``request`` from network ``name``.

        Raises NotFound, Forbidden if it is not attached, HostFailure.
        """
        network, held = self.find(name), self._held(request.container)
        if network.id not in held.attachments:
            raise NotConnected(request.container, network.name)
        await self._detach(request, network.id)
        self._announce("disconnect", network, request.container)
        return self._store.sandboxes[request.container].sandbox

    def sandbox(self, container: str) -> Sandbox | None:
        """Return the open sandbox of ``container``, None if it has none."""
        row = self._store.sandboxes.get(container)
        return row.sandbox if row is not None else None

    def rename(self, container: str, name: str) -> Sandbox | None:
        """Let the sandbox of ``container`` be known by its new name; return it, None if there is none."""
        row, held = self._store.sandboxes.get(container), self._open_sandboxes.get(container)
        if row is None or held is None:
            return None
        self._publisher.rename(row.name, name)
        for attached in held.attachments.values():
            if attached.names:
                others = [known for known in attached.names if known not in {held.name, name}]
                attached.names = [name, *others]
        held.name = row.name = name
        self._names.renew(held)
        self._save(held, row.sandbox)
        return row.sandbox

    async def _detach(self, request: SandboxRequest, network: str) -> None:
        """Take an attachment back, the whole of it or the part that was made."""
        held = self._held(request.container)
        before, had = list(held.attachments.values()), held.needs_names
        attached = held.attachments.pop(network, None)
        if attached is None:
            return
        row = self._store.sandboxes[request.container]
        self._names.remove(attached, held.container)
        try:
            await self._on_host(self._host.detach, held.wiring, attached.plan(default_route=False))
        finally:
            await self._plugins.leave(attached)
            attached.give_back()
        await self._settle(request, held, before, row.sandbox, had_names=had)

    async def _settle(
        self,
        request: SandboxRequest,
        held: Held,
        before: Sequence[Attachment],
        sandbox: Sandbox,
        *,
        had_names: bool,
    ) -> None:
        """Make everything that depends on several networks follow a change: routes, ports, names, files."""
        await self._set_routes(held)
        old = held.wiring.forwards
        ports = await self._publisher.follow(request, held, sandbox.ports)
        if ports is not None:
            await self._on_host(self._host.withdraw, old)
            await self._on_host(self._host.publish, held.wiring.forwards)
            await self._publisher.serve(held)
            self._forget_flows(held.wiring.forwards)
            sandbox.ports = ports
        if not held.needs_names and held.resolver is not None:
            await self._names.close(held)
        self._names.renew(held)
        self._save(held, sandbox)
        await self._on_host(
            files.change_files,
            request,
            self._config,
            before=addresses_of(before),
            after=addresses_of(held.attachments.values()),
            resolver=(had_names, held.needs_names),
        )

    async def _set_routes(self, held: Held) -> None:
        """Let the default routes of an open sandbox lead where they lead now."""
        routes: dict[int, tuple[str, IpAddress | None] | None] = {4: None, 6: None}
        if (gateway := held.gateway()) is not None:
            endpoint = gateway.endpoint
            routes |= {v: (endpoint.ifname, found) for v, found in endpoint.default_routes.items()}
        if not self._ipv6:
            del routes[6]
        await self._on_host(self._host.set_routes, held.wiring, routes)

    async def _attach(self, request: SandboxRequest, network: Network, held: Held) -> Attachment:
        """Make the endpoint of ``request`` on ``network``; its addresses may be a plugin's."""
        leased = await self._plugins.lease(request, network, held, self._open_sandboxes.values())
        pools = self._pools_of(network)
        try:
            return attach(request, network, self._plugins.driver_of(network), pools, held, leased)
        except BaseException:
            if leased is not None and pools is not None:
                pools.give_back(*leased)
            raise

    async def _join(self, request: SandboxRequest, held: Held) -> None:
        """Give an open sandbox the links that plugins make, and its default routes by them."""
        for attached in held.attachments.values():
            if await self._plugins.join(request, attached, str(held.wiring.path or "")):
                plan = attached.plan(default_route=False)
                await self._on_host(self._host.attach, held.wiring, plan, resolver=False)
        await self._set_routes(held)
        if (gateway := held.gateway()) is not None:
            await self._plugins.publish(request, gateway)

    def _networks_of(self, request: SandboxRequest, *, may_lack: bool = False) -> list[Network]:
        """Return the networks of ``request``, that of its mode first (its interface is ``eth0``)."""
        if request.detached:
            return []
        found: dict[str, Network] = {}
        asked_for: set[str] = set()
        for name in (request.mode, *request.endpoints):
            try:
                network = self.find(BRIDGE if name in {"", "default"} else name)
            except NotFound:
                if not may_lack:
                    raise
                continue
            found.setdefault(network.id, network)
            if name in request.endpoints or not request.endpoints:
                asked_for.add(network.id)
        return [network for network in found.values() if network.id in asked_for]

    def _save(self, held: Held, sandbox: Sandbox) -> None:
        """Keep the sandbox as it is now."""
        attachments = list(held.attachments.values())
        sandbox.networks = {attached.network.name: attached.describe() for attached in attachments}
        self._store.save_sandbox(
            SandboxRow(
                held.name,
                sandbox,
                [PortRow.of(forward) for forward in held.wiring.forwards],
                interfaces={attached.network.name: attached.endpoint.ifname for attached in attachments},
                dns=list(held.dns),
                sources={a.network.name: a.endpoint.joined.source for a in attachments if a.endpoint.joined},
                reaches=list(held.reaches),
            )
        )

    async def _wire(self, request: SandboxRequest, networks: Sequence[Network], held: Held) -> None:
        own = all(self._plugins.driver_of(network).own_namespace for network in networks)
        write_files = partial(
            files.write_files,
            request,
            self._config,
            on_host=not own,
            ipv6=self._ipv6,
            addresses=addresses_of(held.attachments.values()),
            gateways=self._gateways(),
            resolver=held.needs_names,
        )
        if not own:
            await self._on_host(write_files)
            return
        gateway = held.gateway()
        plans = [each.plan(default_route=each is gateway) for each in held.attachments.values()]
        try:
            await self._on_host(
                self._host.open_sandbox, held.wiring, plans, write_files, resolver=held.needs_names
            )
        except HostFailure as error:
            raise HostFailure(f"{SETUP}: {error}") from error

    def _gateways(self) -> list[str]:
        """Return the addresses that ``host-gateway`` stands for."""
        if self._config.host_gateway_ip:
            return list(self._config.host_gateway_ip)
        bridges = self._store.named(BRIDGE)
        return [str(pool.gateway) for network in bridges for pool in network.pools]

    def _open_names(self, held: Held) -> None:
        self._names.open(held, self._thread, self._host)
        if held.resolver is not None and self._healing is not None:
            held.resolver.watch(self._healing.watch_resolver(held))

    def _watch_dying(self, links: Sequence[str]) -> None:
        """See to it that links go whose namespace outlives its bind because a process holds it."""
        self._dying.update(links)
        if self._dying and self._reaper is None:
            self._reaper = asyncio.get_running_loop().call_later(_DYING_S, self._reap)

    def _reap(self) -> None:
        self._reaper = None
        names, self._dying = frozenset(self._dying), set()
        if self._thread is not None:
            self._thread.submit(partial(self._host.remove_links, names))

    def _held(self, container: str) -> Held:
        held = self._open_sandboxes.get(container)
        if held is None or container not in self._store.sandboxes:
            raise HostFailure(f"{SETUP}: container {container} has no sandbox")
        return held
