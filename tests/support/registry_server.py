"""Our own registry server, as a process of the test's own, and a client that says exactly what it is told."""

import hashlib
import http.client
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.daemon import CHECKOUT, PATIENCE
from support.registries import HTPASSWD, Registry

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCTETS = {"Content-Type": "application/octet-stream"}
_LISTENS = re.compile(r"registry listens on https?://(\S+:[0-9]+)")


@dataclass(frozen=True)
class Reply:
    """What was answered; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def codes(self) -> list[str]:
        """The codes of an error document."""
        return [error["code"] for error in self.document["errors"]]


class SampanRegistry(Registry):
    """``sampan-registry serve`` with its files in ``folder``; the same face as docker-registry's."""

    def __init__(
        self,
        folder: Path,
        address: str = "127.0.0.1:0",
        *flags: str,
        tls: Path | None = None,
        program: Sequence[str] = (sys.executable, "-m", "sampan.distribution.main"),
    ) -> None:
        super().__init__(folder, address, tls=tls)
        self.root = folder / "root"
        self._flags = flags
        self._program = program

    def start(self, *flags: str, environment: Mapping[str, str] | None = None) -> None:
        """Start it and wait until it listens."""
        words = [f"--root={self.root}", f"--addr={self.host}", *self._flags, *flags]
        if self.tls is not None:
            words += [f"--tls-cert={self.tls}/server-cert.pem", f"--tls-key={self.tls}/server-key.pem"]
        path = self.folder / "log"
        self.folder.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as log:
            begins = log.tell()
            self._process = subprocess.Popen(
                [*self._program, "serve", *words],
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(environment or {})},
            )
        deadline = time.monotonic() + 20 * PATIENCE
        while time.monotonic() < deadline:
            text = path.read_bytes()[begins:].decode()
            if found := _LISTENS.search(text):
                self.host = found[1]
                return
            assert self._process.poll() is None, text
            time.sleep(0.01)
        raise AssertionError("the registry does not answer")

    def stop(self) -> None:
        """End it as an init system would; it must say so, and end well."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            assert self._process.wait(30 * PATIENCE) == 0

    def kill(self) -> None:
        """End it in the middle of whatever it does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(30 * PATIENCE)

    def wait(self) -> int:
        """Wait for its own end; return its exit code (negative: a signal)."""
        assert self._process is not None
        return self._process.wait(30 * PATIENCE)

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection, not yet opened."""
        if self.tls is None:
            return http.client.HTTPConnection(self.host, timeout=30 * PATIENCE)
        context = ssl.create_default_context(cafile=str(self.tls / "ca.pem"))
        return http.client.HTTPSConnection(self.host, timeout=30 * PATIENCE, context=context)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Sequence[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Ask once, on a connection of its own. A list of pieces goes out in chunks."""
        connection = self.connect()
        try:
            sent = iter(body) if isinstance(body, list) else body
            connection.request(method, path, sent, dict(headers or {}), encode_chunked=isinstance(body, list))
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, found, answer.read())
        finally:
            connection.close()

    def push_blob(self, name: str, data: bytes, algorithm: str = "sha256") -> str:
        """Push a blob in one request; return its digest."""
        found = digest(data, algorithm)
        reply = self.ask("POST", f"/v2/{name}/blobs/uploads/?digest={found}", data, OCTETS)
        assert reply.status == 201, reply
        return found

    def begin(self, name: str) -> str:
        """Begin an upload; return its location."""
        reply = self.ask("POST", f"/v2/{name}/blobs/uploads/")
        assert reply.status == 202, reply
        return reply.headers["location"]

    def push_manifest(self, name: str, reference: str, data: bytes, kind: str = OCI_MANIFEST) -> Reply:
        """Push a manifest; it must be taken."""
        reply = self.ask("PUT", f"/v2/{name}/manifests/{reference}", data, {"Content-Type": kind})
        assert reply.status == 201, reply
        return reply

    def push_image(self, name: str, *tags: str, content: bytes = b"layer", **more: object) -> bytes:
        """Push an image of one layer under each of the tags; return its manifest."""
        config = self.push_blob(name, b'{"architecture":"amd64","os":"linux"}')
        layer = self.push_blob(name, content)
        data = manifest(config, [(layer, len(content))], **more)
        for tag in tags:
            self.push_manifest(name, tag, data)
        return data

    def collect(self, *flags: str) -> str:
        """Run ``sampan-registry gc``; return what it prints."""
        done = subprocess.run(
            [*self._program, "gc", f"--root={self.root}", *flags],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60 * PATIENCE,
        )
        return done.stdout + done.stderr

    def blobs(self) -> set[str]:
        """Return the digests of the content that is on the disk."""
        folder = self.root / "content/blobs"
        return {f"{path.parent.name}:{path.name}" for path in folder.glob("*/*")}

    def leftovers(self) -> list[Path]:
        """Return what is on the disk and no content: uploads, partial and temporary files."""
        return [
            path for part in ("uploads", "tmp", "content/partial") for path in (self.root / part).iterdir()
        ]


def digest(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def manifest(config: str, layers: Sequence[tuple[str, int]], **more: object) -> bytes:
    """Render an image manifest; ``more`` are further members."""
    kind = "application/vnd.oci.image.layer.v1.tar+gzip"
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": config,
            "size": 37,
        },
        "layers": [{"mediaType": kind, "digest": each, "size": size} for each, size in layers],
        **more,
    }
    return json.dumps(document, indent=1).encode()  # blanks that a re-encoding would lose


def index(*manifests: bytes, **more: object) -> bytes:
    """Render an index of image manifests."""
    entries = [{"mediaType": OCI_MANIFEST, "digest": digest(each), "size": len(each)} for each in manifests]
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries, **more}).encode()


@contextmanager
def sampan_registry(
    folder: Path,
    address: str = "127.0.0.1:0",
    *flags: str,
    tls: Path | None = None,
    htpasswd: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Iterator[SampanRegistry]:
    """Yield a running registry of ours, which must end well."""
    folder.mkdir(parents=True, exist_ok=True)
    if htpasswd:
        (folder / "htpasswd").write_text(HTPASSWD)
        flags = (*flags, f"--htpasswd={folder}/htpasswd")
    registry = SampanRegistry(folder, address, *flags, tls=tls)
    try:
        registry.start(environment=environment)
        yield registry
    finally:
        registry.stop()
