"""TLS over memory: handshake, both half-closes, client certificates, and clients that do not speak it."""

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.pki import make_pki
from support.wires import FakeTransport, settle

from sampan.api.tls import TLSProtocol, server_context
from sampan.base.errors import InvalidParameter


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pki(tmp_path_factory.mktemp("pki"))


class Above(asyncio.Protocol):
    """What sits above TLS; answers the end of input with one more word."""

    def __init__(self) -> None:
        self.got = b""
        self.ended = False
        self.lost = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.got += data

    def eof_received(self) -> bool:
        self.ended = True
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True


class Client:
    """A TLS client in memory, joined to a TLSProtocol."""

    def __init__(self, server: TLSProtocol, wire: FakeTransport, pki: Path, *, certificate: bool) -> None:
        context = ssl.create_default_context(cafile=str(pki / "ca.pem"))
        if certificate:
            context.load_cert_chain(pki / "client-cert.pem", pki / "client-key.pem")
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_hostname="localhost")
        self._server = server
        self._wire = wire

    def flush(self, size: int = 1 << 20) -> None:
        data = self._out.read()
        for at in range(0, len(data), size):
            self._server.data_received(data[at : at + size])
        self._in.write(self._wire.take())

    def shake_hands(self, size: int = 1 << 20) -> None:
        for _ in range(10):
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.flush(size)
            else:
                self.flush(size)
                return
        raise AssertionError("no handshake")

    def read(self) -> bytes:
        self._in.write(self._wire.take())
        try:
            return self.tls.read(1 << 16) or b"<end>"
        except ssl.SSLWantReadError:
            return b"<nothing>"
        except ssl.SSLZeroReturnError:
            return b"<end>"


@pytest.fixture
def above() -> Above:
    return Above()


def join(
    pki: Path, above: Above, *, verify: bool = False, certificate: bool = False
) -> tuple[Client, FakeTransport]:
    context = server_context(
        str(pki / "server-cert.pem"), str(pki / "server-key.pem"), str(pki / "ca.pem"), verify=verify
    )
    protocol, wire = TLSProtocol(context, lambda: above), FakeTransport()
    protocol.connection_made(wire)
    return Client(protocol, wire, pki, certificate=certificate), wire


@pytest.mark.parametrize("size", [1, 1 << 20])
def test_bytes_go_both_ways(pki: Path, above: Above, size: int) -> None:
    async def scene() -> None:
        client, _ = join(pki, above)
        client.shake_hands(size)
        client.tls.write(b"x" * 100_000)
        client.flush()
        assert above.got == b"x" * 100_000
        assert above.transport is not None
        above.transport.write(b"answer")
        assert client.read() == b"answer"
        assert above.transport.get_extra_info("socket") is None

    asyncio.run(scene())


def test_output_goes_on_after_the_clients_end(pki: Path, above: Above) -> None:
    async def scene() -> None:
        client, wire = join(pki, above)
        client.shake_hands()
        with pytest.raises(ssl.SSLWantReadError):
            client.tls.unwrap()  # close_notify
        client.flush()
        assert above.ended
        assert not wire.closed
        assert above.transport is not None
        above.transport.write(b"late")
        assert client.read() == b"late"
        above.transport.close()
        assert client.read() == b"<end>"
        assert wire.closed

    asyncio.run(scene())


def test_our_end_is_a_close_notify(pki: Path, above: Above) -> None:
    async def scene() -> None:
        client, wire = join(pki, above)
        client.shake_hands()
        assert above.transport is not None
        above.transport.write(b"last words")
        above.transport.write_eof()
        above.transport.write(b"never seen")
        assert client.read() == b"last words"
        assert client.read() == b"<end>"
        assert not wire.closed

    asyncio.run(scene())


def test_reading_can_be_paused(pki: Path, above: Above) -> None:
    async def scene() -> None:
        client, wire = join(pki, above)
        client.shake_hands()
        assert above.transport is not None
        above.transport.pause_reading()
        assert wire.is_paused()
        client.tls.write(b"held back")
        client.flush()
        assert above.got == b""
        above.transport.resume_reading()
        await settle()
        assert above.got == b"held back"

    asyncio.run(scene())


def test_clients_need_a_certificate_where_it_is_asked_for(pki: Path, above: Above) -> None:
    async def scene() -> None:
        client, wire = join(pki, above, verify=True, certificate=True)
        client.shake_hands()
        assert above.transport is not None
        other = Above()
        client, wire = join(pki, other, verify=True)
        client.shake_hands()  # in TLS 1.3 the client learns of the refusal later
        assert other.transport is None
        assert wire.closed
        with pytest.raises(ssl.SSLError, match=r"(?i)certificate.required|alert"):
            client.read()

    asyncio.run(scene())


def test_plain_http_gets_a_word(pki: Path, above: Above) -> None:
    async def scene() -> None:
        context = server_context(str(pki / "server-cert.pem"), str(pki / "server-key.pem"), "", verify=False)
        protocol, wire = TLSProtocol(context, lambda: above), FakeTransport()
        protocol.connection_made(wire)
        protocol.data_received(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
        assert b"Client sent an HTTP request to an HTTPS server." in wire.take()
        assert wire.closed
        protocol.connection_lost(None)

    asyncio.run(scene())


@pytest.fixture
def nonsense(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "x.pem"
    path.write_text("nonsense")
    return path  # type: ignore[return-value]


def test_bad_files_are_named(pki: Path, nonsense: Path) -> None:
    good = str(pki / "server-cert.pem"), str(pki / "server-key.pem")
    for bad in (str(nonsense), str(nonsense.parent / "missing.pem")):
        with pytest.raises(InvalidParameter, match=f'could not load X509 key pair .*"{bad}"'):
            server_context(bad, good[1], "", verify=False)
        with pytest.raises(InvalidParameter, match=f'could not read CA certificate "{bad}"'):
            server_context(*good, bad, verify=True)
