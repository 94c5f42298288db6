"""The engine's nftables rules, as values.

One table, ``ip sampan``, a second one, ``ip6 sampan``, once a network has IPv6, and ``bridge sampan`` for
what ports of a bridge say to each other (``neighbours``). What is per network hangs on maps (by interface,
by prefix), and what is per published port is a map element, so a packet meets the same few look-ups however
many of them there are:

- ``guard``                   prerouting, before anything else: containers neither use nor reach 127.0.0.0/8
- ``incoming``, ``outgoing``  prerouting and output: published ports
- ``forward``                 who may be forwarded to containers
- ``host``                    input: internal networks reach the bridge's own address and no other of the host
- ``masquerading``            postrouting
"""

import struct
from collections.abc import Iterable, Sequence
from typing import Final

from sampan.kernel.links import IpAddress, IpNetwork
from sampan.networks.model import Forward, Member, Rule

FAMILY: Final = "ip"
FAMILIES: Final = ("bridge", "ip6", "ip")
TABLE: Final = "sampan"
PORTS_ANY: Final = "ports_any"
PORTS_AT: Final = "ports_at"
ENGINE: Final = "engine"

PROTOCOLS: Final = {"tcp": 6, "udp": 17, "sctp": 132}
_LOOPBACK: Final = "127.0.0.0/8"
_LINK_LOCAL: Final = "fe80::/10"
NAT: Final = "nat"
UNPROTECTED: Final = "nat-unprotected"
ROUTED: Final = "routed"
ISOLATED: Final = "isolated"
MODES: Final = (NAT, UNPROTECTED, ROUTED, ISOLATED)
"""How a network's containers are reached from outside: the gateway modes of Docker's bridge driver."""
_COMMENT: Final = 127  # the most that nftables takes (libnftables, NFTNL_UDATA_COMMENT_MAXLEN)


_PORT: Final = "inet_proto . inet_service"
_BASE: Final = (
    # families ("" for both), chain, statement, reason; {f}: the family, {a}: its type of address
    ("", "", "set bridges {{ type ifname; }}", "the bridges of all networks"),
    ("", "", "set closed {{ type ifname; }}", "those whose containers may not talk to each other"),
    ("", "", "set open {{ type {a} . " + _PORT + "; }}", "ports that are published where the container is"),
    ("ip", "", "set links {{ type {a} . {a} . " + _PORT + "; }}", "who may talk to whom all the same"),
    ("", "", "map leaving {{ type ifname : verdict; }}", "what may not be forwarded from a bridge"),
    ("", "", "map to_bridge {{ type ifname : verdict; }}", "what may be forwarded to a bridge"),
    ("", "", "map to_host {{ type ifname : verdict; }}", "what may reach the host from a bridge"),
    ("", "", "map nat_bridge {{ type ifname : verdict; }}", "what is masqueraded towards a bridge"),
    ("", "", "map from_bridge {{ type ifname : verdict; }}", "what is masqueraded from a bridge"),
    (
        "",
        "",
        f"map {PORTS_AT} {{{{ type {{a}} . {_PORT} : {{a}} . inet_service; }}}}",
        "ports published on one address",
    ),
    (
        "",
        "",
        f"map {PORTS_ANY} {{{{ type {_PORT} : {{a}} . inet_service; }}}}",
        "ports published on every address",
    ),
    ("ip", "", "chain guard {{ type filter hook prerouting priority raw; policy accept; }}", "first look"),
    ("ip", "guard", f"iifname @bridges ip daddr {_LOOPBACK} drop", "containers never reach 127.0.0.1"),
    ("ip", "guard", f"iifname @bridges ip saddr {_LOOPBACK} drop", "containers never speak as 127.0.0.1"),
    ("", "", "chain published {{ }}", "published ports"),
    (
        "",
        "published",
        f"dnat {{f}} to {{f}} daddr . meta l4proto . th dport map @{PORTS_AT}",
        "a port published on this very address",
    ),
    (
        "",
        "published",
        f"dnat {{f}} to meta l4proto . th dport map @{PORTS_ANY}",
        "a port published on every address",
    ),
    ("", "", "chain incoming {{ type nat hook prerouting priority dstnat; policy accept; }}", "what arrives"),
    (
        "",
        "incoming",
        "iifname @closed return",
        "served by the proxy: their ports are cut off from each other",
    ),
    ("ip", "incoming", f"ip daddr {_LOOPBACK} return", "ports on 127.0.0.1 are not for others"),
    (
        "ip6",
        "incoming",
        f"ip6 saddr {_LINK_LOCAL} return",
        "served by the proxy: such an address stays on its link",
    ),
    ("", "incoming", "fib daddr type local jump published", "only the host's own addresses are published"),
    ("", "", "chain outgoing {{ type nat hook output priority -100; policy accept; }}", "what starts here"),
    ("ip6", "outgoing", "ip6 daddr ::1 return", "served by the proxy: ::1 is not routed"),
    (
        "ip6",
        "outgoing",
        f"ip6 saddr {_LINK_LOCAL} return",
        "served by the proxy: such an address stays on its link",
    ),
    ("", "outgoing", "fib daddr type local jump published", "the host reaches its published ports, too"),
    (
        "",
        "",
        "chain masquerading {{ type nat hook postrouting priority srcnat; policy accept; }}",
        "what leaves",
    ),
    ("", "masquerading", "oifname vmap @nat_bridge", "towards containers"),
    ("", "masquerading", "iifname vmap @from_bridge", "from containers"),
    ("", "", "chain forward {{ type filter hook forward priority filter; policy accept; }}", "what passes"),
    ("", "forward", "iifname vmap @leaving", "from internal networks"),
    ("", "forward", "oifname vmap @to_bridge", "towards containers"),
    (
        "",
        "",
        "chain host {{ type filter hook input priority filter; policy accept; }}",
        "what is for the host",
    ),
    ("", "host", "iifname vmap @to_host", "from internal networks"),
)
_ADDRESSES: Final = {"ip": "ipv4_addr", "ip6": "ipv6_addr"}
_ICMP: Final = {"ip": "icmp", "ip6": "ipv6-icmp"}


