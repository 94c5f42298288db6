"""``run``, ``create``, ``start``, ``attach``, ``exec``: the order of requests, streams, exit codes."""

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command_line import Sampan
from support.fake_daemon import FakeDaemon, Received, Reply, frame

ID = "c" * 64


class Script:
    """A container that starts, writes something, and ends; what it was fed is in ``fed``."""

    def __init__(self, daemon: FakeDaemon, *, output: bytes = b"", code: int = 0) -> None:
        self.fed = b""
        self._output = output
        self._code = code
        self._started = threading.Event()
        self._daemon = daemon
        daemon.on("POST", "/containers/create", json={"Id": ID, "Warnings": []})
        daemon.on("POST", f"/containers/{ID}/attach", hijack=self._attached)
        daemon.on("POST", f"/containers/{ID}/wait", lambda _request: Reply(chunks=self._waited()))
        daemon.on("POST", f"/containers/{ID}/start", self._start)

    def _start(self, _request: Received) -> Reply:
        self._started.set()
        return Reply(204)

    def _wait(self) -> None:
        while not self._started.wait(0.01) and not self._daemon.closed:
            pass

    def _attached(self, connection: socket.socket) -> None:
        self._wait()
        while data := connection.recv(65536):
            self.fed += data
        connection.sendall(self._output)

    def _waited(self) -> Iterator[bytes]:
        self._wait()
        yield json.dumps({"StatusCode": self._code}).encode()


def test_streams_and_exit_code(daemon: FakeDaemon, sampan: Sampan) -> None:
    Script(daemon, output=frame(1, b"out\n") + frame(2, b"err\n"), code=42)
    done = sampan("run", "busybox", "false")
    assert (done.code, done.out, done.err) == (42, "out\n", "err\n")
    paths = [r.path.rpartition("/")[2] for r in daemon.requests]
    assert paths[0] == "create"
    assert sorted(paths[1:3]) == ["attach", "wait"]
    assert paths[3:] == ["start"]
    body = daemon.requests[0].json
    assert (body["Image"], body["Cmd"], body["AttachStdin"]) == ("busybox", ["false"], False)
    assert daemon.seen("POST", f"/containers/{ID}/wait")[0].query == {"condition": "next-exit"}


def test_rm_waits_for_the_removal(daemon: FakeDaemon, sampan: Sampan) -> None:
    Script(daemon)
    assert sampan("run", "--rm", "busybox", "true").code == 0
    assert daemon.requests[0].json["HostConfig"]["AutoRemove"] is True
    assert daemon.seen("POST", f"/containers/{ID}/wait")[0].query == {"condition": "removed"}


def test_input_is_fed_and_ends(daemon: FakeDaemon, sampan: Sampan) -> None:
    script = Script(daemon, output=frame(1, b"done"))
    assert sampan("run", "-i", "busybox", "cat", stdin=b"x" * 60_000).out == "done"
    assert script.fed == b"x" * 60_000
    attach = daemon.seen("POST", f"/containers/{ID}/attach")[0].query
    assert attach == {"stream": "1", "stdin": "1", "stdout": "1", "stderr": "1"}


def test_only_the_streams_asked_for(daemon: FakeDaemon, sampan: Sampan) -> None:
    Script(daemon, output=frame(2, b"err"))
    done = sampan("run", "-a", "stderr", "busybox", "true")
    assert (done.out, done.err) == ("", "err")
    assert daemon.seen("POST", f"/containers/{ID}/attach")[0].query == {"stream": "1", "stderr": "1"}


def test_detached_prints_the_id(daemon: FakeDaemon, sampan: Sampan, tmp_path: Path) -> None:
    Script(daemon)
    done = sampan("run", "-d", "--cidfile", str(tmp_path / "id"), "--name", "web", "busybox")
    assert (done.code, done.out) == (0, ID + "\n")
    assert (tmp_path / "id").read_text() == ID
    assert [r.path for r in daemon.requests] == ["/containers/create", f"/containers/{ID}/start"]
    assert daemon.requests[0].query == {"name": "web"}


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('exec: "x": executable file not found in $PATH: unknown', 127),
        ("exec /etc: permission denied", 126),
        ("exec /etc: is a directory", 126),
        ("driver failed programming external connectivity", 125),
    ],
)
def test_a_start_that_fails(daemon: FakeDaemon, sampan: Sampan, message: str, code: int) -> None:
    Script(daemon)
    body = json.dumps({"message": message}).encode()
    daemon.on("POST", f"/containers/{ID}/start", status=500, body=body)
    done = sampan("run", "busybox", "x")
    assert done.code == code
    assert done.err == (
        f"sampan: Error response from daemon: {message}\n\nRun 'sampan run --help' for more information\n"
    )


