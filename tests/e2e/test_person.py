"""A person's path through the command line: from an empty machine to a served page, and back."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.daemon import CHECKOUT, Daemon, running_daemon, sampan
from support.terminal import Terminal
from support.traces import assert_none_left, look

from sampan import __version__

pytestmark = pytest.mark.root

PROGRAM = str(CHECKOUT / "bin" / "sampan")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that has nothing but what the first person on it makes: an image of this machine's busybox."""
    with running_daemon(tmp_path_factory.mktemp("machine")) as daemon:
        assert sampan(daemon, "images", "-q").stdout == ""
        sampan(daemon, "image", "bootstrap", "busybox")
        yield daemon


@pytest.fixture
def daemon(machine: Daemon) -> Iterator[Daemon]:
    """The daemon; the person cleans up."""
    before = look(machine)
    yield machine
    assert sampan(machine, "ps", "-aq").stdout == ""
    assert_none_left(before, machine)


def environment(daemon: Daemon) -> dict[str, str]:
    return {
        "DOCKER_HOST": daemon.url,
        "HOME": str(daemon.folder),
        "PATH": os.environ["PATH"],
        "TERM": "xterm",
    }


def test_the_image_is_there_and_says_where_it_is_from(daemon: Daemon) -> None:
    listed = sampan(daemon, "images").stdout.splitlines()
    assert listed[0].split() == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    assert listed[1].split()[:2] == ["busybox", "latest"]
    (document,) = json.loads(sampan(daemon, "image", "inspect", "busybox").stdout)
    assert document["RepoTags"] == ["busybox:latest"]
    assert document["Config"]["Cmd"]
    assert document["Config"]["Labels"]
    assert len(sampan(daemon, "history", "busybox").stdout.splitlines()) >= 2
    again = sampan(daemon, "image", "bootstrap", "busybox")
    assert again.returncode == 0
    assert len(sampan(daemon, "images", "-q").stdout.split()) == 1


def test_a_look_round_in_a_terminal(daemon: Daemon) -> None:
    command = [PROGRAM, "run", "-it", "--rm", "--hostname", "box", "busybox", "sh"]
    with Terminal(command, environment(daemon), rows=31, cols=97) as window:
        window.expect("# ")
        window.type("hostname; stty size; id -un\r")
        window.expect("box")
        window.expect("31 97")
        window.expect("root")
        window.type("ls -d /bin /etc /proc; ls /nosuch\r")
        window.expect("/bin")
        window.expect("No such file or directory")
        window.type("exit 3\r")
        assert window.wait() == 3


