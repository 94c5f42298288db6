"""Clients that go away in the middle: what they change is finished, nothing stays open."""

import json
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.daemon import Daemon
from support.images import busybox_archive
from support.plain_http import Plain, ask
from support.traces import look

pytestmark = pytest.mark.root

CLIENTS = 4
TALK = ["sh", "-c", "while :; do echo a line of some length; sleep 0.01; done"]
SILENCE = ["sh", "-c", "read x; sleep 1000"]


def until(condition: Callable[[], bool], what: Callable[[], object]) -> None:
    """Wait until ``condition`` holds; ``what`` tells what is the matter if it never does."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)


def send(daemon: Daemon, line: str, document: object = None, *headers: str) -> Plain:
    """Send a request and return its connection, without waiting for an answer."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(daemon.socket))
    body = b"" if document is None else json.dumps(document).encode()
    kind = [] if document is None else ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    head = "\r\n".join([f"{line} HTTP/1.1", "Host: d", *kind, *headers])
    connection.sendall(head.encode() + b"\r\n\r\n" + body)
    return Plain(connection)


def shim_of(daemon: Daemon, container: str) -> int:
    return next(int(shim.partition(":")[0]) for shim in look(daemon).shims if container in shim)


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


class Opened:
    """What is open in the daemon and in a shim, which must be so again when all clients have gone."""

    def __init__(self, daemon: Daemon, *containers: str) -> None:
        self._pids = [daemon.pid, *(shim_of(daemon, container) for container in containers)]
        self._before = [descriptors(pid) for pid in self._pids]

    def are_again(self) -> None:
        until(
            lambda: all(now <= before for now, before in zip(self.now(), self._before, strict=True)),
            lambda: (self._before, self.now()),
        )

    def now(self) -> list[int]:
        return [descriptors(pid) for pid in self._pids]


def make(daemon: Daemon, name: str, command: list[str], **config: object) -> str:
    document = {"Image": "busybox", "Cmd": command, "HostConfig": {"NetworkMode": "none"}, **config}
    made = ask(daemon, f"POST /containers/create?name={name}", document)["Id"]
    ask(daemon, f"POST /containers/{name}/start")
    return str(made)


@pytest.fixture(params=["talking", "silent"])
def container(daemon: Daemon, request: pytest.FixtureRequest) -> str:
    """A container that writes all the time, and one that does not say a word."""
    return make(daemon, "one", TALK if request.param == "talking" else SILENCE, OpenStdin=True)


STREAMS = [
    "POST /containers/one/attach?stream=1&stdout=1&stderr=1",
    "POST /containers/one/attach?stream=1&stdout=1&stderr=1&stdin=1",
    "POST /containers/one/attach?logs=1&stream=1&stdout=1",
    "GET /containers/one/logs?follow=1&stdout=1&stderr=1",
    "GET /containers/one/logs?follow=1&stdout=1&tail=0",
    "GET /events",
    "POST /containers/one/wait?condition=removed",
    "POST /containers/one/wait?condition=next-exit",
]


@pytest.mark.parametrize("line", STREAMS)
def test_who_reads_a_stream_may_go(daemon: Daemon, container: str, line: str) -> None:
    opened = Opened(daemon, container)
    clients = [send(daemon, line) for _ in range(CLIENTS)]
    for client in clients:
        assert client.connection.recv(12)[-3:] == b"200"
    for client in clients[:2]:
        client.connection.shutdown(socket.SHUT_RDWR)
    for client in clients:
        client.connection.close()  # with unread data: what a killed client does
    opened.are_again()
    assert ask(daemon, "GET /containers/one/json")["State"]["Running"]


def started(inspect: Callable[[], Any]) -> bool:
    return bool(inspect()["Pid"] > 0)


def ended(inspect: Callable[[], Any]) -> bool:
    return not inspect()["Running"]


