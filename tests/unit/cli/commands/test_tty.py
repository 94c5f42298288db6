"""Sessions in a real terminal: raw mode and back, sizes, the keys that leave, signals."""

import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fake_daemon import FakeDaemon, Received, Reply
from support.terminal import Terminal

ID = "c" * 64
PROGRAM = str(Path(__file__).resolve().parents[4] / "bin" / "sampan")
SETTINGS = "; stty -a | tr ' ' '\\n' | grep -x -e '-*icanon;*' -e '-*echo;*' | tr '\\n' ' '; echo over"


class Shell:
    """A container with a terminal that echoes what is typed in capitals, and ends at ``q``."""

    def __init__(self, daemon: FakeDaemon, code: int = 5) -> None:
        self.resized: list[tuple[str, str]] = []
        self.killed: list[str] = []
        self.changed = threading.Condition()
        self._daemon = daemon
        self.ended = threading.Event()
        self.mortal = True
        self._code = code
        daemon.on("POST", "/containers/create", json={"Id": ID, "Warnings": []})
        daemon.on("POST", f"/containers/{ID}/attach", hijack=self._attached)
        daemon.on("POST", f"/containers/{ID}/wait", lambda _request: Reply(chunks=self._waited()))
        daemon.on("POST", f"/containers/{ID}/start", status=204)
        daemon.on("POST", f"/containers/{ID}/resize", self._resize)
        daemon.on("POST", f"/containers/{ID}/kill", self._kill)

    def _attached(self, connection: socket.socket) -> None:
        connection.sendall(b"ready\r\n")
        connection.settimeout(0.02)
        data = b" "
        while data and b"q" not in data and not self.ended.is_set():
            try:
                data = connection.recv(100)
            except TimeoutError:
                continue
            connection.sendall(data.upper())
        self.ended.set()

    def _waited(self) -> Iterator[bytes]:
        while not self.ended.wait(0.01) and not self._daemon.closed:
            pass
        yield json.dumps({"StatusCode": self._code}).encode()

    def _resize(self, request: Received) -> Reply:
        with self.changed:
            self.resized.append((request.query["h"], request.query["w"]))
            self.changed.notify_all()
        return Reply()

    def _kill(self, request: Received) -> Reply:
        with self.changed:
            self.killed.append(request.query["signal"])
            self.changed.notify_all()
        if self.mortal:
            self.ended.set()
        return Reply(204)


@pytest.fixture
def shell(daemon: FakeDaemon) -> Shell:
    return Shell(daemon)


def terminal(environment: dict[str, str], command: str) -> Terminal:
    environment = {**environment, "PATH": "/usr/bin:/bin"}
    return Terminal(["sh", "-c", command + SETTINGS], environment, rows=30, cols=90)


def is_restored(window: Terminal) -> bool:
    return window.expect("over").split()[-3:] == ["icanon", "echo", "over"]


def test_keys_go_through_and_the_terminal_comes_back(shell: Shell, environment: dict[str, str]) -> None:
    with terminal(environment, f"{PROGRAM} run -it busybox sh; echo code $?") as window:
        window.expect("ready")
        window.type("ab\x03")
        window.expect("AB\x03")
        window.type("q")
        window.expect("code 5")
        assert is_restored(window)
        assert window.wait() == 0


def test_sizes(shell: Shell, daemon: FakeDaemon, environment: dict[str, str]) -> None:
    with terminal(environment, f"exec {PROGRAM} run -it busybox sh") as window:
        window.expect("ready")
        with shell.changed:
            assert shell.changed.wait_for(lambda: ("30", "90") in shell.resized, 10)
        window.resize(50, 120)
        with shell.changed:
            assert shell.changed.wait_for(lambda: ("50", "120") in shell.resized, 10)
        window.type("q")
        assert window.wait() == 5
    assert daemon.requests[0].json["HostConfig"]["ConsoleSize"] == [30, 90]


@pytest.mark.parametrize(
    ("flag", "typed", "seen", "keys"),
    [("", "x\x10y", "X\x10Y", "\x10\x11"), ("--detach-keys=a,ctrl-x", "bab\x18", "BAB\x18", "a\x18")],
)
def test_leaving(
    shell: Shell, environment: dict[str, str], flag: str, typed: str, seen: str, keys: str
) -> None:
    with terminal(environment, f"{PROGRAM} run -it {flag} busybox sh; echo code $?") as window:
        window.expect("ready")
        window.type(typed)
        window.expect(seen)
        for key in keys:
            window.type(key)
        window.expect("code 0")
        assert is_restored(window)


