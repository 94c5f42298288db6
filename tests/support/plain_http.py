"""A raw HTTP client on a socket, for what well-behaved clients hide."""

import contextlib
import json
import socket
from collections.abc import Iterator
from typing import Any

from support.daemon import Daemon


class Plain:
    """Speaks HTTP/1.1 on a connected socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.connection.settimeout(20)

    def ask(
        self, line: str, document: object = None, *headers: str, behind: bytes = b""
    ) -> tuple[int, str, bytes]:
        """Send a request, and ``behind`` in the same breath; return status, head and what follows it.

        Raises OSError if the connection ends before the head does.
        """
        body = b"" if document is None else json.dumps(document).encode()
        lines = [f"{line} HTTP/1.1", "Host: docker", *headers]
        if document is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        self.connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body + behind)
        head = b""
        while b"\r\n\r\n" not in head:
            piece = self.connection.recv(65536)
            if not piece:
                raise ConnectionResetError(f"no answer but {head!r}")
            head += piece
        first, _, rest = head.partition(b"\r\n\r\n")
        return int(first.split()[1]), first.decode(), rest

    def read_all(self, so_far: bytes = b"") -> bytes:
        """Return everything up to the end, after ``so_far``."""
        while piece := self.connection.recv(65536):
            so_far += piece
        return so_far


@contextlib.contextmanager
def unix(daemon: Daemon) -> Iterator[Plain]:
    """Connect to the daemon's socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(daemon.socket))
        yield Plain(connection)


def ask(daemon: Daemon, line: str, document: object = None) -> Any:
    """Ask once; return the answer's document. The status must be a success."""
    with unix(daemon) as client:
        status, head, rest = client.ask(line, document, "Connection: close")
        assert status < 300, (head, rest)
        data = client.read_all(rest)
        return json.loads(data) if "application/json" in head else data
