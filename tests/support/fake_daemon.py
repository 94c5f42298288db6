"""A scripted daemon for tests of clients: answers requests as the test says, and records them.

    with FakeDaemon(socket) as daemon:
        daemon.on("GET", "/info", json={"Name": "x"})
        daemon.on("POST", "/containers/c/attach", hijack=lambda conn: conn.sendall(b"hello"))

Paths are matched without their version; ``daemon.requests`` has what came. A handler may also be a function
of the request that returns a ``Reply``.
"""

import json as json_module
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

Hijack = Callable[[socket.socket], None]


@dataclass
class Received:
    """One request as it came; ``path`` is without version and query, ``query`` has the last of each name."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        first, _, rest = urlsplit(self.target).path[1:].partition("/")
        return f"/{rest}" if first[:1] == "v" and first[1:2].isdigit() else urlsplit(self.target).path

    @property
    def version(self) -> str:
        return self.target[2:].partition("/")[0] if self.target.startswith("/v") else ""

    @property
    def query(self) -> dict[str, str]:
        return {name: values[-1] for name, values in parse_qs(urlsplit(self.target).query).items()}

    @property
    def json(self) -> Any:
        return json_module.loads(self.body)


@dataclass
class Reply:
    """What is answered: a body at once, chunks one by one, or a connection handed to ``hijack``."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    chunks: Iterable[bytes] | None = None
    hijack: Hijack | None = None
    close: bool = False


Handler = Callable[[Received], Reply]


class FakeDaemon:
    """Listens at ``address`` (a path, or (host, port)) while the block lasts."""

    def __init__(self, address: Path | tuple[str, int], tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Received] = []
        self.closed = False
        self._handlers: dict[tuple[str, str], Handler] = {}
        self._tls = tls
        self._threads: list[threading.Thread] = []
        self._connections: list[socket.socket] = []
        family = socket.AF_UNIX if isinstance(address, Path) else socket.AF_INET
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        self._listener.bind(str(address) if isinstance(address, Path) else address)
        self._listener.listen(16)
        self.port = 0 if isinstance(address, Path) else int(self._listener.getsockname()[1])

    def on(
        self,
        method: str,
        path: str,
        handler: Handler | None = None,
        *,
        status: int = 200,
        json: Any = None,
        body: bytes = b"",
        chunks: Iterable[bytes] | None = None,
        hijack: Hijack | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Answer requests for ``path`` by a handler or by the reply that the rest describes."""
        if json is not None:
            body = json_module.dumps(json).encode()
        reply = Reply(status, body, headers or {}, chunks, hijack)
        self._handlers[method, path] = handler or (lambda _request: reply)

    def seen(self, method: str, path: str) -> list[Received]:
        """Return the requests for ``path`` so far."""
        return [r for r in self.requests if (r.method, r.path) == (method, path)]

    def __enter__(self) -> Self:
        self._spawn(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closed = True
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
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection, connection.makefile("rb") as stream:
                while (request := _read_request(stream)) is not None:
                    self.requests.append(request)
                    handler = self._handlers.get((request.method, request.path))
                    message = {"message": f"page not found: {request.method} {request.path}"}
                    reply = handler(request) if handler else Reply(404, json_module.dumps(message).encode())
                    if reply.hijack is not None:
                        connection.sendall(_head(reply, 101))
                        reply.hijack(connection)
                        return
                    _answer(connection, reply)
                    if reply.close:
                        return
        except (OSError, ValueError):
            return


def _read_request(stream: Any) -> Received | None:
    line = stream.readline().decode().strip()
    if not line:
        return None
    method, target, _ = line.split(" ")
    headers: dict[str, str] = {}
    while header := stream.readline().decode().strip():
        name, _, value = header.partition(":")
        headers[name.lower()] = value.strip()
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(stream.readline(), 16):
            body += stream.read(size)
            stream.readline()
        stream.readline()
    else:
        body = stream.read(int(headers.get("content-length", "0")))
    return Received(method, target, headers, body)


def _head(reply: Reply, status: int) -> bytes:
    headers = dict(reply.headers)
    if reply.hijack is not None:
        headers |= {"Connection": "Upgrade", "Upgrade": "tcp"}
    elif reply.chunks is not None:
        headers["Transfer-Encoding"] = "chunked"
    else:
        headers["Content-Length"] = str(len(reply.body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode()


def _answer(connection: socket.socket, reply: Reply) -> None:
    connection.sendall(_head(reply, reply.status))
    if reply.chunks is None:
        connection.sendall(reply.body)
        return
    for chunk in reply.chunks:
        connection.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk))
    connection.sendall(b"0\r\n\r\n")


def frame(stream: int, data: bytes) -> bytes:
    """Return ``data`` as one frame of Docker's multiplexed stream."""
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data
