"""The choice of a subnet that collides with nothing the host knows."""

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Network

from sampan.base.errors import HostFailure


def candidates(pools: Sequence[tuple[IPv4Network, int]]) -> Iterator[IPv4Network]:
    """Yield the subnets that ``pools`` (base, prefix length to cut) are cut into, in order."""
    for base, length in pools:
        yield from base.subnets(new_prefix=length)


def choose_subnet(
    pools: Sequence[tuple[IPv4Network, int]], occupied: Iterable[tuple[IPv4Network, str]]
) -> IPv4Network:
    """Return the first subnet of ``pools`` that overlaps nothing in ``occupied`` (prefix, what holds it).

    Raises HostFailure in Docker's words, naming the first holders, if all of them collide.
    """
    taken = list(occupied)
    holders: list[str] = []
    for subnet in candidates(pools):
        holder = next((what for prefix, what in taken if prefix.overlaps(subnet)), None)
        if holder is None:
            return subnet
        if holder not in holders:
            holders.append(holder)
    raise HostFailure(
        "all predefined address pools have been fully subnetted; they collide with "
        + (", ".join(holders[:5]) or "nothing: no pool is configured")
    )
