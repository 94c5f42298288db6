"""Restart policies, conditions to wait for, automatic removal, pausing, limits and health, as they happen."""

import contextlib
import itertools
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import docker
import pytest
from support.daemon import Daemon
from support.plain_http import ask, unix

pytestmark = pytest.mark.root

MS = 1_000_000


def until(condition: Callable[[], Any]) -> Any:
    """Wait until ``condition`` gives something; return it."""
    deadline = time.monotonic() + 20
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


class Events:
    """The container events of a daemon from here on, read one by one."""

    def __init__(self, connection: socket.socket) -> None:
        self._lines = connection.makefile("rb")

    def until(self, action: str) -> list[str]:
        """Read to the next ``action``; return the actions read, that one included."""
        seen = []
        for line in self._lines:
            if line.startswith(b"{"):
                seen.append(str(json.loads(line)["Action"]))
                if seen[-1] == action:
                    return seen
        raise AssertionError(f"{action} did not come after {seen}")


@pytest.fixture
def events(daemon: Daemon) -> Iterator[Events]:
    with unix(daemon) as client:
        filters = "%7B%22type%22%3A%5B%22container%22%5D%7D"
        client.connection.sendall(f"GET /events?filters={filters} HTTP/1.1\r\nHost: d\r\n\r\n".encode())
        reader = Events(client.connection)
        yield reader
        reader._lines.close()


def state(container: Any) -> dict[str, Any]:
    container.reload()
    return dict(container.attrs["State"])


def run(client: docker.DockerClient, script: str, **options: Any) -> Any:
    options = {"network_mode": "none", "detach": True, **options}
    return client.containers.run("busybox", ["sh", "-c", script], **options)


# -- restart policies ----------------------------------------------------------------------------------------


def test_on_failure_counts_its_tries(client: docker.DockerClient, events: Events) -> None:
    policy = {"Name": "on-failure", "MaximumRetryCount": 2}
    container = run(client, "echo try; exit 3", name="failing", restart_policy=policy)
    assert [events.until("die").count("start") for _ in range(3)] == [1, 1, 1]
    until(lambda: state(container)["Status"] == "exited")
    assert container.attrs["RestartCount"] == 2
    assert container.attrs["State"]["ExitCode"] == 3
    assert container.logs() == b"try\n" * 3
    container.start()  # by hand: the count begins anew
    assert [events.until("die").count("start") for _ in range(3)] == [1, 1, 1]


def test_on_failure_is_content_with_success(client: docker.DockerClient, events: Events) -> None:
    container = run(client, "exit 0", restart_policy={"Name": "on-failure"})
    events.until("die")
    assert state(container)["Status"] == "exited"
    assert container.attrs["RestartCount"] == 0


@pytest.mark.parametrize("policy", ["always", "unless-stopped"])
def test_always_means_until_somebody_stops_it(
    client: docker.DockerClient, events: Events, policy: str
) -> None:
    container = run(client, "exit 0", restart_policy={"Name": policy})
    for _ in range(3):
        events.until("start")
    container.stop()
    assert state(container)["Status"] == "exited"
    assert not container.attrs["State"]["Restarting"]
    count = container.attrs["RestartCount"]
    assert count >= 2
    run(client, "sleep 0.6").wait()  # longer than the next restart would have taken
    assert container.attrs["RestartCount"] == count
    assert state(container)["Status"] == "exited"


def test_the_wait_between_restarts_grows(client: docker.DockerClient, events: Events) -> None:
    run(client, "exit 1", restart_policy={"Name": "always"}, name="looping")
    times = []
    for _ in range(4):
        events.until("start")
        times.append(time.monotonic())
    waits = [later - earlier for earlier, later in itertools.pairwise(times)]
    for wait, least in zip(waits, (0.1, 0.2, 0.4), strict=True):
        assert wait >= least * 0.9
    assert waits[2] > waits[0]


def test_a_container_that_restarts_says_so(client: docker.DockerClient, events: Events) -> None:
    container = run(client, "exit 1", restart_policy={"Name": "always"})
    for _ in range(4):
        events.until("die")  # the next wait takes 0.8 s
    found = state(container)
    assert (found["Status"], found["Restarting"], found["Running"]) == ("restarting", True, True)
    with pytest.raises(docker.errors.APIError, match="is restarting, wait until the container is running"):
        container.exec_run("true")
    container.remove(force=True)
    assert client.containers.list(all=True) == []


