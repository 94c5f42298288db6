"""Addresses of one pool: who holds which, and which is next.

Leases are kept in memory; what survives a restart is the row of each sandbox, from which they are taken
again. The lowest free address is leased, as Docker does.
"""

from heapq import heappop, heappush
from ipaddress import IPv4Address

from sampan.base.errors import Conflict, HostFailure, InvalidParameter
from sampan.networks.model import PoolConfig


class Leases:
    """The leases of ``pool``, which network ``name`` (``network_id``) has.

    Network and broadcast address, gateway and reserved addresses are never leased.
    """

    def __init__(self, pool: PoolConfig, name: str, network_id: str) -> None:
        self.pool = pool
        self._owner = f"{name} ({network_id})"
        self._held: set[int] = {int(pool.gateway)}
        self._held.update(int(IPv4Address(address)) for address in pool.reserved.values())
        if pool.subnet.prefixlen < 31:
            self._held.update((int(pool.subnet.network_address), int(pool.subnet.broadcast_address)))
        self._next = int(pool.range.network_address)
        self._end = int(pool.range.broadcast_address)
        self._returned: list[int] = []  # a heap of addresses below _next; some may be held again

    def take(self, wanted: IPv4Address | None = None) -> IPv4Address:
        """Lease ``wanted``, or the lowest free address.

        Raises InvalidParameter if ``wanted`` is outside the subnet, Conflict if it is taken, HostFailure if
        none is left.
        """
        if wanted is not None:
            if wanted not in self.pool.subnet:
                raise InvalidParameter(f"no configured subnet contains IP address {wanted}")
            if int(wanted) in self._held:
                raise Conflict("Address already in use")
            self._held.add(int(wanted))
            return wanted
        while self._returned:
            candidate = heappop(self._returned)
            if candidate not in self._held:
                self._held.add(candidate)
                return IPv4Address(candidate)
        while self._next <= self._end:
            candidate = self._next
            self._next += 1
            if candidate not in self._held:
                self._held.add(candidate)
                return IPv4Address(candidate)
        raise HostFailure(f"no available IPv4 addresses on this network's address pools: {self._owner}")

    def give_back(self, address: IPv4Address) -> None:
        """End the lease of ``address``; one that is not leased is no error."""
        number = int(address)
        if number in self._held:
            self._held.discard(number)
            if number < self._next and address in self.pool.range:
                heappush(self._returned, number)
