"""What shall be on the host now, made of the networks and sandboxes that there are. Event loop only."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from sampan.networks.config import NetworkConfig
from sampan.networks.drift import Wanted, WantedSandbox
from sampan.networks.endpoint import Held
from sampan.networks.firewall import rules
from sampan.networks.firewall.base import plan_base
from sampan.networks.forwarding import FORWARDING
from sampan.networks.model import EndpointPlan, Network, NetworkPlan, Rule, SandboxLink
from sampan.networks.plugins import NetworkPlugins
from sampan.networks.store import NetworkStore


class Desired:
    """Reads the service's own ``sandboxes`` (by container), ``broken`` (network ids, with the reason) and
    ``pending`` (ids of networks that are not begun to be made).

    ``router``: the host forwarded packets before the engine needed it to.
    """

    def __init__(
        self,
        store: NetworkStore,
        config: NetworkConfig,
        plugins: NetworkPlugins,
        sandboxes: Mapping[str, Held],
        broken: Mapping[str, str],
        pending: Collection[str],
    ) -> None:
        self.router = True
        self._store = store
        self._config = config
        self._plugins = plugins
        self._sandboxes = sandboxes
        self._broken = broken
        self._pending = pending
        self._plans: dict[str, tuple[Network, NetworkPlan]] = {}
        self._links: Counter[str] = Counter()  # of the plans; networks may share a parent

    def plans(self) -> Iterator[tuple[Network, NetworkPlan]]:
        """Yield every network with its plan, which is made once: networks do not change."""
        for network in self._store.networks.values():
            yield network, self.plan_of(network)

    def plan_of(self, network: Network) -> NetworkPlan:
        """Return the plan of ``network``; ``forget`` ends that it is kept."""
        known, plan = self._plans.get(network.id, (None, NetworkPlan()))
        if known is not network:
            self.forget(network.id)
            plan = self._plugins.driver_of(network).plan_network(network)
            self._plans[network.id] = network, plan
            self._links.update(plan.links)
        return plan

    def usable(self) -> Iterator[tuple[Network, NetworkPlan]]:
        """Yield the networks that shall be on the host now, with their plans."""
        for network, plan in self.plans():
            if network.id not in self._broken and network.id not in self._pending:
                yield network, plan

    def forget(self, network: str) -> None:
        """Forget the plan of the network with the id ``network``."""
        _, plan = self._plans.pop(network, (None, NetworkPlan()))
        self._links.subtract(plan.links)
        for name in plan.links:
            if not self._links[name]:
                del self._links[name]

    def bridges(self) -> list[str]:
        """Return the bridges of all networks that can be used."""
        return [bridge.name for _, plan in self.usable() for bridge in plan.bridges]

    def sysctls(self) -> set[str]:
        """Return the kernel settings that the engine and its networks want."""
        keys = {sysctl.key for _, plan in self.usable() for sysctl in plan.sysctls}
        return keys | {FORWARDING.key} if self._config.ip_forward else keys

    def firewall(self) -> list[Rule]:
        """Return all rules that the engine wants: its own, those of networks and of published ports."""
        plans = [plan for _, plan in self.usable()]
        families = {rules.FAMILY, *(family for plan in plans for family in plan.families)}
        wanted = [rule for family in rules.FAMILIES if family in families for rule in plan_base(family)]
        wanted += [rule for plan in plans for rule in plan.rules]
        if not self.router:
            wanted += rules.plan_no_routing()
        for held in self._sandboxes.values():
            if held.wiring.path is None or held.closing:  # its ports come, or went, with its namespace
                continue
            forwards = (forward for forward in held.wiring.forwards if forward.by_nat)
            owner = f"container {held.name}"
            wanted += [rules.plan_forward(forward, owner) for forward in forwards]
            wanted += [rules.plan_open(f, owner).rule for f in held.wiring.forwards if f.open]
            # Not those of its wiring: that follows in the wiring thread, and would be late or early.
            wanted += [member.rule for member in held.members()]
            wanted += [member.rule for plan in self._endpoints(held) for member in plan.members]
        return wanted

    def wanted(self) -> Wanted:
        """Return everything that shall be on the host now. What is coming or going is left out."""
        networks = {network.name: plan for network, plan in self.usable()}
        sandboxes = [
            WantedSandbox(f"container {held.name}", held.wiring.path, self.links_of(held))
            for held in self._sandboxes.values()
            if held.wiring.path is not None and not held.closing
        ]
        firewall = self._config.iptables
        return Wanted(
            networks if firewall else {name: replace(p, sysctls=()) for name, p in networks.items()},
            (FORWARDING,) if self._config.ip_forward else (),
            tuple(sandboxes),
            tuple(self.firewall()) if firewall else (),
        )

    def links_of(self, held: Held) -> tuple[SandboxLink, ...]:
        """Return the links of a sandbox, that with the default route among them."""
        return tuple(link for plan in self._endpoints(held) for link in plan.links)

    def _endpoints(self, held: Held) -> list[EndpointPlan]:
        gateway = held.gateway()
        usable = [each for each in held.attachments.values() if each.network.id not in self._broken]
        return [each.plan(default_route=each is gateway) for each in usable]

    def owns(self, link: str) -> bool:
        """Tell whether a link of that name is a network's or an end of an open sandbox's.

        One that a broken network wants counts: it may be in the way, and go.
        """
        if link in self._links:
            return True
        return any(link in held.wiring.ports for held in self._sandboxes.values() if not held.closing)
