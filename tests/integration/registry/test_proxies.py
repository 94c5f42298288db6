"""Registries behind a proxy: by the environment or the daemon's settings, plain and through CONNECT."""

import base64
import contextlib
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fault_registry import FaultRegistry
from support.image_archives import layer
from support.images import busybox_archive
from support.pki import make_pki
from support.pull_lab import PullLab
from support.registries import PASSWORD, USER, docker_registry

from sampan.base.errors import EngineError
from sampan.registry.auth import Credentials
from sampan.registry.errors import BadAnswer, BadCertificate, ConnectionFailed
from sampan.registry.settings import RegistrySettings

pytestmark = pytest.mark.root
HOST = "198.51.100.1:5444"
LOGIN = "Basic " + base64.b64encode(b"me:secret").decode()


class Proxy:
    """Passes CONNECT and whole requests on; ``asked`` has the first lines, ``logins`` who asked.

    ``refuses`` is what it answers to everybody instead; ``forward`` where all plain requests go.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.logins: list[str] = []
        self.refuses = b""
        self.forward: tuple[str, int] | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> "Proxy":
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head and (data := client.recv(65536)):
            head += data
        lines = head.decode().split("\r\n")
        self.asked.append(lines[0])
        self.logins += [line.partition(": ")[2] for line in lines if line.startswith("Proxy-Authorization")]
        if self.refuses:
            client.sendall(self.refuses)
            client.shutdown(socket.SHUT_WR)
            return
        method, target, _ = lines[0].split(" ")
        host, _, port = target.rpartition(":")
        to = (host, int(port)) if method == "CONNECT" else self.forward
        assert to is not None
        server = socket.create_connection(to)
        self._sockets.append(server)
        if method == "CONNECT":
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            server.sendall(head)
        back = threading.Thread(target=_pump, args=(server, client), daemon=True)
        back.start()
        _pump(client, server)
        back.join(10)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy() as found:
        yield found


@pytest.fixture
def trusted(tmp_path: Path) -> Iterator[Path]:
    """A registry with TLS at HOST; the folder of certificates that trust it."""
    pki = make_pki(tmp_path / "pki")
    folder = tmp_path / "certs.d" / HOST
    folder.mkdir(parents=True)
    shutil.copy(pki / "ca.pem", folder / "ca.crt")
    with docker_registry(tmp_path / "registry", HOST, tls=pki, htpasswd=True):
        yield tmp_path / "certs.d"


@pytest.mark.parametrize("source", ["environment", "settings"])
def test_a_tunnel_to_a_registry_with_tls(tmp_path: Path, proxy: Proxy, trusted: Path, source: str) -> None:
    url = proxy.url.replace("//", "//me:secret@")
    proxies = {"HTTPS_PROXY": url} if source == "settings" else {}
    lab = PullLab(tmp_path, RegistrySettings(certificates=(trusted,), proxies=proxies))
    lab.environment = (
        {"https_proxy": url} if source == "environment" else {"HTTPS_PROXY": "http://127.0.0.1:1"}
    )
    lab.load(busybox_archive(f"{HOST}/box:1"))
    (image,) = lab.images()
    credentials = Credentials(USER, PASSWORD)
    lab.push(f"{HOST}/box", "1", credentials=credentials)
    lab.remove_all()
    lab.pull(f"{HOST}/box:1", credentials=credentials)
    assert set(lab.images()) == {image}
    assert set(proxy.asked) == {f"CONNECT {HOST} HTTP/1.1"}  # and the registry's credentials inside of it
    assert set(proxy.logins) == {LOGIN}
    before = len(proxy.asked)
    lab.environment["NO_PROXY"] = "198.51.100.0/24"
    lab.settings = RegistrySettings(certificates=(trusted,))
    lab.pull(f"{HOST}/box:1", credentials=credentials)
    assert len(proxy.asked) == before


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
            ConnectionFailed,
            "proxyconnect tcp: HTTP status 407",
        ),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", ConnectionFailed, "HTTP status 502"),
        (b"garbage\r\n\r\n", BadAnswer, "malformed|HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\nno tls", EngineError, "HTTP response to HTTPS client|tls"),
    ],
)
def test_a_proxy_that_does_not(
    tmp_path: Path, proxy: Proxy, answer: bytes, kind: type[EngineError], text: str
) -> None:
    proxy.refuses = answer
    lab = PullLab(tmp_path)
    lab.environment = {"HTTPS_PROXY": proxy.url}
    with pytest.raises(kind, match=text):
        lab.pull(f"{HOST}/box:1")
    assert lab.leftovers() == []


def test_a_proxy_makes_no_certificate_good(tmp_path: Path, proxy: Proxy, trusted: Path) -> None:
    lab = PullLab(tmp_path, RegistrySettings(certificates=()))
    lab.environment = {"HTTPS_PROXY": proxy.url}
    with pytest.raises(BadCertificate, match="signed by unknown authority"):
        lab.pull(f"{HOST}/box:1")


def test_a_plain_registry_is_asked_through_the_proxy(tmp_path: Path, proxy: Proxy) -> None:
    with FaultRegistry() as registry:
        image = registry.add_image("a/b", "1", [layer("x")])
        host, _, port = registry.host.rpartition(":")
        proxy.forward = host, int(port)
        lab = PullLab(tmp_path, RegistrySettings.parse(insecure=["registry.example:80"]))
        lab.environment = {"HTTP_PROXY": proxy.url.replace("//", "//me:secret@")}
        lab.pull("registry.example:80/a/b:1")
        assert set(lab.images()) == {image.id}
        assert set(proxy.logins) == {LOGIN}
        assert proxy.asked[0] == "GET http://registry.example/v2/ HTTP/1.1"
        assert {asked.headers["host"] for asked in registry.asked} == {"registry.example"}
