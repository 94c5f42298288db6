"""A client's connection, driven byte by byte without a socket."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from typing import Any

import pytest
from support.wires import FakeTransport, connect, request, settle

from sampan.api import connection as module
from sampan.api.body import Body, BodyTooLarge, BodyTruncated
from sampan.api.connection import Connection, Work
from sampan.api.hijack import Hijacked, Stream
from sampan.api.http1 import BadRequest, Head
from sampan.api.response import Answer, Hijack, Response, StreamResponse
from sampan.base.tasks import Tasks


class App:
    """An application whose answers are the test's; notes what was asked."""

    def __init__(self) -> None:
        self.tasks = Tasks("test")
        self.seen: list[str] = []
        self.bodies: list[bytes] = []
        self.open: set[Connection] = set()
        self.gate = asyncio.Event()
        self.cleaned = False
        self.stream: Stream | None = None

    def opened(self, connection: Connection) -> None:
        self.open.add(connection)

    def closed(self, connection: Connection) -> None:
        self.open.discard(connection)

    def handle(self, head: Head, body: Body) -> Answer | Work:
        self.seen.append(f"{head.method} {head.target}")
        match head.target:
            case "/now":
                return Response(200, b"now", "text/plain")
            case "/later":
                return self._later
            case "/body":
                return lambda: self._read(body)
            case "/stream":
                return StreamResponse(self._stream())
            case "/hijack":
                return Hijack(self._keep, upgrade={"Upgrade": "tcp"})
            case "/echo":
                return Hijack(_echo)
            case "/broken":
                return StreamResponse(_broken())
        return Response(404)

    async def _later(self) -> Answer:
        await self.gate.wait()
        return Response(200, b"later", "text/plain")

    async def fails(self) -> Answer:
        raise RuntimeError("boom")

    async def _read(self, body: Body) -> Answer:
        try:
            self.bodies.append(await body.document(1 << 20))
        except (BodyTooLarge, BodyTruncated) as error:
            return Response(413 if isinstance(error, BodyTooLarge) else 400)
        return Response(204)

    async def _stream(self) -> AsyncGenerator[bytes, None]:
        try:
            yield b"one"
            await self.gate.wait()
            yield b""
            yield b"two"
        finally:
            self.cleaned = True

    async def _keep(self, stream: Stream) -> None:
        self.stream = stream
        await self.gate.wait()

    def head(self, answer: Answer, length: int | None, *, close: bool) -> bytes:
        kind = "hijack" if isinstance(answer, Hijack) else str(answer.status)
        return f"<{kind} {length}{' close' if close else ''}>".encode()

    def refusal(self, error: BadRequest) -> Response:
        return Response(error.status, str(error).encode())


async def _echo(stream: Stream) -> None:
    while data := await stream.read():
        await stream.write(data.upper())
    await stream.write(b"END")


async def _broken() -> AsyncGenerator[bytes, None]:
    yield b"a"
    raise RuntimeError("boom")


@pytest.fixture
def app() -> App:
    return App()


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def test_requests_are_answered_in_order_however_they_are_cut(app: App) -> None:
    async def scene() -> None:
        wire = request("GET /now") + request("POST /body", b"hello") + b"\r\n" + request("GET /nope")
        for size in (1, 3, 50, len(wire)):
            connection, transport = connect(app)
            for at in range(0, len(wire), size):
                connection.data_received(wire[at : at + size])
                await settle(3)
            await settle()
            assert transport.take() == b"<200 3>now<204 0><404 0>"
            assert not transport.closed
        assert app.bodies == [b"hello"] * 4

    run(scene())


def test_a_request_waits_for_the_one_before(app: App) -> None:
    async def scene() -> None:
        connection, transport = connect(app)
        connection.data_received(request("GET /later") + request("GET /now"))
        await settle()
        assert app.seen == ["GET /later"]
        assert transport.take() == b""
        connection.data_received(request("GET /now") * 2000)
        assert transport.is_paused(), "what is sent ahead without end must stay in the kernel"
        app.gate.set()
        await settle()
        assert transport.take() == b"<200 5>later" + b"<200 3>now" * 2001
        assert not transport.is_paused()

    run(scene())


def test_head_answers_have_no_body(app: App) -> None:
    async def scene() -> None:
        connection, transport = connect(app)
        connection.data_received(request("HEAD /now"))
        assert transport.take() == b"<200 3>"

    run(scene())


def test_a_client_may_ask_to_close(app: App) -> None:
    async def scene() -> None:
        connection, transport = connect(app)
        connection.data_received(request("GET /now", Connection="close") + request("GET /now"))
        assert transport.take() == b"<200 3 close>now"
        assert transport.ended
        assert not connection.eof_received(), "the client closed too: the transport may go"

    run(scene())


def test_old_http_is_answered_and_closed(app: App) -> None:
    async def scene() -> None:
        connection, transport = connect(app)
        connection.data_received(b"GET /now HTTP/1.0\r\n\r\n")
        assert transport.take() == b"<200 3 close>now"
        connection, transport = connect(app)
        app.gate.set()
        connection.data_received(b"GET /stream HTTP/1.0\r\n\r\n")
        await settle()
        assert transport.take() == b"<200 -1 close>onetwo"
        assert transport.ended

    run(scene())


