"""HTTP/1.1 as a client: kept connections, chunked bodies both ways, early answers, broken ones."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.fake_daemon import FakeDaemon, Received, Reply

from sampan.client.endpoint import Endpoint
from sampan.client.errors import ClientError, ConnectionFailed
from sampan.client.transport import Download, Transport, parse_head


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(tmp_path / "s") as fake:
        yield fake


@pytest.fixture
def transport(tmp_path: Path) -> Iterator[Transport]:
    made = Transport(Endpoint(f"unix://{tmp_path}/s"), headers={"X-Mine": "1"})
    yield made
    made.close()


def get(transport: Transport, target: str) -> bytes:
    return transport.receive(transport.send("GET", target)).read()


def test_one_connection_serves_several_requests(daemon: FakeDaemon, transport: Transport) -> None:
    daemon.on("GET", "/a", body=b"first")
    daemon.on("GET", "/b", chunks=[b"sec", b"ond"])
    assert get(transport, "/a") == b"first"
    kept = transport.idle[0]
    assert get(transport, "/b") == b"second"
    assert transport.idle == [kept]
    assert daemon.requests[0].headers["x-mine"] == "1"


def test_a_connection_that_was_closed_meanwhile_is_replaced(daemon: FakeDaemon, transport: Transport) -> None:
    daemon.on("GET", "/a", lambda _request: Reply(body=b"x", close=True))
    assert get(transport, "/a") == b"x"
    assert get(transport, "/a") == b"x"


def test_a_body_that_is_not_read_is_not_left_for_the_next(daemon: FakeDaemon, transport: Transport) -> None:
    daemon.on("GET", "/a", body=b"long")
    transport.receive(transport.send("GET", "/a")).close()
    assert get(transport, "/a") == b"long"


def test_lines_arrive_as_they_are_complete(daemon: FakeDaemon, transport: Transport) -> None:
    daemon.on("GET", "/a", chunks=[b"on", b"e\ntw", b"o\n\nlast"])
    assert list(transport.receive(transport.send("GET", "/a")).lines()) == [b"one", b"two", b"", b"last"]


@pytest.mark.parametrize("count", [0, 1, 300])
def test_upload_of_an_iterable(daemon: FakeDaemon, transport: Transport, count: int) -> None:
    daemon.on("POST", "/a", lambda request: Reply(body=str(len(request.body)).encode()))
    body = (b"x" * 5000 for _ in range(count))
    assert transport.receive(transport.send("POST", "/a", body=body)).read() == str(5000 * count).encode()


@pytest.mark.parametrize("size", [0, 5, 3_000_000])
def test_upload_of_a_file(daemon: FakeDaemon, transport: Transport, tmp_path: Path, size: int) -> None:
    daemon.on("POST", "/a", lambda request: Reply(body=str(len(request.body)).encode()))
    (tmp_path / "file").write_bytes(b"x" * (size + 10))
    with (tmp_path / "file").open("rb", buffering=0) as file:
        file.seek(10)
        response = transport.receive(transport.send("POST", "/a", body=file.fileno()))
        assert response.read() == str(size).encode()
    assert daemon.requests[0].headers["content-length"] == str(size)


def test_a_file_that_shrinks_while_it_is_sent(
    daemon: FakeDaemon, transport: Transport, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"x" * 10)
    with (tmp_path / "file").open("rb+", buffering=0) as file:
        connection = transport.send("POST", "/a", body=file.fileno())
        file.truncate(5)
        with pytest.raises(ClientError, match="became shorter"):
            transport.receive(connection)


def test_upload_of_a_slow_pipe(daemon: FakeDaemon, transport: Transport) -> None:
    daemon.on("POST", "/a", lambda request: Reply(body=request.body[::-1]))
    reading, writing = os.pipe()
    connection = transport.send("POST", "/a", body=reading)

    def feed() -> None:
        os.write(writing, b"abc")
        os.close(writing)

    feeder = threading.Thread(target=feed)
    feeder.start()
    assert transport.receive(connection).read() == b"cba"
    feeder.join()
    os.close(reading)


def test_an_answer_before_the_body_was_read(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(tmp_path / "early"))
    listener.listen()

    def refuse() -> None:
        connection, _ = listener.accept()
        connection.recv(100)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        connection.close()

    thread = threading.Thread(target=refuse)
    thread.start()
    transport = Transport(Endpoint(f"unix://{tmp_path}/early"))
    response = transport.receive(transport.send("POST", "/", body=(b"x" * 65536 for _ in range(100))))
    assert (response.status, response.read()) == (413, b"big")
    thread.join()
    listener.close()
    transport.close()


def test_a_hijacked_connection_gives_what_came_with_the_head_first(
    daemon: FakeDaemon, transport: Transport
) -> None:
    def echo(connection: socket.socket) -> None:
        connection.sendall(b"hello ")
        while data := connection.recv(100):
            connection.sendall(data)
        connection.sendall(b" bye")

    daemon.on("POST", "/attach", hijack=echo)
    wire = transport.receive(transport.send("POST", "/attach", upgrade=True)).hijack()
    wire.sendall(b"you")
    wire.shutdown_write()
    assert b"".join(iter(wire.recv, b"")) == b"hello you bye"
    assert daemon.requests[0].headers["upgrade"] == "tcp"
    wire.close()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "hung up"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "is not a daemon"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "unexpected EOF"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "a chunk has no size"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", "a chunk is longer"),
    ],
)
def test_broken_answers(tmp_path: Path, answer: bytes, reason: str) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(tmp_path / "broken"))
    listener.listen()

    def serve() -> None:
        connection, _ = listener.accept()
        connection.recv(1000)
        connection.sendall(answer)
        connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    transport = Transport(Endpoint(f"unix://{tmp_path}/broken"))
    with pytest.raises(ConnectionFailed, match=reason):
        get(transport, "/")
    thread.join()
    listener.close()


def test_nobody_listens(tmp_path: Path) -> None:
    transport = Transport(Endpoint(f"unix://{tmp_path}/none"))
    with pytest.raises(ConnectionFailed, match=r"Cannot connect to the Sampan daemon at unix://.*/none\."):
        transport.warm()


def test_interim_answers_are_skipped() -> None:
    assert parse_head("HTTP/1.1 204 No Content\r\nA: b: c", "h") == (204, {"a": "b: c"})


def test_requests_carry_length_and_type(daemon: FakeDaemon, transport: Transport) -> None:
    def check(request: Received) -> Reply:
        head = request.headers
        return Reply(body=f"{head['content-length']} {head['content-type']}".encode())

    daemon.on("POST", "/a", check)
    response = transport.receive(transport.send("POST", "/a", body=b"{}", content_type="application/json"))
    assert response.read() == b"2 application/json"


BODY = [os.urandom(size) for size in (1, 300_000, 17, 1 << 21)]


def open_pipes() -> int:
    """Return how many ends of pipes this process has; the daemon's sockets come and go meanwhile."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found += str(entry.readlink()).startswith("pipe:")
    return found


