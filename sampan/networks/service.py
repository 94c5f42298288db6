"""The network service: networks, and the sandboxes of containers on them.

Calls come from the event loop; what blocks runs in the wiring thread, one sandbox after the other (the kernel
takes its own lock for nearly all of it). Kernel state is derived: after a restart, ``open`` adopts the
sandboxes of containers that live and takes back everything else.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from ipaddress import IPv6Network
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from sampan.base import faults
from sampan.base.errors import EngineError, Forbidden, HostFailure, InvalidParameter, NotFound
from sampan.base.events import EventBus
from sampan.base.plugins import PluginFolders
from sampan.base.state import StateDB
from sampan.base.tasks import Tasks
from sampan.base.threads import blocking
from sampan.base.undo import Undo
from sampan.kernel.links import IpAddress
from sampan.kernel.threads import DedicatedThread
from sampan.networks import create, defaults, files, listing
from sampan.networks.config import NetworkConfig
from sampan.networks.desired import Desired
from sampan.networks.endpoint import Attachment, Held, addresses_of, adopt, attach, reaches
from sampan.networks.errors import ActiveEndpoints, AlreadyConnected, NotConnected
from sampan.networks.firewall.apply import forget_flows
from sampan.networks.forwarding import enable_forwarding, restore_forwarding
from sampan.networks.healing import Healing
from sampan.networks.host import HostNetworks, ipv6_available
from sampan.networks.ipam.leases import AddressPools
from sampan.networks.model import (
    BRIDGE,
    HOST,
    NONE,
    Forward,
    Network,
)
from sampan.networks.names import Names
from sampan.networks.plugins import NetworkPlugins
from sampan.networks.publish import Publisher
from sampan.networks.request import SandboxRequest, check_endpoint, check_request
from sampan.networks.store import NetworkStore, PortRow, Sandbox, SandboxRow
from sampan.networks.views import NetworkViews
from sampan.wire import networks as wire
from sampan.wire.containers import PortMap
from sampan.wire.disk import Prunable

__all__ = ["NetworkConfig", "NetworksService", "Sandbox", "SandboxRequest"]

P = ParamSpec("P")
T = TypeVar("T")
_log = logging.getLogger(__name__)
_SETUP: Final = "failed to set up container networking"
_DYING_S: Final = 1.0  # a link goes within tens of milliseconds of its namespace
_ULA: Final = "ula"


class NetworksService:
    """Networks of this host, and sandboxes by container id."""

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
        self._desired = Desired(self._store, config, self._plugins, self._open_sandboxes, self._broken)
        self._dying: set[str] = set()
        self._reaper: asyncio.TimerHandle | None = None
        self._tasks = Tasks("networks")
        self._healing: Healing | None = None
        self._changing = asyncio.Lock()  # one network comes or goes at a time
        self._ipv6 = False

    @property
    def views(self) -> NetworkViews:
        """What others may look at."""
        return NetworkViews(
            self._desired, self._open_sandboxes, self._names, self._host, self.find, self._on_host
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
        self._pools = {n.id: self._plugins.pools_of(n) for n in self._store.networks.values()}
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
            keep={str(held.wiring.path) for held in live},
            keep_links={port for held in live for port in held.wiring.ports},
        )
        await self._put_firewall(thread)
        self._healing = Healing(
            self._host,
            thread,
            self._events,
            self._desired.wanted,
            self._desired.owns,
            self._store.networks.values,
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
        self._broken.clear()
        await self._tasks.close()
        await self._plugins.close()
        thread, self._thread = self._thread, None
        try:
            await thread.call(self._host.remove_links, frozenset(self._dying))
            await thread.call(self._host.close, [plan for _, plan in self._desired.plans()], remove=remove)
            if remove:
                restore_forwarding(self._store)
        finally:
            thread.close()

    # Sandboxes

    def check(self, request: SandboxRequest) -> None:
        """Raise NotFound or InvalidParameter, in Docker's words, if ``request`` can never be met."""
        check_request(request, self._networks_of(request))

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
        pools = self._pools.get(network.id)
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

    # Networks

    async def create_network(self, body: wire.CreateNetwork) -> wire.CreatedNetwork:
        """Create a network. Raises InvalidParameter, Conflict, Forbidden, NotFound, HostFailure."""
        return await self._tasks.finish(self._create_network(body), name=f"create network {body.name}")

    async def _create_network(self, body: wire.CreateNetwork) -> wire.CreatedNetwork:
        async with self._changing:
            create.check_create(body, self._store.networks.values())
            wanted = create.follow_config(body, self._store.networks.values())
            driver = await self._plugins.find("null" if body.config_only else wanted.driver or "bridge")
            view = await self._on_host(self._host.look)
            if not body.config_only:
                await self._on_host(self._host.require, driver.needs)
            bridge = (wanted.options or {}).get("com.docker.network.bridge.name", "")
            async with Undo() as undo:
                given = await self._plugins.request_pools(wanted)
                if given is not None and wanted.ipam is not None:
                    undo.add(self._plugins.release_pools, wanted.ipam.driver, given)
                around = create.Surroundings(
                    networks=list(self._store.networks.values()),
                    default_pools=self._config.default_address_pools,
                    occupied=lambda: view.occupied(bridge),
                    ula=self._own_ula,
                    drivers=self._plugins.drivers,
                    ipv6=self._ipv6,
                    given=given,
                )
                network = create.plan_create(body, around)
                plan = driver.plan_network(network)
                undo.add(partial(self._remove, plugins=False), network)
                self._store.save_network(network)
                self._pools[network.id] = self._plugins.pools_of(network)
                await self._on_host(self._host.create_network, plan, bridges=self._desired.bridges())
                await self._plugins.create(network)
            if self._healing is not None:
                self._healing.follow(plan.sysctls)
        self._announce("create", network)
        return wire.CreatedNetwork(network.id)

    async def remove_network(self, name: str) -> None:
        """Remove a network. Raises NotFound, Forbidden if it is predefined or has endpoints, HostFailure."""
        await self._tasks.finish(self._remove_network(name), name=f"remove network {name}")

    async def _remove_network(self, name: str) -> Network:
        async with self._changing:
            network = self.find(name)
            if network.predefined:
                raise Forbidden(f"{network.name} is a pre-defined network and cannot be removed")
            active = {
                held.name: held.attachments[network.id].endpoint.id
                for held in self._open_sandboxes.values()
                if network.id in held.attachments
            }
            if active:
                raise ActiveEndpoints(network.name, active)
            if network.config_only and any(
                other.config_from in {network.name, network.id} for other in self._store.networks.values()
            ):
                raise Forbidden(f'configuration network "{network.name}" is in use')
            self._broken[network.id] = "it is being removed"
            await self._remove(network)
        self._announce("destroy", network)
        return network

    async def _remove(self, network: Network, *, plugins: bool = True) -> None:
        """Take a network off the host and out of the store, whatever there is of it; ``plugins`` hear it."""
        self._broken[network.id] = "it is being removed"
        plan = self._plugins.driver_of(network).plan_network(network)
        if self._healing is not None:
            self._healing.forget(plan.sysctls)
        try:
            others = [other for known, other in self._desired.plans() if known.id != network.id]
            families = {family for other in others for family in other.families}
            await self._on_host(
                self._host.remove_network, plan, bridges=self._desired.bridges(), families=families
            )
        except HostFailure as error:  # somebody took a part of it away, or it was never made
            _log.info("rules are renewed", extra={"network": network.name, "error": str(error)})
            if self._thread is not None:
                await self._put_firewall(self._thread)
        if plugins:
            await self._plugins.remove(network)
        self._store.remove_network(network.id)
        self._pools.pop(network.id, None)
        self._desired.forget(network.id)
        self._names.drop(network.id)
        self._broken.pop(network.id, None)

    async def prune(self, filters: Mapping[str, Sequence[str]]) -> list[str]:
        """Remove the networks that no container is on and that pass ``filters``; return their names."""
        removed: list[str] = []
        for item in self.plan_prune(filters):
            try:
                await self.remove_network(item.id)
            except (NotFound, Forbidden):
                continue  # somebody was faster, or it is in use since
            removed.append(item.name)
        self._events.publish("network", "prune", "", {"reclaimed": "0"})
        return removed

    def plan_prune(self, filters: Mapping[str, Sequence[str]]) -> list[Prunable]:
        """Return what ``prune`` takes. Raises InvalidParameter for a bad filter."""
        unused = listing.select_unused(self._store.networks.values(), filters, self._used())
        return [Prunable("network", n.id, n.name, 0, "no container is on it") for n in unused]

    def find(self, name: str) -> Network:
        """Return a network by name, id or unambiguous start of its id. Raises NotFound, InvalidParameter."""
        if name in self._store.networks:
            return self._store.networks[name]
        networks = self._store.networks.values()
        named = [network for network in networks if network.name == name]
        by_id = [network for network in networks if name and network.id.startswith(name)]
        for found, what in ((named, "name"), (by_id, "ID prefix")):
            if len(found) > 1:
                raise InvalidParameter(f"network {name} is ambiguous ({len(found)} matches found on {what})")
            if found:
                return found[0]
        raise NotFound(f"network {name} not found")

    def list_networks(self, filters: Mapping[str, Sequence[str]]) -> list[wire.Network]:
        """Return the networks that pass ``filters``, without their containers. Raises InvalidParameter."""
        chosen = listing.select(self._store.networks.values(), filters, self._used())
        return [listing.describe(network) for network in chosen]

    def inspect(self, name: str, *, scope: str = "") -> wire.Network:
        """Return network ``name`` with the containers on it. Raises NotFound, InvalidParameter."""
        network = self.find(name)
        if scope not in {"", "local"}:
            raise NotFound(f"network {name} not found")
        return listing.describe(network, self._store.sandboxes.values())

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

    def _used(self) -> set[str]:
        """Return the ids of networks that containers are on."""
        return {id_ for held in self._open_sandboxes.values() for id_ in held.attachments}

    def _own_ula(self) -> IPv6Network:
        """Return the engine's unique local prefix, random and kept (RFC 4193, 3.2)."""
        kept = self._store.host_setting(_ULA)
        if kept is None:
            kept = str(IPv6Network((b"\xfd" + os.urandom(5) + bytes(10), 48)))
            self._store.save_host_setting(_ULA, kept)
        return IPv6Network(kept)

    # The steps of an opening

    def _held(self, container: str) -> Held:
        held = self._open_sandboxes.get(container)
        if held is None or container not in self._store.sandboxes:
            raise HostFailure(f"{_SETUP}: container {container} has no sandbox")
        return held

    def _require_usable(self, network: Network) -> None:
        if reason := self._broken.get(network.id):
            raise HostFailure(f"{_SETUP}: network {network.name} cannot be used: {reason}")

    async def _on_host(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``call`` in the wiring thread. Raises HostFailure when the service is closed."""
        if self._thread is None:
            raise HostFailure(f"{_SETUP}: the network service is closed")
        return await self._thread.call(call, *args, **kwargs)

    def _networks_of(self, request: SandboxRequest) -> list[Network]:
        """Return the networks of ``request``, that of its mode first (its interface is ``eth0``)."""
        if request.detached:
            return []
        names = [BRIDGE if name in {"", "default"} else name for name in (request.mode, *request.endpoints)]
        networks = {network.id: network for network in map(self.find, names)}
        if request.endpoints:
            wanted = {self.find(name).id for name in names[1:]}
            networks = {id_: network for id_, network in networks.items() if id_ in wanted}
        return list(networks.values())

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
        if self._thread is None:
            raise HostFailure(f"{_SETUP}: the network service is closed")
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
            await self._thread.call(write_files)
            return
        gateway = held.gateway()
        plans = [each.plan(default_route=each is gateway) for each in held.attachments.values()]
        try:
            await self._thread.call(
                self._host.open_sandbox, held.wiring, plans, write_files, resolver=held.needs_names
            )
        except HostFailure as error:
            raise HostFailure(f"{_SETUP}: {error}") from error

    def _gateways(self) -> list[str]:
        """Return the addresses that ``host-gateway`` stands for."""
        if self._config.host_gateway_ip:
            return list(self._config.host_gateway_ip)
        bridges = [network for network in self._store.networks.values() if network.name == BRIDGE]
        return [str(pool.gateway) for network in bridges for pool in network.pools]

    # The firewall

    async def _put_firewall(self, thread: DedicatedThread) -> None:
        """Put the rules in place; without nftables, networks that need them are broken."""
        if not self._config.iptables:
            return
        try:
            plans = [plan for network, plan in self._desired.plans() if network.id not in self._broken]
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

    # Adopting, forgetting

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
                pools = self._pools.get(network.id)
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

    def _announce(self, action: str, network: Network, container: str = "") -> None:
        attributes = {"name": network.name, "type": network.driver}
        if container:
            attributes = {"container": container, **attributes}
        self._events.publish("network", action, network.id, attributes)
