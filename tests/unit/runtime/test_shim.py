"""The daemon's side of the shim protocol, against a socket pair in place of a shim."""

import asyncio
import functools
import os
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from sampan.runtime.shim import (
    Failed,
    Lost,
    Refused,
    ShimConnection,
    arguments,
    connect,
    letters,
    parse_exit,
)
from sampan.runtime.task import Exit, LogTarget, NotRunning, Started, Streams, TaskSpec

NOTHING = Streams(stdin=False, stdout=False, stderr=False)
ALL = Streams(stdin=True, stdout=True, stderr=True)


class Listener:
    """An owner that writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[object] = []
        self.news = asyncio.Event()

    def _hear(self, *what: object) -> None:
        self.heard.append(what)
        self.news.set()

    def on_started(self, connection: ShimConnection, answer: Started | Failed) -> None:
        self._hear("started", connection.container, answer)

    def on_exit(self, connection: ShimConnection, ended: Exit) -> None:
        self._hear("exit", connection.container, ended)

    def on_exec_exit(self, connection: ShimConnection, exec_id: str, ended: Exit) -> None:
        self._hear("exec-exit", connection.container, exec_id, ended)

    def on_oom(self, connection: ShimConnection) -> None:
        self._hear("oom", connection.container)

    def on_end(self, connection: ShimConnection) -> None:
        self._hear("end", connection.container)

    async def wait_for(self, count: int) -> list[object]:
        while len(self.heard) < count:
            self.news.clear()
            await asyncio.wait_for(self.news.wait(), 5)
        return self.heard


Scenario = Callable[[ShimConnection, socket.socket, Listener], Coroutine[Any, Any, None]]


def with_a_shim(scenario: Scenario) -> Callable[[], None]:
    """Run ``scenario`` with a connection, the shim's end of it, and who listens."""

    async def play() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener = Listener()
        connection = ShimConnection("box", ours, listener)
        try:
            await scenario(connection, theirs, listener)
        finally:
            connection.close()
            theirs.close()

    @functools.wraps(scenario)
    def run() -> None:
        asyncio.run(play())

    del run.__dict__["__wrapped__"]  # pytest would look for fixtures of the scenario's parameters
    return run


def task(**changes: object) -> TaskSpec:
    values: dict[str, Any] = {
        "id": "box",
        "bundle": Path("/b"),
        "spec": b"{}",
        "runtime": "",
        "tty": False,
        "open_stdin": False,
        "stdin_once": False,
        "log": None,
        "console_size": None,
        "cgroup_path": "/docker/box",
    }
    return TaskSpec(**(values | changes))


def options(task: TaskSpec, *, from_fd: bool = True, clients: tuple[Streams, ...] = ()) -> list[str]:
    return arguments(
        task,
        directory=Path("/r"),
        root=Path("/state"),
        runtime="/usr/bin/crun",
        name="crun",
        memory=None,
        hide=None,
        from_fd=from_fd,
        trees=None,
        clients=clients,
    )


def pairs(words: list[str]) -> dict[str, str]:
    assert words[0] == "sampan-shim"
    return dict(zip(words[1::2], words[2::2], strict=True))


def test_command_line() -> None:
    assert pairs(options(task())) == {
        "--id": "box",
        "--dir": "/r",
        "--bundle": "/b",
        "--root": "/state",
        "--name": "crun",
        "--runtime-fd": "4",
        "--tty": "0",
        "--stdin": "none",
    }


@pytest.mark.parametrize(
    ("open_stdin", "once", "word"), [(False, True, "none"), (True, False, "keep"), (True, True, "once")]
)
def test_stdin_option(open_stdin: bool, once: bool, word: str) -> None:
    assert pairs(options(task(open_stdin=open_stdin, stdin_once=once)))["--stdin"] == word


def test_log_and_terminal_options() -> None:
    log = LogTarget("local", Path("/l"), max_size=7, max_file=3, compress=True, attrs=b'{"a":"b"}')
    found = pairs(options(task(log=log, tty=True, console_size=(24, 80))))
    assert found["--log-driver"] == "local"
    assert found["--log-path"] == "/l"
    assert (found["--log-size"], found["--log-files"], found["--log-compress"]) == ("7", "3", "1")
    assert found["--log-attrs"] == '{"a":"b"}'
    assert (found["--tty"], found["--rows"], found["--cols"]) == ("1", "24", "80")


