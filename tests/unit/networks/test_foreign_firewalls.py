"""What is put into, and taken out of, the forward chains of other firewalls."""

from dataclasses import dataclass

from sampan.networks.firewall.foreign import ForeignChain, plan_accepts
from sampan.networks.firewall.legacy import plan_legacy


@dataclass(frozen=True)
class Seen:
    handle: int
    comment: str = ""
    unconditional_drop: bool = False
    jumps_to: str = ""


def _chain(*rules: Seen, drops: bool) -> ForeignChain:
    return ForeignChain("ip", "filter", "FORWARD", drops, rules)


IN = 'iifname "docker0" accept comment "sampan: containers iifname docker0"'
OUT = 'oifname "docker0" accept comment "sampan: containers oifname docker0"'
OURS = (Seen(7, "sampan: containers iifname docker0"), Seen(8, "sampan: containers oifname docker0"))


def test_a_chain_that_accepts_is_left_alone() -> None:
    assert plan_accepts([_chain(Seen(1), drops=False)], ["docker0"]) == []


def test_a_policy_of_drop_gets_two_accepts_at_the_top() -> None:
    assert plan_accepts([_chain(Seen(1), drops=True)], ["docker0"]) == [
        f"insert rule ip filter FORWARD {IN}",
        f"insert rule ip filter FORWARD {OUT}",
    ]


def test_a_last_rule_that_drops_everything_counts_as_a_policy() -> None:
    assert len(plan_accepts([_chain(Seen(1, unconditional_drop=True), drops=False)], ["docker0"])) == 2


def test_accepts_that_are_there_stay() -> None:
    assert plan_accepts([_chain(*OURS, drops=True)], ["docker0"]) == []


def test_accepts_go_with_the_bridge_or_with_the_policy() -> None:
    gone = ["delete rule ip filter FORWARD handle 7", "delete rule ip filter FORWARD handle 8"]
    assert plan_accepts([_chain(*OURS, drops=True)], []) == gone
    assert plan_accepts([_chain(*OURS, drops=False)], ["docker0"]) == gone


def test_the_administrators_rules_of_docker_come_first() -> None:
    planned = plan_accepts([_chain(Seen(3, jumps_to="DOCKER-USER"), Seen(4), drops=True)], ["docker0"])
    assert planned == [
        f"add rule ip filter FORWARD position 3 {IN}",
        f"add rule ip filter FORWARD position 3 {OUT}",
    ]


def test_the_old_iptables_get_the_same_two_accepts() -> None:
    planned = plan_legacy(["-P FORWARD DROP", "-A FORWARD -s 10.0.0.0/8 -j ACCEPT"], ["docker0"])
    assert [" ".join(words) for words in planned] == [
        "-I FORWARD -i docker0 -m comment --comment sampan: containers iifname docker0 -j ACCEPT",
        "-I FORWARD -o docker0 -m comment --comment sampan: containers oifname docker0 -j ACCEPT",
    ]


def test_the_old_iptables_lose_those_of_bridges_that_are_gone() -> None:
    listed = ['-A FORWARD -i br0 -m comment --comment "sampan: containers iifname br0" -j ACCEPT']
    assert plan_legacy(listed, []) == [
        [
            "-D",
            "FORWARD",
            "-i",
            "br0",
            "-m",
            "comment",
            "--comment",
            "sampan: containers iifname br0",
            "-j",
            "ACCEPT",
        ]
    ]
