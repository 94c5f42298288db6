"""Requests to the Engine API: version, query, JSON, errors. Which requests there are: see ``api``."""

from sampan.base import jsonlite
from sampan.client.config import Config, config_directory, environment, find_endpoint
from sampan.client.endpoint import Endpoint
from sampan.client.errors import ClientError, ConnectionFailed, daemon_error
from sampan.client.transport import Connection, Response, Transport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any, Final, Self

    from sampan.client.wire import Wire

    Json = dict[str, Any]
    Filters = Mapping[str, Sequence[str]]
    Query = Mapping[str, str | int | bool | Sequence[str] | None]

API_VERSION: "Final" = "1.51"
_UNRESERVED: "Final" = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def quote(text: str, safe: str = "") -> str:
    """Percent-encode ``text`` but for unreserved characters and those in ``safe``."""
    if text.isalnum() and text.isascii():
        return text
    keep = _UNRESERVED | frozenset(safe.encode())
    data = text.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if byte in keep else f"%{byte:02X}" for byte in data)


def render_query(values: "Query") -> str:
    """Return ``?a=b&…``; None and False are left out, True is 1, a list repeats its name. Empty: ""."""
    parts = []
    for name, value in values.items():
        if value is None or value is False:
            continue
        items = ("1",) if value is True else (value,) if isinstance(value, str | int) else value
        parts += [f"{name}={quote(str(item))}" for item in items]
    return "?" + "&".join(parts) if parts else ""


def container_path(name: str, rest: str = "") -> str:
    """Return the path of a container, or of something of it. Raises ClientError if the name is blank."""
    if not name.strip():
        raise ClientError("invalid container name or ID: value is empty")
    return f"/containers/{quote(name)}/{rest}" if rest else f"/containers/{quote(name)}"


def image_path(name: str, rest: str = "") -> str:
    """Return the path of an image, or of something of it. Raises ClientError if the name is blank."""
    if not name.strip():
        raise ClientError("invalid image name or ID: value is empty")
    return f"/images/{quote(name, '/:@')}/{rest}" if rest else f"/images/{quote(name, '/:@')}"


def volume_path(name: str) -> str:
    """Return the path of a volume. Raises ClientError if the name is blank."""
    if not name.strip():
        raise ClientError("invalid volume name: value is empty")
    return f"/volumes/{quote(name)}"


def render_filters(filters: "Filters | None") -> str | None:
    """Return the ``filters`` parameter, or None when there are none."""
    wanted = {name: dict.fromkeys(values, True) for name, values in (filters or {}).items() if values}
    return jsonlite.dumps(wanted) if wanted else None


class Exchange:
    """A request under way. One of its methods is called, once, to get the answer.

    An API version that the daemon finds too new is lowered to the daemon's and the request sent again.
    """

    __slots__ = ("_connection", "_repeatable", "_send", "_session", "_version")

    def __init__(self, session: "Session", send: "Callable[[], Connection]", *, repeatable: bool) -> None:
        self._session = session
        self._send = send
        self._repeatable = repeatable
        self._version = session.api_version
        self._connection = send()

    def response(self) -> Response:
        """Wait for the answer's head; its body is the caller's. Raises DaemonError, ConnectionFailed."""
        response = self._session.transport.receive(self._connection)
        if response.status < 400:
            return response
        message = _error_message(response)
        if response.status == 400 and "too new" in message and self._repeatable:
            self._session.adopt(message)
            if self._version != self._session.api_version:
                self._version = self._session.api_version
                self._connection = self._send()
                return self.response()
        raise daemon_error(response.status, message)

    def result(self) -> "Any":
        """Wait for the whole answer and return its JSON, None if it has no body."""
        data = self.response().read()
        try:
            return jsonlite.loads(data) if data and not data.isspace() else None
        except ValueError as error:
            raise ConnectionFailed(f"the daemon's answer is not JSON: {error}", "") from error

    def hijack(self) -> "Wire":
        """Wait until the connection is ours and return it."""
        return self.response().hijack()


