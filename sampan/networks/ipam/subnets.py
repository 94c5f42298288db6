"""The choice of a subnet that collides with nothing the host knows."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network

from sampan.base.errors import HostFailure


def choose_subnet(
    pools: Sequence[tuple[IPv4Network, int]], occupied: Iterable[tuple[IPv4Network, str]]
) -> IPv4Network:
    """Return the first subnet of ``pools`` that overlaps nothing in ``occupied`` (prefix, what holds it).

    Raises HostFailure in Docker's words, naming the first holders, if all of them collide.
    """
    taken = sorted((*_ends(prefix), what) for prefix, what in occupied)
    holders: list[str] = []
    for base, length in pools:
        step = 1 << (base.max_prefixlen - length)
        number, last = _ends(base)
        seen, reach, holder = 0, -1, ""  # of what begins before the candidate's end, that which goes farthest
        while number + step - 1 <= last:
            while seen < len(taken) and taken[seen][0] < number + step:
                if taken[seen][1] > reach:
                    _, reach, holder = taken[seen]
                seen += 1
            if reach < number:
                return IPv4Network((number, length))
            if holder not in holders:
                holders.append(holder)
            number += (reach + 1 - number + step - 1) // step * step
    raise HostFailure(
        "all predefined address pools have been fully subnetted; they collide with "
        + (", ".join(holders[:5]) or "nothing: no pool is configured")
    )


def _ends(prefix: IPv4Network) -> tuple[int, int]:
    first = int(prefix.network_address)
    return first, first + (1 << (prefix.max_prefixlen - prefix.prefixlen)) - 1