def download(transport: Transport) -> Download:
    return Download(transport.receive(transport.send("GET", "/a")))


@pytest.mark.parametrize("flags", [0, os.O_APPEND])
def test_a_body_into_a_file(daemon: FakeDaemon, transport: Transport, tmp_path: Path, flags: int) -> None:
    daemon.on("GET", "/a", chunks=BODY)
    before = open_pipes()
    fd = os.open(tmp_path / "f", os.O_WRONLY | os.O_CREAT | flags)
    os.write(fd, b"before")
    assert download(transport).copy_to(fd, write_back=True) == sum(map(len, BODY))
    assert download(transport).copy_to(fd) == sum(map(len, BODY))  # over the same connection
    os.close(fd)
    assert (tmp_path / "f").read_bytes() == b"before" + b"".join(BODY) * 2
    assert open_pipes() == before


@pytest.mark.parametrize("blocking", [True, False])
def test_a_body_into_a_pipe(daemon: FakeDaemon, transport: Transport, *, blocking: bool) -> None:
    daemon.on("GET", "/a", chunks=BODY)
    reading, writing = os.pipe()
    os.set_blocking(writing, blocking)
    got: list[bytes] = []

    def drain() -> None:
        got.extend(iter(lambda: os.read(reading, 5000), b""))

    reader = threading.Thread(target=drain)
    reader.start()
    assert download(transport).copy_to(writing) == sum(map(len, BODY))
    os.close(writing)
    reader.join()
    os.close(reading)
    assert b"".join(got) == b"".join(BODY)


def test_a_body_of_known_length_into_a_device(daemon: FakeDaemon, transport: Transport) -> None:
    daemon.on("GET", "/a", body=BODY[1])
    fd = os.open("/dev/null", os.O_WRONLY)
    assert download(transport).copy_to(fd) == len(BODY[1])
    daemon.on("GET", "/a", chunks=BODY)
    assert download(transport).copy_to(fd) == sum(map(len, BODY))
    os.close(fd)


def test_a_body_that_breaks_off(daemon: FakeDaemon, transport: Transport, tmp_path: Path) -> None:
    def broken(connection: socket.socket) -> None:
        connection.sendall(b"1000\r\nnot all of it")

    daemon.on("GET", "/a", lambda _request: Reply(headers={"Transfer-Encoding": "chunked"}, hijack=broken))
    with (tmp_path / "f").open("wb") as file, pytest.raises(ConnectionFailed, match="unexpected EOF"):
        download(transport).copy_to(file.fileno())
    daemon.on("GET", "/a", chunks=BODY)
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OSError, match="No space left"):
        download(transport).copy_to(full.fileno())
