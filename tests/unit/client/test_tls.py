"""TLS with client certificates, and a half-close that keeps the other direction open."""

import shutil
import socket
import ssl
import subprocess
from pathlib import Path

import pytest
from support.fake_daemon import FakeDaemon

from sampan.client.api import Client
from sampan.client.endpoint import Endpoint, TlsFiles
from sampan.client.errors import ClientError, ConnectionFailed

if shutil.which("openssl") is None:
    pytest.skip("openssl is not installed", allow_module_level=True)


def openssl(folder: Path, *args: str) -> None:
    subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an authority, and a certificate of it for server (127.0.0.1) and client."""
    folder = tmp_path_factory.mktemp("certs")
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl(folder, "req", "-x509", *new_key, "-keyout", "ca-key.pem", "-out", "ca.pem", "-subj", "/CN=ca")
    openssl(folder, "req", *new_key, "-keyout", "key.pem", "-out", "csr.pem", "-subj", "/CN=x")
    (folder / "ext").write_text("subjectAltName=IP:127.0.0.1\n")
    sign = ("-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial", "-extfile", "ext")
    openssl(folder, "x509", "-req", "-in", "csr.pem", *sign, "-out", "cert.pem")
    return folder


@pytest.fixture
def server(certificates: Path) -> ssl.SSLContext:
    settings = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    settings.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
    settings.load_verify_locations(certificates / "ca.pem")
    settings.verify_mode = ssl.CERT_REQUIRED
    return settings


def client(daemon: FakeDaemon, folder: Path, **changes: object) -> Client:
    names = {part: str(folder / f"{part}.pem") for part in ("ca", "cert", "key")} | changes
    return Client(Endpoint(f"tcp://127.0.0.1:{daemon.port}", TlsFiles(**names)))  # type: ignore[arg-type]


def test_requests(certificates: Path, server: ssl.SSLContext) -> None:
    with FakeDaemon(("127.0.0.1", 0), server) as daemon, client(daemon, certificates) as made:
        daemon.on("GET", "/info", json={"ID": "y" * 100_000})
        assert len(made.info()["ID"]) == 100_000
        assert len(made.info()["ID"]) == 100_000


def test_output_after_the_end_of_input(certificates: Path, server: ssl.SSLContext) -> None:
    def count(connection: socket.socket) -> None:
        size = 0
        while data := connection.recv(65536):
            size += len(data)
        connection.sendall(b"got %d" % size)

    with FakeDaemon(("127.0.0.1", 0), server) as daemon, client(daemon, certificates) as made:
        daemon.on("POST", "/containers/c/attach", hijack=count)
        wire = made.begin_attach("c").hijack()
        rest = memoryview(b"x" * 3_000_000)
        while rest or wire.backlog:
            rest = rest[wire.send(rest) :]
        wire.shutdown_write()
        assert wire.recv() == b"got 3000000"
        wire.close()


def test_a_server_of_another_authority_is_refused(certificates: Path, server: ssl.SSLContext) -> None:
    with FakeDaemon(("127.0.0.1", 0), server) as daemon:
        with (
            client(daemon, certificates, ca="") as made,
            pytest.raises(ConnectionFailed, match="certificate"),
        ):
            made.info()
        daemon.on("GET", "/info", json={})
        with client(daemon, certificates, ca="", verify=False) as made:
            assert made.info() == {}


def test_a_client_without_certificate_is_refused(certificates: Path, server: ssl.SSLContext) -> None:
    with FakeDaemon(("127.0.0.1", 0), server) as daemon:
        made = client(daemon, certificates, cert="", key="")
        with made, pytest.raises(ConnectionFailed):
            made.info()


def test_missing_files_are_named(certificates: Path) -> None:
    with FakeDaemon(("127.0.0.1", 0)) as daemon:
        made = client(daemon, certificates, ca="/nope/ca.pem")
        with made, pytest.raises(ClientError, match=r"could not read CA certificate /nope/ca.pem: No such"):
            made.info()
