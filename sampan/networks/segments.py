"""Networks come and go: the half of the service that creates, removes, lists and finds them.

A bridge network is there once it is checked, leased and stored; its bridge, settings and rules are made in
the wiring thread while the client has its answer already, and whoever needs them waits (``_settled``). What
cannot be made is tried again by healing. Likewise a removal is answered once the network is stored no more:
its rules go at once, and its bridge, which the kernel takes tens of milliseconds for, in a thread of its own.
"""

import asyncio
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Final

from sampan.base.errors import EngineError, Forbidden, HostFailure, NotFound
from sampan.base.events import EventBus
from sampan.base.plugins import PluginFolders
from sampan.base.state import StateDB
from sampan.base.threads import blocking
from sampan.base.undo import Undo
from sampan.kernel.threads import DedicatedThread
from sampan.networks import apply, create, listing
from sampan.networks.addresses import check_link_name
from sampan.networks.config import NetworkConfig
from sampan.networks.core import NetworkCore, wait_for
from sampan.networks.driver import NetworkDriver
from sampan.networks.drivers.bridge import OPTION_NAME
from sampan.networks.errors import ActiveEndpoints
from sampan.networks.model import Network, NetworkPlan
from sampan.networks.prefixes import HostPrefixes
from sampan.wire import networks as wire
from sampan.wire.disk import Prunable

_log = logging.getLogger(__name__)
_ULA: Final = "ula"
_MOMENT_S: Final = 0.002  # the answer goes first: threads at work would hold it up
_AHEAD: Final = 16  # networks that are answered for and not made yet
_GOING: Final = "it is being removed"


