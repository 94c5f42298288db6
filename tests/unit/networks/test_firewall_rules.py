"""Firewall plans as values: the whole rule set of a bridge, and what each setting changes in it."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

import pytest

from sampan.networks.firewall import apply, neighbours, rules
from sampan.networks.model import Endpoint, Forward, Rule

SUBNET = IPv4Network("172.17.0.0/16")
GOLDEN = [
    ("", "chain to_docker0 { }"),
    ("", "chain nat_docker0 { }"),
    ("", 'element bridges { "docker0" }'),
    ("to_docker0", "ct state established,related accept"),
    ("to_docker0", "ct status dnat accept"),
    ("to_docker0", 'iifname "docker0" accept'),
    ("to_docker0", "drop"),
    ("", 'element to_bridge { "docker0" : jump to_docker0 }'),
    ("nat_docker0", "ip saddr 127.0.0.0/8 masquerade"),
    ("nat_docker0", "ip saddr 172.17.0.0/16 ct status dnat masquerade"),
    ("", 'element nat_bridge { "docker0" : jump nat_docker0 }'),
    ("", "chain masq_docker0 { }"),
    ("masq_docker0", 'ip saddr 172.17.0.0/16 oifname != "docker0" masquerade'),
    ("", 'element from_bridge { "docker0" : jump masq_docker0 }'),
]


def _plan(*, icc: bool = True, masquerade: bool = True, internal: bool = False) -> list[tuple[str, str]]:
    planned = rules.plan_bridge(
        "docker0", [SUBNET], icc=icc, masquerade=masquerade, internal=internal, owner="network bridge"
    )
    assert all(rule.owner == "network bridge" and rule.reason for rule in planned)
    return [(rule.chain, rule.statement) for rule in planned]


def test_the_rules_of_a_bridge() -> None:
    assert _plan() == GOLDEN


def test_without_icc_the_bridge_is_closed() -> None:
    planned = _plan(icc=False)
    assert ("to_docker0", 'iifname "docker0" accept') not in planned
    assert ("", 'element closed { "docker0" }') in planned


def test_without_masquerading_the_rest_stays() -> None:
    assert _plan(masquerade=False) == GOLDEN[:-3]


def test_an_internal_network_has_no_way_in_or_out() -> None:
    planned = _plan(internal=True)
    assert ("to_docker0", "ct status dnat accept") not in planned
    assert not any(chain == "masq_docker0" for chain, _ in planned)
    assert planned[-7:] == [
        ("", "chain out_docker0 { }"),
        ("out_docker0", 'oifname != "docker0" drop'),
        ("", 'element leaving { "docker0" : jump out_docker0 }'),
        ("", "chain in_docker0 { }"),
        ("in_docker0", "ip daddr 172.17.0.0/16 return"),
        ("in_docker0", "fib daddr type local drop"),
        ("", 'element to_host { "docker0" : jump in_docker0 }'),
    ]


def test_every_chain_is_made_before_it_is_used() -> None:
    planned = rules.plan_base() + rules.plan_bridge(
        "br-0a1b", [SUBNET], icc=True, masquerade=True, internal=False, owner="network x"
    )
    made: set[str] = set()
    for rule in planned:
        if rule.chain:
            assert rule.chain in made
        words = rule.statement.split()
        for verb in ("jump", "goto"):
            if verb in words:
                assert words[words.index(verb) + 1] in made
        if not rule.chain and words[0] == "chain":
            made.add(words[1])


def test_the_table_is_replaced_at_once() -> None:
    text = rules.render([Rule("", "chain c { }", "engine", "why"), Rule("c", "drop", "engine", 'a "reason"')])
    assert text.splitlines() == [
        "add table bridge sampan",
        "delete table bridge sampan",
        "add table ip6 sampan",
        "delete table ip6 sampan",
        "add table ip sampan",
        "delete table ip sampan",
        "add table ip sampan",
        "add chain ip sampan c { }",
        "add rule ip sampan c drop comment \"engine: a 'reason'\"",
    ]


def test_a_long_reason_is_cut() -> None:
    text = rules.render_rule(Rule("c", "drop", "network " + "x" * 200, "why"))
    assert len(text.partition('comment "')[2]) == 127 + 1


@pytest.mark.parametrize(
    ("host", "statement", "where", "key", "data"),
    [
        (
            "0.0.0.0",
            "element ports_any { tcp . 8080 : 172.17.0.2 . 80 }",
            "ports_any",
            "06000000 1f900000",
            "ac110002 00500000",
        ),
        (
            "192.0.2.1",
            "element ports_at { 192.0.2.1 . tcp . 8080 : 172.17.0.2 . 80 }",
            "ports_at",
            "c0000201 06000000 1f900000",
            "ac110002 00500000",
        ),
        (
            "::",
            "element ports_any { udp . 53 : fd00::2 . 53 }",
            "ports_any",
            "11000000 00350000",
            "fd000000 00000000 00000000 00000002 00350000",
        ),
    ],
)
def test_a_published_port_is_one_element(host: str, statement: str, where: str, key: str, data: str) -> None:
    forward = Forward("tcp", IPv4Address("0.0.0.0"), 8080, IPv4Address("172.17.0.2"), 80)
    if ":" in host:
        forward = Forward("udp", IPv6Address(host), 53, IPv6Address("fd00::2"), 53)
    else:
        forward = replace(forward, host=IPv4Address(host))
    assert rules.plan_forward(forward, "container web").statement == statement
    element = apply.encode(forward)
    assert (element.map, element.key, element.data) == (where, bytes.fromhex(key), bytes.fromhex(data))


def test_a_forward_reads_as_docker_writes_it() -> None:
    target = IPv4Address("172.17.0.2")
    assert str(Forward("tcp", IPv4Address(0), 8080, target, 80)) == "0.0.0.0:8080:172.17.0.2:80/tcp"
    assert str(Forward("udp", IPv6Address(0), 53, target, 53)) == "[::]:53:172.17.0.2:53/udp"


def test_the_rules_of_a_network_are_taken_back_exactly() -> None:
    planned = rules.plan_bridge("br0", [SUBNET], icc=True, masquerade=True, internal=False, owner="network x")
    commands = rules.render_removal(planned).splitlines()
    elements = [line for line in commands if line.startswith("delete element")]
    assert elements == [
        'delete element ip sampan bridges { "br0" }',
        'delete element ip sampan to_bridge { "br0" : jump to_br0 }',
        'delete element ip sampan nat_bridge { "br0" : jump nat_br0 }',
        'delete element ip sampan from_bridge { "br0" : jump masq_br0 }',
    ]
    assert commands[len(elements) :] == [
        f"{verb} chain ip sampan {chain}_br0"
        for chain in ("to", "nat", "masq")
        for verb in ("flush", "delete")
    ]


def test_ipv6_has_a_table_of_its_own() -> None:
    planned = rules.plan_base("ip6") + rules.plan_bridge(
        "br0", [IPv6Network("fd00::/64")], icc=True, masquerade=True, internal=False, owner="n", family="ip6"
    )
    text = rules.render(planned, bridges=False)
    assert text.startswith(
        "add table ip6 sampan\ndelete table ip6 sampan\nadd table ip6 sampan\nadd table ip sampan\n"
    )
    assert "dnat ip6 to ip6 daddr . meta l4proto . th dport map @ports_at" in text
    assert "ip6 saddr fd00::/64 ct status dnat masquerade" in text
    assert "127.0.0.0/8" not in text
    assert "guard" not in text


def test_a_comment_is_cut_by_bytes() -> None:
    rule = Rule("c", "drop", "network " + "ü" * 100, "why")
    comment = rules.render_rule(rule).split('comment "')[1].rstrip('"')
    assert len(comment.encode()) <= 127


@pytest.mark.parametrize(
    ("mode", "trusted", "chain"),
    [
        ("nat", (), []),
        ("nat", ("eth0",), ['iifname { "eth0" } ip daddr . meta l4proto . th dport @open accept']),
        ("routed", (), ["meta l4proto icmp accept", "ip daddr . meta l4proto . th dport @open accept"]),
        ("nat-unprotected", ("eth0",), ['iifname != "docker0" accept']),
    ],
)
def test_gateway_modes(mode: str, trusted: tuple[str, ...], chain: list[str]) -> None:
    planned = rules.plan_bridge(
        "docker0",
        [SUBNET],
        icc=True,
        masquerade=True,
        internal=False,
        owner="n",
        mode=mode,
        trusted=trusted,
    )
    always = {
        "ct state established,related accept",
        "ct status dnat accept",
        'iifname "docker0" accept',
        "drop",
    }
    assert [r.statement for r in planned if r.chain == "to_docker0" and r.statement not in always] == chain
    assert any("masquerade" in r.statement and r.chain == "masq_docker0" for r in planned) == (
        mode != "routed"
    )


def test_a_port_that_is_reached_where_the_container_is() -> None:
    forward = Forward("tcp", IPv4Address(0), 0, IPv4Address("172.17.0.2"), 80, open=True)
    member = rules.plan_open(forward, "container web")
    assert (member.rule.statement, member.key) == (
        "element open { 172.17.0.2 . tcp . 80 }",
        bytes.fromhex("ac110002 06000000 00500000"),
    )
    assert not forward.by_nat


def test_what_a_port_of_a_bridge_may_say() -> None:
    endpoint = Endpoint(
        "0a1b2c3" + "e" * 57,
        "c" * 64,
        IPv4Interface("172.17.0.2/16"),
        None,
        "02:42:ac:11:00:02",
        address6=IPv6Interface("fd00::2/64"),
        extra=(IPv4Interface("169.254.1.2/16"), IPv6Interface("fe80::9/64")),
    )
    members = neighbours.plan_port(endpoint, "container web", spoofing=False, closed=True)
    assert [(member.set, member.text) for member in members] == [
        ("macs", '"veth0a1b2c3" . 02:42:ac:11:00:02'),
        ("speaks", '"veth0a1b2c3" . 02:42:ac:11:00:02 . 172.17.0.2'),
        ("addresses", '"veth0a1b2c3" . 172.17.0.2'),
        ("speaks6", '"veth0a1b2c3" . 02:42:ac:11:00:02 . fd00::2'),
        ("addresses6", '"veth0a1b2c3" . fd00::2'),
        ("claims6", '"veth0a1b2c3" . 0xfd000000000000000000000000000002'),
        ("speaks", '"veth0a1b2c3" . 02:42:ac:11:00:02 . 169.254.1.2'),
        ("addresses", '"veth0a1b2c3" . 169.254.1.2'),
        ("ports", '"veth0a1b2c3"'),
        ("closed", '"veth0a1b2c3"'),
    ]
    assert members[0].key == b"veth0a1b2c3".ljust(16, b"\0") + bytes.fromhex("0242ac110002 0000")
    assert neighbours.plan_port(endpoint, "", spoofing=True, closed=False) == []


def test_links_are_for_two_addresses_and_a_port() -> None:
    first, second = IPv4Address("172.17.0.3"), IPv4Address("172.17.0.2")
    members = neighbours.plan_link(first, second, "tcp", 80, "container web")
    assert {member.family for member in members} == {"bridge", "ip"}
    assert {member.rule.statement for member in members} == {
        "element links { 172.17.0.3 . 172.17.0.2 . tcp . 80 }"
    }
    assert members[0].key == bytes.fromhex("ac110003 ac110002 06000000 00500000")
