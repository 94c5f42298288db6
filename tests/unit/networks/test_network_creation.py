"""From a create request to a network: Docker's checks and words, and the engine's choices."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Any

import msgspec
import pytest

from sampan.base.errors import (
    Conflict,
    EngineError,
    Forbidden,
    InvalidParameter,
    NotFound,
)
from sampan.networks.config import DEFAULT_POOLS
from sampan.networks.create import Surroundings, chooses_subnet, plan_create
from sampan.networks.drivers import DRIVERS
from sampan.networks.model import Endpoint, Network, PoolConfig
from sampan.wire.networks import CreateNetwork

TAKEN = IPv4Network("172.18.0.0/16")
OTHER = Network("b" * 64, "other", "bridge", "", (PoolConfig(TAKEN, TAKEN, TAKEN[1]),))
KEPT = Network(
    "d" * 64,
    "kept",
    "null",
    "",
    (PoolConfig(IPv4Network("10.8.0.0/24"), IPv4Network("10.8.0.0/24"), IPv4Address("10.8.0.1")),),
    options={"parent": "lab0"},
    labels={"a": "b"},
    config_only=True,
)
ULA = IPv6Network("fd01:2:3::/48")


def _plan(
    occupied: list[tuple[IPv4Network, str]] | None = None, more: Sequence[Network] = (), **body: Any
) -> Network:
    networks = [OTHER, KEPT, *more]
    around = Surroundings(networks, DEFAULT_POOLS, occupied or [], lambda: ULA, DRIVERS)
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
        ({"ConfigOnly": True, "Internal": True}, Forbidden, "can only contain network specific fields"),
        ({"ConfigFrom": {"Network": "x"}}, NotFound, 'configuration network "x" does not exist'),
        ({"ConfigFrom": {"Network": "other"}}, NotFound, 'configuration network "other" does not exist'),
        (
            {"ConfigFrom": {"Network": "kept"}, "Labels": {"c": "d"}},
            Forbidden,
            "user-specified configurations are not supported if the network depends on a configuration",
        ),
        (
            {"ConfigFrom": {"Network": "kept"}, "Options": {"c": "d"}},
            Forbidden,
            "network driver options are not supported if the network depends on a configuration network",
        ),
        (
            {"Driver": "macvlan", "Options": {"parent": "lo"}},
            InvalidParameter,
            "loopback interface is not a valid",
        ),
        ({"Driver": "macvlan", "Options": {"parent": "a b"}}, InvalidParameter, "invalid interface name"),
        (
            {"Driver": "macvlan", "Options": {"macvlan_mode": "fast"}},
            InvalidParameter,
            "requested macvlan mode 'fast' is not valid, 'bridge' mode is the macvlan driver default",
        ),
        (
            {"Driver": "ipvlan", "Options": {"ipvlan_mode": "l4"}},
            InvalidParameter,
            "requested ipvlan mode 'l4' is not valid, 'l2' mode is the ipvlan driver default",
        ),
        (
            {"Driver": "ipvlan", "Options": {"ipvlan_flag": "x"}},
            InvalidParameter,
            "requested ipvlan flag 'x' is not valid, 'bridge' is the ipvlan driver default",
        ),
        (
            {"Options": {"com.docker.network.bridge.gateway_mode_ipv6": "isolated"}},
            InvalidParameter,
            "gateway mode 'isolated' can only be used for an internal network",
        ),
        (
            {"Options": {"com.docker.network.bridge.trusted_host_interfaces": "eth0:a b"}},
            InvalidParameter,
            "'a b'",
        ),
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
        (
            {"Options": {"com.docker.network.driver.mtu": "x"}},
            InvalidParameter,
            "failed to parse com.docker.network.driver.mtu value: x",
        ),
        ({"Options": {"com.docker.network.bridge.name": "a/b"}}, InvalidParameter, "invalid interface name"),
        (
            {"Options": {"com.docker.network.bridge.name": "br-" + "b" * 12}},
            Forbidden,
            "networks have same bridge name",
        ),
        (
            {"Options": {"com.docker.network.bridge.enable_icc": "maybe"}},
            InvalidParameter,
            "failed to parse com.docker.network.bridge.enable_icc value: maybe",
        ),
        (
            {"Options": {"com.docker.network.bridge.gateway_mode_ipv4": "fast"}},
            InvalidParameter,
            "unknown gateway mode fast",
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
    assert set(plan.families) == {"bridge", "ip", "ip6"}
    assert ("net.ipv6.conf.all.forwarding", "1") in {(s.key, s.value) for s in plan.sysctls}
    endpoint = Endpoint("e" * 64, "c" * 64, None, None, "02:42:00:00:00:01")
    with pytest.raises(ValueError, match="has no address"):
        driver.plan_endpoint(made, endpoint, default_route=True)


def test_settings_kept_by_a_network_are_followed() -> None:
    kept = _plan(
        ConfigOnly=True, EnableIPv6=True, Options={"parent": "eth0.50"}, **_ipam({"Subnet": "10.9.0.0/24"})
    )
    assert (kept.driver, kept.config_only) == ("null", True)
    assert [str(pool.subnet) for pool in kept.pools] == ["10.9.0.0/24"]
    made = _plan(ConfigFrom={"Network": "kept"}, Driver="macvlan", Internal=True)
    assert (made.driver, made.config_only, made.config_from, made.internal) == (
        "macvlan",
        False,
        "kept",
        True,
    )
    assert ([str(pool.subnet) for pool in made.pools], made.options, made.labels) == (
        ["10.8.0.0/24"],
        {"parent": "lab0"},
        {"a": "b"},
    )


def _sub(driver: str, **options: str) -> Network:
    return _plan(Name="there", Driver=driver, Options=options)


@pytest.mark.parametrize(
    ("options", "parent"),
    [
        ({"parent": "eth0"}, ("eth0", "", "", 0)),
        ({"parent": "eth0.50"}, ("eth0.50", "vlan", "eth0", 50)),
        ({"parent": "eth0.5000"}, ("eth0.5000", "", "", 0)),
        ({"parent": "a.b.7"}, ("a.b.7", "", "", 0)),
    ],
)
def test_parents(options: dict[str, str], parent: tuple[str, str, str, int]) -> None:
    (planned,) = DRIVERS["macvlan"].plan_network(_sub("macvlan", **options)).parents
    assert (planned.name, planned.kind, planned.base, planned.number) == parent


def test_without_a_parent_nothing_leads_out() -> None:
    driver, network = DRIVERS["macvlan"], _sub("macvlan")
    (planned,) = driver.plan_network(network).parents
    assert (planned.name, planned.kind) == (f"dm-{network.id[:12]}", "dummy")
    assert not driver.leads_out(network)
    assert driver.leads_out(_sub("macvlan", parent="eth0"))
    assert DRIVERS["ipvlan"].routes_directly(_sub("ipvlan", ipvlan_mode="l3s"))


def test_several_subnets() -> None:
    made = _plan(
        Driver="macvlan",
        **_ipam({"Subnet": "10.1.0.0/24"}, {"Subnet": "10.2.0.0/24", "Gateway": "10.2.0.254"}),
    )
    assert [str(pool.gateway) for pool in made.pools] == ["10.1.0.1", "10.2.0.254"]


def test_who_may_share_a_parent() -> None:
    plain = _sub("macvlan", parent="eth0")
    assert _plan(more=[plain], Driver="macvlan", Options={"parent": "eth0"}).pools
    for driver, options, others in (
        ("macvlan", {"macvlan_mode": "passthru"}, [plain]),
        ("macvlan", {}, [_sub("macvlan", parent="eth0", macvlan_mode="passthru")]),
        ("ipvlan", {}, [plain]),
        ("macvlan", {}, [_sub("ipvlan", parent="eth0")]),
    ):
        with pytest.raises(Forbidden, match="is already using parent interface eth0"):
            _plan(more=others, Driver=driver, Options={"parent": "eth0", **options})


@pytest.mark.parametrize(
    ("body", "chooses"),
    [
        ({}, True),
        (_ipam({"Subnet": "10.1.0.0/24"}), False),
        (_ipam({"Subnet": "fd00::/64"}), True),
        (_ipam({}), True),
        ({"EnableIPv4": False, "EnableIPv6": True}, False),
    ],
)
def test_who_chooses_the_subnet(body: dict[str, Any], chooses: bool) -> None:
    assert chooses_subnet(msgspec.convert({"Name": "mine", **body}, CreateNetwork)) is chooses
