"""The rules that the engine's tables have whatever networks exist, by nftables family."""

from sampan.networks.firewall import neighbours, rules
from sampan.networks.model import Rule


def plan_base(family: str) -> list[Rule]:
    """Return the rules that the engine's table of ``family`` (bridge, ip, ip6) always has."""
    return neighbours.plan_base() if family == neighbours.FAMILY else rules.plan_base(family)
