"""Leases of addresses, and the choice of a subnet."""

import random
from ipaddress import IPv4Address, IPv4Network

import pytest

from sampan.base.errors import Conflict, HostFailure, InvalidParameter
from sampan.networks.config import DEFAULT_POOLS
from sampan.networks.ipam.leases import Leases
from sampan.networks.ipam.subnets import choose_subnet
from sampan.networks.model import PoolConfig


def _leases(subnet: str = "10.0.0.0/29", within: str = "", reserved: dict[str, str] | None = None) -> Leases:
    network = IPv4Network(subnet)
    pool = PoolConfig(network, IPv4Network(within or subnet), network.network_address + 1, reserved or {})
    return Leases(pool, "net", "id")


def test_the_lowest_free_address_is_next() -> None:
    leases = _leases()
    assert [str(leases.take()) for _ in range(3)] == ["10.0.0.2", "10.0.0.3", "10.0.0.4"]
    leases.give_back(IPv4Address("10.0.0.3"))
    leases.give_back(IPv4Address("10.0.0.2"))
    assert [str(leases.take()) for _ in range(3)] == ["10.0.0.2", "10.0.0.3", "10.0.0.5"]


def test_network_broadcast_gateway_and_reserved_ones_are_never_leased() -> None:
    leases = _leases(reserved={"router": "10.0.0.4"})
    assert [str(leases.take()) for _ in range(4)] == ["10.0.0.2", "10.0.0.3", "10.0.0.5", "10.0.0.6"]
    with pytest.raises(
        HostFailure, match=r"no available IPv4 addresses on this network's address pools: net \(id\)"
    ):
        leases.take()


def test_a_wanted_address() -> None:
    leases = _leases()
    assert leases.take(IPv4Address("10.0.0.2")) == IPv4Address("10.0.0.2")
    with pytest.raises(Conflict, match="Address already in use"):
        leases.take(IPv4Address("10.0.0.2"))
    with pytest.raises(InvalidParameter, match=r"no configured subnet contains IP address 10\.1\.0\.1"):
        leases.take(IPv4Address("10.1.0.1"))
    assert str(leases.take()) == "10.0.0.3"


def test_a_range_within_the_subnet() -> None:
    leases = _leases("10.0.0.0/24", "10.0.0.128/30")
    assert [str(leases.take()) for _ in range(4)] == [f"10.0.0.{n}" for n in (128, 129, 130, 131)]
    assert str(leases.take(IPv4Address("10.0.0.9"))) == "10.0.0.9"
    leases.give_back(IPv4Address("10.0.0.9"))
    with pytest.raises(HostFailure):
        leases.take()


def test_giving_back_twice_is_no_lease_more() -> None:
    leases = _leases()
    address = leases.take()
    leases.give_back(address)
    leases.give_back(address)
    assert leases.take() == address
    assert leases.take() != address


def test_dockers_pools_in_order() -> None:
    taken: list[tuple[IPv4Network, str]] = []
    for _ in range(31):
        taken.append((choose_subnet(DEFAULT_POOLS, taken), "another network"))
    with pytest.raises(HostFailure, match="fully subnetted"):
        choose_subnet(DEFAULT_POOLS, taken)
    subnets = [str(subnet) for subnet, _ in taken]
    assert subnets[:4] == ["172.17.0.0/16", "172.18.0.0/16", "172.19.0.0/16", "172.20.0.0/16"]
    assert subnets[15:17] == ["192.168.0.0/20", "192.168.16.0/20"]


def test_the_first_subnet_that_collides_with_nothing() -> None:
    occupied = [(IPv4Network("172.17.3.0/24"), "eth0"), (IPv4Network("172.18.0.0/15"), "a route")]
    assert choose_subnet(DEFAULT_POOLS, occupied) == IPv4Network("172.20.0.0/16")
    assert choose_subnet(DEFAULT_POOLS, []) == IPv4Network("172.17.0.0/16")


def test_the_choice_is_that_of_a_look_at_each_subnet() -> None:
    chance = random.Random(7)  # noqa: S311 - cases, no secrets
    pools = [(IPv4Network("10.0.0.0/23"), 26), (IPv4Network("10.9.0.0/25"), 27)]
    every = [subnet for base, length in pools for subnet in base.subnets(new_prefix=length)]
    for _ in range(300):
        bases = [chance.choice(every) for _ in range(chance.randrange(9))]
        taken = [(base.supernet(new_prefix=chance.randint(21, 26)), "x") for base in bases]
        taken += [(IPv4Network((int(base[chance.randrange(32)]), 32)), "y") for base in bases]
        free = next((subnet for subnet in every if not any(t.overlaps(subnet) for t, _ in taken)), None)
        if free is not None:
            assert choose_subnet(pools, taken) == free
        else:
            with pytest.raises(HostFailure):
                choose_subnet(pools, taken)


def test_what_all_pools_collide_with_is_named() -> None:
    occupied = [(IPv4Network("0.0.0.0/1"), "tun0"), (IPv4Network("128.0.0.0/1"), "tun1")]
    with pytest.raises(HostFailure, match=r"all predefined address pools have been fully subnetted.*tun1"):
        choose_subnet(DEFAULT_POOLS, occupied)
