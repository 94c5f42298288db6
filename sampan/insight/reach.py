"""Who reaches whom, read off the rules that a network has. Pure."""

from collections.abc import Sequence

from sampan.networks.endpoint import Held
from sampan.networks.model import HOST, NONE, Forward, Network, NetworkPlan, Rule
from sampan.wire.explain import Reachable


def reach_of(
    network: Network,
    plan: NetworkPlan,
    held: Held | None,
    forwards: Sequence[Forward],
    on: Sequence[Held],
) -> list[Reachable]:
    """Return who reaches the container ``held`` (None: any container) on ``network``, and what it reaches.

    ``on`` are the sandboxes on the network, ``forwards`` the published ports that count.
    """
    whom = f"container {held.name}" if held is not None else f"containers of network {network.name}"
    if network.name == HOST:
        return [
            Reachable(
                "everybody who reaches this host", whom, allowed=True, why="it shares the host's network"
            )
        ]
    if network.name == NONE:
        return [Reachable("nobody", whom, allowed=False, why="it has no link to anywhere")]
    if not plan.bridges:
        base = plan.parents[0].name if plan.parents else "its plugin"
        return [Reachable(f"everybody on the segment of {base}", whom, allowed=True, why="no rules between")]
    bridge = plan.bridges[0].name
    into = [rule for rule in plan.rules if rule.chain == f"to_{bridge}"]
    others = sorted(each.name for each in on if each is not held)
    found = []
    if others or held is None:
        inner = _first(into, f'iifname "{bridge}" accept')
        why = _why(inner) if inner is not None else "network option icc is false"
        who = f"on network {network.name}: {', '.join(others)}" if held is not None else whom
        found.append(Reachable(who, whom, allowed=inner is not None, why=why))
    found += [_published(forward, whom) for forward in forwards]
    opened = [
        rule for rule in into if rule.statement.startswith("iifname != ") and "accept" in rule.statement
    ]
    last = _first(into, "drop")
    rest = "other networks and neighbour hosts" + (", at ports not published" if forwards else "")
    if opened:
        found.append(Reachable(rest, whom, allowed=True, why=_why(opened[0])))
    else:
        found.append(Reachable(rest, whom, allowed=False, why=_why(last) if last is not None else "no rule"))
    out = [rule for rule in plan.rules if rule.chain == f"masq_{bridge}"]
    if network.internal:
        closed = [rule for rule in plan.rules if rule.chain == f"out_{bridge}"]
        found.append(
            Reachable(whom, "the outside", allowed=False, why=_why(closed[0]) if closed else "it is internal")
        )
    else:
        why = _why(out[0]) if out else "as itself: the network is not masqueraded"
        found.append(Reachable(whom, "the outside", allowed=True, why=why))
    return found


def _published(forward: Forward, whom: str) -> Reachable:
    if forward.host.is_loopback:
        who = "this host only"
    elif int(forward.host):
        who = f"everybody who reaches {forward.host}"
    else:
        who = f"everybody who reaches this host by IPv{forward.host.version}"
    by = "by NAT" if forward.by_nat else "by the daemon's proxy"
    where = f"port {forward.target_port}/{forward.protocol} of {whom}"
    return Reachable(who, where, allowed=True, why=f"published port {forward}, {by}")


def _first(rules: Sequence[Rule], statement: str) -> Rule | None:
    return next((rule for rule in rules if rule.statement == statement), None)


def _why(rule: Rule) -> str:
    return f"{rule.reason} ({rule.family} {rule.chain}: {rule.statement})"