def fetched() -> bytes:
    """Return the page, once the server in the container is up."""
    deadline = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen("http://127.0.0.1:8080/", timeout=10) as answer:
                return bytes(answer.read())
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_page_is_served(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("Hello from a container.\n")
    started = sampan(
        daemon,
        "run",
        "-d",
        "--name",
        "web",
        "-p",
        "8080:80",
        "-v",
        f"{tmp_path}:/www:ro",
        "busybox",
        "httpd",
        "-f",
        "-v",
        "-h",
        "/www",
    ).stdout.strip()
    assert len(started) == 64
    assert fetched() == b"Hello from a container.\n"
    heading, row = sampan(daemon, "ps").stdout.splitlines()
    assert heading.split() == ["CONTAINER", "ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    assert row.split()[:2] == [started[:12], "busybox"]
    assert "0.0.0.0:8080->80/tcp" in row
    assert row.endswith("web")
    assert sampan(daemon, "port", "web").stdout.splitlines()[0] == "80/tcp -> 0.0.0.0:8080"
    assert "response:200" in sampan(daemon, "logs", "web").stderr
    assert sampan(daemon, "exec", "web", "cat", "/www/index.html").stdout == "Hello from a container.\n"
    refused = sampan(daemon, "exec", "web", "sh", "-c", "echo no > /www/index.html", check=False)
    assert refused.returncode == 1
    assert "Read-only file system" in refused.stderr
    template = "{{.State.Status}} {{.HostConfig.NetworkMode}} {{(index .Mounts 0).Source}}"
    assert sampan(daemon, "inspect", "-f", template, "web").stdout == f"running bridge {tmp_path}\n"
    assert "httpd" in sampan(daemon, "top", "web").stdout
    taken = sampan(daemon, "run", "-d", "--name", "second", "-p", "8080:80", "busybox", "true", check=False)
    assert taken.returncode == 125
    assert "port is already allocated" in taken.stderr
    assert sampan(daemon, "rm", "second").stdout == "second\n"
    assert sampan(daemon, "stop", "-t", "1", "web").stdout == "web\n"
    assert "Exited" in sampan(daemon, "ps", "-a", "--format", "{{.Status}}").stdout
    assert sampan(daemon, "start", "web").stdout == "web\n"
    assert fetched() == b"Hello from a container.\n"
    still_runs = sampan(daemon, "rm", "web", check=False)
    assert still_runs.returncode == 1
    assert "container is running: stop the container before removing or force remove" in still_runs.stderr
    assert sampan(daemon, "rm", "-f", "web").stdout == "web\n"


def test_mistakes_are_explained(daemon: Daemon) -> None:
    def say(*words: str) -> tuple[int, str]:
        done = sampan(daemon, *words, check=False)
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        return done.returncode, done.stderr

    code, text = say("run", "--pull", "never", "nosuchimage")
    assert (code, "No such image: nosuchimage:latest" in text) == (125, True)
    code, text = say("run", "--rm", "busybox", "nosuch")
    assert (code, 'exec: "nosuch": executable file not found in $PATH' in text) == (127, True)
    code, text = say("run", "--nosuch", "busybox")
    assert (code, text.splitlines()[0]) == (125, "unknown flag: --nosuch")
    code, text = say("run", "-m", "1x", "busybox")
    assert code == 125
    assert "invalid suffix: 'x'" in text
    code, text = say("logs", "nosuch")
    assert (code, "No such container: nosuch" in text) == (1, True)
    code, text = say("stop")
    assert code == 1
    assert "requires at least 1 argument" in text
    code, text = say("nosuch")
    assert code != 0
    assert "nosuch" in text.splitlines()[0]


def test_help_is_there_for_everything(daemon: Daemon) -> None:
    overview = sampan(daemon, "--help").stdout
    assert "Usage:" in overview
    for command in ("run", "exec", "ps", "logs", "inspect", "images", "load"):
        assert f"  {command} " in overview
        text = sampan(daemon, command, "--help").stdout
        assert "Usage:" in text
        assert f"sampan {command}" in text
    run = sampan(daemon, "run", "--help").stdout
    for option in ("--interactive", "--publish", "--volume", "--memory", "--rm"):
        assert option in run
    assert "Usage:" in sampan(daemon, "image", "bootstrap", "--help").stdout


def test_what_comes_later_says_so(daemon: Daemon) -> None:
    for words in (("build", "."), ("swarm", "init")):
        done = sampan(daemon, *words, check=False)
        assert done.returncode != 0
        assert done.stderr.endswith("comes with a later version.\n")


def test_versions_and_information(daemon: Daemon) -> None:
    shown = sampan(daemon, "version").stdout
    assert "Client:" in shown
    assert "Server:" in shown
    assert sampan(daemon, "version", "--format", "{{.Server.Version}}").stdout == f"{__version__}\n"
    information = sampan(daemon, "info").stdout
    assert " Storage Driver: overlay2" in information
    assert " Default Runtime: crun" in information


def test_without_a_daemon_it_says_so(tmp_path: Path) -> None:
    absent = {**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/absent.sock", "HOME": str(tmp_path)}
    done = subprocess.run(
        [PROGRAM, "ps"], capture_output=True, text=True, env=absent, check=False, timeout=60
    )
    assert done.returncode == 1
    assert f"unix://{tmp_path}/absent.sock" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_demonstration(tmp_path: Path) -> None:
    """``make demo``, with its own namespaces inside those of the test."""
    programs = Path(sys.executable).parent
    command = [str(CHECKOUT / "tests" / "isolated"), str(CHECKOUT / "scripts" / "demo.sh"), str(programs)]
    assert shutil.which("unshare")
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Hello from a container." in done.stdout
    assert "0.0.0.0:8080->80/tcp" in done.stdout
    assert "running with pid" in done.stdout
    assert done.stdout.endswith("mounts left behind: 0\n")
    assert list(tmp_path.iterdir()) == []
