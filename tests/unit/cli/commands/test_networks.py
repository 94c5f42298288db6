"""``network``: what is sent to the daemon, and what is printed."""

import json

import pytest
from support.command_line import Sampan
from support.fake_daemon import FakeDaemon


def test_create(daemon: FakeDaemon, sampan: Sampan) -> None:
    daemon.on("POST", "/networks/create", status=201, json={"Id": "n" * 64, "Warning": "careful"})
    done = sampan(
        *("network", "create", "--subnet", "10.1.0.0/16", "--gateway", "10.1.0.9", "--label", "a=b"),
        *("-o", "com.docker.network.driver.mtu=1400", "--internal", "--ipv6", "mine"),
    )
    assert (done.code, done.out, done.err) == (0, "n" * 64 + "\n", "WARNING: careful\n")
    body = json.loads(daemon.requests[0].body)
    assert body["Name"] == "mine"
    assert body["IPAM"] == {
        "Driver": "default",
        "Options": {},
        "Config": [{"Subnet": "10.1.0.0/16", "Gateway": "10.1.0.9"}],
    }
    assert (body["Internal"], body["EnableIPv6"], body["Labels"]) == (True, True, {"a": "b"})
    assert body["Options"] == {"com.docker.network.driver.mtu": "1400"}
    assert "EnableIPv4" not in body


def test_pools_that_do_not_fit_are_not_sent(daemon: FakeDaemon, sampan: Sampan) -> None:
    done = sampan("network", "create", "--gateway", "10.0.0.1", "mine")
    assert (done.code, done.err) == (1, "every ip-range or gateway must have a corresponding subnet\n")
    assert daemon.requests == []


@pytest.mark.parametrize(
    ("args", "settings"),
    [
        ([], {}),
        (
            ["--ip", "10.0.0.9", "--alias", "x", "--alias", "y"],
            {"IPAMConfig": {"IPv4Address": "10.0.0.9"}, "Aliases": ["x", "y"]},
        ),
        (
            ["--gw-priority", "3", "--driver-opt", "a=b", "--link", "db:store"],
            {"GwPriority": 3, "DriverOpts": {"a": "b"}, "Links": ["db:store"]},
        ),
    ],
)
def test_connect(daemon: FakeDaemon, sampan: Sampan, args: list[str], settings: dict[str, object]) -> None:
    daemon.on("POST", "/networks/mine/connect", status=200)
    assert sampan("network", "connect", *args, "mine", "web").code == 0
    assert json.loads(daemon.requests[0].body) == {"Container": "web", "EndpointConfig": settings}


def test_disconnect(daemon: FakeDaemon, sampan: Sampan) -> None:
    daemon.on("POST", "/networks/mine/disconnect", status=200)
    assert sampan("network", "disconnect", "-f", "mine", "web").code == 0
    assert json.loads(daemon.requests[0].body) == {"Container": "web", "Force": True}


def test_remove(daemon: FakeDaemon, sampan: Sampan) -> None:
    daemon.on("DELETE", "/networks/one", status=204)
    daemon.on("DELETE", "/networks/gone", status=404, json={"message": "network gone not found"})
    daemon.on("DELETE", "/networks/used", status=403, json={"message": "in use"})
    done = sampan("network", "rm", "gone", "used", "one")
    assert (done.code, done.out) == (1, "one\n")
    assert done.err.splitlines() == [
        "Error response from daemon: network gone not found",
        "Error response from daemon: in use",
    ]
    assert sampan("network", "rm", "-f", "gone").code == 0


def test_prune(daemon: FakeDaemon, sampan: Sampan) -> None:
    daemon.on("POST", "/networks/prune", json={"NetworksDeleted": ["a", "b"]})
    assert sampan("network", "prune", "-f", "--filter", "label=x").out == "Deleted Networks:\na\nb\n\n"
    assert daemon.requests[0].query == {"filters": '{"label":{"x":true}}'}
