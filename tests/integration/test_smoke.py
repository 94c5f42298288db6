"""What must work on every kernel and cgroup version: a container's life, its limits, its port, a new daemon.

``scripts/vm-smoke.sh`` runs this file on a stock Debian kernel too.
"""

import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import pytest
from support.daemon import PATIENCE, Daemon

from sampan.kernel.cgroup import find_layout

pytestmark = pytest.mark.root


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20 * PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def control(daemon: Daemon, container: Any, controller: str, v1: str, v2: str) -> str:
    """Return the content of a file in the container's cgroup, of whichever version it is."""
    layout = find_layout()
    tree = layout.tree(controller) or layout.hierarchies[0].mountpoint
    name = v1 if layout.version == 1 else v2
    return Path(f"{tree}{daemon.cgroup_parent}/{container.id}/{name}").read_text().strip()


def test_a_life(daemon: Daemon, client: docker.DockerClient) -> None:
    script = "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.1; done"
    container = client.containers.run("busybox", ["sh", "-c", script], detach=True, name="life")
    until(lambda: container.logs() == b"ready\n")
    assert container.exec_run(["sh", "-c", "hostname; cat /proc/1/comm"]).output.decode().split() == [
        container.short_id,
        "sh",
    ]
    assert container.exec_run("false").exit_code == 1
    assert "sleep 0.1" in str(container.top()) or "sh -c" in str(container.top())
    container.stop(timeout=20 * PATIENCE)
    assert container.wait()["StatusCode"] == 7
    assert container.logs() == b"ready\nbye\n"
    container.start()
    container.kill()
    assert container.wait()["StatusCode"] == 137
    container.remove()
    assert client.containers.list(all=True) == []


def test_the_isolation_of_a_container(client: docker.DockerClient) -> None:
    script = (
        "id -u; ls -d /proc/[0-9]* | wc -l; cat /proc/sys/kernel/hostname; ip -o addr | grep -c eth0; pwd"
    )
    shown = client.containers.run(
        "busybox", ["sh", "-c", script], remove=True, hostname="box", user="nobody", working_dir="/tmp"
    )
    user, processes, name, addresses, place = shown.decode().split()
    assert (user, name, addresses, place) == ("65534", "box", "1", "/tmp")
    assert int(processes) < 6
    for forbidden in (
        "echo 1 >/proc/sys/kernel/panic",
        "mount -t tmpfs x /tmp",
        "ls /proc/1/root/proc/kcore/",
    ):
        with pytest.raises(docker.errors.ContainerError):
            client.containers.run("busybox", ["sh", "-c", forbidden], remove=True)
    with pytest.raises(docker.errors.ContainerError, match="Read-only file system"):
        client.containers.run("busybox", "touch /x", read_only=True, remove=True)


def test_a_container_that_takes_too_much_memory_is_killed(
    daemon: Daemon, client: docker.DockerClient
) -> None:
    container = client.containers.run(
        "busybox", "tail /dev/zero", detach=True, mem_limit="16m", memswap_limit="16m", network_mode="none"
    )
    assert container.wait()["StatusCode"] == 137
    container.reload()
    assert container.attrs["State"]["OOMKilled"]


def test_limits_are_set_and_changed(daemon: Daemon, client: docker.DockerClient) -> None:
    container = client.containers.run(
        "busybox",
        "sleep 1000",
        detach=True,
        mem_limit="32m",
        nano_cpus=500_000_000,
        pids_limit=7,
        cpu_shares=512,
        network_mode="none",
    )
    limit = control(daemon, container, "memory", "memory.limit_in_bytes", "memory.max")
    assert int(limit) == 32 << 20
    assert control(daemon, container, "pids", "pids.max", "pids.max") == "7"
    quota = control(daemon, container, "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0]
    assert quota == "50000"
    failed = container.exec_run(["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done"])
    assert "can't fork" in failed.output.decode()
    container.update(mem_limit="64m", memswap_limit="64m", cpu_shares=1024)
    limit = control(daemon, container, "memory", "memory.limit_in_bytes", "memory.max")
    assert int(limit) == 64 << 20
    assert control(daemon, container, "pids", "pids.max", "pids.max") == "7"


def test_a_paused_container_stands_still(daemon: Daemon, client: docker.DockerClient) -> None:
    container = client.containers.run("busybox", "sleep 1000", detach=True, network_mode="none")

    def frozen() -> bool:
        shown = control(daemon, container, "freezer", "freezer.state", "cgroup.events")
        return shown == "FROZEN" or "frozen 1" in shown

    assert not frozen()
    container.pause()
    until(frozen)
    container.reload()
    assert container.status == "paused"
    with pytest.raises(docker.errors.APIError, match="is paused, unpause the container before exec"):
        container.exec_run("true")
    container.unpause()
    until(lambda: not frozen())
    assert container.exec_run("true").exit_code == 0
    for _ in range(4):  # cgroup v2 lets a frozen process be killed, v1 only once it is thawed
        container.pause()
        container.kill()
        assert client.containers.list() == []
        container.start()
    container.pause()
    container.remove(force=True)


def fetch(host: str) -> bytes:
    """Return the page on port 8080 of ``host``, once the server is up."""
    deadline = time.monotonic() + 20 * PATIENCE
    while True:
        try:
            with urllib.request.urlopen(f"http://{host}:8080/", timeout=20 * PATIENCE) as answer:
                return bytes(answer.read())
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_published_port_is_reached(client: docker.DockerClient, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("hello\n")
    server = client.containers.run(
        "busybox",
        "httpd -f -h /www",
        detach=True,
        ports={"80/tcp": 8080},
        volumes={str(tmp_path): {"bind": "/www", "mode": "ro"}},
    )
    for address in ("127.0.0.1", "198.51.100.1"):
        assert fetch(address) == b"hello\n"
    server.reload()
    address = server.attrs["NetworkSettings"]["IPAddress"]
    page = client.containers.run("busybox", f"wget -qO- http://{address}/", remove=True)
    assert page == b"hello\n"


def test_devices_are_allowed_by_name(client: docker.DockerClient) -> None:
    """On cgroup v2 the rules are a program in the kernel; on v1, files."""
    probe = ["sh", "-c", "mknod /made c 1 11 && : >/made"]  # /dev/kmsg
    assert client.containers.run("busybox", probe, detach=True, network_mode="none").wait()["StatusCode"] != 0
    allowed = client.containers.run(
        "busybox", probe, detach=True, network_mode="none", device_cgroup_rules=["c 1:11 rwm"]
    )
    assert allowed.wait()["StatusCode"] == 0
    zero = client.containers.run("busybox", "head -c 4 /dev/zero", remove=True, network_mode="none")
    assert zero == bytes(4)


def test_a_new_daemon_finds_what_the_last_one_left(own_daemon: Daemon) -> None:
    client = own_daemon.client()
    try:
        script = "trap 'exit 9' TERM; while :; do sleep 0.1; done"
        one = client.containers.run("busybox", ["sh", "-c", script], detach=True, ports={"80/tcp": 8080})
        two = client.containers.run("busybox", "sleep 1000", detach=True, network_mode="none")
        two.pause()
        for end in (own_daemon.stop, own_daemon.kill):
            end()
            own_daemon.start()
            assert one.exec_run("echo again").output == b"again\n"
            two.reload()
            assert two.status == "paused"
        two.unpause()
        two.kill()
        assert two.wait()["StatusCode"] == 137
        one.stop(timeout=20 * PATIENCE)
        assert one.wait()["StatusCode"] == 9
    finally:
        client.close()
