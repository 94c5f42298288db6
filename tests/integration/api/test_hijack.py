"""Connections that become streams: attach and exec over unix, TCP, TLS and websockets, on real containers."""

import contextlib
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
import websocket
from support.daemon import Daemon, running_daemon
from support.images import load_busybox
from support.pki import make_pki
from support.plain_http import Plain, ask, unix

pytestmark = pytest.mark.root


def frames(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while data:
        size = int.from_bytes(data[4:8], "big")
        found.append((data[0], data[8 : 8 + size]))
        data = data[8 + size :]
    return found


@pytest.fixture
def sleeper(client: docker.DockerClient) -> str:
    """A container that runs, by id."""
    return str(client.containers.run("busybox", ["sleep", "1000"], detach=True, network_mode="none").id)


def exec_id(daemon: Daemon, container: str, *command: str) -> str:
    """Prepare an exec with all three streams; return its id."""
    attached = {"AttachStdin": True, "AttachStdout": True, "AttachStderr": True}
    return str(ask(daemon, f"POST /containers/{container}/exec", {"Cmd": command, **attached})["Id"])


UPGRADE = ("Connection: Upgrade", "Upgrade: tcp")


def test_upgraded_clients_get_101_and_both_half_closes(daemon: Daemon, sleeper: str) -> None:
    name = exec_id(daemon, sleeper, "sh", "-c", "cat; echo late; echo err >&2")
    with unix(daemon) as client:
        status, head, rest = client.ask(
            f"POST /v1.47/exec/{name}/start", {"Detach": False}, *UPGRADE, behind=b"early "
        )
        assert status == 101
        assert head.startswith("HTTP/1.1 101 UPGRADED\r\n")
        assert "Content-Type: application/vnd.docker.multiplexed-stream" in head
        assert "Upgrade: tcp" in head
        client.connection.sendall(b"input\n")
        client.connection.shutdown(socket.SHUT_WR)
        found = frames(client.read_all(rest))
    assert b"".join(data for kind, data in found if kind == 1) == b"early input\nlate\n"
    assert b"".join(data for kind, data in found if kind == 2) == b"err\n"


def test_old_clients_get_200_and_a_raw_stream(daemon: Daemon, sleeper: str) -> None:
    name = exec_id(daemon, sleeper, "cat")
    with unix(daemon) as client:
        status, head, rest = client.ask(f"POST /v1.41/exec/{name}/start", {}, behind=b"x" * 100_000)
        assert status == 200
        assert "Content-Type: application/vnd.docker.raw-stream" in head
        client.connection.shutdown(socket.SHUT_WR)
        assert b"".join(data for _, data in frames(client.read_all(rest))) == b"x" * 100_000


def test_before_1_42_a_multiplexed_stream_is_called_raw(daemon: Daemon, sleeper: str) -> None:
    name = exec_id(daemon, sleeper, "true")
    with unix(daemon) as client:
        _, head, _ = client.ask(f"POST /v1.41/exec/{name}/start", {}, *UPGRADE)
        assert "Content-Type: application/vnd.docker.raw-stream" in head


def test_errors_come_before_the_upgrade(daemon: Daemon, sleeper: str) -> None:
    for line, status in (
        ("POST /exec/nope/start", 404),
        ("POST /containers/nope/attach?stream=1&stdout=1", 404),
        (f"POST /containers/{sleeper}/attach?stream=1&stdin=1&detachKeys=nope", 400),
    ):
        with unix(daemon) as client:
            found, head, _ = client.ask(line, {} if "exec" in line else None, *UPGRADE)
            assert found == status
            assert "Content-Type: application/json" in head


def test_a_command_that_cannot_run_says_so_in_its_output(daemon: Daemon, sleeper: str) -> None:
    name = exec_id(daemon, sleeper, "/nope")
    with unix(daemon) as client:
        status, _, rest = client.ask(f"POST /exec/{name}/start", {}, *UPGRADE)
        assert status == 101
        ((kind, text),) = frames(client.read_all(rest))
    assert kind == 1
    assert b"no such file or directory" in text
    assert text.endswith(b"\r\n")


def test_a_client_that_vanishes_takes_nothing_with_it(daemon: Daemon, sleeper: str) -> None:
    with unix(daemon) as client:
        assert client.ask(f"POST /containers/{sleeper}/attach?stream=1&stdout=1", None, *UPGRADE)[0] == 101
        before = daemon.open_files()
        client.connection.shutdown(socket.SHUT_WR)  # first one direction, then the rest
    for _ in range(200):
        if daemon.open_files() < before:
            break
        ask(daemon, "GET /_ping")
    else:
        pytest.fail("the attachment of a client that went away is still held")
    assert ask(daemon, f"GET /containers/{sleeper}/json")["State"]["Running"]


def test_waiting_clients_are_forgotten_when_they_leave(daemon: Daemon, sleeper: str) -> None:
    before = daemon.open_files()
    clients = []
    for line in (
        f"POST /containers/{sleeper}/wait",
        "GET /events",
        f"GET /containers/{sleeper}/logs?follow=1&stdout=1",
    ):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(daemon.socket))
        assert Plain(connection).ask(line)[0] == 200, "the head comes before there is anything to tell"
        clients.append(connection)
    assert daemon.open_files() > before
    for connection in clients:
        connection.close()
    for _ in range(200):
        if daemon.open_files() <= before:
            break
        ask(daemon, "GET /_ping")
    else:
        pytest.fail("what was done for clients that went away goes on")


