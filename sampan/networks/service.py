"""The network service: networks, and the sandboxes of containers on them.

Calls come from the event loop; what blocks runs in the wiring thread, one sandbox after the other (the kernel
takes its own lock for nearly all of it). Kernel state is derived: after a restart, ``open`` adopts the
sandboxes of containers that live and takes back everything else.
"""

import asyncio
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from sampan.base import faults
from sampan.base.errors import EngineError, HostFailure, InvalidParameter, NotFound
from sampan.base.events import EventBus
from sampan.base.state import StateDB
from sampan.base.tasks import Tasks
from sampan.base.threads import blocking
from sampan.base.undo import Undo
from sampan.kernel.threads import DedicatedThread
from sampan.networks import defaults, files, listing
from sampan.networks.config import NetworkConfig
from sampan.networks.drivers import DRIVERS
from sampan.networks.endpoint import Held, adopt_endpoint, create_endpoint, describe_endpoint
from sampan.networks.firewall import rules
from sampan.networks.firewall.apply import forget_flows
from sampan.networks.firewall.watch import FirewallWatch
from sampan.networks.forwarding import enable_forwarding, restore_forwarding
from sampan.networks.host import HostNetworks, ipv6_available
from sampan.networks.ipam.leases import Leases
from sampan.networks.model import BRIDGE, Endpoint, Forward, Network, NetworkPlan, Rule, link_name
from sampan.networks.ports import HostPorts, PortTaken, exposed_only, plan_ports
from sampan.networks.proxy import PortProxy
from sampan.networks.request import SandboxRequest, check_request
from sampan.networks.store import NetworkStore, PortRow, Sandbox, SandboxRow
from sampan.wire import networks as wire
from sampan.wire.containers import PortBinding, PortMap

__all__ = ["NetworkConfig", "NetworksService", "Sandbox", "SandboxRequest"]

_log = logging.getLogger(__name__)
_SETUP: Final = "failed to set up container networking"
_TURN: Final = 64  # ports bound or served before other work of the event loop gets its turn
_DYING_S: Final = 1.0  # a link goes within tens of milliseconds of its namespace


