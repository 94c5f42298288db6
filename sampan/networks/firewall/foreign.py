"""Living beside firewalls of others, as values.

An accept in one table ends only that table's chain: a base chain of somebody else that drops by default (ufw,
firewalld, a FORWARD policy of DROP that another engine set) still drops what is forwarded to and from
containers. So the engine puts two accepts for each of its bridges into such chains, marked by a comment, and
touches nothing else there. What may really pass is decided in the engine's own table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

MARK: Final = "sampan: containers"
_USERS_OWN: Final = "DOCKER-USER"  # the chain that Docker keeps for the administrator's own rules


class SeenRule(Protocol):
    """A rule of a foreign chain, as far as it matters here."""

    @property
    def handle(self) -> int: ...
    @property
    def comment(self) -> str: ...
    @property
    def unconditional_drop(self) -> bool: ...
    @property
    def jumps_to(self) -> str: ...


@dataclass(frozen=True, slots=True)
class ForeignChain:
    """A base chain on the forward hook that is not ours, and its rules in order."""

    family: str
    table: str
    name: str
    drops: bool
    rules: tuple[SeenRule, ...]


def plan_accepts(chains: Sequence[ForeignChain], bridges: Sequence[str]) -> list[str]:
    """Return the nftables commands that make every dropping chain of ``chains`` accept ``bridges``.

    Accepts that are there already stay; those for bridges that are gone, or in chains that drop no more, are
    deleted. No bridges: all are deleted.
    """
    commands: list[str] = []
    for chain in chains:
        where = f"{chain.family} {chain.table} {chain.name}"
        ours = {rule.comment: rule.handle for rule in chain.rules if rule.comment.startswith(MARK)}
        others = [rule for rule in chain.rules if not rule.comment.startswith(MARK)]
        drops = chain.drops or any(rule.unconditional_drop for rule in others)
        wanted: dict[str, str] = {}
        for bridge in bridges if drops else ():
            for side in ("iifname", "oifname"):
                comment = f"{MARK} {side} {bridge}"
                wanted[comment] = f'{side} "{bridge}" accept comment "{comment}"'
        commands += [
            f"delete rule {where} handle {h}" for comment, h in ours.items() if comment not in wanted
        ]
        # The administrator's own rules come first, where Docker users expect them to.
        after = max((rule.handle for rule in others if rule.jumps_to == _USERS_OWN), default=0)
        verb = f"add rule {where} position {after}" if after else f"insert rule {where}"
        commands += [f"{verb} {statement}" for comment, statement in wanted.items() if comment not in ours]
    return commands
