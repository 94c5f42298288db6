"""The program around the commands: help, what is not built yet, broken pipes, starting the daemon."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.command_line import Sampan
from support.fake_daemon import FakeDaemon

from sampan.cli import daemon_start
from sampan.cli.app import App
from sampan.cli.commands import COMMANDS
from sampan.cli.errors import CommandError
from sampan.cli.main import find_command
from sampan.cli.parser import Flags, Parsed
from sampan.cli.table import COMMANDS as KNOWN
from sampan.client.endpoint import Endpoint

PROGRAM = str(Path(__file__).resolve().parents[4] / "bin" / "sampan")


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_its_function(command: str) -> None:
    assert command in KNOWN
    parsed = Parsed(Flags((), {}))
    parsed.command = command
    assert callable(find_command(parsed))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["compose", "up", "-d"], "`sampan compose up` comes with a later version.\n"),
        (["-l", "loud", "ps"], "Unable to parse logging level: loud\n"),
        (
            ["-H", "foo://x", "ps"],
            "Failed to initialize: unable to resolve docker endpoint: invalid bind address",
        ),
        (
            ["-H", "tcp://a:1", "-H", "tcp://b:1", "ps"],
            "Failed to initialize: unable to resolve docker endpoint: ",
        ),
        (
            ["-H", "tcp://a:1", "-c", "b", "ps"],
            "conflicting options: cannot specify both --host and --context\n",
        ),
        (["frobnicate"], "sampan: unknown command: sampan frobnicate\n"),
    ],
)
def test_refusals(sampan: Sampan, args: list[str], message: str) -> None:
    done = sampan(*args)
    assert done.code == 1
    assert done.err.startswith(message)


def test_help(sampan: Sampan) -> None:
    assert "Usage:  sampan run [OPTIONS] IMAGE" in sampan("run", "--help").out
    assert sampan("help", "ps").out == sampan("ps", "--help").out
    done = sampan()
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith("Usage:  sampan [OPTIONS] COMMAND")


def test_broken_settings_are_a_warning(daemon: FakeDaemon, sampan: Sampan, tmp_path: Path) -> None:
    daemon.on("GET", "/containers/json", json=[])
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text("{")
    done = sampan("ps", "-q")
    assert done.code == 0
    assert done.err.startswith("WARNING: Error loading config file: ")


def test_a_reader_that_leaves_ends_the_program_by_sigpipe(
    daemon: FakeDaemon, environment: dict[str, str]
) -> None:
    line = b"x" * 8000 + b"\n"
    kind = {"Content-Type": "application/vnd.docker.raw-stream"}
    daemon.on("GET", "/containers/a/logs", chunks=[line] * 500, headers=kind)
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [PROGRAM, "logs", "a"], env=environment, stdout=writing, stderr=subprocess.PIPE
    )
    os.close(writing)
    os.read(reading, 100)
    os.close(reading)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (-signal.SIGPIPE, b"")


def app(environ: dict[str, str], launcher: str) -> App:
    return App(Flags(KNOWN[""][4] or (), environ), environ, launcher)


def write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def test_the_daemon_is_started_and_waited_for(
    tmp_path: Path,
    environment: dict[str, str],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(daemon_start, "log_file", lambda _app: str(tmp_path / "log"))
    program = f"""#!/usr/bin/env python3
import os, socket
print("in", os.getcwd(), flush=True)
listener = socket.socket(socket.AF_UNIX)
listener.bind("{tmp_path}/d")
listener.listen()
client = listener.accept()[0]
client.recv(999)
client.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
client.recv(999)
"""
    write_program(tmp_path / "sampand", program)
    made = app(environment | {"PATH": os.environ["PATH"]}, str(tmp_path / "sampan"))
    client = made.client_of(Endpoint(f"unix://{tmp_path}/d"))
    daemon_start._start(made, client)
    assert client.transport.idle
    client.close()
    said = capfd.readouterr().err
    assert said.startswith("sampan: started sampand (pid ")
    assert os.waitpid(int(said.split()[-1].rstrip(")")), 0)[1] == 0
    assert (tmp_path / "log").read_text() == "in /\n"


def test_a_daemon_that_cannot_start_tells_why(
    tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon_start, "log_file", lambda _app: str(tmp_path / "log"))
    (tmp_path / "log").write_text("of old\n")
    write_program(tmp_path / "sampand", "#!/bin/sh\necho no kernel >&2\nexit 1\n")
    made = app(environment, str(tmp_path / "sampan"))
    client = made.client_of(Endpoint(f"unix://{tmp_path}/d"))
    with pytest.raises(CommandError) as caught:
        daemon_start._start(made, client)
    assert "sampand could not be started: it ended at once" in str(caught.value)
    assert str(caught.value).endswith("/log\nno kernel")


def test_where_the_daemon_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    write_program(tmp_path / "bin/sampand", "")
    (tmp_path / "sampan").symlink_to(tmp_path / "bin/sampan")
    (tmp_path / "bin/sampan").touch()
    assert daemon_start.find_daemon(str(tmp_path / "sampan"), "") == str(tmp_path / "bin/sampand")
    assert daemon_start.find_daemon("sampan", f"/nope:{tmp_path}/bin") == str(tmp_path / "bin/sampand")
    with pytest.raises(CommandError, match="neither beside sampan nor on the PATH"):
        daemon_start.find_daemon("sampan", "/nope")


def test_dial_stdio(daemon: FakeDaemon, sampan: Sampan) -> None:
    daemon.on("GET", "/_ping", body=b"OK")
    request = b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n"
    done = sampan("system", "dial-stdio", stdin=request)
    assert done.out.startswith("HTTP/1.1 200")
    assert done.out.endswith("\r\n\r\nOK")


def test_from_anywhere(tmp_path: Path) -> None:
    """The launcher finds its package through links and relative paths."""
    (tmp_path / "link").symlink_to(PROGRAM)
    for command in ([str(tmp_path / "link")], ["./link"], ["sh", "link"]):
        done = subprocess.run(
            [*command, "--version"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert done.stdout.startswith("Sampan version")


@pytest.mark.parametrize("editable", [True, False])
def test_installed_in_an_environment(tmp_path: Path, editable: bool) -> None:
    checkout = Path(PROGRAM).parent.parent
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    site = tmp_path / "lib" / version / "site-packages"
    site.mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").symlink_to(Path(sys.executable).resolve())
    shutil.copy(PROGRAM, tmp_path / "bin/sampan")
    if editable:
        (site / "__editable__.sampan-0.1.0.pth").write_text(f"{checkout}\n")
    else:
        (site / "sampan").symlink_to(checkout / "sampan")
    command = [str(tmp_path / "bin/sampan"), "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.startswith("Sampan")


def test_socket_names_have_a_limit(sampan: Sampan) -> None:
    assert "too long for the kernel" in sampan("-H", "unix:///" + "x" * 120, "ps").err