@pytest.mark.parametrize(
    ("wire", "status"),
    [(b"nonsense\r\n\r\n", 400), (b"GET / HTTP/3.0\r\n\r\n", 505), (b"GET /" + b"a" * (1 << 20), 431)],
)
def test_what_is_not_http_is_refused(app: App, wire: bytes, status: int) -> None:
    async def scene() -> None:
        connection, transport = connect(app)
        connection.data_received(wire)
        assert transport.take().startswith(f"<{status} ".encode())
        assert transport.ended
        connection.data_received(request("GET /now"))
        assert transport.take() == b""

    run(scene())


def test_a_head_that_never_ends_is_given_up(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HEAD_TIMEOUT_S", 0.0)

    async def scene() -> None:
        connection, transport = connect(app)
        await asyncio.sleep(0.001)
        assert not transport.take(), "an idle connection may stay"
        connection.data_received(b"GET /now HT")
        await asyncio.sleep(0.001)
        assert transport.take().startswith(b"<408 ")
        assert transport.ended

    run(scene())


def test_chunked_bodies_are_read(app: App) -> None:
    async def scene() -> None:
        connection, transport = connect(app)
        wire = request("POST /body", Transfer_Encoding="chunked") + b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"
        for byte in wire + request("GET /now"):
            connection.data_received(bytes([byte]))
            await settle(2)
        assert transport.take() == b"<204 0><200 3>now"
        assert app.bodies == [b"hello!"]

    run(scene())


def test_a_broken_chunk_ends_the_connection(app: App) -> None:
    async def scene() -> None:
        connection, transport = connect(app)
        connection.data_received(request("POST /body", Transfer_Encoding="chunked") + b"zz\r\n")
        await settle()
        assert transport.take() == b"<400 0 close>"
        assert transport.ended

    run(scene())


def test_continue_is_sent_when_the_body_is_wanted(app: App) -> None:
    async def scene() -> None:
        connection, transport = connect(app)
        wire = request("POST /body", Expect="100-continue", Content_Length="5")
        connection.data_received(wire)
        await settle()
        assert transport.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.data_received(b"hello")
        await settle()
        assert transport.take() == b"<204 0>"
        connection, transport = connect(app)
        connection.data_received(request("POST /nope", Expect="100-continue", Content_Length="5"))
        assert transport.take() == b"<404 0 close>", "a body that nobody reads is not asked for"

    run(scene())


def test_an_unread_body_pauses_the_client(app: App) -> None:
    async def scene() -> None:
        connection, transport = connect(app)
        size = 1 << 20
        connection.data_received(request("POST /body", Content_Length=str(size)))
        connection.data_received(bytes(size // 2))
        assert transport.is_paused()
        await settle()
        assert not transport.is_paused(), "once it has been read, more is wanted"
        connection.data_received(bytes(size - size // 2))
        await settle()
        assert transport.take() == b"<204 0>"

    run(scene())


def test_a_body_too_large_is_refused(app: App) -> None:
    async def scene() -> None:
        connection, transport = connect(app)
        connection.data_received(request("POST /body", Content_Length=str((1 << 20) + 1)))
        connection.data_received(bytes((1 << 20) + 1))
        await settle()
        assert transport.take() == b"<413 0>", "it had all arrived: the connection can go on"
        connection, transport = connect(app)
        connection.data_received(request("POST /body", Content_Length=str(1 << 30)) + bytes((1 << 20) + 1))
        await settle()
        assert transport.take() == b"<413 0 close>"
        assert transport.ended

    run(scene())


def test_an_application_that_breaks_its_word_does_not_hang_the_client(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        connection, transport = connect(app)
        app.handle = lambda head, body: app.fails  # type: ignore[method-assign]
        connection.data_received(request("GET /x"))
        await settle()
        assert transport.aborted

    run(scene())
    assert "background task failed" in caplog.text


def test_streams_are_chunked_and_the_connection_stays(app: App) -> None:
    async def scene() -> None:
        connection, transport = connect(app)
        connection.data_received(request("GET /stream") + request("GET /now"))
        await settle()
        assert transport.take() == b"<200 None>3\r\none\r\n"
        app.gate.set()
        await settle()
        assert transport.take() == b"3\r\ntwo\r\n0\r\n\r\n<200 3>now"
        assert app.cleaned

    run(scene())


def test_a_client_that_does_not_read_is_not_served_further(app: App) -> None:
    async def scene() -> None:
        connection, transport = connect(app)
        connection.pause_writing()
        connection.data_received(request("GET /now") * 3000)
        assert transport.take() == b""
        assert transport.is_paused()
        connection.resume_writing()
        assert transport.take() == b"<200 3>now" * 3000
        assert not transport.is_paused()

    run(scene())


def test_a_stream_waits_for_a_slow_client(app: App) -> None:
    async def scene() -> None:
        connection, transport = connect(app)
        connection.data_received(request("GET /stream"))
        connection.pause_writing()
        app.gate.set()
        await settle()
        assert transport.take() == b"<200 None>3\r\none\r\n"
        connection.resume_writing()
        await settle()
        assert transport.take() == b"3\r\ntwo\r\n0\r\n\r\n"

    run(scene())


@pytest.mark.parametrize("how", ["eof", "lost"])
def test_a_client_that_goes_away_ends_its_stream(app: App, how: str) -> None:
    async def scene() -> None:
        connection, transport = connect(app)
        connection.data_received(request("GET /stream"))
        await settle()
        if how == "eof":
            assert connection.eof_received()
        else:
            transport.abort()
        await settle()
        assert app.cleaned
        assert transport.closed
        assert not connection._task

    run(scene())


def test_a_client_may_go_before_it_is_its_turn(app: App) -> None:
    async def scene() -> None:
        for target in ("/later", "/stream", "/body", "/hijack"):
            connection, transport = connect(app)
            connection.data_received(request(f"GET {target}"))
            transport.abort()
            await settle()
            assert not app.open
        await app.tasks.close()

    run(scene())  # nothing is left that was never awaited: warnings are errors


def test_a_client_that_only_stops_sending_gets_its_answer(app: App) -> None:
    async def scene() -> None:
        connection, transport = connect(app)
        connection.data_received(request("GET /later"))
        await settle()
        assert connection.eof_received()
        app.gate.set()
        await settle()
        assert transport.take() == b"<200 5 close>later"
        assert transport.closed

    run(scene())


def test_a_stream_that_breaks_off_is_cut(app: App, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        connection, transport = connect(app)
        connection.data_received(request("GET /broken"))
        await settle()
        assert transport.take() == b"<200 None>1\r\na\r\n", (
            "no last chunk: the client must see that it is not whole"
        )
        assert transport.aborted

    run(scene())
    assert "answer broke off" in caplog.text


def test_bytes_behind_a_hijacking_request_are_the_streams(app: App) -> None:
    async def scene() -> None:
        for size in (1, 1000):
            connection, transport = connect(app)
            wire = request("POST /echo") + b"GET /now HTTP/1.1\r\n\r\n"
            for at in range(0, len(wire), size):
                connection.data_received(wire[at : at + size])
            await settle()
            assert transport.take() == b"<hijack -1>GET /NOW HTTP/1.1\r\n\r\n"
            connection.data_received(b"more")
            await settle()
            assert transport.take() == b"MORE"
            assert connection.eof_received(), "the other direction stays open"
            await settle()
            assert transport.take() == b"END"
            assert transport.closed
            app.seen.clear()

    run(scene())


def test_a_hijacked_stream_has_back_pressure_both_ways() -> None:
    async def scene() -> None:
        transport = FakeTransport()
        stream = Hijacked(transport, transport.close, b"", eof=False)
        stream.feed(bytes(300_000))
        assert transport.is_paused()
        assert len(await stream.read()) == 300_000
        assert not transport.is_paused()
        stream.pause_writing()
        writing = asyncio.ensure_future(stream.write(b"x"))  # noqa: TID251 - the test owns it
        await settle()
        assert not writing.done()
        stream.resume_writing()
        await writing
        stream.pause_writing()
        writing = asyncio.ensure_future(stream.write(b"x"))  # noqa: TID251
        await settle()
        stream.lose()
        with pytest.raises(ConnectionResetError):
            await writing
        with pytest.raises(ConnectionResetError):
            await stream.write(b"x")
        assert await stream.read() == b""

    run(scene())


def test_losing_the_client_cancels_the_hijacker(app: App) -> None:
    async def scene() -> None:
        connection, transport = connect(app)
        connection.data_received(request("POST /hijack"))
        await settle()
        assert app.stream is not None
        transport.abort()
        await settle()
        with pytest.raises(ConnectionResetError):
            await app.stream.write(b"x")
        assert not app.open
        await app.tasks.close()

    run(scene())


def test_a_hijacker_that_ends_lets_the_client_read_the_rest(app: App) -> None:
    async def scene() -> None:
        connection, transport = connect(app)
        connection.data_received(request("POST /hijack"))
        await settle()
        app.gate.set()
        await settle()
        assert transport.ended
        assert not transport.closed, "closing with unread input would reset the connection"
        connection.data_received(b"late input")
        assert not connection.eof_received()

    run(scene())


def test_shutting_ends_idle_connections_and_streams_and_lets_answers_finish(app: App) -> None:
    async def scene() -> None:
        idle, idle_transport = connect(app)
        busy, busy_transport = connect(app)
        streaming, streaming_transport = connect(app)
        busy.data_received(request("GET /later"))
        streaming.data_received(request("GET /stream"))
        await settle()
        for connection in (idle, busy, streaming):
            connection.shut()
        await settle()
        assert idle_transport.closed
        assert streaming_transport.closed
        assert app.cleaned
        assert not busy_transport.closed
        app.gate.set()
        await settle()
        assert busy_transport.take() == b"<200 5 close>later"
        assert busy_transport.ended

    run(scene())
