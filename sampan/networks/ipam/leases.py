"""Addresses of one pool: who holds which, and which is next; and all pools of a network together.

Leases are kept in memory; what survives a restart is the row of each sandbox, from which they are taken
again. The lowest free address is leased, as Docker does.
"""

from heapq import heappop, heappush
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address

from sampan.base.errors import Conflict, HostFailure, InvalidParameter
from sampan.kernel.links import IpAddress, IpInterface
from sampan.networks.model import Network, PoolConfig, with_prefix


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
    """The pools of ``network``; one without any gives no addresses."""

    def __init__(self, network: Network) -> None:
        self._pools: dict[int, list[Leases]] = {}
        for pool in network.in_use:
            self._pools.setdefault(pool.subnet.version, []).append(Leases(pool, network.name, network.id))

    def __bool__(self) -> bool:
        """Whether it gives addresses at all."""
        return bool(self._pools)

    def take(self, ipv4: IpAddress | None = None, ipv6: IpAddress | None = None) -> Leased:
        """Lease an address of each family that the network has; both or none.

        Raises what ``Leases.take`` raises.
        """
        first = self._take(4, ipv4)
        try:
            second = self._take(6, ipv6)
        except BaseException:
            self.give_back(first if isinstance(first, IPv4Interface) else None, None)
            raise
        return (
            first if isinstance(first, IPv4Interface) else None,
            second if isinstance(second, IPv6Interface) else None,
        )

    def _take(self, version: int, wanted: IpAddress | None) -> IpInterface | None:
        pools = self._pools.get(version, [])
        if wanted is not None:  # the pool that has it, or the first one says that it has not
            pools = [leases for leases in pools if wanted in leases.pool.subnet] or pools[:1]
        for number, leases in enumerate(pools, 1):
            try:
                return with_prefix(leases.take(wanted), leases.pool.subnet.prefixlen)
            except HostFailure:
                if number == len(pools):
                    raise
        return None

    def give_back(self, ipv4: IPv4Interface | None, ipv6: IPv6Interface | None) -> None:
        """End leases; one that is none is no error."""
        for address in (ipv4, ipv6):
            if address is not None:
                for leases in self._pools.get(address.version, ()):
                    if address.ip in leases.pool.subnet:
                        leases.give_back(address.ip)

    def adopt(self, ipv4: IPv4Interface | None, ipv6: IPv6Interface | None) -> None:
        """Lease the addresses of an endpoint that lived on without the daemon. Raises as ``take`` does."""
        for address in (ipv4, ipv6):
            if address is not None:
                self._take(address.version, address.ip)

    def gateway(self, address: IpInterface | None) -> IpAddress | None:
        """Return the gateway of the pool that ``address`` is of."""
        pools = self._pools.get(address.version, ()) if address is not None else ()
        return next(
            (p.pool.gateway for p in pools if address is not None and address.ip in p.pool.subnet), None
        )
