"""Requests to any registry: kept connections, redirects, second attempts. What they mean: see ``repository``.

A redirect to another origin (scheme, host, port) is followed without credentials. Connections are kept for
the next request to the same origin and closed when nobody has used them for a while.
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin, urlsplit

from sampan import __version__
from sampan.registry.connection import Connection, connect, join
from sampan.registry.errors import BadAnswer, BadCertificate, ConnectionFailed, NotTLS
from sampan.registry.http1 import Head
from sampan.registry.proxies import Proxy, find_proxy
from sampan.registry.settings import RegistrySettings

if TYPE_CHECKING:
    import ssl

    from sampan.registry.tls import Stamps

MAX_ERROR: Final = 64 << 10  # bytes of an error document
_AGENT: Final = f"sampan/{__version__}"
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_AGAIN: Final = frozenset({429, 500, 502, 503, 504})
_MAX_REDIRECTS: Final = 10
_KEPT: Final = 8  # idle connections of one origin
_KEPT_S: Final = 30.0
_LONGEST_WAIT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request goes; ``verify``: a certificate must be good."""

    scheme: str
    host: str
    port: int
    verify: bool

    @property
    def authority(self) -> str:
        """What the Host header says."""
        if self.port == {"https": 443, "http": 80}[self.scheme]:
            return f"[{self.host}]" if ":" in self.host else self.host
        return join(self.host, self.port)


@dataclass(frozen=True, slots=True)
class Content:
    """What a request carries; ``open`` starts it from its beginning. ``size`` is bytes, None: unknown."""

    open: Callable[[], AsyncIterator[bytes]]
    size: int | None

    @classmethod
    def of(cls, data: bytes) -> "Content":
        """Return the content ``data``."""

        async def once() -> AsyncIterator[bytes]:
            yield data

        return cls(once, len(data))