def test_a_detached_start_that_fails_waits_for_the_removal(daemon: FakeDaemon, sampan: Sampan) -> None:
    Script(daemon)
    daemon.on("POST", f"/containers/{ID}/start", status=400, json={"message": "no"})
    daemon.on("POST", f"/containers/{ID}/wait", json={"StatusCode": 0})
    done = sampan("run", "-d", "--rm", "busybox")
    assert (done.code, done.out) == (125, ID + "\n")
    assert daemon.requests[-1].query == {"condition": "removed"}


def missing(times: int) -> Callable[[Received], Reply]:
    answers = [Reply(404, b'{"message": "No such image: busybox:latest"}')] * times
    answers.append(Reply(201, json.dumps({"Id": ID, "Warnings": ["odd"]}).encode()))
    return lambda _request: answers.pop(0)


def test_a_missing_image_is_pulled(daemon: FakeDaemon, sampan: Sampan) -> None:
    daemon.on("POST", "/containers/create", missing(1))
    daemon.on("POST", "/images/create", chunks=[b'{"status":"Pulling from library/busybox"}\r\n'])
    done = sampan("create", "busybox")
    assert (done.code, done.out) == (0, ID + "\n")
    assert done.err.splitlines() == [
        "Unable to find image 'busybox:latest' locally",
        "Pulling from library/busybox",
        "WARNING: odd",
    ]
    assert daemon.seen("POST", "/images/create")[0].query == {"fromImage": "busybox", "tag": "latest"}


def test_a_pull_that_fails_is_the_error(daemon: FakeDaemon, sampan: Sampan) -> None:
    daemon.on("POST", "/containers/create", missing(1))
    daemon.on("POST", "/images/create", status=501, json={"message": "not here"})
    done = sampan("run", "quay.io/x/y:1")
    assert done.code == 125
    assert done.err == (
        "Unable to find image 'quay.io/x/y:1' locally\n"
        "sampan: Error response from daemon: not here\n\nRun 'sampan run --help' for more information\n"
    )


def test_never_pulling(daemon: FakeDaemon, sampan: Sampan) -> None:
    daemon.on("POST", "/containers/create", missing(1))
    done = sampan("run", "--pull", "never", "busybox")
    assert done.code == 125
    assert "No such image: busybox:latest" in done.err
    assert not daemon.seen("POST", "/images/create")


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["--pull", "x", "i"], 125, 'sampan: invalid pull option: \'x\': must be one of "always", "missing"'),
        (["-d", "-a", "stdin", "i"], 1, "conflicting options: cannot specify both --attach and --detach"),
        (["-it", "i"], 1, "the input device is not a TTY\n"),
        (
            ["--cidfile", "/nope/x", "i"],
            127,
            "sampan: failed to create the container ID file: open /nope/x",
        ),
    ],
)
def test_refused_by_the_client(
    daemon: FakeDaemon, sampan: Sampan, args: list[str], code: int, message: str
) -> None:
    done = sampan("run", *args)
    assert done.code == code
    assert message in done.err
    assert not daemon.requests


def test_the_id_file_is_not_left_behind(daemon: FakeDaemon, sampan: Sampan, tmp_path: Path) -> None:
    daemon.on("POST", "/containers/create", status=409, json={"message": "name in use"})
    sampan("run", "--cidfile", str(tmp_path / "id"), "busybox")
    assert not (tmp_path / "id").exists()
    (tmp_path / "id").write_text("other")
    assert "container ID file found" in sampan("run", "--cidfile", str(tmp_path / "id"), "busybox").err
    assert (tmp_path / "id").read_text() == "other"


def test_proxies_of_the_settings(daemon: FakeDaemon, sampan: Sampan, tmp_path: Path) -> None:
    Script(daemon)
    (tmp_path / ".docker").mkdir()
    settings = {"proxies": {"default": {"httpProxy": "http://p:1", "noProxy": "x"}}}
    (tmp_path / ".docker/config.json").write_text(json.dumps(settings))
    sampan("run", "-e", "no_proxy=mine", "busybox")
    assert daemon.requests[0].json["Env"] == [
        "HTTP_PROXY=http://p:1",
        "http_proxy=http://p:1",
        "NO_PROXY=x",
        "no_proxy=mine",
    ]


def test_a_daemon_that_dies_in_the_middle(daemon: FakeDaemon, sampan: Sampan) -> None:
    Script(daemon, output=frame(1, b"x"))
    daemon.on("POST", f"/containers/{ID}/wait", lambda _request: Reply(chunks=broken()))

    def broken() -> Iterator[bytes]:
        yield b" "
        raise OSError("gone")

    done = sampan("run", "busybox")
    assert (done.code, done.out) == (125, "x")
    assert done.err == "error waiting for container: unexpected EOF\n"


