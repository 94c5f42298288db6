"""The HTTP server: version, route, handler, and the headers that every answer carries."""

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import suppress
from functools import partial
from typing import Final, cast

from sampan import __version__
from sampan.api.body import Body
from sampan.api.connection import Connection, Work
from sampan.api.errors import error_response
from sampan.api.http1 import REASONS, BadRequest, Head, date_line
from sampan.api.request import Request
from sampan.api.response import Answer, FileResponse, Hijack, Response, StreamResponse, json
from sampan.api.router import Route, Router, split_target
from sampan.api.routes import GROUPS
from sampan.api.services import Services
from sampan.api.versions import MAX, SPOKEN, check_version
from sampan.base.tasks import Tasks
from sampan.wire.system import ErrorMessage

_log = logging.getLogger(__name__)

_SAME_FOR_ALL: Final = (
    f"Api-Version: {MAX}\r\n"
    "Docker-Experimental: false\r\n"
    "Ostype: linux\r\n"
    f"Server: Sampan/{__version__} (linux)\r\n"
)
_STATUS_LINES: Final = {
    status: f"HTTP/1.1 {status} {reason}\r\n{_SAME_FOR_ALL}" for status, reason in REASONS.items()
}


_CLOSE: Final = b"Connection: close\r\n\r\n"
_STAY: Final = b"\r\n"


class Server:
    """Serves the Engine API on any number of listening sockets. Must be used from the event loop's thread."""

    def __init__(self, services: Services) -> None:
        self.tasks = Tasks("api")
        self._services = services
        self._router = Router(GROUPS)
        self._connections: set[Connection] = set()
        self._empty = asyncio.Event()

    def protocol(self) -> Connection:
        """Make the protocol of a new connection."""
        return Connection(self)

    def opened(self, connection: Connection) -> None:
        """Take note of a new connection."""
        self._connections.add(connection)
        self._empty.clear()

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    def handle(self, head: Head, body: Body) -> Answer | Work:
        """Answer at once, or return what to call and await for the answer. Neither raises."""
        version, path, query = split_target(head.target)
        if head.method == "OPTIONS":
            return Response(200)
        found = self._router.find(head.method, path)
        if found is None:
            return json(ErrorMessage("page not found"), 404)
        route, names = found
        try:
            spoken = SPOKEN.get(version) or check_version(version)
            request = Request(head, body, names, query, spoken)
            if route.waits:
                return partial(self._wait, route, request)
            return cast("Answer", route.handler(request, self._services))
        except Exception as error:
            return error_response(error)

    async def _wait(self, route: Route, request: Request) -> Answer:
        try:
            return await cast("Awaitable[Answer]", route.handler(request, self._services))
        except Exception as error:
            return error_response(error)

    def head(self, answer: Answer, length: int | None, *, close: bool) -> bytes:
        """Render the answer's head; ``length`` None: chunked, negative: until the connection closes."""
        if isinstance(answer, Hijack):
            return _hijack_head(answer)
        if isinstance(answer, Response):
            head = answer.head = answer.head or _render_head(answer, length)
        else:
            head = _render_head(answer, length)
        return b"%b%b%b" % (head, date_line(), _CLOSE if close else _STAY)

    def refusal(self, error: BadRequest) -> Response:
        """Turn a protocol error into an answer."""
        return json(ErrorMessage(str(error)), error.status)

    async def close(self, grace_s: float = 5.0) -> None:
        """Close every connection: idle ones and streams now, the others once their answer is given.

        After ``grace_s`` seconds the rest is cut off; what they asked for is finished all the same.
        """
        for connection in list(self._connections):
            connection.shut()
        if self._connections:
            with suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self._empty.wait()
        for connection in list(self._connections):
            connection.cut()
        await self.tasks.close()


def _render_head(answer: Response | StreamResponse | FileResponse, length: int | None) -> bytes:
    lines = [_STATUS_LINES[answer.status]]
    if answer.content_type:
        lines.append(f"Content-Type: {answer.content_type}\r\n")
    lines.extend(f"{name}: {value}\r\n" for name, value in answer.headers.items())
    if length is None:
        lines.append("Transfer-Encoding: chunked\r\n")
    elif length >= 0 and answer.status not in {204, 304}:
        lines.append(f"Content-Length: {length}\r\n")
    return "".join(lines).encode("latin-1")


def _hijack_head(answer: Hijack) -> bytes:
    first = "HTTP/1.1 101 UPGRADED" if answer.upgrade else "HTTP/1.1 200 OK"
    lines = [first]
    if answer.content_type:
        lines.append(f"Content-Type: {answer.content_type}")
    lines.extend(f"{name}: {value}" for name, value in (answer.upgrade or {}).items())
    return ("\r\n".join(lines) + "\r\n" + _SAME_FOR_ALL + "\r\n").encode("latin-1")