class Segments(NetworkCore):
    """The networks of this host. One of them comes or goes at a time."""

    def __init__(
        self,
        exec_root: Path,
        state: StateDB,
        events: EventBus,
        config: NetworkConfig,
        plugins: PluginFolders | None = None,
    ) -> None:
        super().__init__(exec_root, state, events, config, plugins)
        self._changing = asyncio.Lock()
        self._making: dict[str, asyncio.Task[None]] = {}  # by the network's id
        self._leaving: dict[str, asyncio.Task[None]] = {}  # by the name of the link that goes
        self._cutter: DedicatedThread | None = None  # deletes links
        self._flushing: asyncio.Task[None] | None = None
        self._flush_again = False
        self._prefixes = HostPrefixes()
        self._kinds: set[str] = set()  # of links that the kernel is known to have

    # Creating

    async def create_network(self, body: wire.CreateNetwork) -> wire.CreatedNetwork:
        """Create a network. Raises InvalidParameter, Conflict, Forbidden, NotFound, HostFailure.

        The bridge of a bridge network follows in a moment.
        """
        return await self._tasks.finish(self._create_network(body), name=f"create network {body.name}")

    async def _create_network(self, body: wire.CreateNetwork) -> wire.CreatedNetwork:
        async with self._changing:
            while len(self._making) >= _AHEAD:  # a start waits for its network, and for those before it
                await asyncio.wait(self._making.values(), return_when=asyncio.FIRST_COMPLETED)
            networks = self._store.networks.values()
            create.check_create(body, networks)
            wanted = create.follow_config(body, networks)
            driver = await self._plugins.find("null" if body.config_only else wanted.driver or "bridge")
            if not body.config_only:
                await self._require(driver)
            bridge = (wanted.options or {}).get(OPTION_NAME, "")
            present = None
            if bridge:
                check_link_name(bridge)
            if bridge and bridge not in self._leaving:
                present = await blocking(apply.find_link, bridge)
            occupied: Sequence[tuple[IPv4Network, str]] = ()
            if create.chooses_subnet(wanted):
                occupied = await self._prefixes.occupied(frozenset((bridge, *self._leaving)))
            async with Undo() as undo:
                given = await self._plugins.request_pools(wanted)
                if given is not None and wanted.ipam is not None:
                    undo.add(self._plugins.release_pools, wanted.ipam.driver, given)
                around = create.Surroundings(
                    networks=list(networks),
                    default_pools=self._config.default_address_pools,
                    occupied=occupied,
                    ula=self._own_ula,
                    drivers=self._plugins.drivers,
                    ipv6=self._ipv6,
                    given=given,
                )
                network = create.plan_create(body, around)
                undo.add(partial(self._remove, plugins=False), network)
                if driver.deferred:
                    self._host.require_firewall()
                if present is not None:
                    for made in self._desired.plan_of(network).bridges:
                        apply.check_bridge(made, present)
                self._store.save_network(network)
                self._flush_soon()
                if driver.deferred:
                    self._make_soon(network)
                elif (plan := self._desired.plan_of(network)).links:
                    await self._on_host(self._host.create_network, plan, bridges=self._desired.bridges())
                await self._plugins.create(network)
        self._announce("create", network)
        return wire.CreatedNetwork(network.id)

    async def _require(self, driver: NetworkDriver) -> None:
        """Raise NotImplementedHere if the kernel lacks a kind of link that ``driver`` needs."""
        if unknown := [kind for kind in driver.needs if kind not in self._kinds]:
            await self._on_host(self._host.require, unknown)
            self._kinds.update(unknown)

    def _make_soon(self, network: Network) -> None:
        """Begin to make what ``network`` needs, behind the removal of links that have the same names."""
        self._pending.add(network.id)
        task = self._tasks.begin(self._make(network), name=f"make network {network.name}")
        self._making[network.id] = task

    async def _make(self, network: Network) -> None:
        try:
            await asyncio.sleep(_MOMENT_S)
            if network.id not in self._store.networks:
                return  # it was removed before it was begun
            plan = self._desired.plan_of(network)
            await wait_for(self._leaving[name] for name in plan.links if name in self._leaving)
            self._pending.discard(network.id)
            if network.id in self._store.networks:
                await self._try_to_make(network, plan)
                if network.id in self._broken and network.id in self._store.networks:
                    await wait_for([self._take_off(network, plan)])  # a part of it may be there
        finally:
            self._pending.discard(network.id)
            self._making.pop(network.id, None)

    async def _try_to_make(self, network: Network, plan: NetworkPlan) -> None:
        """Make what ``plan`` says; if that fails, ``network`` is broken."""
        try:
            bridges = [*self._desired.bridges(), *(bridge.name for bridge in plan.bridges)]
            await self._on_host(self._host.create_network, plan, bridges=list(dict.fromkeys(bridges)))
        except (EngineError, OSError) as error:
            if network.id not in self._store.networks:
                return  # it was removed meanwhile, and what was made is being taken back
            if self._broken.get(network.id) != str(error):
                extra = {"network": network.name, "error": str(error)}
                _log.error("network cannot be used", extra=extra)
            self._broken[network.id] = str(error)
            return
        if self._broken.pop(network.id, None):
            _log.info("network can be used again", extra={"network": network.name})
        if self._healing is not None and network.id in self._store.networks:
            self._healing.follow(plan.sysctls)

    async def _settled(self, networks: Iterable[Network]) -> None:
        """Wait until ``networks`` are made. Raises HostFailure if one could not be, NotFound if it went."""
        for network in networks:
            if (making := self._making.get(network.id)) is not None:
                await wait_for([making])
            if network.id not in self._store.networks:
                raise NotFound(f"network {network.name} not found")
            self._require_usable(network)

    async def settle(self) -> None:
        """Wait until every network that is on its way is made, and what goes is gone."""
        await wait_for([*self._making.values(), *self._leaving.values()])

    async def _retry(self) -> None:
        """Try again to make the networks that cannot be used."""
        if not self._broken or self._changing.locked():
            return  # a plugin may take its time, and the rest of the host is not to wait for it
        async with self._changing:
            for network, plan in list(self._desired.plans()):
                if network.id in self._broken and network.id not in self._making:
                    await self._try_to_make(network, plan)

    # Removing

    async def remove_network(self, name: str) -> None:
        """Remove a network. Raises NotFound, Forbidden if it is predefined or has endpoints, HostFailure.

        Its bridge goes in a moment.
        """
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
            await self._remove(network)
        self._announce("destroy", network)
        return network

    async def _remove(self, network: Network, *, plugins: bool = True) -> None:
        """Take a network out of the store and off the host, whatever there is of it; ``plugins`` hear it."""
        stored = network.id in self._store.networks
        self._broken[network.id] = _GOING
        try:
            if plugins:
                await self._plugins.remove(network)
            plan = self._desired.plan_of(network) if network.id not in self._pending else NetworkPlan()
            if stored and plan.parents:  # of these nobody would know any more after a restart
                await wait_for([self._take_off(network, plan)])
            going = stored and bool(plan.bridges)
            if going:
                self._store.save_leaving(plan.links)
            self._store.remove_network(network.id)
        finally:
            self._broken.pop(network.id, None)
        self._flush_soon()
        self._pools.pop(network.id, None)
        self._desired.forget(network.id)
        self._names.drop(network.id)
        if going:
            self._take_off(network, plan)

    def _take_off(self, network: Network, plan: NetworkPlan) -> asyncio.Task[None]:
        """Begin to take off the host what ``plan`` says, all of it or the part that was made."""
        if self._healing is not None:
            self._healing.forget(plan.sysctls)
        others = [other for known, other in self._desired.plans() if known.id != network.id]
        # Given to the thread now: a look at the host that is asked for later finds nothing of it.
        released = self._thread_now().begin(
            self._host.release_network,
            plan,
            bridges=[name for name in self._desired.bridges() if name not in plan.links],
            families={family for other in others for family in other.families},
        )
        task = self._tasks.begin(self._cut(network, plan, released), name=f"take off network {network.name}")
        for name in plan.links:
            self._leaving[name] = task
        task.add_done_callback(partial(self._gone, plan.links))
        return task

    def _flush_soon(self) -> None:
        """Let what was stored reach the disk, right behind the answer.

        Whatever refers to a network and is waited for, such as a container, is flushed with it or after it.
        """
        if self._flushing is None or self._flushing.done():
            self._flushing = self._tasks.begin(self._flush(), name="flush")
        else:
            self._flush_again = True

    async def _flush(self) -> None:
        self._flush_again = True
        while self._flush_again:
            self._flush_again = False
            await asyncio.sleep(_MOMENT_S)
            try:
                await blocking(self._store.sync)
            except HostFailure as error:
                _log.error("networks are not on the disk", extra={"error": str(error)})

    def _gone(self, links: Iterable[str], task: asyncio.Task[None]) -> None:
        for name in links:
            if self._leaving.get(name) is task:
                del self._leaving[name]

    async def _cut(
        self, network: Network, plan: NetworkPlan, released: asyncio.Future[tuple[list[int], str]]
    ) -> None:
        indexes, complaint = await asyncio.shield(released)
        if complaint:  # somebody took a part of it away, or it was never made
            _log.info("rules are renewed", extra={"network": network.name, "error": complaint})
            await self._put_firewall(self._thread_now())
        if indexes:
            self._cutter = self._cutter or DedicatedThread("links")
            await self._cutter.call(apply.cut_links, indexes)
        self._store.forget_leaving(plan.links)

    def _close_segments(self) -> None:
        """Let go of the host, when nothing is on its way any more."""
        self._prefixes.close()
        if self._cutter is not None:
            self._cutter.close()
            self._cutter = None

    async def prune(self, filters: Mapping[str, Sequence[str]]) -> list[str]:
        """Remove the networks that no container is on and that pass ``filters``; return their names."""
        removed: list[str] = []
        for item in self.plan_prune(filters):
            with suppress(NotFound, Forbidden):  # somebody was faster, or it is in use since
                await self.remove_network(item.id)
                removed.append(item.name)
        self._events.publish("network", "prune", "", {"reclaimed": "0"})
        return removed

    def plan_prune(self, filters: Mapping[str, Sequence[str]]) -> list[Prunable]:
        """Return what ``prune`` takes. Raises InvalidParameter for a bad filter."""
        unused = listing.select_unused(self._store.networks.values(), filters, self._used())
        return [Prunable("network", n.id, n.name, 0, "no container is on it") for n in unused]

    # Looking

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
