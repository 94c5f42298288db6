"""Our command line against our daemon, on a real kernel."""

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.daemon import CHECKOUT, Daemon, running_daemon, sampan
from support.images import load_busybox
from support.pki import make_pki
from support.terminal import Terminal

pytestmark = pytest.mark.root
PROGRAM = str(CHECKOUT / "bin" / "sampan")


def environment(daemon: Daemon) -> dict[str, str]:
    return {"DOCKER_HOST": daemon.url, "HOME": str(daemon.folder), "PATH": os.environ["PATH"]}


def spawn(daemon: Daemon, *args: str, **options: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([PROGRAM, *args], env=environment(daemon), **options)  # type: ignore[call-overload, no-any-return]


def sh(daemon: Daemon, script: str, *flags: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    """Run ``script`` in a new container that is removed."""
    return sampan(daemon, "run", "--rm", *flags, "busybox", "sh", "-c", script, check=check)


def test_run(daemon: Daemon) -> None:
    done = sh(daemon, "echo out; echo err >&2; exit 42", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (42, "out\n", "err\n")
    assert sampan(daemon, "ps", "-aq").stdout == ""


@pytest.mark.parametrize(("command", "code"), [("nosuch", 127), ("/etc", 126)])
def test_commands_that_are_none(daemon: Daemon, command: str, code: int) -> None:
    done = sampan(daemon, "run", "--rm", "busybox", command, check=False)
    assert done.returncode == code
    assert done.stderr.startswith("sampan: Error response from daemon: ")
    assert done.stderr.endswith("\n\nRun 'sampan run --help' for more information\n")
    done = sampan(daemon, "run", "-d", "--rm", "busybox", command, check=False)
    assert done.returncode == code
    assert sampan(daemon, "ps", "-aq").stdout == ""


def test_large_streams(daemon: Daemon, tmp_path: Path) -> None:
    data = os.urandom(1 << 20) * 12
    (tmp_path / "in").write_bytes(data)
    with (tmp_path / "in").open("rb") as source, (tmp_path / "out").open("wb") as sink:
        command = ("run", "--rm", "-i", "busybox", "cat")
        process = spawn(daemon, *command, stdin=source, stdout=sink)  # type: ignore[arg-type]
        assert process.wait(60) == 0
    assert (tmp_path / "out").read_bytes() == data


def test_a_container_that_does_not_read_is_no_trap(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(bytes(4 << 20))
    with (tmp_path / "in").open("rb") as source:
        command = ("run", "--rm", "-i", "busybox", "sh", "-c", "head -c 3000000 /dev/zero; cat >/dev/null")
        process = spawn(daemon, *command, stdin=source, stdout=subprocess.PIPE)  # type: ignore[arg-type]
        out, _ = process.communicate(timeout=60)
    assert (process.returncode, len(out)) == (0, 3_000_000)


def test_a_session_in_a_terminal(daemon: Daemon) -> None:
    command = [PROGRAM, "run", "--rm", "-it", "--name", "tty", "busybox", "sh"]
    with Terminal(command, environment(daemon), rows=33, cols=101) as window:
        window.expect("# ")
        window.type("stty size; tty; echo x | cat\r")
        window.expect("33 101")
        window.expect("/dev/pts/0")
        window.resize(40, 111)
        window.type("\r")
        wait_for(lambda: "40 111" in sampan(daemon, "exec", "tty", "stty", "-F", "/dev/pts/0", "size").stdout)
        window.type("sleep 100\r")
        wait_for(lambda: "sleep 100" in sampan(daemon, "top", "tty").stdout)
        window.type("\x03")
        window.type("exit 7\r")
        assert window.wait() == 7


def test_leaving_and_coming_back(daemon: Daemon) -> None:
    with Terminal([PROGRAM, "run", "-it", "--name", "back", "busybox", "sh"], environment(daemon)) as window:
        window.expect("# ")
        window.type("A=kept\r\x10\x11")
        assert window.wait() == 0
    with Terminal([PROGRAM, "attach", "back"], environment(daemon)) as window:
        window.expect("# ")
        window.type("echo is $A\r")
        window.expect("is kept")
        window.type("exit 4\r")
        assert window.wait() == 4
    with Terminal([PROGRAM, "start", "-ai", "back"], environment(daemon)) as window:
        window.expect("# ")
        window.type("exit 5\r")
        assert window.wait() == 5


def test_exec_in_a_terminal(daemon: Daemon) -> None:
    sampan(daemon, "run", "-d", "--name", "host", "busybox", "sleep", "1000")
    command = [PROGRAM, "exec", "-it", "-e", "A=1", "-w", "/tmp", "host", "sh"]
    with Terminal(command, environment(daemon), rows=20, cols=70) as window:
        window.expect("# ")
        window.type("echo $A $PWD; stty size\r")
        window.expect("1 /tmp")
        window.expect("20 70")
        window.type("exit 9\r")
        assert window.wait() == 9
    assert sampan(daemon, "exec", "host", "sh", "-c", "exit 3", check=False).returncode == 3


def test_signals_reach_the_container(daemon: Daemon) -> None:
    script = "trap 'echo got; exit 6' TERM; echo ready; while :; do sleep 0.1; done"
    process = spawn(daemon, "run", "--rm", "busybox", "sh", "-c", script, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (6, b"got\n")


def test_logs_follow_to_the_end(daemon: Daemon) -> None:
    script = "echo one; read x; echo two >&2"
    sampan(daemon, "run", "-di", "--name", "talk", "busybox", "sh", "-c", script)
    process = spawn(daemon, "logs", "-f", "talk", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"one\n"
    subprocess.run([PROGRAM, "attach", "talk"], env=environment(daemon), input=b"go\n", timeout=30)
    out, err = process.communicate(timeout=30)
    assert (out, err) == (b"", b"two\n")
    stamped = sampan(daemon, "logs", "-t", "--tail", "1", "talk").stderr
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z two\n", stamped)


def test_events_tell_a_life(daemon: Daemon) -> None:
    process = spawn(
        daemon, "events", "--filter", "type=container", "--format", "{{.Action}}", stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    lines: list[str] = []
    reader = threading.Thread(
        target=lambda: lines.extend(line.decode().strip() for line in process.stdout or ())
    )
    reader.start()
    wait_for(lambda: json.loads(sampan(daemon, "info", "-f", "json").stdout)["NEventsListener"] > 0)
    sampan(daemon, "run", "--rm", "--name", "life", "busybox", "true")
    wait_for(lambda: "destroy" in lines)
    process.terminate()
    process.wait(10)
    reader.join(10)
    process.stdout.close()
    assert [line for line in lines if line != "attach"] == ["create", "start", "die", "destroy"]


def test_lists_and_inspect(daemon: Daemon) -> None:
    sampan(daemon, "run", "-d", "--name", "shown", "-p", "127.0.0.1:18080:80", "busybox", "sleep", "1000")
    assert "127.0.0.1:18080->80/tcp" in sampan(daemon, "ps").stdout
    assert sampan(daemon, "port", "shown", "80").stdout == "127.0.0.1:18080\n"
    assert sampan(daemon, "inspect", "-f", "{{.State.Status}}", "shown").stdout == "running\n"
    assert json.loads(sampan(daemon, "inspect", "shown").stdout)[0]["Name"] == "/shown"
    assert "sleep 1000" in sampan(daemon, "top", "shown").stdout
    sampan(daemon, "exec", "shown", "touch", "/made")
    assert sampan(daemon, "diff", "shown").stdout == "A /made\n"
    sampan(daemon, "pause", "shown")
    assert "(Paused)" in sampan(daemon, "ps", "--format", "{{.Status}}").stdout
    sampan(daemon, "unpause", "shown")
    done = sampan(daemon, "stop", "-t", "0", "gone", "shown", check=False)
    assert (done.returncode, done.stdout) == (1, "shown\n")
    assert done.stderr == "Error response from daemon: No such container: gone\n"
    assert sampan(daemon, "wait", "shown").stdout == "137\n"
    assert sampan(daemon, "ps", "-q").stdout == ""
    assert sampan(daemon, "rm", "shown").stdout == "shown\n"


def wait_for(condition: "object", timeout: float = 20) -> None:
    """Ask until ``condition`` holds."""
    assert callable(condition)
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def test_over_tls(tmp_path: Path) -> None:
    pki = make_pki(tmp_path / "pki")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flags = ["--tlsverify", "--tlscacert", f"{pki}/ca.pem", "-H", f"tcp://127.0.0.1:{port}"]
    flags += ["--tlscert", f"{pki}/server-cert.pem", "--tlskey", f"{pki}/server-key.pem"]
    ours = ["--tlsverify", "--tlscacert", f"{pki}/ca.pem", "-H", f"tcp://localhost:{port}"]
    proof = ["--tlscert", f"{pki}/client-cert.pem", "--tlskey", f"{pki}/client-key.pem"]

    def call(*args: str) -> "subprocess.CompletedProcess[str]":
        plain = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
        command = [PROGRAM, *ours, *args]
        return subprocess.run(command, env=plain, input="typed", capture_output=True, text=True, timeout=60)

    with running_daemon(tmp_path, *flags) as daemon:
        load_busybox(daemon)
        done = call(*proof, "run", "--rm", "-i", "busybox", "sh", "-c", "cat; sleep 0.1; echo ' late'")
        assert (done.stdout, done.stderr) == ("typed late\n", "")
        done = call("ps")
        assert done.returncode == 1
        assert "tls" in done.stderr


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[None]:
    """Hide the machine's own daemon, its state and logs behind empty folders."""
    places = [Path(place) for place in ("/run/sampan", "/var/lib/sampan", "/var/log")]
    mounted = []
    try:
        for place in places:
            place.mkdir(parents=True, exist_ok=True)
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], check=True)
            mounted.append(place)
        yield
    finally:
        for place in mounted:
            subprocess.run(["umount", "-R", "-l", str(place)], check=True)


@pytest.mark.usefixtures("machine")
def test_the_daemon_starts_when_it_is_needed(tmp_path: Path) -> None:
    plain = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}

    def call(*args: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([PROGRAM, *args], env=plain, capture_output=True, text=True, timeout=60)

    done = call("ps", "-q")
    assert done.returncode == 0, done.stderr
    started = re.fullmatch(r"sampan: started sampand \(pid (\d+)\)\n", done.stderr)
    assert started
    pid = int(started[1])
    try:
        assert call("ps", "-q").stderr == ""
        assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")
        assert os.getsid(pid) == pid
        done = call("version", "-f", "{{.Server.Version}}")
        assert (done.returncode, done.stderr) == (0, "")
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text())
    assert "API listen on /run/sampan/sampan.sock" in Path("/var/log/sampan.log").read_text()