def container(**config: Any) -> dict[str, Any]:
    return {
        "Id": ID,
        "State": {"Running": True, "Paused": False, "Restarting": False},
        "Config": {"Tty": False, "OpenStdin": True, **config},
        "HostConfig": {"AutoRemove": False},
    }


def test_start_attached(daemon: FakeDaemon, sampan: Sampan) -> None:
    Script(daemon, output=frame(1, b"hi"), code=3)
    daemon.on("GET", "/containers/web/json", json=container())
    done = sampan("start", "-a", "web")
    assert (done.code, done.out) == (3, "hi")


def test_start_goes_on_past_errors(daemon: FakeDaemon, sampan: Sampan) -> None:
    daemon.on("POST", "/containers/a/start", status=204)
    done = sampan("start", "x", "a", "y")
    assert (done.code, done.out) == (1, "a\n")
    assert done.err.endswith("Error: failed to start containers: x, y\n")


def test_attach(daemon: FakeDaemon, sampan: Sampan) -> None:
    daemon.on("GET", "/containers/web/json", json=container())
    daemon.on("POST", "/containers/web/wait", json={"StatusCode": 7})
    daemon.on("POST", "/containers/web/attach", hijack=lambda c: c.sendall(frame(1, b"there")))
    done = sampan("attach", "--no-stdin", "web")
    assert (done.code, done.out) == (7, "there")


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"Running": False}, "You cannot attach to a stopped container, start it first\n"),
        ({"Paused": True}, "You cannot attach to a paused container, unpause it first\n"),
        ({"Restarting": True}, "You cannot attach to a restarting container, wait until it is running\n"),
    ],
)
def test_attach_needs_a_running_container(
    daemon: FakeDaemon, sampan: Sampan, state: dict[str, bool], message: str
) -> None:
    document = container()
    document["State"] |= state
    daemon.on("GET", "/containers/web/json", json=document)
    daemon.on("POST", "/containers/web/wait", json={"StatusCode": 7})
    assert sampan("attach", "web").err == message


def test_exec(daemon: FakeDaemon, sampan: Sampan) -> None:
    daemon.on("POST", "/containers/web/exec", status=201, json={"Id": "e1"})
    daemon.on("POST", "/exec/e1/start", hijack=lambda c: c.sendall(frame(1, b"a") + frame(2, b"b")))
    daemon.on("GET", "/exec/e1/json", json={"ExitCode": 126})
    done = sampan("exec", "-u", "me", "-w", "/x", "-e", "A=1", "web", "ls", "-l")
    assert (done.code, done.out, done.err) == (126, "a", "b")
    body = daemon.requests[0].json
    assert (body["Cmd"], body["User"], body["WorkingDir"], body["Env"]) == (["ls", "-l"], "me", "/x", ["A=1"])


def test_exec_detached(daemon: FakeDaemon, sampan: Sampan) -> None:
    daemon.on("POST", "/containers/web/exec", status=201, json={"Id": "e1"})
    daemon.on("POST", "/exec/e1/start")
    assert sampan("exec", "-d", "web", "true").code == 0
    assert "upgrade" not in daemon.requests[-1].headers


def test_exec_tells_the_missing_container_first(daemon: FakeDaemon, sampan: Sampan) -> None:
    daemon.on("GET", "/containers/web/json", status=404, json={"message": "No such container: web"})
    assert sampan("exec", "-it", "web", "sh").err == "Error response from daemon: No such container: web\n"
    daemon.on("GET", "/containers/web/json", json=container())
    assert sampan("exec", "-it", "web", "sh").err == "the input device is not a TTY\n"


def test_both_directions_at_once(daemon: FakeDaemon, sampan: Sampan) -> None:
    """Neither side may wait for the other: the container first writes, more than any buffer holds."""
    size = 2_000_000

    def contrary(connection: socket.socket) -> None:
        connection.sendall(frame(1, b"o" * size))
        total = 0
        while data := connection.recv(65536):
            total += len(data)
        connection.sendall(frame(2, b"%d" % total))

    daemon.on("POST", "/containers/web/exec", status=201, json={"Id": "e1"})
    daemon.on("POST", "/exec/e1/start", hijack=contrary)
    daemon.on("GET", "/exec/e1/json", json={"ExitCode": 0})
    reading, writing = os.pipe()

    def feed() -> None:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(b"i" * size)

    feeder = threading.Thread(target=feed)
    feeder.start()
    before = os.dup(0)
    os.dup2(reading, 0)
    os.close(reading)
    try:
        done = sampan_with_stdin(sampan)
    finally:
        os.dup2(before, 0)
        os.close(before)
        feeder.join()
    assert done == (0, size, str(size))


def sampan_with_stdin(sampan: Sampan) -> tuple[int, int, str]:
    done = sampan("exec", "-i", "web", "cat", stdin=None)
    return done.code, len(done.out), done.err
