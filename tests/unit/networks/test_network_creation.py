"""From a create request to a network: Docker's checks and words, and the engine's choices."""

from ipaddress import IPv4Network, IPv6Network
from typing import Any

import msgspec
import pytest

from sampan.base.errors import (
    Conflict,
    EngineError,
    Forbidden,
    InvalidParameter,
    NotFound,
    NotImplementedHere,
)
from sampan.networks.config import DEFAULT_POOLS
from sampan.networks.create import Surroundings, plan_create
from sampan.networks.drivers import DRIVERS
from sampan.networks.model import Endpoint, Network, PoolConfig
from sampan.wire.networks import CreateNetwork

TAKEN = IPv4Network("172.18.0.0/16")
OTHER = Network("b" * 64, "other", "bridge", "", (PoolConfig(TAKEN, TAKEN, TAKEN[1]),))
ULA = IPv6Network("fd01:2:3::/48")


def _plan(occupied: list[tuple[IPv4Network, str]] | None = None, **body: Any) -> Network:
    around = Surroundings([OTHER], DEFAULT_POOLS, lambda: occupied or [], lambda: ULA)
    return plan_create(msgspec.convert({"Name": "mine"} | body, CreateNetwork), around)


def _ipam(*configs: dict[str, Any]) -> dict[str, Any]:
    return {"IPAM": {"Config": list(configs)}}


def test_an_empty_request() -> None:
    made = _plan([(IPv4Network("172.17.0.0/16"), "docker0")])
    (pool,) = made.pools
    assert (str(pool.subnet), str(pool.gateway), pool.automatic) == ("172.19.0.0/16", "172.19.0.1", True)
    assert (made.driver, made.internal, made.ipv4, made.ipv6, made.options) == (
        "bridge",
        False,
        True,
        False,
        {},
    )


def test_everything_that_can_be_asked_for() -> None:
    made = _plan(
        **_ipam(
            {
                "Subnet": "10.1.0.0/16",
                "IPRange": "10.1.5.0/24",
                "Gateway": "10.1.5.254",
                "AuxiliaryAddresses": {"a": "10.1.1.5"},
            },
            {"Subnet": "2001:db8::/64"},
        ),
        EnableIPv6=True,
        Internal=True,
        Attachable=True,
        Labels={"a": "b"},
        Options={"com.docker.network.driver.mtu": "1400"},
    )
    first, second = made.pools
    assert (str(first.range), str(first.gateway), first.reserved) == (
        "10.1.5.0/24",
        "10.1.5.254",
        {"a": "10.1.1.5"},
    )
    assert (str(second.gateway), second.automatic) == ("2001:db8::1", False)
    assert (made.internal, made.attachable, made.labels) == (True, True, {"a": "b"})


def test_gateways_are_the_first_address_that_is_free() -> None:
    def gateway(**config: Any) -> str:
        return str(_plan(**_ipam(config)).pools[0].gateway)

    assert gateway(Subnet="10.1.0.0/24") == "10.1.0.1"
    assert gateway(Subnet="10.1.0.0/24", AuxiliaryAddresses={"x": "10.1.0.1"}) == "10.1.0.2"
    assert gateway(Subnet="10.1.0.0/24", IPRange="10.1.0.128/25") == "10.1.0.128"
    assert gateway(Subnet="10.1.0.0/31") == "10.1.0.0"


def test_ipv6_networks() -> None:
    made = _plan(EnableIPv6=True)
    assert [str(pool.subnet) for pool in made.pools] == ["172.17.0.0/16", "fd01:2:3::/64"]
    only = _plan(EnableIPv6=True, EnableIPv4=False)
    assert [str(pool.subnet) for pool in only.in_use] == ["fd01:2:3::/64"]
    kept = _plan(**_ipam({"Subnet": "2001:db8::/64"}))
    assert [str(pool.subnet) for pool in kept.pools] == ["172.17.0.0/16", "2001:db8::/64"]
    assert [str(pool.subnet) for pool in kept.in_use] == ["172.17.0.0/16"], "shown, not used, as Docker does"


