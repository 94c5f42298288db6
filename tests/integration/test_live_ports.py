"""Ports of a running container that come and go while its process stays."""

import socket
import time
import urllib.request
from pathlib import Path

import docker
import pytest
from support.daemon import PATIENCE, Daemon, running_daemon, sampan
from support.images import load_busybox

pytestmark = pytest.mark.root
_PAGE = ["sh", "-c", "mkdir /www; echo hello > /www/index.html; exec httpd -f -p 80 -h /www"]


def _page(port: int, host: str = "127.0.0.1") -> bytes:
    """Return the page; its server may need a moment after the start of its container."""
    deadline = time.monotonic() + 10 * PATIENCE
    while True:
        try:
            with urllib.request.urlopen(f"http://{host}:{port}/", timeout=5) as answer:
                return bytes(answer.read())
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _refused(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


def test_ports_come_and_go(client: docker.DockerClient, daemon: Daemon) -> None:
    web = client.containers.run("busybox", _PAGE, name="web", detach=True, stop_signal="KILL")
    web.reload()
    pid = web.attrs["State"]["Pid"]
    assert sampan(daemon, "port", "add", "web", "8095:80", "127.0.0.1:8096:80").stdout.splitlines() == [
        "80/tcp -> 0.0.0.0:8095",
        "80/tcp -> 127.0.0.1:8096",
        "80/tcp -> [::]:8095",
    ]
    assert _page(8095) == _page(8096) == _page(8095, "[::1]") == b"hello\n"
    with urllib.request.urlopen("http://127.0.0.1:8096/", timeout=5) as kept:
        assert sampan(daemon, "port", "rm", "web", "8095:80").stdout == "80/tcp -> 127.0.0.1:8096\n"
        assert kept.read() == b"hello\n"
    assert _refused(8095)
    web.reload()
    assert web.attrs["State"]["Pid"] == pid
    assert web.attrs["HostConfig"]["PortBindings"] == {
        "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8096"}]
    }
    assert web.ports["80/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": "8096"}]
    assert "127.0.0.1:8096->80/tcp" in sampan(daemon, "ps").stdout
    web.restart(timeout=0)
    assert _page(8096) == b"hello\n"


def test_what_cannot_be(client: docker.DockerClient, daemon: Daemon) -> None:
    client.containers.run(
        "busybox", _PAGE, name="first", detach=True, stop_signal="KILL", ports={"80/tcp": 8097}
    )
    second = client.containers.run("busybox", _PAGE, name="second", detach=True, stop_signal="KILL")
    client.containers.run("busybox", _PAGE, name="hosted", detach=True, stop_signal="KILL", network="none")
    failed = sampan(daemon, "port", "add", "second", "8098:80", "8097:80", check=False)
    assert failed.returncode == 1
    assert "port is already allocated (by container first)" in failed.stderr
    assert _refused(8098), "all or nothing"
    second.reload()
    assert second.attrs["HostConfig"]["PortBindings"] in ({}, None)
    failed = sampan(daemon, "port", "rm", "second", "80", check=False)
    assert "port 80/tcp is not published" in failed.stderr
    failed = sampan(daemon, "port", "add", "hosted", "8098:80", check=False)
    assert "network mode none publishes no ports" in failed.stderr
    failed = sampan(daemon, "port", "swap", "second", "80", check=False)
    assert "say add or rm" in failed.stderr
    assert sampan(daemon, "port", "first", "80").stdout.splitlines()[0] == "0.0.0.0:8097"


def test_they_outlive_the_daemon(own_daemon: Daemon) -> None:
    client = own_daemon.client()
    client.networks.create("mine")
    web = client.containers.run(
        "busybox", _PAGE, name="web", detach=True, stop_signal="KILL", network="mine", ports={"80/tcp": 8099}
    )
    sampan(own_daemon, "port", "add", "web", "8100:80")
    sampan(own_daemon, "port", "rm", "web", "8099:80")
    own_daemon.kill()
    own_daemon.start()
    assert _page(8100) == b"hello\n"
    assert _refused(8099)
    web.stop(timeout=0)
    sampan(own_daemon, "port", "add", "web", "8099:80")
    web.start()
    assert _page(8099) == _page(8100) == b"hello\n"
    client.close()


def test_a_change_that_fails_leaves_nothing(own_daemon: Daemon) -> None:
    own_daemon.stop()
    own_daemon.start(environment={"SAMPAN_FAULTS": "networks.ports.published"})
    client = own_daemon.client()
    client.containers.run("busybox", _PAGE, name="web", detach=True, stop_signal="KILL")
    failed = sampan(own_daemon, "port", "add", "web", "8101:80", check=False)
    assert "injected fault" in failed.stderr
    assert _refused(8101)
    assert sampan(own_daemon, "port", "web").stdout == ""
    client.close()


def test_the_default_host_of_published_ports(tmp_path: Path) -> None:
    with running_daemon(tmp_path, "--publish-default-host", "127.0.0.1") as daemon:
        load_busybox(daemon)
        client = daemon.client()
        client.networks.create("mine")
        for name, network, port in (("plain", "bridge", 8102), ("own", "mine", 8103)):
            client.containers.run(
                "busybox", _PAGE, name=name, detach=True, network=network, ports={"80/tcp": port}
            )
            assert sampan(daemon, "port", name).stdout == f"80/tcp -> 127.0.0.1:{port}\n"
        client.close()
