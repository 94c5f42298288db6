"""Where a daemon is: the addresses that ``-H`` and ``DOCKER_HOST`` take, parsed.

No connection is made here, and no environment read: see ``transport`` and ``config``.
"""

from sampan.client.errors import ClientError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

DEFAULT_SOCKET: "Final" = "/run/sampan/sampan.sock"
DOCKER_SOCKET: "Final" = "/var/run/docker.sock"
HTTP_PORT: "Final" = "2375"
TLS_PORT: "Final" = "2376"


class TlsFiles:
    """Paths of the PEM files for TLS ("": none), and whether the daemon's certificate is checked."""

    __slots__ = ("ca", "cert", "key", "verify")

    def __init__(self, ca: str = "", cert: str = "", key: str = "", *, verify: bool = True) -> None:
        self.ca = ca
        self.cert = cert
        self.key = key
        self.verify = verify


class Endpoint:
    """One daemon's address: ``host`` as the user reads it (``unix:///run/x.sock``, ``tcp://h:1``,
    ``ssh://h``).

    ``kind`` is unix, tcp or ssh; ``address`` the socket's path or the host's name; ``base`` the path in
    front of every request (``tcp://host:port/path``), without a slash at its end.
    """

    __slots__ = ("address", "base", "host", "kind", "port", "tls")

    def __init__(self, host: str, tls: TlsFiles | None = None) -> None:
        kind, _, rest = host.partition("://")
        self.host = host
        self.tls = tls
        self.port = 0
        self.base = ""
        self.kind = kind
        self.address = rest
        if kind == "tcp":
            place, slash, base = rest.partition("/")
            self.address, port = _split_port(place)
            self.port = int(port)
            self.base = (slash + base).rstrip("/")
        elif kind not in {"unix", "ssh"}:
            raise ClientError(f'protocol not available: "{host}"')


def default_endpoint() -> Endpoint:
    """Return the place where ``sampand`` listens unless told otherwise."""
    return Endpoint("unix://" + DEFAULT_SOCKET)


def parse_host(text: str, *, tls: bool = False) -> str:
    """Return the full form of what a user gave as ``-H``; blank means Docker's default for that.

    Raises ClientError in Docker's words. Rules: docker/cli, opts/hosts.go.
    """
    host = text.strip()
    if not host:
        return f"tcp://localhost:{TLS_PORT}" if tls else "unix://" + DOCKER_SOCKET
    return parse_address(host)


def parse_address(text: str) -> str:
    """Return the full form of an address that must not be blank. Raises ClientError."""
    proto, mark, rest = text.partition("://")
    if not mark and proto:
        proto, rest = "tcp", text
    if proto == "tcp":
        return parse_tcp(rest, f"tcp://localhost:{HTTP_PORT}")
    if proto in {"unix", "npipe"}:
        if "://" in rest:
            raise ClientError(f"invalid proto, expected {proto}: {rest}")
        return f"{proto}://{rest or (DOCKER_SOCKET if proto == 'unix' else '//./pipe/docker_engine')}"
    if proto in {"fd", "ssh"}:
        return text
    raise ClientError(f"invalid bind address format: {text}")


def parse_tcp(text: str, default: str) -> str:
    """Return ``tcp://host:port[/path]`` for ``text``, whose missing parts come from ``default`` (a full one).

    Raises ClientError in Docker's words.
    """
    if text in {"", "tcp://"}:
        return default
    address = text.removeprefix("tcp://")
    if "://" in address or not address:
        raise ClientError(f"invalid proto, expected tcp: {text}")
    default_host, default_port = _split_port(default.removeprefix("tcp://"))
    place, slash, path = address.partition("/")
    if any(c <= " " or c == "\x7f" for c in place):
        raise ClientError(f"invalid bind address format: {text}")
    host, port = _split_port(place)
    port = port or default_port
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ClientError(f"invalid bind address format: {text}")
    host = host or default_host
    return f"tcp://{f'[{host}]' if ':' in host else host}:{port}{slash}{path}"


def _split_port(place: str) -> tuple[str, str]:
    """Split ``host:port``, ``[v6]:port``, ``host:`` or ``host`` into name and port ("": not given)."""
    if place.startswith("["):
        host, closed, rest = place[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise ClientError(f"invalid bind address format: {place}")
        return host, rest[1:]
    host, _, port = place.partition(":")
    return host, port
