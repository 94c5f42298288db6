"""``network explain`` and ``network dns trace``, asked of a running engine."""

import json
import subprocess
import sys
from typing import Any

import docker
import pytest
from docker.types import EndpointConfig
from support.daemon import Daemon, sampan

pytestmark = pytest.mark.root
_PAGE = ["httpd", "-f", "-p", "80"]


def _explain(daemon: Daemon, *words: str) -> Any:
    return json.loads(sampan(daemon, "network", "explain", "--format", "json", *words).stdout)


def _web(client: docker.DockerClient, **more: Any) -> docker.models.containers.Container:
    client.networks.create("mine")
    return client.containers.run(
        "busybox",
        _PAGE,
        name="web",
        detach=True,
        stop_signal="KILL",
        network="mine",
        networking_config={"mine": EndpointConfig(client.api._version, aliases=["www"])},
        ports={"80/tcp": ("127.0.0.1", 8110), "81/tcp": 8111},
        **more,
    )


def test_a_container_is_explained(client: docker.DockerClient, daemon: Daemon) -> None:
    web = _web(client)
    client.containers.run("busybox", _PAGE, name="db", detach=True, stop_signal="KILL", network="mine")
    web.reload()
    found = _explain(daemon, "web")
    address = web.attrs["NetworkSettings"]["Networks"]["mine"]["IPAddress"]
    host, inside = found["Namespaces"]
    assert inside["Path"] == web.attrs["NetworkSettings"]["SandboxKey"]
    assert inside["Inode"] != host["Inode"]
    eth0 = next(each for each in inside["Interfaces"] if each["Name"] == "eth0")
    veth = next(each for each in host["Interfaces"] if each["Kind"] == "veth")
    assert eth0["Peer"] == f"{veth['Name']} of the host"
    assert veth["Peer"] == "eth0 of container web"
    assert {"Text": f"{address}/16", "State": "ok"} in eth0["Addresses"]
    assert any(route["Text"].startswith("default via ") for route in inside["Routes"])
    published = [rule for rule in found["Rules"] if rule["Owner"] == "container web"]
    assert any(f"{address} . 80" in rule["Statement"] for rule in published)
    assert all(rule["State"] == "ok" and rule["Reason"] for rule in found["Rules"])
    assert any(rule["Kernel"] == "ct status dnat accept" for rule in found["Rules"])
    assert {name["Name"] for name in found["Names"] if name["Container"] == "web"} >= {"web", "www"}
    reach = {(entry["Who"], entry["Allowed"]) for entry in found["Reach"]}
    assert ("on network mine: db", True) in reach
    assert ("this host only", True) in reach
    assert found["Differences"] == []
    text = sampan(daemon, "network", "explain", "web").stdout
    assert f"net:[{inside['Inode']}]" in text
    assert "All is as it shall be." in text


def test_a_network_and_a_port_are_explained(client: docker.DockerClient, daemon: Daemon) -> None:
    _web(client)
    network = _explain(daemon, "mine")
    assert (network["Kind"], network["Name"]) == ("network", "mine")
    assert [space["Owner"] for space in network["Namespaces"]] == ["host", "container web"]
    port = _explain(daemon, "127.0.0.1:8110")
    assert (port["Kind"], port["Name"]) == ("port", "8110/tcp")
    elements = [rule["Statement"] for rule in port["Rules"] if rule["Owner"] == "container web"]
    assert any("8110" in element for element in elements)
    assert not any("8111" in element for element in elements)
    assert _explain(daemon, "--type", "port", "8111/tcp")["Name"] == "8111/tcp"
    for words, complaint in (
        (["nothing"], "no such container, network or published port: nothing"),
        (["8112"], "no such container, network or published port: 8112"),
        (["--type", "port", "8112/udp"], "port 8112/udp is not published"),
        (["--type", "port", "mine"], "invalid port: mine"),
        (["--type", "thing", "mine"], "invalid kind 'thing'"),
    ):
        failed = sampan(daemon, "network", "explain", *words, check=False)
        assert failed.returncode == 1
        assert complaint in failed.stderr


def test_differences_are_marked(client: docker.DockerClient, daemon: Daemon) -> None:
    web = _web(client)
    web.reload()
    inside = ["nsenter", f"--net={web.attrs['NetworkSettings']['SandboxKey']}"]
    address = web.attrs["NetworkSettings"]["Networks"]["mine"]["IPAddress"]
    subprocess.run([*inside, "ip", "address", "del", f"{address}/16", "dev", "eth0"], check=True)
    found = _explain(daemon, "web")
    assert f"address {address}/16 of eth0 in container web missing" in found["Differences"]
    assert any("default via" in difference for difference in found["Differences"])
    text = sampan(daemon, "network", "explain", "web").stdout
    assert f"!      {address}/16  (missing)" in text.replace("  !   ", "!      ")


def test_names_are_traced(client: docker.DockerClient, daemon: Daemon) -> None:
    web = _web(client)
    web.reload()
    address = web.attrs["NetworkSettings"]["Networks"]["mine"]["IPAddress"]
    trace = ("network", "dns", "trace", "--from", "web", "--format", "json")
    found = json.loads(sampan(daemon, *trace, "www").stdout)
    assert (found["Source"], found["Code"]) == ("network mine", "NOERROR")
    assert [record["Data"] for record in found["Records"]] == [address]
    assert 0 < found["Milliseconds"] < 1000
    found = json.loads(sampan(daemon, *trace, "--type", "PTR", address).stdout)
    assert found["Records"][0]["Data"] == "web.mine"
    found = json.loads(sampan(daemon, *trace, "--type", "AAAA", "web").stdout)
    assert (found["Code"], found["Records"]) == ("NOERROR", [])
    text = sampan(daemon, "network", "dns", "trace", "www", "--from", "web").stdout
    assert text.startswith("www A  asked by container web\n")
    assert f"  A           {address}  (ttl 600)\n" in text
    for words, complaint in (
        (["www"], "say which container asks"),
        (["--from", "nobody", "www"], "No such container: nobody"),
        (["--from", "web", "--type", "MX", "www"], "invalid type 'MX'"),
        (["--from", "web", "a..b"], "not a name"),
    ):
        failed = sampan(daemon, "network", "dns", "trace", *words, check=False)
        assert complaint in failed.stderr


def test_servers_that_answer_are_named(client: docker.DockerClient, daemon: Daemon) -> None:
    """A name server that answers, and one that does not, both on addresses of the host."""
    script = (
        "import socket,sys\n"
        "s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(('198.51.100.1',53)); print(flush=True)\n"
        "while True:\n"
        "    d,a=s.recvfrom(512)\n"
        "    end=d.index(b'\\0',12)+5\n"
        "    s.sendto(d[:2]+b'\\x81\\x80\\0\\1\\0\\1\\0\\0\\0\\0'+d[12:end]"
        "+b'\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x3c\\0\\4\\xc0\\0\\2\\x07',a)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            server.stdout.readline()
            _web(client, dns=["198.51.100.1"])
            found = json.loads(
                sampan(
                    daemon, "network", "dns", "trace", "--from", "web", "--format", "json", "example.com"
                ).stdout
            )
            assert found["Source"] == "server 198.51.100.1"
            assert found["Servers"][0]["Outcome"] == "NOERROR"
            assert found["Records"] == [{"Type": "A", "Data": "192.0.2.7", "Ttl": 60}]
            assert found["LookedIn"] == ["mine"]
        finally:
            server.kill()