@pytest.mark.parametrize("command", [["cat"], TALK, ["sleep", "1000"]], ids=["cat", "talking", "silent"])
def test_who_runs_an_exec_may_go(daemon: Daemon, container: str, command: list[str]) -> None:
    opened = Opened(daemon)
    document = {"Cmd": command, "AttachStdin": True, "AttachStdout": True, "AttachStderr": True}
    for upgrade in ((), ("Connection: Upgrade", "Upgrade: tcp")):
        run = f"/exec/{ask(daemon, f'POST /containers/{container}/exec', document)['Id']}"
        inspect = partial(ask, daemon, f"GET {run}/json")
        client = send(daemon, f"POST {run}/start", {"Detach": False}, *upgrade)
        assert client.connection.recv(12)[-3:] in (b"200", b"101")
        until(partial(started, inspect), inspect)
        client.connection.close()
        if command == ["cat"]:  # the end of its input ends it
            until(partial(ended, inspect), inspect)
    opened.are_again()
    assert ask(daemon, "GET /containers/one/json")["State"]["Running"]


def test_who_asks_for_a_change_need_not_wait_for_it(daemon: Daemon) -> None:
    opened = Opened(daemon)

    def go(line: str, document: object = None) -> None:
        send(daemon, line, document).connection.close()

    def listed() -> list[Any]:
        return list(ask(daemon, "GET /containers/json?all=1"))

    def state() -> Any:
        return ask(daemon, "GET /containers/one/json")["State"]

    document = {"Image": "busybox", "Cmd": ["sleep", "1000"], **host(PortBindings={"80/tcp": [{}]})}
    go("POST /containers/create?name=one", document)
    until(lambda: len(listed()) == 1, listed)
    go("POST /containers/one/start")
    until(lambda: state()["Running"], state)
    before = state()["StartedAt"]
    go("POST /containers/one/restart?t=0")
    until(lambda: state()["Running"] and state()["StartedAt"] != before, state)
    go("POST /containers/one/stop?t=0")
    until(lambda: state()["Status"] == "exited", state)
    go("DELETE /containers/one")
    until(lambda: not listed(), listed)
    opened.are_again()


def host(**settings: object) -> dict[str, object]:
    return {"HostConfig": settings}


@pytest.mark.parametrize("part", [0, 600, 100_000, -2000])
def test_who_loads_an_image_may_go(daemon: Daemon, part: int) -> None:
    def files() -> set[str]:
        return {str(path) for path in daemon.data_root.rglob("*") if "state.db" not in path.name}

    archive = busybox_archive("other:1")
    images = ask(daemon, "GET /images/json?all=1")
    before = files()
    opened = Opened(daemon)
    for _ in range(CLIENTS):
        kind = "Content-Type: application/x-tar"
        client = send(daemon, "POST /images/load", None, kind, f"Content-Length: {len(archive)}")
        client.connection.sendall(archive[:part])
        client.connection.close()
    opened.are_again()
    until(lambda: files() == before, lambda: files() ^ before)
    assert ask(daemon, "GET /images/json?all=1") == images


def test_who_exports_may_go(daemon: Daemon) -> None:
    make(daemon, "one", SILENCE, OpenStdin=True)
    opened = Opened(daemon)
    for _ in range(CLIENTS):
        client = send(daemon, "GET /containers/one/export")
        assert client.connection.recv(12)[-3:] == b"200"
        client.connection.close()
    opened.are_again()


def test_a_reader_that_goes_lets_the_container_go_on(daemon: Daemon) -> None:
    """Who is attached and does not read holds the container up, until it goes."""
    script = "read x; dd if=/dev/zero bs=64k count=200; exit 4"
    made = make(daemon, "one", ["sh", "-c", script], OpenStdin=True)
    opened = Opened(daemon)
    client = send(daemon, "POST /containers/one/attach?stream=1&stdout=1&stdin=1")
    assert client.connection.recv(12)[-3:] == b"200"
    client.connection.sendall(b"go\n")
    client.connection.close()
    assert ask(daemon, f"POST /v1.29/containers/{made}/wait")["StatusCode"] == 4
    opened.are_again()
