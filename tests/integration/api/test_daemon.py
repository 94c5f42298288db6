"""sampand as a process: sockets and their owners, signals, a second daemon, socket activation."""

import contextlib
import grp
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.daemon import CHECKOUT, Daemon
from support.plain_http import ask, unix

pytestmark = pytest.mark.root


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    return Daemon(tmp_path)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def sampand(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sampan.daemon.main", *words],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=CHECKOUT,
        env={**os.environ, **environment},
    )


def test_it_ends_when_told_and_leaves_its_place_clean(daemon: Daemon) -> None:
    daemon.start()
    assert (daemon.folder / "pid").read_text() == str(daemon.pid)
    ask(daemon, "GET /_ping")
    assert daemon.stop() == 0
    assert not daemon.socket.exists()
    assert not (daemon.folder / "pid").exists()


def test_it_survives_its_own_death(daemon: Daemon) -> None:
    daemon.start()
    ask(daemon, "GET /_ping")
    daemon.kill()
    assert daemon.socket.exists()
    daemon.start()
    ask(daemon, "GET /_ping")
    assert daemon.stop() == 0


def test_a_second_daemon_is_refused(daemon: Daemon, tmp_path: Path) -> None:
    daemon.start()
    ask(daemon, "GET /_ping")
    words = ["-H", f"unix://{tmp_path}/2.sock", "--exec-root", f"{tmp_path}/2"]
    done = sampand(*words, "--data-root", f"{tmp_path}/2data", "--pidfile", str(tmp_path / "pid"))
    assert done.returncode == 1
    assert f"process with PID {daemon.pid} is still running" in done.stderr
    done = sampand(*words, "--data-root", str(daemon.data_root), "--pidfile", f"{tmp_path}/2.pid")
    assert done.returncode == 1
    assert f"is in use by another daemon (PID {daemon.pid})" in done.stderr
    assert not (tmp_path / "2.sock").exists()
    assert not (tmp_path / "2.pid").exists()
    ask(daemon, "GET /_ping")
    assert daemon.stop() == 0


def test_the_socket_belongs_to_a_group(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, "-G", "daemon").start()
    found = daemon.socket.stat()
    assert stat.S_IMODE(found.st_mode) == 0o660
    assert found.st_gid == grp.getgrnam("daemon").gr_gid
    assert daemon.stop() == 0
    done = sampand(
        "-G",
        "nosuchgroup",
        "-H",
        f"unix://{tmp_path}/x",
        "--data-root",
        f"{tmp_path}/data2",
        "-p",
        f"{tmp_path}/p",
    )
    assert done.returncode == 1
    assert "group nosuchgroup not found" in done.stderr


def test_a_file_in_the_place_of_the_socket_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    done = sampand("-H", f"unix://{tmp_path}/precious", "--data-root", f"{tmp_path}/d", "-p", f"{tmp_path}/p")
    assert done.returncode == 1
    assert "can't create unix socket" in done.stderr
    assert (tmp_path / "precious").read_text() == "x"


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        host = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        done = sampand(
            "-H", f"unix://{tmp_path}/s", "-H", host, "--data-root", f"{tmp_path}/d", "-p", f"{tmp_path}/p"
        )
    assert done.returncode == 1
    assert f"listen {host}: Address already in use" in done.stderr
    assert not (tmp_path / "s").exists()


