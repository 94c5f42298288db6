"""Debian's docker-registry, plain or with TLS, passwords or tokens, and a token server of our own."""

import base64
import contextlib
import json
import shutil
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

USER, PASSWORD = "alice", "s3cret"
# bcrypt of PASSWORD: the only kind that docker-registry takes
HTPASSWD = f"{USER}:$2b$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK\n"
SERVICE, ISSUER = "test-registry", "test-issuer"


class Registry:
    """A registry as a process, its files in ``folder``; ``host`` is what stands before an image's name."""

    def __init__(self, folder: Path, address: str, *, tls: Path | None = None) -> None:
        self.folder = folder
        self.host = address
        self.tls = tls
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def get(self, path: str) -> bytes:
        """Fetch ``path``, whatever its status."""
        scheme = "https" if self.tls is not None else "http"
        context = ssl._create_unverified_context() if self.tls is not None else None  # noqa: S323
        request = urllib.request.Request(  # noqa: S310
            f"{scheme}://{self.host}{path}",
            headers={"Accept": "application/vnd.oci.image.index.v1+json, */*"},
        )
        try:
            with urllib.request.urlopen(request, context=context, timeout=10) as answer:  # noqa: S310
                data: bytes = answer.read()
                return data
        except urllib.error.HTTPError as error:
            with error:
                return error.read()

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)


class DockerRegistry(Registry):
    """One docker-registry."""

    def start(self, **extra: object) -> None:
        """Start it and wait until it answers; ``extra`` are further parts of its configuration."""
        http: dict[str, object] = {"addr": self.host}
        if self.tls is not None:
            http["tls"] = {
                "certificate": str(self.tls / "server-cert.pem"),
                "key": str(self.tls / "server-key.pem"),
            }
        config = {
            "version": "0.1",
            "log": {"level": "error"},
            "storage": {
                "filesystem": {"rootdirectory": str(self.folder / "data")},
                "delete": {"enabled": True},
            },
            "http": http,
            **extra,
        }
        path = self.folder / "config.yml"
        path.write_text(json.dumps(config))  # JSON is YAML
        log = (self.folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                ["docker-registry", "serve", str(path)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            assert self._process.poll() is None, (self.folder / "log").read_text()
            with contextlib.suppress(OSError):
                self.get("/v2/")
                return
            time.sleep(0.02)
        raise AssertionError("docker-registry does not answer")


@contextlib.contextmanager
def docker_registry(
    folder: Path, address: str, *, tls: Path | None = None, htpasswd: bool = False, **extra: object
) -> Iterator[DockerRegistry]:
    """Yield a running docker-registry; skip the test where there is none."""
    if shutil.which("docker-registry") is None:
        pytest.skip("docker-registry is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    registry = DockerRegistry(folder, address, tls=tls)
    if htpasswd:
        (folder / "htpasswd").write_text(HTPASSWD)
        extra["auth"] = {"htpasswd": {"realm": "basic-realm", "path": str(folder / "htpasswd")}}
    try:
        registry.start(**extra)
        yield registry
    finally:
        registry.stop()


class TokenServer:
    """Signs tokens for USER, and tokens to pull ``public/…`` for everybody; ``asked`` has the queries."""

    def __init__(self, folder: Path, address: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.certificate = folder / "token.crt"
        self._key = folder / "token.key"
        self.asked: list[dict[str, list[str]]] = []
        self.life_s = 300
        subprocess.run(
            [
                *("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-x509", "-days", "2"),
                *("-subj", "/CN=tokens", "-keyout", str(self._key), "-out", str(self.certificate)),
            ],
            check=True,
            capture_output=True,
        )
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                status, document = outer.answer(self.path, self.headers.get("Authorization", ""))
                data = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                return

        self._server = ThreadingHTTPServer(address, Handler)
        self._server.daemon_threads = True
        self.realm = f"http://127.0.0.1:{self._server.server_address[1]}/token"

    def registry_options(self) -> dict[str, Any]:
        """Return the registry's configuration that trusts this server."""
        return {
            "auth": {
                "token": {
                    "realm": self.realm,
                    "service": SERVICE,
                    "issuer": ISSUER,
                    "rootcertbundle": str(self.certificate),
                }
            }
        }

    def answer(self, path: str, authorization: str) -> tuple[int, dict[str, object]]:
        query = parse_qs(urlsplit(path).query)
        self.asked.append(query)
        known = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"
        if authorization and authorization != known:
            return 401, {"details": "incorrect username or password"}
        access: list[dict[str, object]] = []
        for scope in query.get("scope", []):
            kind, name, actions = scope.split(":", 2)
            allowed = [
                action
                for action in actions.split(",")
                if authorization == known or (action == "pull" and name.startswith("public/"))
            ]
            access.append({"type": kind, "name": name, "actions": allowed})
        return 200, {"token": self._sign(access), "expires_in": self.life_s}

    def _sign(self, access: list[dict[str, object]]) -> str:
        der = base64.b64encode(ssl.PEM_cert_to_DER_cert(self.certificate.read_text())).decode()
        now = int(time.time())
        head = {"typ": "JWT", "alg": "RS256", "x5c": [der]}
        claims = {
            "iss": ISSUER,
            "sub": USER,
            "aud": SERVICE,
            "exp": now + self.life_s,
            "nbf": now - 10,
            "iat": now - 10,
            "jti": str(len(self.asked)),
            "access": access,
        }
        text = ".".join(_encode(json.dumps(part).encode()) for part in (head, claims))
        signed = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", str(self._key)],
            input=text.encode(),
            check=True,
            capture_output=True,
        ).stdout
        return f"{text}.{_encode(signed)}"

    def __enter__(self) -> "TokenServer":
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
