"""Every step of a start fails in turn, and the daemon is killed at each of them: nothing may stay behind."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import docker
import pytest
from support.daemon import Daemon, remove_everything, running_daemon
from support.images import busybox_layer, docker_archive, load_busybox
from support.plain_http import ask, unix
from support.traces import assert_none_left, look
from urllib3.exceptions import HTTPError

pytestmark = pytest.mark.root

CYCLES = 200

STEPS = (
    "storage.create",
    "containers.start.rootfs",
    "networks.sandbox.netns",
    "networks.sandbox.link",
    "networks.sandbox.address",
    "networks.sandbox.firewall",
    "networks.sandbox.ports",
    "networks.sandbox.files",
    "networks.sandbox.state",
    "containers.start.network",
    "containers.start.spec",
    "runtime.start.files",
    "runtime.start.shim",
    "containers.start.process",
)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with the image, to be started again with a fault."""
    with running_daemon(tmp_path_factory.mktemp("faulty")) as daemon:
        load_busybox(daemon)
        yield daemon


@pytest.fixture
def victim(faulty: Daemon) -> Iterator[Daemon]:
    """The daemon; when the test ends, nothing is left in its folders nor on the host."""
    before, files = look(faulty), files_of(faulty)
    yield faulty
    if not faulty.running:
        faulty.start()
    remove_everything(faulty)
    assert_none_left(before, faulty)
    assert_files_are(files, faulty)


def files_of(daemon: Daemon) -> frozenset[str]:
    """Return what lies in the daemon's folders, but for the database and what a running daemon keeps."""
    kept = ("state.db", "sampan.sock", "s.sock", "containers", "cgroups")
    paths = (path for root in (daemon.data_root, daemon.exec_root) for path in root.rglob("*"))
    return frozenset(str(path) for path in paths if not path.name.startswith(kept))


def assert_files_are(before: frozenset[str], daemon: Daemon) -> None:
    """Fail unless the daemon's folders hold what they held ``before``; a removal ends a moment later."""
    deadline = time.monotonic() + 10
    while (after := files_of(daemon)) != before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert sorted(after - before) == []
    assert sorted(before - after) == []


@pytest.mark.parametrize("step", STEPS)
def test_a_start_that_fails_leaves_nothing(victim: Daemon, step: str) -> None:
    victim.stop()
    victim.start(environment={"SAMPAN_FAULTS": step})
    before = look(victim)
    client = victim.client()
    container = client.containers.create("busybox", "sleep 100", name="victim", ports={"80/tcp": 8080})
    with pytest.raises(docker.errors.APIError, match=f"injected fault at {step}"):
        container.start()
    assert_none_left(before, victim)
    container.reload()
    assert container.status == "created"
    assert step in container.attrs["State"]["Error"]
    victim.stop()
    victim.start()
    container.start()
    container.remove(force=True)
    client.close()


@pytest.mark.parametrize("step", STEPS)
def test_a_daemon_killed_in_a_start_is_cleaned_up_after(victim: Daemon, step: str) -> None:
    before = look(victim)
    victim.stop()
    victim.start(environment={"SAMPAN_FAULTS": f"{step}=kill"})
    client = victim.client()
    container = client.containers.create("busybox", "sleep 100", name="victim", ports={"80/tcp": 8080})
    with pytest.raises((docker.errors.APIError, OSError)):
        container.start()
    assert victim.wait() == -signal.SIGKILL
    victim.start()
    container.reload()
    assert container.status in ("created", "exited")
    assert_none_left(before, victim)
    container.start()
    container.remove(force=True)
    client.close()


LOAD_STEPS = (
    "images.load.received",
    "storage.create",
    "storage.apply",
    "storage.commit",
    "images.install.layer",
    "images.install.row",
)


@pytest.mark.parametrize("action", ["", "=kill"], ids=["fails", "kills"])
@pytest.mark.parametrize("step", LOAD_STEPS)
def test_a_load_is_whole_or_absent(victim: Daemon, step: str, action: str) -> None:
    files, images = files_of(victim), ask(victim, "GET /images/json?all=1")
    config: dict[str, object] = {"Cmd": ["sh"]}
    small = docker_archive("x:1", [], {})  # a tar of two files is as good a layer as any
    archive = docker_archive("other:1", [busybox_layer(), small], config)  # the first one is there already
    victim.stop()
    victim.start(environment={"SAMPAN_FAULTS": f"{step}{action}"})
    client = victim.client()
    with pytest.raises((docker.errors.APIError, docker.errors.ImageLoadError, OSError, HTTPError)):
        client.images.load(archive)
    if action:
        assert victim.wait() == -signal.SIGKILL
    else:
        assert ask(victim, "GET /images/json?all=1") == images
        victim.stop()
    victim.start()
    assert ask(victim, "GET /images/json?all=1") == images
    assert_files_are(files, victim)
    client.images.load(archive)
    assert client.containers.run("other:1", "cat /manifest.json", remove=True)
    client.images.remove("other:1")
    assert_files_are(files, victim)
    client.close()


