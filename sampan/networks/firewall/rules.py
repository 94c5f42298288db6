"""The engine's nftables rules, as values.

One table, ``ip sampan``; a second one, ``ip6 sampan``, once a network has IPv6 (published ports of IPv6 are
the proxy's). What is per network hangs on maps (by interface, by prefix), and what is per
published port is a map element, so a packet meets the same few look-ups however many of them there are:

- ``guard``                   prerouting, before anything else: containers neither use nor reach 127.0.0.0/8
- ``incoming``, ``outgoing``  prerouting and output: published ports
- ``forward``                 who may be forwarded to containers
- ``masquerading``            postrouting
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address
from typing import Final

from sampan.kernel.links import IpNetwork
from sampan.networks.model import Forward, Rule

FAMILY: Final = "ip"
FAMILIES: Final = ("ip6", "ip")
TABLE: Final = "sampan"
PORTS_ANY: Final = "ports_any"
PORTS_AT: Final = "ports_at"
ENGINE: Final = "engine"

_ANY: Final = IPv4Address(0)
_LOOPBACK: Final = "127.0.0.0/8"
_COMMENT: Final = 127  # the most that nftables takes (libnftables, NFTNL_UDATA_COMMENT_MAXLEN)


_PORT: Final = "inet_proto . inet_service"
_BASE: Final = (
    # chain, statement, reason
    ("", "set bridges { type ifname; }", "the bridges of all networks"),
    ("", "set closed { type ifname; }", "those whose containers may not talk to each other"),
    ("", "map leaving { type ifname : verdict; }", "what may not be forwarded from a bridge"),
    ("", "map to_bridge { type ifname : verdict; }", "what may be forwarded to a bridge"),
    ("", "map nat_bridge { type ifname : verdict; }", "what is masqueraded towards a bridge"),
    ("", "map from_bridge { type ifname : verdict; }", "what is masqueraded from a bridge"),
    (
        "",
        f"map {PORTS_AT} {{ type ipv4_addr . {_PORT} : ipv4_addr . inet_service; }}",
        "ports published on one address",
    ),
    (
        "",
        f"map {PORTS_ANY} {{ type {_PORT} : ipv4_addr . inet_service; }}",
        "ports published on every address",
    ),
    ("", "chain guard { type filter hook prerouting priority raw; policy accept; }", "first look"),
    ("guard", f"iifname @bridges ip daddr {_LOOPBACK} drop", "containers never reach 127.0.0.1"),
    ("guard", f"iifname @bridges ip saddr {_LOOPBACK} drop", "containers never speak as 127.0.0.1"),
    ("", "chain published { }", "published ports"),
    (
        "published",
        f"dnat ip to ip daddr . meta l4proto . th dport map @{PORTS_AT}",
        "a port published on this very address",
    ),
    (
        "published",
        f"dnat ip to meta l4proto . th dport map @{PORTS_ANY}",
        "a port published on every address",
    ),
    ("", "chain incoming { type nat hook prerouting priority dstnat; policy accept; }", "what arrives"),
    ("incoming", "iifname @closed return", "served by the proxy: their ports are cut off from each other"),
    ("incoming", "fib daddr type local jump published", "only the host's own addresses are published"),
    ("", "chain outgoing { type nat hook output priority -100; policy accept; }", "what starts here"),
    ("outgoing", "fib daddr type local jump published", "the host reaches its published ports, too"),
    ("", "chain masquerading { type nat hook postrouting priority srcnat; policy accept; }", "what leaves"),
    ("masquerading", "oifname vmap @nat_bridge", "towards containers"),
    ("masquerading", "iifname vmap @from_bridge", "from containers"),
    ("", "chain forward { type filter hook forward priority filter; policy accept; }", "what passes"),
    ("forward", "iifname vmap @leaving", "from internal networks"),
    ("forward", "oifname vmap @to_bridge", "towards containers"),
)
_NOT_IN_IPV6: Final = ("guard", "published", "incoming", "outgoing")


def plan_base(family: str = FAMILY) -> list[Rule]:
    """Return the rules that are there once, whatever networks exist."""
    return [
        Rule(chain, statement, ENGINE, reason, family)
        for chain, statement, reason in _BASE
        if family == FAMILY
        or not (
            chain in _NOT_IN_IPV6
            or statement.startswith(("map ports", "set closed", *(f"chain {c} " for c in _NOT_IN_IPV6)))
        )
    ]


def plan_bridge(
    bridge: str,
    subnets: Sequence[IpNetwork],
    *,
    icc: bool,
    masquerade: bool,
    internal: bool,
    owner: str,
    family: str = FAMILY,
    source: str = "",
) -> list[Rule]:
    """Return the rules of one bridge network in one family.

    ``icc``: containers of the network may talk to each other. ``internal``: nothing passes between the
    network and the outside. ``source``: the host's address that they speak as ("": whichever fits).
    """
    quoted = f'"{bridge}"'
    forward, nat = f"to_{bridge}", f"nat_{bridge}"

    def rule(chain: str, statement: str, reason: str) -> Rule:
        return Rule(chain, statement, owner, reason, family)

    rules = [
        rule("", f"chain {forward} {{ }}", "what may be forwarded to the bridge"),
        rule("", f"chain {nat} {{ }}", "what is masqueraded towards the bridge"),
        rule("", f"element bridges {{ {quoted} }}", "the bridge is guarded"),
        rule(forward, "ct state established,related accept", "answers"),
    ]
    if not internal and family == FAMILY:
        rules.append(rule(forward, "ct status dnat accept", "published ports"))
    if icc:
        rules.append(
            rule(forward, f"iifname {quoted} accept", "containers of the network may talk to each other")
        )
    elif family == FAMILY:
        rules.append(rule("", f"element closed {{ {quoted} }}", "its containers may not talk to each other"))
    rules += [
        rule(forward, "drop", "nobody else reaches containers: other networks and neighbour hosts do not"),
        rule("", f"element to_bridge {{ {quoted} : jump {forward} }}", "forwarding to the bridge is checked"),
    ]
    if family == FAMILY:
        rules.append(
            rule(nat, f"ip saddr {_LOOPBACK} masquerade", "answers to 127.0.0.1 must come back to the host")
        )
        rules += [
            rule(
                nat,
                f"ip saddr {subnet} ct status dnat masquerade",
                "a published port of a neighbour or of itself",
            )
            for subnet in subnets
        ]
    rules.append(
        rule("", f"element nat_bridge {{ {quoted} : jump {nat} }}", "masquerading towards the bridge")
    )
    if internal:
        chain = f"out_{bridge}"
        rules += [
            rule("", f"chain {chain} {{ }}", "what may not be forwarded from the bridge"),
            rule(chain, f"oifname != {quoted} drop", "an internal network ends here"),
            rule("", f"element leaving {{ {quoted} : jump {chain} }}", "the network is internal"),
        ]
    elif masquerade:
        chain = f"masq_{bridge}"
        action = f"snat to {source}" if source else "masquerade"
        rules += [
            rule("", f"chain {chain} {{ }}", "what is masqueraded from the bridge"),
            *(
                rule(
                    chain,
                    f"{family} saddr {subnet} oifname != {quoted} {action}",
                    "containers speak to the world as the host",
                )
                for subnet in subnets
            ),
            rule("", f"element from_bridge {{ {quoted} : jump {chain} }}", "masquerading from the bridge"),
        ]
    return rules


def render_removal(rules: Sequence[Rule]) -> str:
    """Return the nftables commands that take the rules of one network, as ``plan_bridge`` made them, back.

    Elements first: a chain can go only when nothing jumps to it. Its own rules go with it.
    """
    elements: list[str] = []
    chains: list[str] = []
    for rule in rules:
        kind, _, rest = rule.statement.partition(" ")
        if not rule.chain and kind == "element":
            elements.append(f"delete element {rule.family} {TABLE} {rest}")
        elif not rule.chain and kind == "chain":
            name = rest.partition(" ")[0]
            chains += [
                f"flush chain {rule.family} {TABLE} {name}",
                f"delete chain {rule.family} {TABLE} {name}",
            ]
    return "\n".join((*elements, *chains)) + "\n"


def plan_no_routing() -> list[Rule]:
    """Return the rules for a host that did not forward packets before the engine needed it to.

    Docker sets the FORWARD policy to DROP then: to turn routing on for containers must not make the host a
    router between its other interfaces.
    """
    return [
        Rule("forward", "iifname @bridges accept", ENGINE, "containers reach the outside"),
        Rule("forward", "ct state established,related accept", ENGINE, "answers"),
        Rule("forward", "drop", ENGINE, "the host was no router before, and is none for others now"),
    ]


def plan_forward(forward: Forward, owner: str) -> Rule:
    """Return the map element of the published port ``forward`` (its host address is IPv4)."""
    where, key = element_key(forward)
    return Rule(
        "",
        f"element {where} {{ {key} : {forward.target} . {forward.target_port} }}",
        owner,
        f"published port {forward}",
    )


def element_key(forward: Forward) -> tuple[str, str]:
    """Return the map that ``forward`` belongs into and its key there."""
    if forward.host == _ANY:
        return PORTS_ANY, f"{forward.protocol} . {forward.host_port}"
    return PORTS_AT, f"{forward.host} . {forward.protocol} . {forward.host_port}"


def render(rules: Iterable[Rule]) -> str:
    """Return the nftables commands that put the engine's tables, with exactly ``rules``, in place at once."""
    wanted = list(rules)
    lines: list[str] = []
    for family in FAMILIES:
        lines += [f"add table {family} {TABLE}", f"delete table {family} {TABLE}"]
        if family == FAMILY or any(rule.family == family for rule in wanted):
            lines.append(f"add table {family} {TABLE}")
    lines += [render_rule(rule) for rule in wanted]
    return "\n".join(lines) + "\n"


def render_end() -> str:
    """Return the nftables commands that take the engine's tables away."""
    return "".join(f"add table {family} {TABLE}\ndelete table {family} {TABLE}\n" for family in FAMILIES)


def render_rule(rule: Rule) -> str:
    """Return the nftables command that adds ``rule``, its owner as the comment of a rule proper."""
    if rule.chain:
        text = f"{rule.owner}: {rule.reason}".replace('"', "'").encode()[:_COMMENT].decode("utf-8", "ignore")
        return f'add rule {rule.family} {TABLE} {rule.chain} {rule.statement} comment "{text}"'
    kind, _, rest = rule.statement.partition(" ")
    return f"add {kind} {rule.family} {TABLE} {rest}"
