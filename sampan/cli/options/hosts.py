"""Where the engine is: values of ``-H`` and ``DOCKER_HOST``, and what an ``ssh://`` one makes ssh do."""

from sampan.cli.gotext import quote
from sampan.cli.options.urls import Url

_TCP = "tcp://localhost:2375"
_TLS = "tcp://localhost:2376"
_UNIX = "/var/run/docker.sock"
_PIPE = "//./pipe/docker_engine"


def parse_host(text: str, *, tls: bool = False, default: str = f"unix://{_UNIX}") -> str:
    """Return the address that ``-H text`` means, whole; ``default``: what an empty one means without TLS.

    Raises ValueError in Docker's words.
    """
    host = text.strip()
    if not host:
        return _TLS if tls else default
    return parse_address(host)


def parse_address(text: str) -> str:
    """Return a non-empty address whole: scheme, host and port or path. Raises ValueError."""
    scheme, separator, host = text.partition("://")
    if not separator and scheme:
        scheme, host = "tcp", scheme
    if scheme == "tcp":
        return parse_tcp(host, _TCP)
    if scheme in {"unix", "npipe"}:
        path = host.removeprefix(f"{scheme}://")
        if "://" in path:
            raise ValueError(f"invalid proto, expected {scheme}: {path}")
        return f"{scheme}://{path or (_UNIX if scheme == 'unix' else _PIPE)}"
    if scheme in {"fd", "ssh"}:
        return text
    raise ValueError(f"invalid bind address format: {text}")


def parse_tcp(text: str, default: str) -> str:
    """Return ``text`` as ``tcp://host:port[/path]`` with what it lacks taken from ``default``.

    Raises ValueError.
    """
    if text in {"", "tcp://"}:
        return default
    address = text.removeprefix("tcp://")
    if "://" in address:
        raise ValueError(f"invalid proto, expected tcp: {text}")
    default_host, _, default_port = default.removeprefix("tcp://").rpartition(":")
    if address.endswith("]:"):
        address += default_port
    try:
        url = Url(f"tcp://{address}")
    except ValueError as error:
        raise ValueError(f"parse {quote(f'tcp://{address}')}: {error}") from None
    host, port = url.split_host()
    if url.host.count(":") > 1 and url.host[:1] != "[":
        raise ValueError(f"invalid bind address format: {text}")
    host = host or default_host
    return f"tcp://{f'[{host}]' if ':' in host else host}:{port or default_port}{url.path}"


class SshTarget:
    """What an ``ssh://[user@]host[:port][/path of the socket]`` address names.

    Raises ValueError (``invalid SSH URL: …``); a password has no place there.
    """

    __slots__ = ("host", "path", "port", "user")

    def __init__(self, text: str) -> None:
        try:
            url = Url(text)
            if not url.scheme:
                raise ValueError("no scheme provided")
            if url.scheme != "ssh":
                raise ValueError(f"incorrect scheme: {url.scheme}")
            if url.password is not None:
                raise ValueError("plain-text password is not supported")
            self.user = url.user
            self.host, self.port = url.split_host()
            self.path = url.path
            if not self.host:
                raise ValueError("hostname is empty")
            if url.query:
                raise ValueError(f"query parameters are not allowed: {quote(url.query)}")
            if url.fragment:
                raise ValueError(f"fragments are not allowed: {quote(url.fragment)}")
        except ValueError as error:
            raise ValueError(f"invalid SSH URL: {error}") from None

    def arguments(self, *command: str) -> list[str]:
        """Return the arguments of ssh that run ``command`` there. Raises ValueError."""
        words: list[str] = []
        if self.user:
            words += ["-l", shell_word(self.user)]
        if self.port:
            words += ["-p", shell_word(self.port)]
        words += ["--", shell_word(self.host)]
        return [*words, " ".join(map(shell_word, command))] if command else words


def shell_word(text: str) -> str:
    """Return ``text`` as one word of a POSIX shell, quoted only if it must be. Raises ValueError."""
    if not text:
        return "''"
    if not text.isprintable():
        raise ValueError("POSIX shell lacks escape sequences")
    keywords = "! case do done elif else esac fi for if in then until while { }".split()
    if text not in keywords and not set(text) & set(";\"'()$|&><` \\#{~*?[="):
        return text
    if "'" not in text:
        return f"'{text}'"
    return '"' + "".join(f"\\{letter}" if letter in '"\\`$' else letter for letter in text) + '"'
