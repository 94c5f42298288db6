"""Addresses of one pool: who holds which, and which is next; and all pools of a network together.

Leases are kept in memory; what survives a restart is the row of each sandbox, from which they are taken
again. The lowest free address is leased, as Docker does.
"""

from heapq import heappop, heappush
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address

from sampan.base.errors import Conflict, HostFailure, InvalidParameter
from sampan.kernel.links import IpAddress
from sampan.networks.model import Network, PoolConfig


class Leases:
    """The leases of ``pool``, which network ``name`` (``network_id``) has.

    Network and broadcast address, gateway and reserved addresses are never leased.
    """

    def __init__(self, pool: PoolConfig, name: str, network_id: str) -> None:
        self.pool = pool
        self._make: type[IPv4Address] | type[IPv6Address] = type(pool.gateway)
        self._owner = f"{name} ({network_id})"
        self._held: set[int] = {int(pool.gateway)}
        self._held.update(int(ip_address(address)) for address in pool.reserved.values())
        if pool.subnet.prefixlen < pool.subnet.max_prefixlen - 1:
            self._held.add(int(pool.subnet.network_address))  # IPv6: the routers' anycast address
            if pool.subnet.version == 4:
                self._held.add(int(pool.subnet.broadcast_address))
        self._next = int(pool.range.network_address)
        self._end = int(pool.range.broadcast_address)
        self._returned: list[int] = []  # a heap of addresses below _next; some may be held again

    def take(self, wanted: IpAddress | None = None) -> IpAddress:
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
                return self._make(candidate)
        while self._next <= self._end:
            candidate = self._next
            self._next += 1
            if candidate not in self._held:
                self._held.add(candidate)
                return self._make(candidate)
        raise HostFailure(
            f"no available IPv{self.pool.subnet.version} addresses on this network's address pools: "
            f"{self._owner}"
        )

    def give_back(self, address: IpAddress) -> None:
        """End the lease of ``address``; one that is not leased is no error."""
        number = int(address)
        if number in self._held:
            self._held.discard(number)
            if number < self._next and address in self.pool.range:
                heappush(self._returned, number)


Leased = tuple[IPv4Interface | None, IPv6Interface | None]


class AddressPools:
    """The pools of ``network``, at most one a family; a network without any gives no addresses."""

    def __init__(self, network: Network) -> None:
        pools = {pool.subnet.version: Leases(pool, network.name, network.id) for pool in network.in_use}
        self.ipv4 = pools.get(4)
        self.ipv6 = pools.get(6)

    def take(self, ipv4: IpAddress | None = None, ipv6: IpAddress | None = None) -> Leased:
        """Lease an address of each family that the network has; both or none.

        Raises what ``Leases.take`` raises.
        """
        first: IPv4Interface | None = None
        second: IPv6Interface | None = None
        if self.ipv4 is not None:
            first = IPv4Interface((self.ipv4.take(ipv4), self.ipv4.pool.subnet.prefixlen))
        if self.ipv6 is not None:
            try:
                second = IPv6Interface((self.ipv6.take(ipv6), self.ipv6.pool.subnet.prefixlen))
            except BaseException:
                self.give_back(first, None)
                raise
        return first, second

    def give_back(self, ipv4: IPv4Interface | None, ipv6: IPv6Interface | None) -> None:
        """End leases; one that is none is no error."""
        if ipv4 is not None and self.ipv4 is not None:
            self.ipv4.give_back(ipv4.ip)
        if ipv6 is not None and self.ipv6 is not None:
            self.ipv6.give_back(ipv6.ip)