@pytest.mark.parametrize(("from_fd", "first"), [(True, 5), (False, 4)])
def test_clients_follow_the_other_descriptors(from_fd: bool, first: int) -> None:
    words = options(task(), from_fd=from_fd, clients=(ALL, NOTHING))
    assert words[-4:] == ["--client", f"{first}:ioe", "--client", f"{first + 1}:-"]
    assert ("--runtime" in words) is not from_fd


def test_letters() -> None:
    assert letters(Streams(stdin=True, stdout=False, stderr=True)) == "ie"
    assert letters(ALL.without_stdin()) == "oe"


@pytest.mark.parametrize("text", ["", "1", "1 0", "x 0 1", "1 0 1 1"])
def test_broken_exit_records(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_exit(text)


def test_exit_record() -> None:
    assert parse_exit("137 1 99\n") == Exit(137, oom_killed=True, finished_ns=99)


@with_a_shim
async def test_events(connection: ShimConnection, far: socket.socket, listener: Listener) -> None:
    for text in (
        b"started 7 8",
        b"oom",
        b"exec-exit abc 3 11",
        b"log-error No space left on device",
        b"unheard of",
        b"failed 0 1\ntwo\nlines",
        b"exit 143 0 12\n",
    ):
        far.send(text)
    far.close()
    assert await listener.wait_for(6) == [
        ("started", "box", Started(7, 8)),
        ("oom", "box"),
        ("exec-exit", "box", "abc", Exit(3, oom_killed=False, finished_ns=11)),
        ("started", "box", Failed(1, "two\nlines")),
        ("exit", "box", Exit(143, oom_killed=False, finished_ns=12)),
        ("end", "box"),
    ]


@with_a_shim
async def test_answers_come_in_any_order(
    connection: ShimConnection, far: socket.socket, listener: Listener
) -> None:
    async with asyncio.TaskGroup() as group:
        first = group.create_task(connection.request("kill", 15))
        second = group.create_task(connection.request("exec", "abc"))
        await asyncio.sleep(0)
        assert far.recv(99) == b"1 kill 15"
        assert far.recv(99) == b"2 exec abc"
        far.send(b"ok 2 4711")
        far.send(b"ok 99")  # nobody asked
        far.send(b"ok 1")
    assert first.result() == 0
    assert second.result() == 4711
    assert listener.heard == []


@with_a_shim
async def test_refusals_and_failures(
    connection: ShimConnection, far: socket.socket, listener: Listener
) -> None:
    far.send(b"refused 1 not-running")
    with pytest.raises(NotRunning, match="container box is not running"):
        await connection.request("kill", 15)
    far.send(b"refused 2 errno-22")
    with pytest.raises(Refused, match="errno-22"):
        await connection.request("kill", 99)
    far.send(b"failed 3 255\nexec failed")
    assert await connection.request("exec") == Failed(255, "exec failed")


@with_a_shim
async def test_descriptors_travel_with_a_request(
    connection: ShimConnection, far: socket.socket, listener: Listener
) -> None:
    far.send(b"ok 1")
    reader, writer = os.pipe()
    try:
        await connection.request("attach", "ioe", fds=[writer])
        text, fds, _, _ = socket.recv_fds(far, 99, 4)
        assert text == b"1 attach ioe"
        os.write(fds[0], b"x")
        os.close(fds[0])
        assert os.read(reader, 9) == b"x"
    finally:
        os.close(reader)
        os.close(writer)


@with_a_shim
async def test_a_lost_shim_answers_nobody(
    connection: ShimConnection, far: socket.socket, listener: Listener
) -> None:
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(_lost(connection))
        await asyncio.sleep(0)
        far.close()
    assert waiting.result()
    assert listener.heard == [("end", "box")]
    assert await _lost(connection)


async def _lost(connection: ShimConnection) -> bool:
    with pytest.raises(Lost):
        await connection.request("kill", 15)
    return True


def test_connecting_through_a_path_of_any_length(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100) / ("y" * 100)
    folder.mkdir(parents=True)
    with pytest.raises(FileNotFoundError):
        connect(folder)
    here = os.open(folder, os.O_PATH)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind(f"/proc/self/fd/{here}/shim.sock")
        with pytest.raises(ConnectionRefusedError):
            connect(folder)
        server.listen()
        connect(folder).close()
    os.close(here)