@pytest.mark.parametrize("step", ["containers.create.save", "storage.remove"])
def test_other_changes_that_fail_leave_nothing(victim: Daemon, step: str) -> None:
    victim.stop()
    victim.start(environment={"SAMPAN_FAULTS": step})
    client = victim.client()
    volumes = {"some-data": {"bind": "/data"}}
    if step == "containers.create.save":
        with pytest.raises(docker.errors.APIError, match=f"injected fault at {step}"):
            client.containers.create("busybox", "true", name="victim", volumes=volumes)
        assert client.containers.list(all=True) == []
        assert client.volumes.list() == []
    else:
        container = client.containers.run("busybox", "true", name="victim", detach=True)
        container.wait()
        container.remove()
        assert client.containers.list(all=True) == []
    victim.stop()
    victim.start()
    client.containers.create("busybox", "true", name="victim").remove()
    client.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_daemon_killed_at_random_points_loses_nothing(victim: Daemon) -> None:
    """200 cycles of run, stop and remove; every few of them the daemon is killed in a request."""
    before, files = look(victim), files_of(victim)
    chooser = random.Random(20)  # noqa: S311 - about the same points in every run
    done = kills = 0
    while done < CYCLES:
        cycles = Cycles(victim, CYCLES - done)
        for _ in range(chooser.randrange(1, 40)):
            assert cycles.begun.acquire(timeout=60)
        time.sleep(chooser.uniform(0, 0.03))
        victim.kill()
        kills += 1
        cycles.join(30)
        assert not cycles.is_alive()
        assert cycles.failures == []
        done += cycles.done
        victim.start()
        for left in ask(victim, "GET /containers/json?all=1"):
            with unix(victim) as client:  # one that is to remove itself may be quicker
                assert client.ask(f"DELETE /containers/{left['Id']}?force=1")[0] in (204, 404, 409)
    assert kills >= 10
    assert_none_left(before, victim)
    assert_files_are(files, victim)


class Cycles(threading.Thread):
    """Runs, stops and removes containers until there were ``wanted`` or the daemon has gone."""

    def __init__(self, daemon: Daemon, wanted: int) -> None:
        super().__init__()
        self._daemon = daemon
        self._wanted = wanted
        self.done = 0
        self.begun = threading.Semaphore(0)  # released at each request, and without end at the end
        self.failures: list[BaseException] = []
        self.start()

    def _ask(self, line: str, document: object = None) -> Any:
        self.begun.release()
        return ask(self._daemon, line, document)

    def run(self) -> None:
        document = {"Image": "busybox", "Cmd": ["sleep", "100"], "ExposedPorts": {"80/tcp": {}}}
        try:
            while self.done < self._wanted:
                host = {"PublishAllPorts": True, "AutoRemove": self.done % 4 == 3}
                name = self._ask("POST /containers/create", {**document, "HostConfig": host})["Id"]
                self._ask(f"POST /containers/{name}/start")
                if not host["AutoRemove"]:
                    self._ask(f"POST /containers/{name}/stop?t=0")
                self._ask(f"DELETE /containers/{name}?force={host['AutoRemove']}")
                self.done += 1
        except OSError:
            pass  # the daemon has been killed
        except BaseException as error:
            self.failures.append(error)
        finally:
            self.begun.release(100)


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


def kill_shim(daemon: Daemon, container: str) -> None:
    (shim,) = (shim for shim in look(daemon).shims if container in shim)
    os.kill(int(shim.partition(":")[0]), signal.SIGKILL)


@pytest.mark.parametrize("paused", [False, True], ids=["running", "paused"])
def test_a_killed_shim_ends_its_container(
    daemon: Daemon, client: docker.DockerClient, *, paused: bool
) -> None:
    container = client.containers.run("busybox", "sh -c 'sleep 1000 & sleep 1000'", detach=True)
    if paused:
        container.pause()
    kill_shim(daemon, container.id)
    assert container.wait(timeout=20)["StatusCode"] == 137
    container.start()
    assert container.exec_run("true").exit_code == 0


def test_a_killed_shim_is_an_end_like_others(daemon: Daemon, client: docker.DockerClient) -> None:
    container = client.containers.run(
        "busybox", ["sh", "-c", "echo once; sleep 1000"], detach=True, restart_policy={"Name": "always"}
    )
    for killed in (1, 2):
        until(lambda killed=killed: container.logs() == b"once\n" * killed)  # type: ignore[misc]
        kill_shim(daemon, container.id)
    removing = client.containers.run("busybox", "sleep 1000", detach=True, auto_remove=True)
    kill_shim(daemon, removing.id)
    until(lambda: [left.id for left in client.containers.list(all=True, sparse=True)] == [container.id])


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_port_that_is_taken_names_its_holder(client: docker.DockerClient) -> None:
    client.containers.run("busybox", "sleep 100", detach=True, name="first", ports={"80/tcp": 8080})
    second = client.containers.create("busybox", "sleep 100", name="second", ports={"80/tcp": 8080})
    with pytest.raises(docker.errors.APIError, match=r"port is already allocated.*first") as caught:
        second.start()
    assert caught.value.status_code == 500
    second.reload()
    assert second.status == "created"
