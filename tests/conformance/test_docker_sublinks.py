"""macvlan and ipvlan networks with Docker's own command line, on an interface of the test's own namespace."""

import json
import subprocess
from collections.abc import Iterator

import pytest
from support.daemon import Daemon
from support.netlab import OUTSIDE, command

pytestmark = pytest.mark.root
SUBNET = ("--subnet=192.168.1.0/24", "--gateway=192.168.1.1")


@pytest.fixture
def segment() -> Iterator[None]:
    """An interface ``eth0`` whose other end is the router 192.168.1.1 in a namespace of its own."""
    command("ip", "netns", "add", OUTSIDE.name)
    command("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "up0", "netns", OUTSIDE.name)
    command("ip", "link", "set", "eth0", "up")
    command("ip", "-n", OUTSIDE.name, "address", "add", "192.168.1.1/24", "dev", "up0")
    command("ip", "-n", OUTSIDE.name, "link", "set", "up0", "up")
    yield
    command("ip", "link", "del", "eth0")
    command("ip", "netns", "del", OUTSIDE.name)


def _has(kind: str) -> bool:
    probe = ("ip", "link", "add", "name", "probe9", "type", kind)
    more = ("id", "9") if kind == "vlan" else ()
    made = subprocess.run([*probe[:3], "link", "lo", *probe[3:], *more], capture_output=True, check=False)
    subprocess.run(["ip", "link", "del", "probe9"], capture_output=True, check=False)
    return b"Unknown device type" not in made.stderr


def _pings(daemon: Daemon, name: str, target: str) -> bool:
    return daemon.cli("exec", name, "ping", "-c1", "-W1", target, check=False).returncode == 0


def test_macvlan_as_it_is_taught(docker_cli: Daemon, segment: None) -> None:
    docker = docker_cli.cli
    docker("network", "create", "-d", "macvlan", *SUBNET, "-o", "parent=eth0", "pub_net")
    shown = json.loads(docker("network", "inspect", "pub_net").stdout)[0]
    assert (shown["Driver"], shown["Options"]) == ("macvlan", {"parent": "eth0"})
    on_it = ("--network", "pub_net")
    docker("run", "-d", "--name", "first", *on_it, "--ip", "192.168.1.50", "busybox", "sleep", "99")
    docker("run", "-d", "--name", "second", *on_it, "-p", "8080:80", "busybox", "sleep", "99")
    for target in ("192.168.1.1", "second", "192.168.1.2"):
        assert _pings(docker_cli, "first", target), target
    link = docker("exec", "first", "ip", "-o", "link", "show", "eth0").stdout
    assert "02:42:c0:a8:01:32" in link
    assert docker("exec", "first", "ip", "route").stdout.startswith("default via 192.168.1.1 dev eth0")
    assert docker("port", "second").stdout == "", "nothing is published, as with Docker"
    docker("network", "disconnect", "pub_net", "second")
    assert "eth0" not in docker("exec", "second", "ip", "link").stdout
    docker("network", "connect", "--alias", "again", "pub_net", "second")
    assert _pings(docker_cli, "first", "again")
    docker("rm", "-f", "first", "second")
    docker("network", "rm", "pub_net")
    assert "eth0" in command("ip", "link"), "the host's own interface stays"


def test_only_one_container_passes_through(docker_cli: Daemon, segment: None) -> None:
    docker = docker_cli.cli
    mode = ("-o", "parent=eth0", "-o", "macvlan_mode=passthru")
    docker("network", "create", "-d", "macvlan", *SUBNET, *mode, "through")
    for _ in range(2):  # the parent is free again at once
        docker("run", "-d", "--name", "only", "--network", "through", "busybox", "sleep", "99")
        assert _pings(docker_cli, "only", "192.168.1.1")
        refused = docker("run", "--name", "more", "--network", "through", "busybox", "true", check=False)
        assert refused.returncode == 125
        docker("rm", "-f", "more", "only")
    refused = docker(
        "network", "create", "-d", "macvlan", "--subnet=10.9.0.0/24", "-o", "parent=eth0", "x", check=False
    )
    assert "is already using parent interface eth0 in mode passthru" in refused.stderr


def test_without_a_parent_containers_are_among_themselves(docker_cli: Daemon) -> None:
    docker = docker_cli.cli
    number = docker("network", "create", "-d", "macvlan", "alone").stdout
    docker("run", "-d", "--name", "first", "--network", "alone", "busybox", "sleep", "99")
    docker("run", "-d", "--name", "second", "--network", "alone", "busybox", "sleep", "99")
    assert _pings(docker_cli, "first", "second")
    assert "default" not in docker("exec", "first", "ip", "route").stdout
    parent = command("ip", "-d", "link", "show", f"dm-{number[:12]}")
    assert "dummy" in parent or "bridge" in parent
    docker("rm", "-f", "first", "second")
    docker("network", "rm", "alone")
    assert "dm-" not in command("ip", "link")


def test_a_vlan_is_made_and_removed_with_its_network(docker_cli: Daemon, segment: None) -> None:
    docker = docker_cli.cli
    create = (
        "network",
        "create",
        "-d",
        "macvlan",
        "--subnet=192.168.50.0/24",
        "-o",
        "parent=eth0.50",
        "vlan50",
    )
    if not _has("vlan"):
        refused = docker(*create, check=False)
        assert "this host's kernel has no vlan links (CONFIG_VLAN_8021Q)" in refused.stderr
        assert "vlan50" not in docker("network", "ls").stdout
        return
    command(
        "ip", "-n", OUTSIDE.name, "link", "add", "link", "up0", "name", "up0.50", "type", "vlan", "id", "50"
    )
    command("ip", "-n", OUTSIDE.name, "address", "add", "192.168.50.9/24", "dev", "up0.50")
    command("ip", "-n", OUTSIDE.name, "link", "set", "up0.50", "up")
    docker(*create)
    assert "vlan protocol 802.1Q id 50" in command("ip", "-d", "link", "show", "eth0.50")
    assert (
        docker(
            "run", "--rm", "--network", "vlan50", "busybox", "ping", "-c1", "-W3", "192.168.50.9"
        ).returncode
        == 0
    )
    docker("network", "rm", "vlan50")
    assert "eth0.50" not in command("ip", "link")


@pytest.mark.parametrize("mode", ["l2", "l3", "l3s"])
def test_ipvlan(docker_cli: Daemon, segment: None, mode: str) -> None:
    docker = docker_cli.cli
    create = (
        "network",
        "create",
        "-d",
        "ipvlan",
        *SUBNET,
        "-o",
        "parent=eth0",
        "-o",
        f"ipvlan_mode={mode}",
        "ip",
    )
    if not _has("ipvlan"):
        refused = docker(*create, check=False)
        assert "this host's kernel has no ipvlan links (CONFIG_IPVLAN)" in refused.stderr
        return
    docker(*create)
    docker("run", "-d", "--name", "first", "--network", "ip", "busybox", "sleep", "99")
    docker("run", "-d", "--name", "second", "--network", "ip", "busybox", "sleep", "99")
    assert _pings(docker_cli, "first", "second")
    route = docker("exec", "first", "ip", "route").stdout.splitlines()[0]
    assert route.split()[:3] == (
        ["default", "via", "192.168.1.1"] if mode == "l2" else ["default", "dev", "eth0"]
    )
    assert _pings(docker_cli, "first", "192.168.1.1") or mode != "l2"
    refused = docker(
        "run", "--network", "ip", "--mac-address", "02:42:00:00:00:07", "busybox", "true", check=False
    )
    assert "ipvlan interfaces do not support custom mac address assignment" in refused.stderr
    macs = {docker("exec", name, "cat", "/sys/class/net/eth0/address").stdout for name in ("first", "second")}
    assert {mac.strip() for mac in macs} == {command("ip", "-br", "link", "show", "eth0").split()[2]}


def test_settings_kept_by_a_network(docker_cli: Daemon, segment: None) -> None:
    docker = docker_cli.cli
    docker("network", "create", "--config-only", *SUBNET, "-o", "parent=eth0", "--label", "a=b", "kept")
    docker("network", "create", "-d", "macvlan", "--config-from", "kept", "made")
    kept, made = (json.loads(docker("network", "inspect", name).stdout)[0] for name in ("kept", "made"))
    assert (kept["Driver"], kept["ConfigOnly"], made["ConfigFrom"]) == ("null", True, {"Network": "kept"})
    assert made["IPAM"]["Config"] == [{"Subnet": "192.168.1.0/24", "Gateway": "192.168.1.1"}]
    assert (made["Options"], made["Labels"]) == ({"parent": "eth0"}, {"a": "b"})
    run = docker("run", "--rm", "--network", "made", "busybox", "ping", "-c1", "-W2", "192.168.1.1")
    assert "1 packets received" in run.stdout
    refused = docker("run", "--rm", "--network", "kept", "busybox", "true", check=False)
    assert "cannot create endpoint on configuration-only network" in refused.stderr
    assert 'configuration network "kept" is in use' in docker("network", "rm", "kept", check=False).stderr
    docker("network", "rm", "made")
    docker("network", "rm", "kept")