class NetworksService:
    """Networks of this host, and sandboxes by container id."""

    def __init__(self, exec_root: Path, state: StateDB, events: EventBus, config: NetworkConfig) -> None:
        self._store = NetworkStore(state)
        self._events = events
        self._config = config
        self._host = HostNetworks(exec_root / "netns", firewall=config.iptables)
        self._ports = HostPorts(listen=config.userland_proxy)
        self._thread: DedicatedThread | None = None
        self._leases: dict[str, Leases] = {}
        self._open_sandboxes: dict[str, Held] = {}
        self._broken: dict[str, str] = {}
        self._dying: set[str] = set()
        self._reaper: asyncio.TimerHandle | None = None
        self._tasks = Tasks("networks")
        self._watch: FirewallWatch | None = None
        self._ipv6 = False
        self._router = True

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
        rows = [row for container, row in self._store.sandboxes.items() if container in keep]
        in_use = any(BRIDGE in row.sandbox.networks for row in rows)
        view = await thread.call(self._host.look)
        networks = defaults.predefined(self._store.networks, self._config, view, in_use=in_use)
        self._store.replace_predefined(networks)
        self._leases = {
            network.id: Leases(network.pools[0], network.name, network.id)
            for network in self._store.networks.values()
            if network.pools
        }
        for container in [container for container in self._store.sandboxes if container not in keep]:
            self._store.remove_sandbox(container)
        for row in rows:
            self._adopt(row)
        live = self._open_sandboxes.values()
        self._router = not self._config.ip_forward or enable_forwarding(self._store)
        self._broken = await thread.call(
            self._host.open,
            list(self._plans()),
            keep={str(held.wiring.path) for held in live},
            keep_links={link for held in live for link in held.wiring.links},
        )
        await self._put_firewall(thread)
        for held in list(live):
            await self._serve(held)
        thread.submit(self._host.refill)

    async def close(self, *, remove: bool = False) -> None:
        """Stop serving. Open sandboxes and the networks stay, unless ``remove``: then nothing is left."""
        if self._thread is None:
            return
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None
        for container in list(self._open_sandboxes) if remove else ():
            await self.close_sandbox(container)
        for held in self._open_sandboxes.values():
            await self._stop_serving(held)
            for reservation in held.reservations:
                self._ports.release(reservation)
        self._open_sandboxes.clear()
        await self._tasks.close()
        thread, self._thread = self._thread, None
        try:
            await thread.call(self._host.remove_links, frozenset(self._dying))
            await thread.call(self._host.close, [plan for _, plan in self._plans()], remove=remove)
            if remove:
                restore_forwarding(self._store)
        finally:
            thread.close()

    # Sandboxes

    def check(self, request: SandboxRequest) -> None:
        """Raise NotFound or InvalidParameter, in Docker's words, if ``request`` can never be met."""
        check_request(request, self._networks_of(request))

    async def open_sandbox(self, request: SandboxRequest) -> Sandbox:
        """Open the sandbox of a container: namespace, addresses, published ports, files.

        On failure nothing is left behind. Raises NotFound, InvalidParameter, PortTaken (the holder is named)
        or HostFailure.
        """
        self.check(request)
        await self.close_sandbox(request.container)
        networks = self._networks_of(request)
        for network in networks:
            if reason := self._broken.get(network.id):
                raise HostFailure(f"{_SETUP}: network {network.name} cannot be used: {reason}")
        held = self._open_sandboxes[request.container] = Held(request.name)
        async with Undo() as undo:
            undo.add(self.close_sandbox, request.container)
            for number, network in enumerate(networks):
                held.add(*create_endpoint(request, network, number, self._leases.get(network.id)))
            endpoints = held.endpoints
            ports = await self._reserve_ports(request, networks[0], endpoints[0], held)
            await self._wire(request, networks, endpoints, held)
            faults.point("networks.sandbox.state")
            sandbox = Sandbox(
                container=request.container,
                sandbox_id=held.wiring.sandbox_id,
                sandbox_key=str(held.wiring.path or ""),
                networks={
                    network.name: describe_endpoint(request.settings(network), network, endpoint)
                    for network, endpoint in zip(networks, endpoints, strict=True)
                },
                ports=ports,
            )
            rows = [PortRow.of(forward) for forward in held.wiring.forwards]
            self._store.save_sandbox(SandboxRow(request.name, sandbox, rows))
            await self._serve(held)
            self._forget_flows(held.wiring.forwards)
        for network in networks:
            self._announce("connect", network, request.container)
        if self._thread is not None:
            self._thread.submit(self._host.refill)
        return sandbox

    async def close_sandbox(self, container: str) -> None:
        """Take back all that ``open_sandbox`` did for ``container``; idempotent.

        Goes on past errors and raises HostFailure at the end.
        """
        held = self._open_sandboxes.pop(container, None)
        row = self._store.sandboxes.get(container)
        if held is None:
            return
        await self._stop_serving(held)
        try:
            if self._thread is not None and (held.wiring.path or held.wiring.forwards):
                await self._thread.call(self._host.close_sandbox, held.wiring)
        finally:
            for reservation in held.reservations:
                self._ports.release(reservation)
            held.give_back_leases()
            self._store.remove_sandbox(container)
            self._watch_dying(held.wiring.links)
            self._forget_flows(held.wiring.forwards)
            for name in row.sandbox.networks if row is not None else ():
                self._announce("disconnect", self.find(name), container)

    def sandbox(self, container: str) -> Sandbox | None:
        """Return the open sandbox of ``container``, None if it has none."""
        row = self._store.sandboxes.get(container)
        return row.sandbox if row is not None else None

    def rename(self, container: str, name: str) -> None:
        """Let the sandbox of ``container`` be known by its new name."""
        row = self._store.sandboxes.get(container)
        if row is not None:
            self._ports.rename(row.name, name)
            row.name = name
            self._store.save_sandbox(row)

    # Networks

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
        used = {self.find(name).id for row in self._store.sandboxes.values() for name in row.sandbox.networks}
        chosen = listing.select(self._store.networks.values(), filters, used)
        return [listing.describe(network) for network in chosen]

    def inspect(self, name: str) -> wire.Network:
        """Return network ``name`` with the containers on it. Raises NotFound, InvalidParameter."""
        return listing.describe(self.find(name), self._store.sandboxes.values())

    # The steps of an opening

    def _networks_of(self, request: SandboxRequest) -> list[Network]:
        """Return the networks of ``request``, that of its mode first (it has the default route)."""
        names = [BRIDGE if name in {"", "default"} else name for name in (request.mode, *request.endpoints)]
        return list({network.id: network for network in map(self.find, names)}.values())

    async def _reserve_ports(
        self, request: SandboxRequest, network: Network, endpoint: Endpoint, held: Held
    ) -> PortMap:
        """Take the host ports of ``request``; return what inspect shows. Raises PortTaken."""
        if endpoint.address is None or network.internal:
            return {}
        faults.point("networks.sandbox.ports")
        ports: PortMap = dict.fromkeys(sorted(exposed_only(request.bindings, request.exposed)))
        requests = plan_ports(
            request.bindings,
            request.exposed,
            publish_all=request.publish_all,
            default=self._config.ip,
            ipv6=self._ipv6 and self._config.userland_proxy,
        )
        for number, wanted in enumerate(requests, 1):
            if number % _TURN == 0:
                await asyncio.sleep(0)
            try:
                taken = self._ports.reserve(wanted, endpoint.address.ip, request.name)
            except PortTaken as error:
                raise PortTaken(
                    f"{_SETUP}: driver failed programming external connectivity on endpoint {request.name} "
                    f"({endpoint.id}): {error}"
                ) from error
            held.reservations += taken
            key = f"{wanted.port}/{wanted.protocol}"
            shown = [PortBinding(str(r.forward.host), str(r.forward.host_port)) for r in taken]
            ports[key] = [*(ports[key] or ()), *shown]
        held.wiring.forwards = [reservation.forward for reservation in held.reservations]
        return ports

    async def _wire(
        self, request: SandboxRequest, networks: Sequence[Network], endpoints: Sequence[Endpoint], held: Held
    ) -> None:
        if self._thread is None:
            raise HostFailure(f"{_SETUP}: the network service is closed")
        own = DRIVERS[networks[0].driver].own_namespace
        write_files = partial(
            files.write_files,
            request,
            self._config,
            on_host=not own,
            ipv6=self._ipv6,
            addresses=[endpoint.address.ip for endpoint in endpoints if endpoint.address is not None],
            gateways=self._gateways(),
        )
        if not own:
            await self._thread.call(write_files)
            return
        plans = [
            DRIVERS[network.driver].plan_endpoint(network, endpoint)
            for network, endpoint in zip(networks, endpoints, strict=True)
        ]
        try:
            await self._thread.call(self._host.open_sandbox, held.wiring, plans, write_files)
        except HostFailure as error:
            raise HostFailure(f"{_SETUP}: {error}") from error

    def _gateways(self) -> list[str]:
        """Return the addresses that ``host-gateway`` stands for."""
        if self._config.host_gateway_ip:
            return list(self._config.host_gateway_ip)
        bridges = [network for network in self._store.networks.values() if network.name == BRIDGE]
        return [str(pool.gateway) for network in bridges for pool in network.pools]

    # The firewall

    def _plans(self) -> Iterator[tuple[Network, NetworkPlan]]:
        for network in self._store.networks.values():
            yield network, DRIVERS[network.driver].plan_network(network)

    def _bridges(self) -> list[str]:
        plans = (plan for network, plan in self._plans() if network.id not in self._broken)
        return [bridge.name for plan in plans for bridge in plan.bridges]

    def plan_firewall(self) -> list[Rule]:
        """Return all rules that the engine wants: its own, those of networks and of published ports."""
        wanted = rules.plan_base()
        for network, plan in self._plans():
            wanted += plan.rules if network.id not in self._broken else ()
        if not self._router:
            wanted += rules.plan_no_routing()
        for held in self._open_sandboxes.values():
            forwards = (forward for forward in held.wiring.forwards if forward.host.version == 4)
            wanted += [rules.plan_forward(forward, f"container {held.name}") for forward in forwards]
        return wanted

    async def _put_firewall(self, thread: DedicatedThread) -> None:
        """Put the rules in place and watch over them; without nftables, networks that need it are broken."""
        if not self._config.iptables:
            return
        try:
            plans = [plan for network, plan in self._plans() if network.id not in self._broken]
            await thread.call(self._host.apply_firewall, self.plan_firewall(), plans)
            self._watch = self._watch or FirewallWatch(self._firewall_changed)
        except (HostFailure, OSError) as error:
            _log.error("no firewall", extra={"error": str(error)})
            self._broken.update((network.id, str(error)) for network, plan in self._plans() if plan.rules)

    def _firewall_changed(self, lost: bool) -> None:  # noqa: FBT001 - a callback's value
        if self._thread is not None:
            self._tasks.spawn(self._repair_firewall(self._thread, lost=lost), name="repair the firewall")

    async def _repair_firewall(self, thread: DedicatedThread, *, lost: bool) -> None:
        """Put back what somebody else took away, and look at the firewalls of others again."""
        if lost:
            _log.warning("the engine's firewall rules were gone: they are put back")
            await self._put_firewall(thread)
        else:
            await thread.call(self._host.pass_foreign, self._bridges())

    def _forget_flows(self, forwards: Sequence[Forward]) -> None:
        ports = {f.host_port for f in forwards if f.protocol == "udp" and f.host.version == 4}
        if ports and self._config.iptables:
            self._tasks.spawn(blocking(forget_flows, ports), name="forget flows")

    # Serving, adopting, forgetting

    async def _serve(self, held: Held) -> None:
        if not self._config.userland_proxy:
            return
        for number, reservation in enumerate(list(held.reservations), 1):
            if number % _TURN == 0:
                await asyncio.sleep(0)
            if reservation.listener is not None:
                held.proxies.append(PortProxy(reservation.listener, reservation.forward))

    async def _stop_serving(self, held: Held) -> None:
        proxies, held.proxies = held.proxies, []
        for proxy in proxies:
            await proxy.close()

    def _adopt(self, row: SandboxRow) -> None:
        """Take up the sandbox of a container that lived on while the daemon was away."""
        sandbox = row.sandbox
        held = self._open_sandboxes[sandbox.container] = Held(row.name)
        held.wiring.path = Path(sandbox.sandbox_key) if sandbox.sandbox_key else None
        held.wiring.sandbox_id = sandbox.sandbox_id
        attached = sandbox.networks.values()
        held.wiring.links = [link_name(settings.endpoint_id) for settings in attached if settings.ip_address]
        for name, settings in sandbox.networks.items():
            try:
                leases = self._leases.get(self.find(name).id)
                held.add(*adopt_endpoint(sandbox.container, settings, leases))
            except (EngineError, ValueError) as error:
                extra = {"container": sandbox.container, "network": name, "error": str(error)}
                _log.warning("endpoint not adopted", extra=extra)
        for port in row.ports:
            reservation = self._ports.restore(port.forward(), row.name)
            if reservation.listener is None:
                extra = {"container": sandbox.container, "port": str(reservation.forward)}
                _log.warning("published port is not held: another program took it", extra=extra)
            held.reservations.append(reservation)
            held.wiring.forwards.append(reservation.forward)

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

    def _announce(self, action: str, network: Network, container: str) -> None:
        attributes = {"container": container, "name": network.name, "type": network.driver}
        self._events.publish("network", action, network.id, attributes)