def test_a_policy_may_be_changed(client: docker.DockerClient, events: Events) -> None:
    container = run(client, "read x; exit 1", stdin_open=True)
    container.update(restart_policy={"Name": "on-failure", "MaximumRetryCount": 1})
    with attached(container, stdin=1) as stream:
        stream.sendall(b"x\n")
        events.until("die")
        events.until("start")
    container.update(restart_policy={"Name": "no"})
    container.kill()
    assert state(container)["Status"] == "exited"


def test_a_killed_container_is_not_started_again(client: docker.DockerClient) -> None:
    container = run(client, "sleep 1000", restart_policy={"Name": "always"})
    container.kill()
    assert state(container)["Status"] == "exited"
    assert container.attrs["State"]["ExitCode"] == 137


@pytest.mark.parametrize("end", ["stop", "kill", "remove"])
def test_a_restart_under_way_does_not_win(client: docker.DockerClient, events: Events, end: str) -> None:
    """Whoever ends a container while its policy starts it again ends it for good."""
    containers = []
    for step in range(12):
        container = run(client, "sleep 1000", restart_policy={"Name": "always"})
        os.kill(state(container)["Pid"], signal.SIGKILL)
        events.until("die")
        time.sleep(0.09 + 0.005 * step)  # the next start begins 0.1 s after the end, and takes some ten ms
        if end == "remove":
            container.remove(force=True)
            continue
        container.kill() if end == "kill" else container.stop(timeout=0)
        containers.append(container)
    run(client, "sleep 0.4").wait()  # longer than another restart would take
    assert [state(container)["Status"] for container in containers] == ["exited"] * len(containers)
    assert client.containers.list() == []


def test_what_a_daemon_starts_again(own_daemon: Daemon) -> None:
    client = own_daemon.client()
    try:
        policies = ("no", "always", "unless-stopped", "on-failure")
        for policy in policies:
            for kind in ("stopped", "ended"):
                script = "exit 1" if kind == "ended" and policy == "no" else "sleep 1000"
                run(client, script, name=f"{policy}-{kind}", restart_policy={"Name": policy})
        for policy in policies:
            client.containers.get(f"{policy}-stopped").kill()
        client.containers.get("no-ended").wait()
        own_daemon.kill()
        own_daemon.start()
        running = {"always-ended", "unless-stopped-ended", "on-failure-ended", "always-stopped"}
        until(lambda: {container.name for container in client.containers.list()} == running)
    finally:
        client.close()


# -- waiting -------------------------------------------------------------------------------------------------


class Waiting:
    """A ``wait`` under way in a thread of its own; ``ready`` once the daemon has taken it up."""

    def __init__(self, daemon: Daemon, name: str, condition: str) -> None:
        self._result: list[int] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._wait, args=(daemon, name, condition))
        self._thread.start()
        assert self._ready.wait(20)

    def _wait(self, daemon: Daemon, name: str, condition: str) -> None:
        with unix(daemon) as client:
            status, _, rest = client.ask(f"POST /containers/{name}/wait?condition={condition}")
            assert status == 200
            self._ready.set()
            while b"\n" not in (body := rest.partition(b"\r\n")[2]):
                rest += client.connection.recv(4096)
            self._result.append(int(json.loads(body.splitlines()[0])["StatusCode"]))

    @property
    def over(self) -> bool:
        return not self._thread.is_alive()

    def result(self) -> int:
        self._thread.join(20)
        return self._result[0]


def test_conditions_to_wait_for(daemon: Daemon, client: docker.DockerClient) -> None:
    container = client.containers.create(
        "busybox", ["sh", "-c", "read x; exit 5"], name="one", stdin_open=True, network_mode="none"
    )
    assert Waiting(daemon, "one", "not-running").result() == 0  # it never ran
    next_exit, removed = Waiting(daemon, "one", "next-exit"), Waiting(daemon, "one", "removed")
    container.start()
    not_running = Waiting(daemon, "one", "not-running")
    assert [waiting.over for waiting in (next_exit, removed, not_running)] == [False] * 3
    with attached(container, stdin=1) as stream:
        stream.sendall(b"x\n")
        assert (next_exit.result(), not_running.result()) == (5, 5)
    assert Waiting(daemon, "one", "not-running").result() == 5
    again = Waiting(daemon, "one", "next-exit")
    assert [waiting.over for waiting in (again, removed)] == [False] * 2
    container.start()
    container.kill()
    assert again.result() == 137
    assert not removed.over
    container.remove()
    assert removed.result() == 137


