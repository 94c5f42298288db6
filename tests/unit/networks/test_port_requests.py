"""Published ports: what is asked for, in Docker's order and words."""

from ipaddress import IPv4Address, ip_address

import pytest
from support.netlab import publish
from support.shared import table

from sampan.base.errors import InvalidParameter
from sampan.networks.ports import PortRequest, exposed_only, parse_host_port, parse_port, plan_ports
from sampan.wire.containers import PortBinding

V4, V6 = ip_address("0.0.0.0"), ip_address("::")


def test_ports_as_docker_reads_them() -> None:
    for row in table("engine/port"):
        if row.get("error"):
            with pytest.raises(InvalidParameter, match="invalid port specification"):
                parse_port(row["text"])
        elif row["proto"] in {"tcp", "udp", "sctp"}:
            assert parse_port(row["text"]) == (row["number"], row["proto"])
        else:
            with pytest.raises(InvalidParameter, match=f"invalid proto: {row['proto']}"):
                parse_port(row["text"])


@pytest.mark.parametrize(
    ("text", "expected"), [("", (0, 0)), ("8080", (8080, 8080)), ("8000-9000", (8000, 9000)), ("0", (0, 0))]
)
def test_host_ports(text: str, expected: tuple[int, int]) -> None:
    assert parse_host_port(text) == expected


@pytest.mark.parametrize("text", ["x", "70000", "-1", "9000-8000", "8000-", "-9000", "8000-a", "1.5", "²"])
def test_bad_host_ports(text: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid port specification"):
        parse_host_port(text)


def _plan(
    *ports: str, exposed: tuple[str, ...] = (), publish_all: bool = False, ipv6: bool = True
) -> list[PortRequest]:
    return plan_ports(publish(*ports), exposed, publish_all=publish_all, ipv6=ipv6)


def test_no_host_address_means_both_families_on_one_port() -> None:
    assert _plan("8080:80") == [PortRequest("tcp", 80, 8080, 8080, (V4, V6))]
    assert _plan("8080:80", ipv6=False) == [PortRequest("tcp", 80, 8080, 8080, (V4,))]


def test_a_host_address_is_taken_as_it_is() -> None:
    assert _plan("127.0.0.1:8080:80") == [PortRequest("tcp", 80, 8080, 8080, (ip_address("127.0.0.1"),))]
    assert _plan("[::1]:8080:80") == [PortRequest("tcp", 80, 8080, 8080, (ip_address("::1"),))]
    assert _plan("0.0.0.0:8080:80") == [PortRequest("tcp", 80, 8080, 8080, (V4,))]
    with pytest.raises(InvalidParameter, match="invalid IP address: here"):
        plan_ports({"80/tcp": [PortBinding("here", "80")]}, (), publish_all=False, ipv6=True)


def test_a_default_address_stands_alone() -> None:
    local = IPv4Address("127.0.0.1")
    planned = plan_ports(publish("8080:80"), (), publish_all=False, default=local, ipv6=True)
    assert planned == [PortRequest("tcp", 80, 8080, 8080, (local,))]


def test_exact_ports_come_before_ranges() -> None:
    planned = _plan("9000-9010:81", "9005:82", "83", "84/udp", "8080:84/udp")
    assert [(request.port, request.first, request.last) for request in planned] == [
        (82, 9005, 9005),
        (84, 8080, 8080),
        (81, 9000, 9010),
        (83, 0, 0),
        (84, 0, 0),
    ]


def test_the_same_binding_twice_gets_two_ports() -> None:
    assert _plan("80", "80", ipv6=False) == [PortRequest("tcp", 80, 0, 0, (V4,))] * 2


def test_two_addresses_share_a_port() -> None:
    one, two = ip_address("127.0.0.1"), ip_address("198.51.100.1")
    assert _plan("198.51.100.1::80", "127.0.0.1::80") == [PortRequest("tcp", 80, 0, 0, (one, two))]


def test_publish_all_takes_what_is_exposed_and_not_bound() -> None:
    planned = _plan("8080:80", exposed=("80/tcp", "443", "53/udp"), publish_all=True)
    assert [(request.port, request.protocol, request.first) for request in planned] == [
        (80, "tcp", 8080),
        (53, "udp", 0),
        (443, "tcp", 0),
    ]


def test_exposed_ports_in_canonical_form() -> None:
    assert exposed_only({"80": None}, ["443/TCP"]) == ["80/tcp", "443/tcp"]
