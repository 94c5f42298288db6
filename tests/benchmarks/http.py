"""A very small HTTP client on a unix socket: the client must cost next to nothing."""

import json
import select
import socket
import time
from pathlib import Path
from typing import Any, Final, Self

_PIECE: Final = 1 << 18
_API: Final = "/v1.41"  # every peer of today speaks it


class Failed(Exception):
    """An engine did not do what it was asked for."""


class Connection:
    """One kept-alive connection to an Engine API."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(120)
        self._socket.connect(str(path))
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, method: str, path: str, document: object = None) -> bytes:
        """Return the body of the answer; ``path`` without a version. Raises Failed on an error status."""
        body = b"" if document is None else json.dumps(document).encode()
        kind = "Content-Type: application/json\r\n" if body else ""
        head = f"{method} {_API}{path} HTTP/1.1\r\nHost: d\r\n{kind}Content-Length: {len(body)}\r\n\r\n"
        self._socket.sendall(head.encode() + body)
        status, answer = self._answer()
        if status >= 400:
            raise Failed(f"{method} {path}: {status} {answer[:300].decode(errors='replace')}")
        return answer

    def ask_json(self, method: str, path: str, document: object = None) -> Any:
        """Return the document of the answer."""
        return json.loads(self.ask(method, path, document))

    def _answer(self) -> tuple[int, bytes]:
        status = 100
        head: dict[bytes, bytes] = {}
        while status < 200:
            status = int(self._line().split()[1])
            head = {}
            while line := self._line():
                name, _, value = line.partition(b":")
                head[name.lower()] = value.strip()
        if b"chunked" in head.get(b"transfer-encoding", b""):
            pieces = []
            while size := int(self._line().split(b";")[0], 16):
                pieces.append(self._take(size))
                self._line()
            self._line()
            return status, b"".join(pieces)
        return status, self._take(int(head.get(b"content-length", b"0")))

    def _line(self) -> bytes:
        while (end := self._rest.find(b"\r\n")) < 0:
            self._more()
        line, self._rest = self._rest[:end], self._rest[end + 2 :]
        return line

    def _take(self, size: int) -> bytes:
        while len(self._rest) < size:
            self._more()
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def _more(self) -> None:
        piece = self._socket.recv(_PIECE)
        if not piece:
            raise Failed("the engine closed the connection")
        self._rest += piece


def rate(path: Path, target: str, total: int, connections: int) -> float:
    """Return how many GETs of ``target`` a second are answered on ``connections`` kept-alive connections.

    Every answer must have the same length, but for a digit or two in a date.
    """
    request = f"GET {_API}{target} HTTP/1.1\r\nHost: d\r\n\r\n".encode()
    size = _answer_size(path, request)
    sockets = {}
    got: dict[int, int] = {}
    with select.epoll() as poll:
        for _ in range(connections):
            one = socket.socket(socket.AF_UNIX)
            one.connect(str(path))
            sockets[one.fileno()] = one
            got[one.fileno()] = 0
            poll.register(one.fileno(), select.EPOLLIN)
        started = time.perf_counter()
        for one in sockets.values():
            one.sendall(request)
        sent, done = connections, 0
        while done < total:
            ready = poll.poll(20)
            if not ready:
                raise Failed(f"GET {target}: no answer in 20 s")
            for number, _ in ready:
                piece = sockets[number].recv(_PIECE)
                if not piece:
                    raise Failed("the engine closed the connection")
                got[number] += len(piece)
                if got[number] >= size - 8:
                    got[number] = 0
                    done += 1
                    if sent < total:
                        sockets[number].sendall(request)
                        sent += 1
        seconds = time.perf_counter() - started
    for one in sockets.values():
        one.close()
    return done / seconds


def _answer_size(path: Path, request: bytes) -> int:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(5)
        probe.connect(str(path))
        probe.sendall(request)
        size = len(probe.recv(_PIECE))
        probe.settimeout(0.3)
        try:
            while piece := probe.recv(_PIECE):
                size += len(piece)
        except TimeoutError:
            pass
    return size
