"""What a container may ask of the networks, and how networks are listed."""

from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sampan.base.errors import Forbidden, InvalidParameter
from sampan.networks import listing
from sampan.networks.addresses import mac_of, parse_mac
from sampan.networks.config import NetworkConfig
from sampan.networks.defaults import HostView, predefined
from sampan.networks.drivers import DRIVERS
from sampan.networks.model import Network
from sampan.networks.request import SandboxRequest, check_request, endpoint_sysctls
from sampan.networks.store import Sandbox, SandboxRow
from sampan.wire.containers import EndpointIPAMConfig, EndpointSettings, PortBinding

NETWORKS = {n.name: n for n in predefined({}, NetworkConfig(), HostView((), (), ()), in_use=False)}
PLAIN = SandboxRequest(
    container="c" * 64,
    name="web",
    hostname="web",
    domainname="",
    mode="bridge",
    endpoints={},
    exposed=(),
    bindings={},
    publish_all=False,
    dns=(),
    dns_search=(),
    dns_options=(),
    extra_hosts=(),
    mac_address="",
    links=(),
    files=Path(),
)


def _endpoint(**settings: Any) -> dict[str, Any]:
    return {"endpoints": {"bridge": EndpointSettings(**settings)}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            _endpoint(ipam_config=EndpointIPAMConfig(ipv4_address="172.17.0.9")),
            "settings:\nuser-specified IP address is supported on user-defined networks only",
        ),
        (
            _endpoint(aliases=["db"]),
            "invalid endpoint settings:\nnetwork-scoped aliases are only supported for user-defined networks",
        ),
        (_endpoint(mac_address="no"), "invalid MAC address"),
        ({"mac_address": "02:42"}, "invalid MAC address"),
        ({"bindings": {"x/tcp": [PortBinding("", "80")]}}, 'invalid port specification: "x"'),
        ({"bindings": {"80/tcp": [PortBinding("", "x")]}}, 'invalid port specification: "x"'),
        ({"exposed": ["80/xyz"]}, "invalid proto: xyz"),
        ({"extra_hosts": ["x"]}, 'bad format for add-host: "x"'),
        ({"dns": ["x"]}, 'invalid DNS server address: "x"'),
        ({"hostname": "a\n6.6.6.6 b"}, "invalid character in"),
        ({"dns_search": ["a\nnameserver 6.6.6.6"]}, "invalid character in"),
        (
            _endpoint(driver_opts={"com.docker.network.endpoint.ifname": "../x"}),
            "invalid interface name: '../x'",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_dockers_words(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameter) as raised:
        check_request(replace(PLAIN, **changes), [NETWORKS["bridge"]])
    assert message in str(raised.value)


def test_none_and_host_stand_alone() -> None:
    with pytest.raises(InvalidParameter, match="networks in private \\(none\\) mode"):
        check_request(PLAIN, [NETWORKS["bridge"], NETWORKS["none"]])
    with pytest.raises(InvalidParameter, match="cannot be connected to any other network"):
        check_request(PLAIN, [NETWORKS["host"], NETWORKS["bridge"]])


@pytest.mark.parametrize(
    "text",
    [
        "net.ipv4.conf.IFNAME.forwarding",
        "net.ipv4.conf.eth0.forwarding=1",
        "kernel.domainname=x",
        "net.core.x.IFNAME.y=1",
        "net.ipv4.conf.IFNAME.x/../../y=1",
        "net.ipv4.conf.IFNAME.forwarding=1,",
        "net.ipv4.conf.IFNAME.forwarding=1\n",
    ],
)
def test_settings_of_an_interface_that_cannot_be(text: str) -> None:
    option = {"com.docker.network.endpoint.sysctls": text}
    with pytest.raises(InvalidParameter, match="unrecognised network interface sysctl"):
        check_request(replace(PLAIN, **_endpoint(driver_opts=option)), [NETWORKS["bridge"]])


def test_options_of_endpoints() -> None:
    text = "net.ipv4.conf.IFNAME.forwarding=1,net.ipv6.conf.ifname.accept_ra=2"
    options = {"com.docker.network.endpoint.sysctls": text, "com.example.x": "1"}
    check_request(replace(PLAIN, **_endpoint(driver_opts=options)), [NETWORKS["bridge"]])
    assert endpoint_sysctls(EndpointSettings(driver_opts=options)) == tuple(text.split(","))


def test_nobody_is_on_a_network_that_only_keeps_settings() -> None:
    kept = Network("d" * 64, "kept", "null", "", config_only=True)
    with pytest.raises(Forbidden, match="cannot create endpoint on configuration-only network"):
        check_request(replace(PLAIN, mode="kept"), [kept])


@pytest.mark.parametrize("text", ["02:42:AC:11:00:02", "02-42-ac-11-00-02", "0242.ac11.0002"])
def test_mac_addresses_as_go_reads_them(text: str) -> None:
    assert parse_mac(text) == "02:42:ac:11:00:02"


@pytest.mark.parametrize(
    "text", ["", "02:42:ac:11:00", "02:42:ac:11:00:zz", "0242ac110002", "2:42:ac:11:00:02"]
)
def test_bad_mac_addresses(text: str) -> None:
    with pytest.raises(InvalidParameter):
        parse_mac(text)


def test_dockers_mac_of_an_address() -> None:
    assert mac_of(IPv4Address("172.17.0.2")) == "02:42:ac:11:00:02"


def test_an_inspected_network_reads_as_dockers() -> None:
    network = NETWORKS["bridge"]
    settings = EndpointSettings(
        endpoint_id="e" * 64, mac_address="02:42:ac:11:00:02", ip_address="172.17.0.2", ip_prefix_len=16
    )
    row = SandboxRow("web", Sandbox("c" * 64, "s" * 64, "/run/x", {"bridge": settings}, {}), [])
    shown = msgspec.to_builtins(listing.describe(network, [row]))
    assert shown["IPAM"] == {
        "Driver": "default",
        "Options": None,
        "Config": [{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}],
    }
    assert shown["Containers"] == {
        "c" * 64: {
            "Name": "web",
            "EndpointID": "e" * 64,
            "MacAddress": "02:42:ac:11:00:02",
            "IPv4Address": "172.17.0.2/16",
            "IPv6Address": "",
        }
    }
    assert (shown["Scope"], shown["Driver"], shown["EnableIPv4"], shown["EnableIPv6"]) == (
        "local",
        "bridge",
        True,
        False,
    )


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({}, {"bridge", "host", "none"}),
        ({"name": ["ost"]}, {"host"}),
        ({"name": ["^(host|none)$"]}, {"host", "none"}),
        ({"driver": ["null", "host"]}, {"host", "none"}),
        ({"driver": ["nul"]}, set()),
        ({"scope": ["local"]}, {"bridge", "host", "none"}),
        ({"scope": ["swarm"]}, set()),
        ({"type": ["custom"]}, set()),
        ({"type": ["builtin"]}, {"bridge", "host", "none"}),
        ({"dangling": ["true"]}, set()),
        ({"dangling": ["0"]}, {"bridge", "host", "none"}),
        ({"label": ["x"]}, set()),
        ({"id": [NETWORKS["none"].id[:12]]}, {"none"}),
    ],
)
def test_filters(filters: dict[str, list[str]], names: set[str]) -> None:
    assert {n.name for n in listing.select(NETWORKS.values(), filters, [])} == names


def test_labels_and_use() -> None:
    own = Network("f" * 64, "own", "bridge", "", labels={"a": "1"})
    everything = [*NETWORKS.values(), own]
    assert listing.select(everything, {"label": ["a=1"]}, []) == [own]
    assert listing.select(everything, {"label": ["a=2"]}, []) == []
    assert listing.select(everything, {"dangling": ["1"]}, []) == [own]
    assert listing.select(everything, {"dangling": ["1"]}, [own.id]) == []


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"colour": ["red"]}, "invalid filter 'colour'"),
        ({"type": ["odd"]}, "invalid filter: 'type'='odd'"),
        ({"dangling": ["maybe"]}, "invalid value for filter 'dangling'"),
        ({"dangling": ["1", "0"]}, 'got more than one value for filter key "dangling"'),
    ],
)
def test_bad_filters(filters: dict[str, list[str]], message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        listing.select(NETWORKS.values(), filters, [])


def test_every_driver_is_known_by_its_name() -> None:
    assert {name: driver.name for name, driver in DRIVERS.items()} == {
        n: n for n in ("bridge", "host", "ipvlan", "macvlan", "null")
    }
