"""The registry's side of HTTP: heads, credentials, and what errors look like. See ``api.connection``."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Final

import msgspec

from sampan import __version__
from sampan.api.body import Body, BodyTooLarge, BodyTruncated
from sampan.api.connection import Connection, Work
from sampan.api.http1 import BadRequest, Head, date_line
from sampan.api.query import Query
from sampan.api.response import Answer, Hijack, Response
from sampan.base.errors import EngineError, InvalidParameter
from sampan.base.tasks import Tasks
from sampan.distribution.errors import AuthenticationRequired, BadRequestHere, RegistryError
from sampan.distribution.exchange import Request
from sampan.distribution.passwords import Passwords
from sampan.distribution.service import Registry
from sampan.distribution.target import parse_target

_log = logging.getLogger(__name__)
_JSON: Final = "application/json"
_TEXT: Final = "text/plain; charset=utf-8"
_SAME_FOR_ALL: Final = (
    "Docker-Distribution-Api-Version: registry/2.0\r\n"
    f"Server: Sampan/{__version__} (registry)\r\n"
    "X-Content-Type-Options: nosniff\r\n"
)
_CHALLENGE: Final[Mapping[str, str]] = {"Www-Authenticate": 'Basic realm="Sampan registry", charset="UTF-8"'}
_LENGTH: Final = "Content-Length"


class _Error(msgspec.Struct):
    code: str
    message: str
    detail: object = None


class Server:
    """Serves ``registry`` on any number of listening sockets; ``passwords`` None: to everybody."""

    def __init__(self, registry: Registry, passwords: Passwords | None) -> None:
        self.tasks = Tasks("registry server")
        self._registry = registry
        self._passwords = passwords
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
        """Return what to call and await for the answer. Neither raises."""
        return partial(self._answer, head, body)

    async def _answer(self, head: Head, body: Body) -> Answer:
        try:
            answer = await self._find_answer(head, body)
        except Exception as error:
            answer = error_response(error)
        if _log.isEnabledFor(logging.DEBUG):
            status = answer.status if not isinstance(answer, Hijack) else 0
            _log.debug("%s %s", head.method, head.target, extra={"status": status})
        return answer

    async def _find_answer(self, head: Head, body: Body) -> Answer:
        path, _, query = head.target.partition("?")
        if path == "/":
            return Response(200)  # whether anybody is there
        if self._passwords is not None and not await self._passwords.allows(
            head.headers.get("authorization", "")
        ):
            raise AuthenticationRequired(headers=_CHALLENGE)
        target = parse_target(path)
        if target is None:
            return Response(404, b"404 page not found\n", _TEXT)
        return await self._registry.answer(Request(head, body, target, Query(query)))

    def head(self, answer: Answer, length: int | None, *, close: bool) -> bytes:
        """Render the answer's head; ``length`` None: chunked, negative: until the connection closes."""
        if isinstance(answer, Hijack):
            raise TypeError("a registry hands no connection over")
        lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n", _SAME_FOR_ALL]
        if answer.content_type:
            lines.append(f"Content-Type: {answer.content_type}\r\n")
        lines.extend(f"{name}: {value}\r\n" for name, value in answer.headers.items())
        if length is None:
            lines.append("Transfer-Encoding: chunked\r\n")
        elif length >= 0 and answer.status not in {204, 304} and _LENGTH not in answer.headers:
            lines.append(f"{_LENGTH}: {length}\r\n")
        end = b"Connection: close\r\n\r\n" if close else b"\r\n"
        return b"%b%b%b" % ("".join(lines).encode("latin-1"), date_line(), end)

    def refusal(self, error: BadRequest) -> Response:
        """Turn a protocol error into an answer."""
        return Response(error.status, f"{error}\n".encode(), _TEXT)

    async def close(self, grace_s: float) -> None:
        """Close every connection: idle ones now, the others once their answer is given, or time is up."""
        for connection in list(self._connections):
            connection.shut()
        if self._connections:
            with suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self._empty.wait()
        for connection in list(self._connections):
            connection.cut()
        await self.tasks.close()


def error_response(error: Exception) -> Response:
    """Turn ``error`` into an answer of the form of the specification, "Error Codes"."""
    if isinstance(error, BodyTruncated | BodyTooLarge | InvalidParameter) and not isinstance(
        error, RegistryError
    ):
        error = BadRequestHere(str(error))
    if isinstance(error, RegistryError):
        if error.status >= 500:
            _log.error("request failed", extra={"error": str(error), "cause": str(error.__cause__ or "")})
        return _render(error.status, error.code, str(error), error.detail, error.headers)
    if isinstance(error, EngineError):
        _log.error("request failed", extra={"error": str(error)})
        return _render(500, RegistryError.code, str(error), None, {})
    _log.error("unexpected error", exc_info=error)
    return _render(500, RegistryError.code, RegistryError.words, None, {})


def _render(status: int, code: str, message: str, detail: object, headers: Mapping[str, str]) -> Response:
    body = msgspec.json.encode({"errors": [_Error(code, message, detail)]}) + b"\n"
    return Response(status, body, _JSON, headers)
