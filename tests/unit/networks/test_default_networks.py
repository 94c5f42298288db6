"""The predefined networks: names, subnet and bridge, whatever the host has."""

from ipaddress import IPv4Interface, IPv4Network, ip_address

import pytest

from sampan.base.errors import HostFailure, InvalidParameter
from sampan.kernel.links import Link
from sampan.networks import defaults
from sampan.networks.config import NetworkConfig
from sampan.networks.defaults import HostView
from sampan.networks.drivers import bridge
from sampan.networks.model import Network

LO = Link(1, "lo", "", 0, up=True, mtu=65536, mac="", alias="")
ETH0 = Link(2, "eth0", "", 0, up=True, mtu=1500, mac="", alias="")
OURS = Link(3, "docker0", "bridge", 0, up=True, mtu=1500, mac="", alias="sampan network 00")
FOREIGN = Link(3, "docker0", "bridge", 0, up=True, mtu=1500, mac="", alias="")
PORT = Link(4, "veth0", "veth", 3, up=True, mtu=1500, mac="", alias="")


def _view(
    *links: Link, addresses: dict[int, str] | None = None, routes: dict[int, str] | None = None
) -> HostView:
    return HostView(
        (LO, ETH0, *links),
        [(index, IPv4Interface(address)) for index, address in (addresses or {}).items()],
        [(index, IPv4Network(route)) for index, route in (routes or {}).items()],
    )


def _bridge(
    config: NetworkConfig, view: HostView, stored: list[Network] | None = None, *, in_use: bool = False
) -> Network:
    known = {network.id: network for network in stored or ()}
    return next(n for n in defaults.predefined(known, config, view, in_use=in_use) if n.name == "bridge")


def test_three_networks_on_a_plain_host() -> None:
    networks = defaults.predefined({}, NetworkConfig(), _view(), in_use=False)
    assert {(n.name, n.driver, len(n.id)) for n in networks} == {
        ("bridge", "bridge", 64),
        ("host", "host", 64),
        ("none", "null", 64),
    }
    default = next(n for n in networks if n.name == "bridge")
    assert str(default.pools[0].interface) == "172.17.0.1/16"
    assert default.options == {
        "com.docker.network.bridge.default_bridge": "true",
        "com.docker.network.bridge.enable_icc": "true",
        "com.docker.network.bridge.enable_ip_masquerade": "true",
        "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",
        "com.docker.network.bridge.name": "docker0",
        "com.docker.network.driver.mtu": "1500",
    }


def test_ids_and_subnet_stay_over_a_restart() -> None:
    first = defaults.predefined({}, NetworkConfig(), _view(routes={2: "172.17.0.0/24"}), in_use=False)
    view = _view(OURS, addresses={3: "172.18.0.1/16"}, routes={3: "172.18.0.0/16"})
    again = defaults.predefined({n.id: n for n in first}, NetworkConfig(), view, in_use=False)
    assert sorted(again, key=lambda n: n.id) == sorted(first, key=lambda n: n.id)
    assert str(next(n for n in again if n.name == "bridge").pools[0].subnet) == "172.18.0.0/16"


def test_a_subnet_that_came_to_collide_is_given_up_unless_in_use() -> None:
    before = _bridge(NetworkConfig(), _view())
    view = _view(addresses={2: "172.17.9.9/24"})
    assert str(_bridge(NetworkConfig(), view, [before]).pools[0].subnet) == "172.18.0.0/16"
    assert _bridge(NetworkConfig(), view, [before], in_use=True) == before


def test_name_servers_count_as_occupied() -> None:
    view = HostView((LO,), (), (), (ip_address("172.17.0.53"),))
    assert str(_bridge(NetworkConfig(), view).pools[0].subnet) == "172.18.0.0/16"


def test_bip_and_fixed_cidr() -> None:
    config = NetworkConfig(bip=IPv4Interface("192.168.5.7/24"), fixed_cidr=IPv4Network("192.168.5.128/25"))
    pool = _bridge(config, _view()).pools[0]
    assert (str(pool.interface), str(pool.range)) == ("192.168.5.7/24", "192.168.5.128/25")
    alone = _bridge(NetworkConfig(fixed_cidr=IPv4Network("10.9.0.0/24")), _view()).pools[0]
    assert str(alone.interface) == "10.9.0.1/24"
    bad = NetworkConfig(bip=IPv4Interface("192.168.5.7/24"), fixed_cidr=IPv4Network("10.0.0.0/24"))
    with pytest.raises(InvalidParameter, match=r"fixed-cidr 10\.0\.0\.0/24 is outside the subnet"):
        _bridge(bad, _view())


def test_another_engines_docker0_is_left_alone() -> None:
    view = _view(FOREIGN, addresses={3: "172.17.0.1/16"})
    network = _bridge(NetworkConfig(), view)
    assert network.options[bridge.OPTION_NAME] == "sampan0"
    assert str(network.pools[0].subnet) == "172.18.0.0/16"
    assert _bridge(NetworkConfig(), _view(OURS)).options[bridge.OPTION_NAME] == "docker0"


def test_docker0_asked_for_by_name_is_taken_over_unless_it_has_containers() -> None:
    config = NetworkConfig(bridge="docker0")
    network = _bridge(config, _view(FOREIGN, addresses={3: "172.30.0.1/24"}))
    assert str(network.pools[0].interface) == "172.30.0.1/24"
    with pytest.raises(HostFailure, match="bridge docker0 belongs to another engine, with 1 containers"):
        _bridge(config, _view(FOREIGN, PORT))


def test_a_bridge_of_the_users_must_be_there() -> None:
    config = NetworkConfig(bridge="br0")
    with pytest.raises(HostFailure, match="bridge device with non default name br0 must be created manually"):
        _bridge(config, _view())
    made = Link(9, "br0", "bridge", 0, up=True, mtu=1500, mac="", alias="")
    network = _bridge(config, _view(made, addresses={9: "10.1.1.1/24"}))
    assert str(network.pools[0].interface) == "10.1.1.1/24"


def test_no_default_bridge() -> None:
    names = {n.name for n in defaults.predefined({}, NetworkConfig(bridge="none"), _view(), in_use=False)}
    assert names == {"host", "none"}