def test_websockets(daemon: Daemon, client: docker.DockerClient) -> None:
    container = client.containers.create(
        "busybox", ["sh", "-c", "cat; echo err >&2"], stdin_open=True, network_mode="none"
    )
    container.start()
    path = f"/v1.47/containers/{container.id}/attach/ws?stream=1&stdin=1&stdout=1&stderr=1"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(daemon.socket))
        connection.settimeout(20)
        stream = websocket.create_connection(f"ws://docker{path}", socket=connection)
        stream.send_binary(b"hello\n")
        assert stream.recv() == b"hello\n", "no headers of multiplexed output"
        stream.close()
    container.remove(force=True)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, Path]]:
    """A daemon that also listens on TCP with TLS and asks for client certificates, and the keys."""
    folder = tmp_path_factory.mktemp("tls")
    pki = make_pki(folder / "pki")
    flags = ["--tlsverify", "--tlscacert", str(pki / "ca.pem"), "--tlscert", str(pki / "server-cert.pem")]
    with running_daemon(
        folder, "-H", "tcp://127.0.0.1:23760", *flags, "--tlskey", str(pki / "server-key.pem")
    ) as daemon:
        load_busybox(daemon)
        yield daemon, pki


def docker_tls(pki: Path, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    if shutil.which("docker") is None:
        pytest.skip("docker is not installed")
    flags = ["--tlsverify", "--tlscacert", str(pki / "ca.pem"), "--tlscert", str(pki / "client-cert.pem")]
    return subprocess.run(
        ["docker", "-H", "tcp://127.0.0.1:23760", *flags, "--tlskey", str(pki / "client-key.pem"), *words],
        capture_output=True,
        text=True,
        input=text,
        timeout=60,
        check=False,
    )


def test_dockers_client_over_tls(secure: tuple[Daemon, Path]) -> None:
    _, pki = secure
    done = docker_tls(
        pki, "run", "-i", "--rm", "--network", "none", "busybox", "sh", "-c", "cat; echo late", text="in\n"
    )
    assert (done.stdout, done.stderr, done.returncode) == ("in\nlate\n", "", 0)


def test_tls_needs_a_certificate(secure: tuple[Daemon, Path]) -> None:
    _, pki = secure
    context = ssl.create_default_context(cafile=str(pki / "ca.pem"))
    with (
        socket.create_connection(("127.0.0.1", 23760)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
        contextlib.suppress(ssl.SSLError, ConnectionError),
    ):
        connection.sendall(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
        assert connection.recv(100) == b"", "answered although there was no certificate"
    with socket.create_connection(("127.0.0.1", 23760)) as plain:
        plain.sendall(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
        assert b"Client sent an HTTP request to an HTTPS server" in Plain(plain).read_all()