class Answer:
    """An answer whose head has come. ``url`` is where redirects have led."""

    def __init__(self, url: str, head: Head, connection: Connection) -> None:
        self.url = url
        self.status = head.status
        self.headers = head.headers
        self._head = head
        self.connection = connection
        self._whole = False

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the body as it comes. Raises ConnectionFailed if it is cut off."""
        async with aclosing(self.connection.body(self._head)) as pieces:
            async for piece in pieces:
                yield piece
        self._whole = True

    async def read(self, limit: int) -> bytes:
        """Return the body. Raises BadAnswer if it is longer than ``limit`` bytes."""
        pieces: list[bytes] = []
        size = 0
        async with aclosing(self.chunks()) as chunks:
            async for piece in chunks:
                size += len(piece)
                if size > limit:
                    raise BadAnswer(f"{self.url} answers with more than {limit} bytes")
                pieces.append(piece)
        return b"".join(pieces)

    @property
    def reusable(self) -> bool:
        """Whether the connection can carry another request."""
        whole = self._whole or self._head.length == 0
        return whole and self._head.keep_alive and self.connection.used and self.connection.fit


class Transport:
    """Sends requests. ``sleep`` is what waits between attempts."""

    def __init__(self, settings: RegistrySettings, environment: Mapping[str, str] | None = None) -> None:
        self.settings = settings
        self.sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
        self._environment = {**(os.environ if environment is None else environment), **settings.proxies}
        self._idle: dict[Origin, list[tuple[float, Connection]]] = {}
        self._contexts: dict[tuple[str, bool], tuple[Stamps, ssl.SSLContext]] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    def reload(self, settings: RegistrySettings) -> None:
        """Take over new settings, for the requests from now on; proxies stay."""
        self.settings = settings
        self._contexts.clear()
        self._drop_idle()

    async def close(self) -> None:
        """Close the connections that are kept."""
        self._drop_idle()

    def _drop_idle(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for kept in self._idle.values():
            for _, connection in kept:
                connection.close()
        self._idle.clear()

    @asynccontextmanager
    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        content: Content | None = None,
        *,
        verify: bool = True,
        attempts: int = 1,
    ) -> AsyncIterator[Answer]:
        """Send a request and yield its answer, whatever its status.

        GET and HEAD follow redirects. Up to ``attempts`` times it is sent again when the registry is too
        busy or the connection breaks before an answer. Raises ConnectionFailed (``Get "URL": reason``).
        """
        backoff = Backoff(attempts, self.sleep)
        while True:
            try:
                answer = await self._follow(method, url, dict(headers or {}), content, verify=verify)
            except ConnectionFailed as error:
                if error.refused or isinstance(error, NotTLS | BadCertificate) or not backoff.more:
                    raise
                await backoff.wait()
                continue
            if answer.status in _AGAIN and backoff.more:
                wait_s = parse_retry_after(answer.headers.get("retry-after", ""))
                await self._release(answer, verify=verify)
                await backoff.wait(wait_s)
                continue
            break
        try:
            yield answer
        finally:
            await self._release(answer, verify=verify)

    async def _release(self, answer: Answer, *, verify: bool) -> None:
        connection = answer.connection
        if not answer.reusable:
            connection.close()
            return
        origin = self._origin(answer.url, verify=verify)
        kept = self._idle.setdefault(origin, [])
        if len(kept) >= _KEPT:
            kept.pop(0)[1].close()
        kept.append((time.monotonic(), connection))
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(_KEPT_S, self._sweep)

    def _sweep(self) -> None:
        """Close what nobody has used for a while."""
        self._sweeper = None
        limit = time.monotonic() - _KEPT_S
        for origin, kept in list(self._idle.items()):
            for since, connection in kept:
                if since <= limit or not connection.fit:
                    connection.close()
            left = [(since, connection) for since, connection in kept if since > limit and connection.fit]
            if left:
                self._idle[origin] = left
            else:
                del self._idle[origin]
        if self._idle:
            self._sweeper = asyncio.get_running_loop().call_later(_KEPT_S, self._sweep)

    async def _follow(
        self, method: str, url: str, headers: dict[str, str], content: Content | None, *, verify: bool
    ) -> Answer:
        first = url
        for _ in range(_MAX_REDIRECTS):
            try:
                answer = await self._send(method, url, headers, content, verify=verify)
            except ConnectionFailed as error:
                verb = method.capitalize()
                raise type(error)(f'{verb} "{url}": {error}', refused=error.refused) from error
            except BadAnswer as error:
                raise BadAnswer(f'{method.capitalize()} "{url}": {error}') from error
            target = answer.headers.get("location", "")
            if answer.status not in _REDIRECTS or method not in {"GET", "HEAD"} or not target:
                return answer
            await self._release(answer, verify=verify)
            before, url = url, urljoin(url, target)
            if not is_same_origin(before, url):
                headers.pop("Authorization", None)
                verify = True if not self._insecure(url) else verify
        raise BadAnswer(f'{method.capitalize()} "{first}": stopped after {_MAX_REDIRECTS} redirects')

    def _insecure(self, url: str) -> bool:
        return self.settings.is_insecure(urlsplit(url).netloc.rpartition("@")[2])

    def _origin(self, url: str, *, verify: bool) -> Origin:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise BadAnswer(f"bad URL {url!r}: {error}") from error
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise BadAnswer(f"unsupported protocol scheme {parts.scheme!r}")
        return Origin(parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80), verify)

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], content: Content | None, *, verify: bool
    ) -> Answer:
        origin = self._origin(url, verify=verify)
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        sent = {"Host": origin.authority, "User-Agent": _AGENT, **headers}
        if content is not None:
            sent |= (
                {"Transfer-Encoding": "chunked"}
                if content.size is None
                else {"Content-Length": str(content.size)}
            )
        elif method in {"POST", "PUT", "PATCH"}:
            sent["Content-Length"] = "0"
        while True:
            kept = self._take(origin)
            connection = kept or await self._connect(origin)
            body = content.open() if content is not None else None
            proxy = self._plain_proxy(origin)
            try:
                head = await connection.ask(
                    method,
                    f"{origin.scheme}://{origin.authority}{target}" if proxy is not None else target,
                    {**sent, **proxy.headers()} if proxy is not None else sent,
                    body,
                    chunked=content is not None and content.size is None,
                )
            except ConnectionFailed:
                connection.close()
                if kept is None or (content is not None):
                    raise  # it may have arrived: who sends it knows whether once more does harm
            except BaseException:
                connection.close()
                raise
            else:
                return Answer(url, head, connection)

    def _take(self, origin: Origin) -> Connection | None:
        kept = self._idle.get(origin, [])
        while kept:
            _, connection = kept.pop()
            if connection.fit:
                return connection
            connection.close()
        return None

    def _plain_proxy(self, origin: Origin) -> Proxy | None:
        """Return the proxy that is to see whole requests: those that are not encrypted."""
        if origin.scheme != "http":
            return None
        return find_proxy("http", origin.host, origin.port, self._environment)

    async def _connect(self, origin: Origin) -> Connection:
        proxy = find_proxy(origin.scheme, origin.host, origin.port, self._environment)
        context = self._context(origin) if origin.scheme == "https" else None
        return await connect(origin.host, origin.port, context, proxy)

    def _context(self, origin: Origin) -> "ssl.SSLContext":
        from sampan.registry.tls import client_context, stamps  # ssl takes 4 MiB: only where it is used

        key, now = (origin.authority, origin.verify), stamps(origin.authority, self.settings.certificates)
        known = self._contexts.get(key)
        if known is None or known[0] != now:  # certificates may come while the daemon runs
            known = now, client_context(origin.authority, self.settings.certificates, verify=origin.verify)
            self._contexts[key] = known
        return known[1]


class Backoff:
    """Waits between attempts: 1, 2, 4, … seconds, or as long as the registry says."""

    def __init__(self, attempts: int, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._left = attempts - 1
        self._next_s = 1.0
        self._sleep = sleep

    @property
    def more(self) -> bool:
        """Whether another attempt is allowed."""
        return self._left > 0

    def planned_s(self, asked_s: float | None = None) -> float:
        """Return how long the next wait is."""
        return min(self._next_s if asked_s is None else asked_s, _LONGEST_WAIT_S)

    async def wait(self, asked_s: float | None = None) -> None:
        """Wait before the next attempt; ``asked_s``: what the registry has asked for."""
        self._left -= 1
        wait_s = self.planned_s(asked_s)
        self._next_s = min(self._next_s * 2, _LONGEST_WAIT_S)
        await self._sleep(wait_s)


def parse_retry_after(text: str) -> float | None:
    """Return the seconds of a Retry-After header, None if there are none."""
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    if not text:
        return None
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def is_same_origin(one: str, other: str) -> bool:
    """Tell whether two URLs agree in scheme, host and port."""

    def origin(url: str) -> tuple[str, str | None, int | None]:
        try:
            parts = urlsplit(url)
            return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)
        except ValueError:
            return url, None, None

    return origin(one) == origin(other)
