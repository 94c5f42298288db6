"""Networks with Docker's own command line, as courses teach them."""

import json
import os

import pytest
from support.daemon import Daemon

pytestmark = pytest.mark.root


def test_a_network_of_ones_own_with_aliases(docker_cli: Daemon) -> None:
    docker = docker_cli.cli
    docker("network", "create", "my_custom_network")
    aliases = ("--network-alias=alias1", "--network-alias=alias2")
    on_it = ("--network=my_custom_network", *aliases)
    docker("run", "-d", "--name", "my_service", *on_it, "busybox", "sleep", "99")
    for name in ("my_service", "alias1", "alias2"):
        said = docker(
            "run", "--rm", "--network=my_custom_network", "busybox", "ping", "-c1", "-W2", name
        ).stdout
        assert "1 packets received" in said
    assert "my_custom_network" in docker("network", "ls").stdout
    shown = json.loads(docker("network", "inspect", "my_custom_network").stdout)[0]
    assert [entry["Name"] for entry in shown["Containers"].values()] == ["my_service"]
    refused = docker("network", "rm", "my_custom_network", check=False)
    assert 'has active endpoints (name:"my_service"' in refused.stderr
    docker("rm", "-f", "my_service")
    assert docker("network", "rm", "my_custom_network").stdout == "my_custom_network\n"


def test_connect_and_disconnect(docker_cli: Daemon) -> None:
    docker = docker_cli.cli
    docker("network", "create", "--subnet", "10.66.0.0/16", "--ip-range", "10.66.9.0/24", "back")
    docker("run", "-d", "--name", "db", "--network", "back", "busybox", "sleep", "99")
    docker("run", "-d", "--name", "web", "busybox", "sleep", "99")
    assert docker("exec", "web", "ping", "-c1", "-W1", "db", check=False).returncode == 1
    docker("network", "connect", "--ip", "10.66.1.1", "--alias", "front", "back", "web")
    docker("exec", "web", "ping", "-c1", "-W2", "db")
    docker("exec", "db", "ping", "-c1", "-W2", "front")
    template = '{{(index .NetworkSettings.Networks "back").IPAddress}}'
    assert docker("inspect", "-f", template, "web").stdout == "10.66.1.1\n"
    docker("network", "disconnect", "back", "web")
    assert docker("exec", "db", "ping", "-c1", "-W1", "front", check=False).returncode == 1
    docker("rm", "-f", "web", "db")
    assert "back" in docker("network", "prune", "-f").stdout


def test_a_master_and_two_slaves_find_each_other(docker_cli: Daemon) -> None:
    docker = docker_cli.cli
    docker("network", "create", "replication")
    serve = "mkdir /www; hostname > /www/index.html; exec httpd -f -h /www"
    for name in ("master", "slave1", "slave2"):
        docker(
            "run",
            "-d",
            "--name",
            name,
            "--hostname",
            name,
            "--network",
            "replication",
            "busybox",
            "sh",
            "-c",
            serve,
        )
    for asker in ("slave1", "slave2"):
        assert docker("exec", asker, "wget", "-qO-", "http://master/").stdout == "master\n"
        assert docker("exec", "master", "wget", "-qO-", f"http://{asker}/").stdout == f"{asker}\n"


@pytest.mark.parametrize("mode", ["host", "none", "bridge"])
def test_the_predefined_networks(docker_cli: Daemon, mode: str) -> None:
    docker = docker_cli.cli
    links = docker("run", "--rm", f"--network={mode}", "busybox", "ls", "/sys/class/net").stdout.split()
    assert ("docker0" in links, "eth0" in links) == (mode == "host", mode == "bridge")
    for command in (("create", mode), ("rm", mode)):
        assert "Error response from daemon" in docker("network", *command, check=False).stderr


def test_a_joined_namespace_is_that_of_the_container_whatever_its_name(docker_cli: Daemon) -> None:
    docker = docker_cli.cli
    joined = docker("run", "-d", "--name", "first", "busybox", "sleep", "99").stdout.strip()
    docker("run", "-d", "--name", "second", "--network", "container:first", "busybox", "sleep", "99")
    template = "{{.HostConfig.NetworkMode}} {{.Config.Hostname}}"
    assert docker("inspect", "-f", template, "second").stdout == f"container:{joined} {joined[:12]}\n"
    assert docker("exec", "second", "hostname").stdout == f"{joined[:12]}\n"
    docker("exec", "second", "hostname", "-i")
    docker("rename", "first", "other")
    docker("restart", "-t", "0", "second")
    docker("rm", "-f", "second", "other")


def test_a_network_may_come_after_the_container(docker_cli: Daemon) -> None:
    docker = docker_cli.cli
    docker("create", "--name", "early", "--network", "late", "busybox", "true")
    assert "network late not found" in docker("start", "early", check=False).stderr
    docker("network", "create", "late")
    assert docker("start", "-a", "early").stdout == ""
    docker("rm", "early")
    docker("network", "rm", "late")


def test_fixed_addresses_need_a_subnet_of_ones_own(docker_cli: Daemon) -> None:
    docker = docker_cli.cli
    docker("network", "create", "any")
    docker("network", "create", "--subnet", "10.67.0.0/24", "own")
    invalid = "invalid config for network {}: invalid endpoint settings:\n"
    for network, address, complaint in (
        ("any", "10.9.9.9", "user specified IP address is supported only when connecting to networks with"),
        ("own", "10.9.9.9", "no configured subnet or ip-range contain the IP address 10.9.9.9"),
        ("own", "bad", "invalid IPv4 address: bad"),
    ):
        refused = docker("run", "--network", network, "--ip", address, "busybox", "true", check=False)
        assert refused.returncode == 125
        assert invalid.format(network) + complaint in refused.stderr
    docker("network", "rm", "any", "own")


def test_the_hosts_network_comes_with_the_hosts_name(docker_cli: Daemon) -> None:
    docker = docker_cli.cli
    on_host = ("run", "--rm", "--network", "host")
    assert docker(*on_host, "busybox", "hostname").stdout == f"{os.uname().nodename}\n"
    assert docker(*on_host, "--hostname", "mine", "busybox", "hostname").stdout == "mine\n"