def test_who_waits_for_the_next_exit_hears_of_a_removal(daemon: Daemon, client: docker.DockerClient) -> None:
    container = client.containers.create("busybox", "true", name="one")
    waiting = Waiting(daemon, "one", "next-exit")
    container.remove()
    assert waiting.result() == 0


def test_waiting_through_a_restart(daemon: Daemon, client: docker.DockerClient) -> None:
    container = run(client, "sleep 1000", name="one")
    waiting = Waiting(daemon, "one", "next-exit")
    container.restart(timeout=0)
    assert waiting.result() == 137
    assert state(container)["Running"]


# -- automatic removal, stop, pause --------------------------------------------------------------------------


def test_a_container_removes_itself(daemon: Daemon, client: docker.DockerClient, events: Events) -> None:
    run(client, "read x; exit 4", name="one", stdin_open=True, auto_remove=True, volumes=["/data"])
    waiting = Waiting(daemon, "one", "removed")
    assert len(client.volumes.list()) == 1
    with attached(client.containers.get("one"), stdin=1) as stream:
        stream.sendall(b"x\n")
    assert waiting.result() == 4
    assert client.containers.list(all=True) == []
    assert client.volumes.list() == []
    assert [action for action in events.until("destroy") if action in ("die", "destroy")] == [
        "die",
        "destroy",
    ]


def test_a_container_that_cannot_start_removes_itself(client: docker.DockerClient, events: Events) -> None:
    container = client.containers.create("busybox", "nosuch", auto_remove=True)
    with pytest.raises(docker.errors.APIError, match="executable file not found"):
        container.start()
    events.until("destroy")
    assert client.containers.list(all=True) == []


def test_a_container_that_removes_itself_while_no_daemon_looks(own_daemon: Daemon) -> None:
    client = own_daemon.client()
    try:
        container = run(client, "sleep 1000", auto_remove=True)
        pid = state(container)["Pid"]
        own_daemon.kill()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        own_daemon.start()
        until(lambda: not client.containers.list(all=True, sparse=True))
    finally:
        client.close()


def test_stop_asks_first_and_kills_at_last(client: docker.DockerClient) -> None:
    polite = run(client, "trap 'exit 3' USR1; while :; do sleep 0.05; done", stop_signal="USR1")
    stubborn = run(client, "trap '' TERM; while :; do sleep 0.05; done")
    until(lambda: "sleep" in str(polite.top()) and "sleep" in str(stubborn.top()))
    polite.stop(timeout=20)
    assert state(polite)["ExitCode"] == 3
    begun = time.monotonic()
    stubborn.stop(timeout=1)
    assert time.monotonic() - begun >= 1
    assert state(stubborn)["ExitCode"] == 137


def test_a_paused_container_is_stopped_and_removed(client: docker.DockerClient) -> None:
    one = run(client, "trap 'exit 3' TERM; while :; do sleep 0.05; done")
    until(lambda: "sleep" in str(one.top()))
    one.pause()
    assert state(one)["Paused"]
    one.stop(timeout=20)
    assert (state(one)["ExitCode"], state(one)["Paused"]) == (3, False)
    two = run(client, "sleep 1000")
    two.pause()
    two.kill()
    assert state(two)["ExitCode"] == 137
    three = run(client, "sleep 1000")
    three.pause()
    three.restart(timeout=0)
    assert (state(three)["Running"], state(three)["Paused"]) == (True, False)
    three.pause()
    three.remove(force=True)


def test_a_pause_at_the_very_end_leaves_no_ghost(client: docker.DockerClient) -> None:
    for step in range(15):
        container = run(client, f"sleep 0.{step:02}")
        with contextlib.suppress(docker.errors.APIError):  # "is not running": it was too late
            container.pause()
            assert state(container)["Pid"]
            container.unpause()
        assert container.wait(timeout=20)["StatusCode"] == 0
        assert state(container)["Status"] == "exited"
        container.remove()


@contextlib.contextmanager
def attached(container: Any, **streams: int) -> Iterator[socket.socket]:
    """Attach to a running container and yield the raw connection."""
    stream = container.attach_socket(params={**streams, "stream": 1})
    try:
        yield stream._sock
    finally:
        stream._sock.close()
        stream._response.close()


# -- health --------------------------------------------------------------------------------------------------


