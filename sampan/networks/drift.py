"""What the engine wants of the host, what the kernel has, and the difference of the two. Pure.

``Wanted`` is made of the plans of networks and open sandboxes, ``Seen`` is read from the kernel (``mend``).
What others add beside the engine's own things is no drift, but for rules in the engine's own table.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sampan.kernel.links import IpInterface, Link
from sampan.networks.firewall.rules import TABLE, comment_of, element_of
from sampan.networks.model import Bridge, NetworkPlan, Parent, Rule, SandboxLink, Sysctl, VethLink

Effect = Bridge | Parent | VethLink | Sysctl | Rule


@dataclass(frozen=True, slots=True)
class WantedSandbox:
    """An open sandbox: where its namespace is bound, and its links."""

    owner: str
    path: Path
    links: tuple[SandboxLink, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Everything that shall be there: networks by name, the engine's own settings, sandboxes, all rules."""

    networks: Mapping[str, NetworkPlan] = field(default_factory=dict)
    settings: tuple[Sysctl, ...] = ()
    sandboxes: tuple[WantedSandbox, ...] = ()
    rules: tuple[Rule, ...] = ()

    @property
    def bridges(self) -> list[Bridge]:
        """The bridges of all networks."""
        return [bridge for plan in self.networks.values() for bridge in plan.bridges]

    @property
    def sysctls(self) -> list[Sysctl]:
        """The kernel settings of the engine and of all networks."""
        return [*self.settings, *(sysctl for plan in self.networks.values() for sysctl in plan.sysctls)]


@dataclass(frozen=True, slots=True)
class SeenTable:
    """The engine's table in one family: its chains, its rules by (chain, comment), elements by set or map."""

    chains: frozenset[str] = frozenset()
    rules: Counter[tuple[str, str]] = field(default_factory=Counter)
    elements: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the kernel has: links by name, addresses by the link's index, settings, tables by family.

    A setting that does not exist is None. ``tables`` is None where the engine keeps no firewall. ``gone`` are
    the owners of sandboxes whose namespace is no more: there is nothing to be mended in them.
    """

    links: Mapping[str, Link]
    addresses: Mapping[int, frozenset[IpInterface]]
    settings: Mapping[str, str | None]
    tables: Mapping[str, SeenTable] | None = None
    gone: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference: ``what`` is ``state`` (missing, down, …), and ``effect`` is what shall be there."""

    what: str
    state: str
    owner: str
    reason: str
    effect: Effect | None

    def __str__(self) -> str:
        return f"{self.what} {self.state}"


def compare(wanted: Wanted, seen: Seen) -> list[Drift]:
    """Return every difference, in the order in which they can be mended."""
    drifts = [drift for bridge in wanted.bridges for drift in _of_bridge(bridge, seen)]
    parents = [parent for plan in wanted.networks.values() for parent in plan.parents]
    drifts += [drift for parent in parents for drift in _of_parent(parent, seen)]
    for sandbox in wanted.sandboxes:
        if sandbox.owner not in seen.gone:
            ends = (link for link in sandbox.links if isinstance(link, VethLink))
            drifts += [drift for link in ends for drift in _of_link(link, seen)]
    if seen.tables is not None:
        drifts += _of_rules(wanted, seen.tables)
    return drifts + [drift for sysctl in wanted.sysctls for drift in _of_setting(sysctl, seen)]


def _of_bridge(bridge: Bridge, seen: Seen) -> Iterator[Drift]:
    def drift(what: str, state: str) -> Drift:
        return Drift(what, state, bridge.owner, bridge.reason, bridge)

    link = seen.links.get(bridge.name)
    if link is None:
        yield drift(f"bridge {bridge.name}", "missing")
        return
    if not link.up:
        yield drift(f"bridge {bridge.name}", "down")
    for address in bridge.addresses:
        if address not in seen.addresses.get(link.index, frozenset()):
            yield drift(f"address {address} of bridge {bridge.name}", "missing")


def _of_parent(parent: Parent, seen: Seen) -> Iterator[Drift]:
    link = seen.links.get(parent.name)
    if link is None or (parent.kind and not link.up):
        state = "missing" if link is None else "down"
        reason = "interfaces of the network's containers sit on it"
        yield Drift(f"link {parent.name}", state, parent.owner, reason, parent)


def _of_link(link: VethLink, seen: Seen) -> Iterator[Drift]:
    found, bridge = seen.links.get(link.host), seen.links.get(link.bridge)
    state = ""
    if found is None:
        state = "missing"
    elif bridge is None or found.master != bridge.index:
        state = f"no port of {link.bridge}"
    elif not found.up:
        state = "down"
    if state:
        yield Drift(
            f"link {link.host} to {link.inside.ifname}", state, link.inside.owner, link.inside.reason, link
        )


def _of_setting(sysctl: Sysctl, seen: Seen) -> Iterator[Drift]:
    value = seen.settings.get(sysctl.key)
    if value != sysctl.value:
        state = "missing" if value is None else f"is {value}, not {sysctl.value}"
        yield Drift(f"setting {sysctl.key}", state, sysctl.owner, sysctl.reason, sysctl)


def _of_rules(wanted: Wanted, tables: Mapping[str, SeenTable]) -> Iterator[Drift]:
    left = {family: Counter(table.rules) for family, table in tables.items()}
    counted: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for rule in wanted.rules:
        family, table = rule.family, tables.get(rule.family)
        if table is None:  # the kernel has no such tables
            continue
        kind, name = element_of(rule)
        if rule.chain:
            key = rule.chain, comment_of(rule)
            missing = left.get(family, Counter())[key] < 1
            if not missing:
                left[family][key] -= 1
        elif kind == "chain":
            missing = name not in table.chains
        elif kind == "element":
            known = counted[family, name]
            known.add(rule.statement)
            missing = len(known) > table.elements.get(name, 0)
        else:
            continue
        if missing:
            what = f"rule {rule.chain}: {rule.statement}" if rule.chain else rule.statement
            yield Drift(f"{family} {TABLE} {what}", "missing", rule.owner, rule.reason, rule)
    for family, rest in left.items():
        for (chain, comment), count in rest.items():
            if count > 0:
                what = f"rule {family} {TABLE} {chain} {comment!r}"
                yield Drift(what, "not the engine's", "somebody else", "the table is the engine's own", None)
