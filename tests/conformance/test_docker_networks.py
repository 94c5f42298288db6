"""Networks with Docker's own command line, as courses teach them."""

import json

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