def test_bad_keys_are_told_and_the_usual_ones_taken(shell: Shell, environment: dict[str, str]) -> None:
    with terminal(environment, f"{PROGRAM} run -it --detach-keys=ctrl-1 busybox sh; echo code $?") as window:
        window.expect("invalid detach escape keys, using default: Unknown character: 'ctrl-1'")
        window.expect("ready")
        window.type("\x10\x11")
        window.expect("code 0")


def test_a_signal_is_passed_on(shell: Shell, environment: dict[str, str]) -> None:
    command = f"exec {PROGRAM} run -it busybox sh"
    with terminal(environment, f"sh -c 'echo pid $$; {command}'; echo code $?") as window:
        pid = window.expect("\n").split()[-1]
        window.expect("ready")
        subprocess.run(["kill", "-USR1", pid], check=True)
        with shell.changed:
            assert shell.changed.wait_for(lambda: shell.killed == ["10"], 10)
        window.expect("code 5")


def test_the_third_interrupt_ends_the_client(shell: Shell, environment: dict[str, str]) -> None:
    shell.mortal = False
    command = f"exec {PROGRAM} run -it busybox sh"
    with terminal(environment, f"sh -c 'echo pid $$; {command}'; echo code $?") as window:
        pid = window.expect("\n").split()[-1]
        window.expect("ready")
        for count in (1, 2, 3):
            subprocess.run(["kill", "-INT", pid], check=True)
            if count < 3:
                with shell.changed:
                    assert shell.changed.wait_for(lambda count=count: len(shell.killed) == count, 10)  # type: ignore[misc]
        window.expect("got 3 SIGTERM/SIGINTs, forcefully exiting")
        window.expect("code 1")
        assert is_restored(window)


def test_without_a_proxy_a_signal_ends_the_client_and_the_terminal_comes_back(
    shell: Shell, environment: dict[str, str]
) -> None:
    command = f"exec {PROGRAM} run -it --sig-proxy=false busybox sh"
    with terminal(environment, f"sh -c 'echo pid $$; {command}'; echo code $?") as window:
        pid = window.expect("\n").split()[-1]
        window.expect("ready")
        subprocess.run(["kill", "-TERM", pid], check=True)
        window.expect("code 143")
        assert is_restored(window)


def test_exec_and_attach(shell: Shell, daemon: FakeDaemon, environment: dict[str, str]) -> None:
    container = {
        "Id": ID,
        "State": {"Running": True, "Paused": False, "Restarting": False},
        "Config": {"Tty": True, "OpenStdin": True},
    }
    daemon.on("GET", f"/containers/{ID}/json", json=container)
    daemon.on("POST", f"/containers/{ID}/exec", status=201, json={"Id": "e"})
    daemon.on("POST", "/exec/e/start", hijack=shell._attached)
    daemon.on("POST", "/exec/e/resize")
    daemon.on("GET", "/exec/e/json", json={"ExitCode": 9})
    with terminal(environment, f"{PROGRAM} exec -it {ID} sh; echo code $?") as window:
        window.expect("ready")
        window.type("q")
        window.expect("code 9")
    shell.ended.clear()
    with terminal(environment, f"{PROGRAM} attach {ID}; echo code $?") as window:
        window.expect("ready")
        with shell.changed:
            assert shell.changed.wait_for(lambda: shell.resized[-2:] == [("31", "91"), ("30", "90")], 10)
        window.type("\x10\x11")
        window.expect("read escape sequence")
        window.expect("code 1")
    body = daemon.seen("POST", f"/containers/{ID}/exec")[0].json
    assert body["ConsoleSize"] == [30, 90]


def test_progress_is_drawn_over(daemon: FakeDaemon, environment: dict[str, str], tmp_path: Path) -> None:
    daemon.on("GET", "/_ping", headers={"Api-Version": "1.51"})
    lines = [
        {"status": "Loading", "id": "abc", "progressDetail": {"current": 5, "total": 10}},
        {"status": "Loading", "id": "abc", "progressDetail": {"current": 10, "total": 10}},
        {"stream": "Loaded image: x:y\n"},
    ]
    daemon.on("POST", "/images/load", chunks=[json.dumps(line).encode() + b"\r\n" for line in lines])
    (tmp_path / "x.tar").write_bytes(b"tar")
    with terminal(environment, f"{PROGRAM} load -i {tmp_path}/x.tar; echo code $?") as window:
        text = window.expect("code 0")
    assert "\x1b[2K\rabc: Loading       5B/10B\r\x1b[1B" in text
    assert "Loaded image: x:y\r\n" in text
    assert daemon.requests[-1].body == b"tar"
