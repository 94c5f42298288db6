"""Which published ports a change of them means."""

from ipaddress import IPv4Address, IPv6Address

import pytest

from sampan.base.errors import InvalidParameter
from sampan.networks.liveports import added, removed
from sampan.networks.model import Forward
from sampan.wire.containers import PortBinding, PortMap

TARGET = IPv4Address("172.18.0.2")
ANY = IPv4Address("0.0.0.0")
FORWARDS = [
    Forward("tcp", ANY, 8080, TARGET, 80),
    Forward("tcp", IPv6Address("::"), 8080, TARGET, 80),
    Forward("tcp", IPv4Address("127.0.0.1"), 8081, TARGET, 80),
    Forward("udp", ANY, 49153, TARGET, 53),
]
BINDINGS: PortMap = {
    "80/tcp": [PortBinding("", "8080"), PortBinding("127.0.0.1", "8081")],
    "53/udp": [PortBinding()],
}


def test_added_beside_those_that_are_there() -> None:
    assert added({"80/tcp": None}, {"80": [PortBinding("", "8080")], "81/UDP": [PortBinding()]}) == {
        "80/tcp": [PortBinding("", "8080")],
        "81/udp": [PortBinding()],
    }
    with pytest.raises(InvalidParameter, match='invalid port specification: "x"'):
        added({}, {"80/tcp": [PortBinding("", "x")]})


def test_one_of_several_goes() -> None:
    left, gone = removed(BINDINGS, FORWARDS, {"80/tcp": [PortBinding("", "8080")]})
    assert left == {"80/tcp": [PortBinding("127.0.0.1", "8081")], "53/udp": [PortBinding()]}
    assert gone == FORWARDS[:2]


def test_all_of_a_containers_port_go() -> None:
    left, gone = removed(BINDINGS, FORWARDS, {"80/tcp": [PortBinding()]})
    assert left == {"53/udp": [PortBinding()]}
    assert gone == FORWARDS[:3]
    left, gone = removed(BINDINGS, FORWARDS, {"53/udp": [PortBinding("", "49153")]})
    assert "53/udp" not in left
    assert gone == FORWARDS[3:]


def test_of_one_that_does_not_run() -> None:
    left, gone = removed(BINDINGS, [], {"80/tcp": [PortBinding("127.0.0.1", "8081")]})
    assert left["80/tcp"] == [PortBinding("", "8080")]
    assert gone == []


@pytest.mark.parametrize(
    ("port", "binding", "shown"),
    [
        ("81/tcp", PortBinding(), "81/tcp"),
        ("80/tcp", PortBinding("", "8082"), "8082:80/tcp"),
        ("80/tcp", PortBinding("::1", "8080"), r"\[::1\]:8080:80/tcp"),
    ],
)
def test_what_is_not_published_cannot_go(port: str, binding: PortBinding, shown: str) -> None:
    with pytest.raises(InvalidParameter, match=f"^port {shown} is not published$"):
        removed(BINDINGS, FORWARDS, {port: [binding]})