def test_health_is_watched(client: docker.DockerClient, events: Events) -> None:
    check = {"test": "echo looked; test -e /fine", "interval": 50 * MS, "retries": 2}
    container = run(client, "sleep 1000", name="one", healthcheck=check)
    assert state(container)["Health"]["Status"] in ("starting", "unhealthy")
    events.until("health_status: unhealthy")
    found = state(container)["Health"]
    assert found["Status"] == "unhealthy"
    assert found["FailingStreak"] >= 2
    assert (found["Log"][-1]["ExitCode"], found["Log"][-1]["Output"]) == (1, "looked\n")
    listed = client.api.containers(filters={"health": "unhealthy"})
    assert [entry["Status"].endswith("(unhealthy)") for entry in listed] == [True]
    assert container.exec_run("touch /fine").exit_code == 0
    events.until("health_status: healthy")
    found = state(container)["Health"]
    assert (found["Status"], found["FailingStreak"]) == ("healthy", 0)
    assert len(found["Log"]) <= 5
    container.kill()
    assert events.until("die")[-1] == "die"


def test_a_check_that_hangs_is_ended(daemon: Daemon, client: docker.DockerClient, events: Events) -> None:
    check = {"test": ["CMD", "sleep", "777"], "interval": 50 * MS, "timeout": 100 * MS, "retries": 1}
    container = run(client, "exec sleep 1000", healthcheck=check)
    events.until("health_status: unhealthy")
    last = state(container)["Health"]["Log"][-1]
    assert last["ExitCode"] == -1
    assert "exceeded timeout" in last["Output"]
    until(lambda: ask(daemon, f"GET /containers/{container.id}/top")["Processes"])
    # Ended ones do not pile up; one may just be ending while the next begins.
    until(lambda: sum("sleep 777" in " ".join(process) for process in container.top()["Processes"]) <= 1)


def test_failures_at_the_start_do_not_count(client: docker.DockerClient, events: Events) -> None:
    check = {"test": "test -e /fine", "interval": 50 * MS, "retries": 1, "start_period": 60_000 * MS}
    container = run(client, "sleep 1000", healthcheck=check)
    until(lambda: len(state(container)["Health"].get("Log") or []) >= 3)
    assert state(container)["Health"]["Status"] == "starting"
    assert container.exec_run("touch /fine").exit_code == 0
    events.until("health_status: healthy")


def test_health_goes_on_after_a_restart_of_the_daemon(own_daemon: Daemon) -> None:
    client = own_daemon.client()
    try:
        check = {"test": "test -e /fine", "interval": 50 * MS, "retries": 1}
        container = run(client, "sleep 1000", healthcheck=check)
        until(lambda: state(container)["Health"]["Status"] == "unhealthy")
        own_daemon.kill()
        own_daemon.start()
        assert state(container)["Health"]["Status"] == "unhealthy"
        assert container.exec_run("touch /fine").exit_code == 0
        until(lambda: state(container)["Health"]["Status"] == "healthy")
    finally:
        client.close()


def test_a_container_without_a_check_has_no_health(client: docker.DockerClient) -> None:
    container = run(client, "sleep 1000", healthcheck={"test": ["NONE"]})
    assert "Health" not in state(container) or state(container)["Health"] is None


def test_the_list_tells_what_happens_to_a_container(daemon: Daemon, client: docker.DockerClient) -> None:
    client.networks.create("second")
    made = client.containers.create("busybox", ["sleep", "1000"], name="told", stop_signal="KILL")

    def told() -> dict[str, Any]:
        found: dict[str, Any] = ask(daemon, "GET /v1.51/containers/json?all=1")[0]
        brief = ask(daemon, "GET /v1.51/containers/json?all=1&brief=1")[0]
        for name in brief.keys() - {"Status"}:  # that may tell another second
            assert brief[name] == found[name]
        return found

    assert (told()["State"], told()["Status"]) == ("created", "Created")
    assert told()["NetworkSettings"]["Networks"]["bridge"]["IPAddress"] == ""
    made.start()
    assert told()["Status"].startswith("Up ")
    assert told()["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    made.pause()
    assert (told()["State"], told()["Status"][-8:]) == ("paused", "(Paused)")
    made.unpause()
    made.rename("renamed")
    assert told()["Names"] == ["/renamed"]
    client.networks.get("second").connect(made)
    assert told()["NetworkSettings"]["Networks"]["second"]["IPAddress"]
    client.networks.get("second").disconnect(made)
    assert set(told()["NetworkSettings"]["Networks"]) == {"bridge"}
    made.stop()
    assert told()["Status"].startswith("Exited (137)")
