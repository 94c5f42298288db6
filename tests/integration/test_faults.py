"""Every step of a start fails in turn, and the daemon is killed at each of them: nothing may stay behind."""

import random
import threading
import time

import docker
import pytest
from support.daemon import Daemon
from support.traces import assert_none_left, look

pytestmark = pytest.mark.root

STEPS = (
    "containers.start.rootfs",
    "containers.start.network",
    "containers.start.spec",
    "containers.start.process",
)
NETWORK_STEPS = (
    "networks.sandbox.netns",
    "networks.sandbox.link",
    "networks.sandbox.address",
    "networks.sandbox.ports",
)


@pytest.mark.parametrize("step", [*STEPS, *NETWORK_STEPS])
def test_a_start_that_fails_leaves_nothing(own_daemon: Daemon, step: str) -> None:
    own_daemon.stop()
    own_daemon.start(environment={"SAMPAN_FAULTS": step})
    before = look(own_daemon)
    client = own_daemon.client()
    container = client.containers.create("busybox", "sleep 100", name="victim", ports={"80/tcp": 8080})
    with pytest.raises(docker.errors.APIError, match=f"injected fault at {step}"):
        container.start()
    assert_none_left(before, own_daemon)
    container.reload()
    assert container.status == "created"
    assert step in container.attrs["State"]["Error"]
    own_daemon.stop()
    own_daemon.start()
    container.start()
    container.remove(force=True)
    client.close()


@pytest.mark.parametrize("step", STEPS)
def test_a_daemon_killed_in_a_start_is_cleaned_up_after(own_daemon: Daemon, step: str) -> None:
    before = look(own_daemon)
    own_daemon.stop()
    own_daemon.start(environment={"SAMPAN_FAULTS": f"{step}=kill"})
    client = own_daemon.client()
    container = client.containers.create("busybox", "sleep 100", name="victim", ports={"80/tcp": 8080})
    with pytest.raises((docker.errors.APIError, OSError)):
        container.start()
    own_daemon.wait()
    own_daemon.start()
    container.reload()
    assert container.status in ("created", "exited")
    assert_none_left(before, own_daemon)
    container.start()
    container.remove(force=True)
    client.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_daemon_killed_at_random_points_loses_nothing(own_daemon: Daemon) -> None:
    """200 cycles of run, stop and remove, with the daemon killed about every eighth of them."""
    before = look(own_daemon)
    chooser = random.Random(20)  # noqa: S311 - the same points in every run
    kills = 0
    done = 0
    while done < 200:
        stop = threading.Event()
        failures: list[BaseException] = []

        def cycle(stop: threading.Event = stop, failures: list[BaseException] = failures) -> None:
            nonlocal done
            client = own_daemon.client()
            try:
                while not stop.is_set() and done < 200:
                    container = client.containers.run(
                        "busybox", "sleep 100", detach=True, ports={"80/tcp": None}
                    )
                    container.stop(timeout=0)
                    container.remove()
                    done += 1
            except (docker.errors.APIError, OSError) as error:
                failures.append(error)
            finally:
                client.close()

        worker = threading.Thread(target=cycle)
        worker.start()
        worker.join(chooser.uniform(0.05, 0.6))
        own_daemon.kill()
        kills += 1
        stop.set()
        worker.join(30)
        assert not worker.is_alive()
        own_daemon.start()
        client = own_daemon.client()
        for container in client.containers.list(all=True):
            container.remove(force=True)
        client.close()
    assert kills >= 10
    assert_none_left(before, own_daemon)


def test_a_container_outlives_the_daemon(own_daemon: Daemon) -> None:
    client = own_daemon.client()
    script = "i=0; while [ $i -lt 100 ]; do echo line $i; i=$((i+1)); sleep 0.02; done; exit 7"
    short = client.containers.run("busybox", ["sh", "-c", script], detach=True, name="short")
    long = client.containers.run(
        "busybox", ["sh", "-c", "cat; sleep 1000"], detach=True, name="long", stdin_open=True
    )
    own_daemon.kill()
    deadline = time.monotonic() + 30
    while any(short.id in shim for shim in look(own_daemon).shims):  # it ends while nobody watches
        assert time.monotonic() < deadline
        time.sleep(0.02)
    own_daemon.start()
    assert short.wait(timeout=20)["StatusCode"] == 7
    assert short.logs() == b"".join(b"line %d\n" % number for number in range(100))
    assert long.exec_run("echo works again").output == b"works again\n"
    stream = long.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    stream._sock.sendall(b"after the restart\n")
    header = stream._sock.recv(8)
    assert stream._sock.recv(header[7]) == b"after the restart\n"
    stream._sock.close()
    stream.close()
    long.reload()
    assert long.status == "running"
    long.kill()
    assert long.wait()["StatusCode"] == 137
    client.close()


def test_a_killed_shim_ends_its_container(daemon: Daemon, client: docker.DockerClient) -> None:
    container = client.containers.run("busybox", "sleep 1000", detach=True)
    for shim in look(daemon).shims:
        if container.id in shim:
            import os

            os.kill(int(shim.partition(":")[0]), 9)
    assert container.wait(timeout=20)["StatusCode"] == 137


def test_a_port_that_is_taken_names_its_holder(client: docker.DockerClient) -> None:
    client.containers.run("busybox", "sleep 100", detach=True, name="first", ports={"80/tcp": 8080})
    second = client.containers.create("busybox", "sleep 100", name="second", ports={"80/tcp": 8080})
    with pytest.raises(docker.errors.APIError, match=r"port is already allocated.*first") as caught:
        second.start()
    assert caught.value.status_code == 500
    second.reload()
    assert second.status == "created"
