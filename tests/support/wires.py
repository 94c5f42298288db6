"""Transports and servers for tests of the API that need no socket."""

import asyncio
from typing import Any

from sampan.api.connection import Connection


class FakeTransport(asyncio.Transport):
    """A transport whose peer is the test: ``sent`` is what the protocol wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()
        self.closed = False
        self.aborted = False
        self.ended = False
        self.protocol: asyncio.Protocol | None = None
        self._paused = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.ended, "written after the end"
        self.sent += data

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        if not self.closed and self.protocol is not None:
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)
        self.closed = True

    def abort(self) -> None:
        self.close()
        self.aborted = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False

    def is_paused(self) -> bool:
        return self._paused

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def take(self) -> bytes:
        """Return what was written since the last call."""
        data, self.sent = bytes(self.sent), bytearray()
        return data


def connect(server: Any) -> tuple[Connection, FakeTransport]:
    """Open a connection to ``server`` (an ``api.server.Server``, or the like)."""
    connection, transport = Connection(server), FakeTransport()
    transport.protocol = connection
    connection.connection_made(transport)
    return connection, transport


def request(line: str, body: bytes = b"", **headers: str) -> bytes:
    """Render a request of ``line`` ("GET /path") with a Host and, if there is a body, its length."""
    lines = [f"{line} HTTP/1.1", "Host: docker"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def settle(rounds: int = 20) -> None:
    """Let everything run that can."""
    for _ in range(rounds):
        await asyncio.sleep(0)
