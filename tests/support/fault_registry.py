"""A registry that does as it is told: right by default, wrong where a test says so.

with FaultRegistry() as registry:
    image = registry.add_image("x/y", "latest", [layer])
    registry.fault("GET", f"/v2/x/y/blobs/{image.layers[0]}", Reply(cut=100), times=1)
"""

import gzip
import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from support.image_archives import config, digest

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


@dataclass
class Asked:
    """A request as it came; headers in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Reply:
    """What is answered. ``status`` 0: as usual. ``cut``: the connection ends after so many bytes of the body.

    ``raw`` goes out as it is, instead of an answer. ``then`` is called when all of it has gone out.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None
    raw: bytes | None = None
    then: Callable[[], None] | None = None


Fault = Reply | Callable[[Asked], Reply]


@dataclass
class Image:
    """What was put in: the digests of its parts."""

    id: str
    manifest: str
    layers: list[str]
    size: int


class FaultRegistry:
    """Listens on loopback while the block lasts; ``asked`` has all requests."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.uploads: dict[str, bytes] = {}
        self.ranges = True
        self.referrers = False  # the API of distribution 1.1
        self._faults: list[tuple[str, str, Fault, int]] = []
        self._threads: list[threading.Thread] = []
        self._connections: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def add_image(
        self, path: str, tag: str, layers: list[bytes], *, listed: bool = False, **extra: object
    ) -> Image:
        """Put in an image of uncompressed ``layers``; ``listed``: behind a list, for amd64."""
        text = config(layers, **extra)
        packed = [gzip.compress(layer, mtime=0) for layer in layers]
        for data in (text, *packed):
            self.blobs[digest(data)] = data
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": digest(text), "size": len(text)},
            "layers": [{"mediaType": LAYER, "digest": digest(d), "size": len(d)} for d in packed],
        }
        top = self.add_manifest(path, tag if not listed else "", MANIFEST, document)
        if listed:
            entry = {
                "mediaType": MANIFEST,
                "digest": top,
                "size": len(self.manifests[f"{path}@{top}"][1]),
                "platform": {"architecture": "amd64", "os": "linux"},
            }
            index = {"schemaVersion": 2, "mediaType": LIST, "manifests": [entry]}
            top = self.add_manifest(path, tag, LIST, index)
        return Image(digest(text), top, [digest(data) for data in packed], sum(map(len, packed)))

    def add_manifest(self, path: str, tag: str, media_type: str, document: object) -> str:
        """Put in a manifest under its digest and, if it is not empty, a tag."""
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.manifests[f"{path}@{digest(data)}"] = media_type, data
        if tag:
            self.manifests[f"{path}@{tag}"] = media_type, data
        return digest(data)

    def fault(self, method: str, path: str, fault: Fault, *, times: int = 1_000_000) -> None:
        """Answer the next ``times`` requests for ``path`` (up to its query) so."""
        self._faults.append((method, path, fault, times))

    def seen(self, method: str, part: str) -> list[Asked]:
        """Return the requests whose target contains ``part``."""
        return [asked for asked in self.asked if asked.method == method and part in asked.target]

    def _reply(self, asked: Asked) -> Reply:
        for number, (method, path, fault, times) in enumerate(self._faults):
            if times and method == asked.method and path == asked.target.partition("?")[0]:
                self._faults[number] = method, path, fault, times - 1
                reply = fault(asked) if callable(fault) else fault
                if reply.status or reply.raw is not None:
                    return reply
                usual = self._usual(asked)
                headers = {**usual.headers, **reply.headers}
                return Reply(usual.status, headers, usual.body, reply.cut, then=reply.then)
        return self._usual(asked)

    def _usual(self, asked: Asked) -> Reply:
        path, _, query = asked.target.partition("?")
        if "://" in path:  # as it is sent to a proxy
            path = f"/{path.split('/', 3)[-1]}"
        if path == "/v2/":
            return Reply(200, body=b"{}")
        name, _, rest = path.removeprefix("/v2/").partition("/manifests/")
        if rest:
            return self._manifest(asked, name, rest)
        name, _, rest = path.removeprefix("/v2/").partition("/blobs/")
        if rest.startswith("uploads/"):
            return self._upload(asked, path, query)
        if (data := self.blobs.get(rest)) is not None:
            return self._blob(asked, data)
        if path == "/v2/_catalog":
            names = sorted({key.partition("@")[0] for key in self.manifests})
            return Reply(200, body=json.dumps({"repositories": names}).encode())
        name, _, rest = path.removeprefix("/v2/").partition("/referrers/")
        if rest and self.referrers:
            return self._referrers(name, rest)
        if path.endswith("/tags/list"):
            tags = [key.partition("@")[2] for key in self.manifests if "sha256:" not in key]
            return Reply(200, body=json.dumps({"tags": tags}).encode())
        return Reply(404, body=_error("BLOB_UNKNOWN", "blob unknown to registry"))

    def _manifest(self, asked: Asked, name: str, reference: str) -> Reply:
        if asked.method == "PUT":
            self.add_manifest(name, reference, asked.headers["content-type"], asked.body)
            subject = json.loads(asked.body).get("subject")
            return Reply(201, {"OCI-Subject": subject["digest"]} if subject and self.referrers else {})
        found = self.manifests.get(f"{name}@{reference}")
        if found is None:
            return Reply(404, body=_error("MANIFEST_UNKNOWN", "manifest unknown"))
        return Reply(200, {"Content-Type": found[0], "Docker-Content-Digest": digest(found[1])}, found[1])

    def _referrers(self, name: str, subject: str) -> Reply:
        found = []
        for key, (kind, data) in self.manifests.items():
            document = json.loads(data)
            if key.startswith(f"{name}@sha256:") and document.get("subject", {}).get("digest") == subject:
                described = {"mediaType": kind, "digest": digest(data), "size": len(data)}
                found.append({**described, "artifactType": document.get("artifactType", "")})
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found}
        return Reply(200, {"Content-Type": OCI_INDEX}, json.dumps(index).encode())

    def _blob(self, asked: Asked, data: bytes) -> Reply:
        wanted = asked.headers.get("range", "")
        if not wanted or not self.ranges:
            return Reply(200, body=data)
        start = int(wanted.removeprefix("bytes=").rstrip("-"))
        if start >= len(data):
            return Reply(416)
        stated = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return Reply(206, {"Content-Range": stated}, data[start:])

    def _upload(self, asked: Asked, path: str, query: str) -> Reply:
        if asked.method == "POST":
            session = f"{path}{len(self.uploads)}"
            self.uploads[session] = b""
            return Reply(202, {"Location": session})
        if path not in self.uploads:
            return Reply(404, body=_error("BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry"))
        self.uploads[path] += asked.body
        have = max(0, len(self.uploads[path]) - 1)
        headers = {"Location": path, "Range": f"0-{have}"}
        if asked.method == "GET":
            return Reply(204, headers)
        if asked.method == "PATCH":
            return Reply(202, headers)
        data = self.uploads.pop(path)
        stated = query.rpartition("digest=")[2].replace("%3A", ":")
        if digest(data) != stated:
            return Reply(400, body=_error("DIGEST_INVALID", "provided digest did not match"))
        self.blobs[stated] = data
        return Reply(201)

    def __enter__(self) -> Self:
        self._spawn(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in self._threads:
            thread.join(10)

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            self._spawn(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as stream:
                while (asked := _read(stream)) is not None:
                    self.asked.append(asked)
                    reply = self._reply(asked)
                    if reply.raw is not None:
                        connection.sendall(reply.raw)
                        return
                    headers = {"Content-Length": str(len(reply.body)), **reply.headers}
                    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
                    head = f"HTTP/1.1 {reply.status} X\r\n{lines}\r\n".encode()
                    body = b"" if asked.method == "HEAD" or reply.status == 204 else reply.body
                    connection.sendall(head + (body if reply.cut is None else body[: reply.cut]))
                    if reply.then is not None:
                        reply.then()
                    if reply.cut is not None:
                        return
        except (OSError, ValueError):
            return


def _read(stream: object) -> Asked | None:
    line = stream.readline().decode().strip()  # type: ignore[attr-defined]
    if not line:
        return None
    method, target, _ = line.split(" ")
    headers: dict[str, str] = {}
    while header := stream.readline().decode().strip():  # type: ignore[attr-defined]
        name, _, value = header.partition(":")
        headers[name.lower()] = value.strip()
    body: bytes = stream.read(int(headers.get("content-length", "0")))  # type: ignore[attr-defined]
    return Asked(method, target, headers, body)


def _error(code: str, message: str) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message}]}).encode()