class Session:
    """A client of one daemon, as far as all its requests are alike.

    ``host`` is an address as ``-H`` takes it; without one the environment, the current context and the
    defaults decide, as for the command line. ``version`` pins the API version, which is negotiated otherwise.
    Usable as a context manager, which closes it.
    """

    def __init__(
        self,
        host: "str | Endpoint | None" = None,
        *,
        version: str | None = None,
        headers: "Mapping[str, str] | None" = None,
        timeout: float | None = None,
    ) -> None:
        environ = environment()
        if not isinstance(host, Endpoint):
            config = Config(config_directory(environ))
            host = find_endpoint(environ, config, host=host or "")
            headers = {**config.headers(), **(headers or {})}
        pinned = version or environ.get("DOCKER_API_VERSION", "")
        self.api_version = pinned or API_VERSION
        self._may_adopt = not pinned
        self.transport = Transport(host, headers=headers, timeout=timeout)

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are kept for later requests."""
        self.transport.close()

    # --- requests

    def begin(
        self,
        method: str,
        path: str,
        query: "Query | None" = None,
        *,
        json: "object" = None,
        body: "bytes | int | Iterable[bytes] | None" = None,
        content_type: str = "",
        headers: "Mapping[str, str] | None" = None,
        upgrade: bool = False,
        versioned: bool = True,
    ) -> Exchange:
        """Send a request. ``json`` is a document to send; ``body`` other content, see ``Transport.send``."""
        if json is not None:
            body, content_type = jsonlite.dumps(json).encode("utf-8", "surrogateescape"), "application/json"
        if query:
            path += render_query(query)
        repeatable = body is None or isinstance(body, bytes)
        if not repeatable and self._may_adopt:
            self.negotiate()

        def send() -> Connection:
            return self.transport.send(
                method,
                f"/v{self.api_version}{path}" if versioned else path,
                body=body,
                content_type=content_type,
                headers=headers,
                upgrade=upgrade,
            )

        return Exchange(self, send, repeatable=repeatable)

    def ping(self) -> dict[str, str]:
        """Return what the daemon tells of itself in headers: Api-Version, Ostype, Server, …"""
        response = self.begin("GET", "/_ping", versioned=False).response()
        response.read()
        return {name.title(): value for name, value in response.headers.items()}

    def negotiate(self) -> None:
        """Settle the API version before a request that could not be repeated."""
        spoken = self.ping().get("Api-Version", "")
        if spoken and version_key(spoken) < version_key(self.api_version):
            self.api_version = spoken
        self._may_adopt = False

    def adopt(self, message: str) -> None:
        """Lower the version to the one that ``message``, a daemon's complaint, ends with."""
        spoken = message.rstrip(".").rpartition(" ")[2]
        if self._may_adopt and all(part.isdigit() for part in spoken.split(".")):
            self.api_version = spoken
            self._may_adopt = False

    def stream(self, exchange: Exchange) -> "Iterator[Json]":
        """Yield the documents of a JSON stream as they come (events, load, pull)."""
        text = ""
        for line in exchange.response().lines():
            text += line.decode("utf-8", "replace")
            if not text.strip():
                continue
            try:
                document, _ = jsonlite.scan(text, 0)
            except ValueError:
                continue  # a document over several lines
            text = ""
            if isinstance(document, dict):
                yield document


def version_key(version: str) -> tuple[int, ...]:
    """Return an API version's parts, for comparing; trailing zeros do not count."""
    parts = [int(part) if part.isdigit() else 0 for part in version.split(".")]
    while parts and not parts[-1]:
        parts.pop()
    return tuple(parts)


def _error_message(response: Response) -> str:
    text = response.read().decode("utf-8", "replace").strip()
    try:
        found = jsonlite.loads(text) if text else None
    except ValueError:
        found = None
    if isinstance(found, dict) and isinstance(found.get("message"), str):
        return str(found["message"])
    return text[:1000] or f"request returned status {response.status}, check if the daemon supports it"


def document(value: object) -> "Json":
    """Return ``value`` if it is a JSON object. Raises ConnectionFailed: no daemon answers so."""
    if isinstance(value, dict):
        return value
    raise ConnectionFailed(f"the daemon's answer is not a JSON object: {str(value)[:80]}", "")


def rows(value: object) -> "list[Json]":
    """Return ``value`` if it is a JSON array (null: empty). Raises ConnectionFailed."""
    if value is None:
        return []
    if isinstance(value, list):
        return value
    raise ConnectionFailed(f"the daemon's answer is not a JSON array: {str(value)[:80]}", "")