def plan_base(family: str = FAMILY) -> list[Rule]:
    """Return the rules that are there once, whatever networks exist."""
    return [
        Rule(chain, statement.format(f=family, a=_ADDRESSES[family]), ENGINE, reason, family)
        for only, chain, statement, reason in _BASE
        if only in {"", family}
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
    mode: str = NAT,
    trusted: Sequence[str] = (),
) -> list[Rule]:
    """Return the rules of one bridge network in one family.

    ``icc``: containers of the network may talk to each other. ``internal``: nothing passes between the
    network and the outside. ``source``: the host's address that they speak as ("": whichever fits).
    ``mode``: how others reach containers; ``trusted``: interfaces by which published ports are reached where
    the container is.
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
    if not internal:
        rules.append(rule(forward, "ct status dnat accept", "published ports"))
        opened = f"{family} daddr . meta l4proto . th dport @open accept"
        if mode == ROUTED:
            rules.append(rule(forward, f"meta l4proto {_ICMP[family]} accept", "the network is routed"))
            rules.append(rule(forward, opened, "published ports, where the container is"))
        elif mode == NAT and trusted:
            sources = ", ".join(f'"{name}"' for name in trusted)
            rules.append(rule(forward, f"iifname {{ {sources} }} {opened}", "these interfaces are trusted"))
    if icc:
        rules.append(
            rule(forward, f"iifname {quoted} accept", "containers of the network may talk to each other")
        )
    else:
        if family == FAMILY:
            links = f"iifname {quoted} ip saddr . ip daddr . meta l4proto . th dport @links accept"
            rules.append(rule(forward, links, "over a link"))
        rules.append(rule("", f"element closed {{ {quoted} }}", "its containers may not talk to each other"))
    if mode == UNPROTECTED and not internal:
        rules.append(rule(forward, f"iifname != {quoted} accept", "the network is not protected"))
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
            f"{family} saddr {subnet} ct status dnat masquerade",
            "a published port of a neighbour or of itself",
        )
        for subnet in subnets
    ]
    rules.append(
        rule("", f"element nat_bridge {{ {quoted} : jump {nat} }}", "masquerading towards the bridge")
    )
    if internal:
        chain, inner = f"out_{bridge}", f"in_{bridge}"
        rules += [
            rule("", f"chain {chain} {{ }}", "what may not be forwarded from the bridge"),
            rule(chain, f"oifname != {quoted} drop", "an internal network ends here"),
            rule("", f"element leaving {{ {quoted} : jump {chain} }}", "the network is internal"),
            rule("", f"chain {inner} {{ }}", "what may reach the host from the bridge"),
            *(rule(inner, f"{family} daddr {subnet} return", "the bridge itself") for subnet in subnets),
            rule(inner, "fib daddr type local drop", "the host's other addresses are outside"),
            rule("", f"element to_host {{ {quoted} : jump {inner} }}", "the network is internal"),
        ]
    elif masquerade and mode != ROUTED:
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
    """Return the map element of the published port ``forward``, which is carried by NAT."""
    where, key = element_key(forward)
    return Rule(
        "",
        f"element {where} {{ {key} : {forward.target} . {forward.target_port} }}",
        owner,
        f"published port {forward}",
        _family(forward.host),
    )


def plan_open(forward: Forward, owner: str) -> Member:
    """Return what lets those who may reach the target of ``forward`` where it is."""
    target, port = forward.target, forward.target_port
    key = target.packed + struct.pack(">B3xH2x", PROTOCOLS[forward.protocol], port)
    text = f"{target} . {forward.protocol} . {port}"
    return Member("open", text, key, owner, f"published port {forward}", _family(target))


def element_key(forward: Forward) -> tuple[str, str]:
    """Return the map that ``forward`` belongs into and its key there."""
    if not int(forward.host):
        return PORTS_ANY, f"{forward.protocol} . {forward.host_port}"
    return PORTS_AT, f"{forward.host} . {forward.protocol} . {forward.host_port}"


def _family(address: IpAddress) -> str:
    return FAMILY if address.version == 4 else "ip6"


def render(rules: Iterable[Rule], *, bridges: bool = True) -> str:
    """Return the nftables commands that put the engine's tables, with exactly ``rules``, in place at once.

    ``bridges``: the kernel has tables for bridges.
    """
    wanted = list(rules)
    lines: list[str] = []
    for family in FAMILIES if bridges else FAMILIES[1:]:
        lines += [f"add table {family} {TABLE}", f"delete table {family} {TABLE}"]
        if family == FAMILY or any(rule.family == family for rule in wanted):
            lines.append(f"add table {family} {TABLE}")
    lines += [render_rule(rule) for rule in wanted]
    return "\n".join(lines) + "\n"


def render_end(*, bridges: bool = True) -> str:
    """Return the nftables commands that take the engine's tables away; ``bridges`` as in ``render``."""
    families = FAMILIES if bridges else FAMILIES[1:]
    return "".join(f"add table {family} {TABLE}\ndelete table {family} {TABLE}\n" for family in families)


def render_rule(rule: Rule) -> str:
    """Return the nftables command that adds ``rule``, its owner as the comment of a rule proper."""
    if rule.chain:
        return f'add rule {rule.family} {TABLE} {rule.chain} {rule.statement} comment "{comment_of(rule)}"'
    kind, _, rest = rule.statement.partition(" ")
    return f"add {kind} {rule.family} {TABLE} {rest}"


def comment_of(rule: Rule) -> str:
    """Return the comment that a rule proper has in the kernel."""
    text = f"{rule.owner}: {rule.reason}".replace('"', "'")
    return text.encode()[:_COMMENT].decode("utf-8", "ignore")


def element_of(rule: Rule) -> tuple[str, str]:
    """Return what a statement outside of chains adds (``chain``, ``element``, …), and the name it is for."""
    kind, _, rest = rule.statement.partition(" ")
    return kind, rest.partition(" ")[0]