@pytest.mark.parametrize(
    ("body", "error", "text"),
    [
        ({"Name": ""}, InvalidParameter, "invalid name: name is empty"),
        ({"Name": " "}, InvalidParameter, "invalid name: name is empty"),
        ({"Name": 'a"\ndrop'}, InvalidParameter, "invalid name"),
        ({"Name": "other"}, Conflict, "network with name other already exists"),
        ({"Name": "bridge"}, Forbidden, "operation is not permitted on predefined bridge network"),
        ({"Driver": "host"}, Forbidden, 'only one instance of "host" network is allowed'),
        ({"Driver": "null"}, Forbidden, 'only one instance of "null" network is allowed'),
        ({"Driver": "nope"}, NotFound, 'plugin "nope" not found'),
        ({"IPAM": {"Driver": "nope"}}, NotFound, 'plugin "nope" not found'),
        ({"ConfigOnly": True}, NotImplementedHere, "config-only"),
        ({"ConfigFrom": {"Network": "x"}}, NotImplementedHere, "config-only"),
        ({"Scope": "swarm"}, Forbidden, "swarm"),
        ({"EnableIPv4": False}, InvalidParameter, "IPv4 or IPv6 must be enabled"),
        (_ipam({"Gateway": "10.0.0.1"}), InvalidParameter, "must have a corresponding subnet"),
        (
            _ipam({"Subnet": "10.0.0.1/24"}),
            InvalidParameter,
            "10.0.0.1/24: it should be 10.0.0.0/24",
        ),
        (
            _ipam({"Subnet": "10.0.0.0"}),
            InvalidParameter,
            "10.0.0.0: invalid CIDR block notation",
        ),
        (_ipam({"Subnet": "x/24"}), InvalidParameter, "invalid subnet x/24: invalid CIDR block notation"),
        (_ipam({"Subnet": "127.0.0.0/24"}), InvalidParameter, "reserved for loopback"),
        (_ipam({"Subnet": "10.0.0.1/32", "Gateway": ""}), None, ""),
        (
            _ipam({"Subnet": "10.0.0.0/24", "Gateway": "10.1.0.1", "AuxiliaryAddresses": {"a": "x"}}),
            InvalidParameter,
            "invalid network config:\ninvalid auxiliary address x: invalid address\n"
            "invalid gateway 10.1.0.1: parent subnet 10.0.0.0/24 doesn't contain this address",
        ),
        (
            _ipam({"Subnet": "10.0.0.0/24", "IPRange": "10.0.0.0/16"}),
            InvalidParameter,
            "invalid ip-range 10.0.0.0/16: CIDR block is bigger than its parent subnet 10.0.0.0/24",
        ),
        (
            _ipam({"Subnet": "10.0.0.0/24", "IPRange": "10.0.1.0/25"}),
            InvalidParameter,
            "invalid ip-range 10.0.1.0/25: parent subnet 10.0.0.0/24 doesn't contain ip-range",
        ),
        (
            _ipam({"Subnet": "10.0.0.0/24", "IPRange": "fd00::/64"}),
            InvalidParameter,
            "invalid ip-range fd00::/64: parent subnet is an IPv4 block",
        ),
        (
            _ipam({"Subnet": "10.0.0.0/24"}, {"Subnet": "10.1.0.0/24"}),
            Forbidden,
            "bridge driver doesn't support multiple subnets",
        ),
        (
            _ipam({"Subnet": "172.18.5.0/24"}),
            Forbidden,
            "Pool overlaps with other one on this address space "
            "(172.18.5.0/24 with 172.18.0.0/16 of network other)",
        ),
        ({"Options": {"com.docker.network.driver.mtu": "x"}}, InvalidParameter, "invalid MTU number x"),
        ({"Options": {"com.docker.network.bridge.name": "a/b"}}, InvalidParameter, "invalid interface name"),
        ({"Options": {"com.docker.network.bridge.name": "br-" + "b" * 12}}, Forbidden, "network other"),
        (
            {"Options": {"com.docker.network.bridge.enable_icc": "maybe"}},
            InvalidParameter,
            "neither true",
        ),
        (
            {"Options": {"com.docker.network.bridge.gateway_mode_ipv4": "routed"}},
            NotImplementedHere,
            "gateway mode routed",
        ),
        (
            {"Options": {"com.docker.network.bridge.host_binding_ipv4": "x"}},
            InvalidParameter,
            "no IPv4 address",
        ),
        ({"Options": {"anything": "else"}}, None, ""),
    ],
)
def test_what_cannot_be_is_refused(body: dict[str, Any], error: type[EngineError] | None, text: str) -> None:
    if error is None:
        _plan(**body)
        return
    with pytest.raises(error) as raised:
        _plan(**body)
    assert text in str(raised.value)


def test_plans_follow_the_options() -> None:
    driver = DRIVERS["bridge"]
    made = _plan(
        Options={
            "com.docker.network.bridge.name": "mybr",
            "com.docker.network.bridge.enable_icc": "0",
            "com.docker.network.bridge.inhibit_ipv4": "true",
            "com.docker.network.host_ipv4": "192.0.2.1",
        },
        EnableIPv6=True,
    )
    plan = driver.plan_network(made)
    (bridge,) = plan.bridges
    assert (bridge.name, [str(a) for a in bridge.addresses]) == ("mybr", ["fd01:2:3::1/64"])
    statements = {rule.statement for rule in plan.rules}
    assert 'ip saddr 172.17.0.0/16 oifname != "mybr" snat to 192.0.2.1' in statements
    assert 'ip6 saddr fd01:2:3::/64 oifname != "mybr" masquerade' in statements
    assert 'element closed { "mybr" }' in statements
    assert {rule.family for rule in plan.rules} == {"ip", "ip6"}
    assert ("net.ipv6.conf.all.forwarding", "1") in {(s.key, s.value) for s in plan.sysctls}
    endpoint = Endpoint("e" * 64, "c" * 64, None, None, "02:42:00:00:00:01")
    with pytest.raises(ValueError, match="has no address"):
        driver.plan_endpoint(made, endpoint, default_route=True)
