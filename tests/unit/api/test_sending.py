"""Answers that are a piece of a file, or a stream of known length; and a client that speaks TLS."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path

import pytest
from support.wires import FakeTransport, connect, request, settle

from sampan.api import sending
from sampan.api.body import Body
from sampan.api.connection import Connection, Work
from sampan.api.http1 import BadRequest, ChunkedDecoder, Head
from sampan.api.response import Answer, FileResponse, Response, StreamResponse
from sampan.base.outflow import FilePart, Outflow, Piece
from sampan.base.tasks import Tasks

DATA = os.urandom(3 << 20)


class App:
    """Answers with ``DATA``, a part of it, or more than there is; or with a stream."""

    def __init__(self, path: Path) -> None:
        self.tasks = Tasks("test")
        self.path = path
        self.sent: list[FileResponse] = []
        self.given_back = 0
        self.open: set[Connection] = set()
        path.write_bytes(DATA)

    def opened(self, connection: Connection) -> None:
        self.open.add(connection)

    def closed(self, connection: Connection) -> None:
        self.open.discard(connection)

    def handle(self, head: Head, body: Body) -> Answer | Work:
        match head.target:
            case "/file":
                return self._file(0, len(DATA))
            case "/part":
                return self._file(100, 50)
            case "/beyond":
                return self._file(len(DATA) - 5, 10)
            case "/stream":
                return StreamResponse(_pieces(), length=3)
            case "/made":
                return StreamResponse(Outflow.of(self._made()))
            case "/broken":
                return StreamResponse(Outflow.of(_broken()))
        return Response(404)

    def _made(self) -> Iterator[Piece]:
        try:
            with self.path.open("rb") as file:
                yield b"head"
                yield FilePart(file.fileno(), 100, len(DATA))  # a hundred bytes more than there are
                yield b"tail"
        finally:
            self.given_back += 1

    def _file(self, start: int, count: int) -> FileResponse:
        self.sent.append(FileResponse(self.path.open("rb", buffering=0), start, count, "x/y"))
        return self.sent[-1]

    def head(self, answer: Answer, length: int | None, *, close: bool) -> bytes:
        return f"<{length}>".encode()

    def refusal(self, error: BadRequest) -> Response:
        return Response(error.status)


async def _pieces() -> AsyncGenerator[bytes, None]:
    yield b"a"
    yield b"bc"


def _broken() -> Iterator[Piece]:
    yield b"one"
    raise OSError(5, "Input/output error")


def unchunked(data: bytes) -> tuple[bytes, bytes]:
    """Return the body at the begin of ``data``, of which no chunk is too long, and what is behind it."""
    decoder = ChunkedDecoder()
    body = b"".join(decoder.feed(data))
    assert decoder.done
    return body, decoder.rest


MADE = b"head" + DATA[100:] + bytes(100) + b"tail"


@pytest.fixture
def app(tmp_path: Path) -> App:
    return App(tmp_path / "data")


async def eventually(transport: FakeTransport, size: int) -> bytes:
    """Return what is sent once it is ``size`` bytes; other threads take part in it."""
    await until(lambda: len(transport.sent) >= size or transport.closed)
    return transport.take()


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not reached():
            await settle(1)


def test_where_there_is_no_socket_a_file_is_copied(app: App) -> None:
    async def scene() -> None:
        connection, transport = connect(app)
        connection.data_received(request("GET /part") + request("HEAD /file") + request("GET /part"))
        part = b"<50>" + DATA[100:150]
        whole = part + b"<%d>" % len(DATA) + part
        assert await eventually(transport, len(whole)) == whole
        await settle()
        assert all(answer.file.closed for answer in app.sent)

    asyncio.run(scene())


def test_a_file_that_is_too_short_breaks_the_answer_off(app: App) -> None:
    async def scene() -> None:
        connection, transport = connect(app)
        connection.data_received(request("GET /beyond"))
        assert await eventually(transport, 100) == b"<10>" + DATA[-5:]
        assert transport.aborted
        assert app.sent[0].file.closed

    asyncio.run(scene())


def test_the_kernel_sends_a_file(app: App) -> None:
    async def scene() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(app), "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(*address)
        writer.write(request("GET /file") + request("GET /part"))
        head = b"<%d>" % len(DATA)
        assert await reader.readexactly(len(head)) == head
        assert await reader.readexactly(len(DATA)) == DATA
        assert await reader.readexactly(54) == b"<50>" + DATA[100:150]
        gone_reader, gone = await asyncio.open_connection(*address)
        gone.write(request("GET /file"))
        await gone_reader.readexactly(1)
        gone.transport.abort()  # in the middle: nobody waits for it any more
        await until(lambda: all(answer.file.closed for answer in app.sent))
        writer.close()
        server.close()
        await settle()
        await app.tasks.close()

    asyncio.run(scene())


def test_a_client_that_takes_nothing_is_given_up(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "_STALLED_S", 0.01)
    app.path.write_bytes(DATA * 8)

    async def scene() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: Connection(app), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), limit=1)
        writer.write(request("GET /file") * 8)
        await until(lambda: bool(app.sent) and app.sent[-1].file.closed)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(len(DATA) * 8 + 100)
        writer.close()
        server.close()
        await settle()
        await app.tasks.close()

    asyncio.run(scene())


def test_a_stream_of_known_length_has_no_chunks(app: App) -> None:
    async def scene() -> None:
        connection, transport = connect(app)
        connection.data_received(request("GET /stream"))
        assert await eventually(transport, 6) == b"<3>abc"

    asyncio.run(scene())


def test_what_a_thread_makes_it_sends_itself(app: App) -> None:
    async def scene() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: Connection(app), "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(*address)
        writer.write(request("GET /made") + request("GET /part") + request("GET /broken"))
        rest = await reader.read(-1)  # the broken one ends the connection
        assert rest.startswith(b"<None>")
        body, rest = unchunked(rest[6:])
        assert body == MADE
        assert app.given_back == 1
        assert rest == b"<50>" + DATA[100:150] + b"<None>3\r\none"
        begun = b"<None>4\r\nhead"  # the thread is at work when that has come
        gone_reader, gone = await asyncio.open_connection(*address, limit=1)
        gone.write(request("GET /made"))
        await gone_reader.readexactly(len(begun))
        gone.transport.abort()
        await until(lambda: app.given_back == 2)
        stuck_reader, stuck = await asyncio.open_connection(*address, limit=1)
        stuck.write(request("GET /made"))
        await stuck_reader.readexactly(len(begun))
        server.close()
        await app.tasks.close()  # the thread, which waits for a client that reads nothing, ends too
        assert app.given_back == 3
        for one in (writer, stuck):
            one.close()
        await settle()

    asyncio.run(scene())


def test_where_there_is_no_socket_the_loop_sends_it(app: App) -> None:
    async def scene() -> None:
        connection, transport = connect(app)
        connection.data_received(request("GET /made"))
        await until(lambda: transport.sent.endswith(b"\r\n0\r\n\r\n"))
        assert unchunked(transport.take()[6:]) == (MADE, b"")
        await until(lambda: app.given_back == 1)

    asyncio.run(scene())


def test_a_client_that_takes_nothing_of_a_thread_is_given_up(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "_STALLED_S", 0.01)

    async def scene() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: Connection(app), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), limit=1)
        writer.write(request("GET /made") * 8)
        await until(lambda: bool(app.given_back) and not app.open)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(len(MADE) * 8)
        writer.close()
        server.close()
        await settle()
        await app.tasks.close()

    asyncio.run(scene())


def test_who_speaks_tls_is_answered_at_once(app: App) -> None:
    async def scene() -> None:
        connection, transport = connect(app)
        connection.data_received(b"\x16\x03\x01\x02\x00")
        assert transport.take() == b"<0>"
        assert transport.ended
        connection.connection_lost(None)

    asyncio.run(scene())