def test_several_hosts_are_served(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, "-H", f"unix://{tmp_path}/other.sock", "-H", "tcp://127.0.0.1:23750").start()
    ask(daemon, "GET /_ping")
    for family, address in (
        (socket.AF_UNIX, f"{tmp_path}/other.sock"),
        (socket.AF_INET, ("127.0.0.1", 23750)),
    ):
        with socket.socket(family) as connection:
            connection.connect(address)
            connection.sendall(b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 OK")
    assert "without encryption" in daemon.log.read_text()
    assert daemon.stop() == 0


def test_socket_activation_and_word_to_the_service_manager(tmp_path: Path) -> None:
    activate = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid());"
        "os.environ['LISTEN_FDS'] = '1'; os.execv(sys.executable, [sys.executable, '-m', *sys.argv[2:]])"
    )
    roots = ["--data-root", f"{tmp_path}/d", "--exec-root", f"{tmp_path}/e", "-p", f"{tmp_path}/p"]
    with (
        socket.socket(socket.AF_UNIX) as listening,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
    ):
        listening.bind(f"{tmp_path}/s")
        listening.listen()
        manager.bind(f"{tmp_path}/notify")
        manager.settimeout(20)
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                activate,
                str(listening.fileno()),
                "sampan.daemon.main",
                "-H",
                "fd://",
                *roots,
            ],
            pass_fds=[listening.fileno()],
            cwd=CHECKOUT,
            env={**os.environ, "NOTIFY_SOCKET": f"{tmp_path}/notify"},
        )
        try:
            assert manager.recv(100) == b"READY=1"
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(f"{tmp_path}/s")
                connection.sendall(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
                assert connection.recv(4096).startswith(b"HTTP/1.1 200 OK")
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        assert manager.recv(100) == b"STOPPING=1"
        assert (tmp_path / "s").exists(), "the socket is the service manager's"
    done = sampand("-H", "fd://", *roots)
    assert done.returncode == 1
    assert "no sockets found via socket activation" in done.stderr


def test_settings_are_reloaded(daemon: Daemon) -> None:
    file = daemon.folder / "daemon.json"
    file.write_text(json.dumps({"labels": ["a=b"]}))
    daemon.start()
    assert ask(daemon, "GET /info")["Labels"] == ["a=b"]
    with unix(daemon) as client:
        status, _, rest = client.ask("GET /events?filters=%7B%22type%22%3A%5B%22daemon%22%5D%7D")
        assert status == 200
        file.write_text(json.dumps({"labels": ["c=d"], "debug": True}))
        os.kill(daemon.pid, signal.SIGHUP)
        while not rest.endswith(b"}\n\r\n"):
            rest += client.connection.recv(65536)
    event = json.loads(rest.split(b"\r\n")[1])
    assert (event["Type"], event["Action"]) == ("daemon", "reload")
    assert event["Actor"]["Attributes"]["labels"] == '["c=d"]'
    info = ask(daemon, "GET /info")
    assert event["Actor"]["ID"] == info["ID"]
    assert (info["Labels"], info["Debug"]) == (["c=d"], True)
    file.write_text("{bad")
    os.kill(daemon.pid, signal.SIGHUP)
    until(lambda: "level=error" in daemon.log.read_text())
    assert ask(daemon, "GET /info")["Labels"] == ["c=d"]
    assert daemon.stop() == 0


def test_stacks_are_written_on_demand(daemon: Daemon) -> None:
    daemon.start()
    ask(daemon, "GET /_ping")
    os.kill(daemon.pid, signal.SIGUSR1)
    until(lambda: any(daemon.exec_root.glob("stacks-*.log")))
    until(lambda: "stacks written" in daemon.log.read_text())
    (path,) = daemon.exec_root.glob("stacks-*.log")
    assert "thread MainThread" in path.read_text()
    assert daemon.stop() == 0


def test_the_engine_keeps_its_id(daemon: Daemon) -> None:
    daemon.start()
    first = ask(daemon, "GET /info")["ID"]
    assert daemon.stop() == 0
    daemon.start()
    assert ask(daemon, "GET /info")["ID"] == first
    assert daemon.stop() == 0


def test_clients_that_listen_do_not_hold_the_daemon_up(daemon: Daemon) -> None:
    daemon.start()
    with unix(daemon) as client:
        assert client.ask("GET /events")[0] == 200
        started = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - started < 5
        with contextlib.suppress(ConnectionResetError):
            assert client.read_all() == b""


def test_validation_touches_nothing(tmp_path: Path) -> None:
    file = tmp_path / "daemon.json"
    file.write_text(json.dumps({"data-root": f"{tmp_path}/d", "foo": 1}))
    done = sampand("--config-file", str(file), "--validate")
    assert done.returncode == 1
    assert done.stderr == (
        f"unable to configure the Docker daemon with file {file}: "
        "the following directives don't match any configuration option: foo\n"
    )
    file.write_text(json.dumps({"data-root": f"{tmp_path}/d"}))
    done = sampand("--config-file", str(file), "--validate")
    assert (done.returncode, done.stderr) == (0, "configuration OK\n")
    assert not (tmp_path / "d").exists()


def test_the_launcher_works_without_site(tmp_path: Path) -> None:
    link = tmp_path / "sampand"
    link.symlink_to(CHECKOUT / "bin" / "sampand")
    done = subprocess.run([str(link), "--version"], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.startswith("Sampan version ")
