"""Wanted against seen: every difference is found, and nothing else."""

from collections import Counter
from dataclasses import replace
from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from sampan.kernel.links import Link
from sampan.networks.drift import Seen, SeenTable, Wanted, WantedSandbox, compare
from sampan.networks.firewall.rules import comment_of
from sampan.networks.model import Bridge, Inside, NetworkPlan, Rule, Sysctl, VethLink

ADDRESS = IPv4Interface("172.18.0.1/16")
BRIDGE = Bridge("br-1", (ADDRESS,), 0, "sampan network 1", "network mine", "its bridge")
SYSCTL = Sysctl("net.ipv4.conf.br-1.route_localnet", "1", "network mine", "loopback")
VETH = VethLink("veth1", "br-1", False, Inside("eth0", "", 0, (), (), "container web", "its link"))
RULE = Rule("forward", "drop", "network mine", "the end")
CHAIN = Rule("", "chain forward { }", "network mine", "a chain")
ELEMENT = Rule("", 'element bridges { "br-1" }', "network mine", "guarded")
WANTED = Wanted(
    {"mine": NetworkPlan(bridges=(BRIDGE,), sysctls=(SYSCTL,))},
    sandboxes=(WantedSandbox("container web", Path("/n"), (VETH,)),),
    rules=(CHAIN, RULE, ELEMENT, ELEMENT),
)
LINKS = {
    "br-1": Link(1, "br-1", "bridge", 0, True, 1500, "", "sampan network 1"),
    "veth1": Link(2, "veth1", "veth", 1, True, 1500, "", ""),
}
TABLE = SeenTable(frozenset({"forward"}), Counter({("forward", comment_of(RULE)): 1}), {"bridges": 1})
SEEN = Seen(LINKS, {1: frozenset({ADDRESS})}, {SYSCTL.key: "1"}, {"ip": TABLE})


def _told(seen: Seen) -> list[str]:
    return [str(drift) for drift in compare(WANTED, seen)]


def test_no_difference() -> None:
    assert _told(SEEN) == [], "an element that is wanted twice is there once"


def test_links() -> None:
    assert _told(replace(SEEN, links={"veth1": LINKS["veth1"]})) == [
        "bridge br-1 missing",
        "link veth1 to eth0 no port of br-1",
    ]
    assert _told(replace(SEEN, links={"br-1": LINKS["br-1"]})) == ["link veth1 to eth0 missing"]
    down = {name: replace(link, up=False) for name, link in LINKS.items()}
    assert _told(replace(SEEN, links=down)) == ["bridge br-1 down", "link veth1 to eth0 down"]
    loose = LINKS | {"veth1": replace(LINKS["veth1"], master=7)}
    assert _told(replace(SEEN, links=loose)) == ["link veth1 to eth0 no port of br-1"]


def test_of_a_sandbox_that_is_gone_nothing_is_missing() -> None:
    seen = replace(SEEN, links={"br-1": LINKS["br-1"]}, gone=frozenset({"container web"}))
    assert _told(seen) == []


def test_addresses_and_settings() -> None:
    assert _told(replace(SEEN, addresses={})) == ["address 172.18.0.1/16 of bridge br-1 missing"]
    assert _told(replace(SEEN, settings={SYSCTL.key: "0"})) == [f"setting {SYSCTL.key} is 0, not 1"]
    assert _told(replace(SEEN, settings={})) == [f"setting {SYSCTL.key} missing"]


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (replace(TABLE, chains=frozenset()), ["ip sampan chain forward { } missing"]),
        (replace(TABLE, rules=Counter()), ["ip sampan rule forward: drop missing"]),
        (replace(TABLE, elements={}), ['ip sampan element bridges { "br-1" } missing'] * 2),
        (
            replace(TABLE, rules=TABLE.rules + Counter({("forward", "x"): 1})),
            ["rule ip sampan forward 'x' not the engine's"],
        ),
    ],
)
def test_rules(table: SeenTable, told: list[str]) -> None:
    assert _told(replace(SEEN, tables={"ip": table})) == told


def test_tables_that_the_kernel_has_not_and_no_firewall_at_all() -> None:
    assert _told(replace(SEEN, tables={})) == []
    assert _told(replace(SEEN, tables=None)) == []
