"""The parts of a URL that address an engine, taken apart as Go's ``net/url`` does, with its messages."""

from sampan.cli.gotext import quote

_HOST_MARKS = frozenset("-_.~!$&'()*+,;=:[]<>\"%")


class Url:
    """``scheme://user:password@host:port/path?query#fragment``; ``port`` is "" where there is none.

    Raises ValueError with Go's words for what is no URL.
    """

    __slots__ = ("fragment", "host", "password", "path", "query", "scheme", "user")

    def __init__(self, text: str) -> None:
        if any(letter < " " or letter == "\x7f" for letter in text):
            raise ValueError("net/url: invalid control character in URL")
        rest, _, self.fragment = text.partition("#")
        self.scheme, rest = _scheme(rest)
        rest, _, self.query = rest.partition("?")
        self.host = self.user = ""
        self.password: str | None = None
        if rest.startswith("//"):
            authority, slash, rest = rest[2:].partition("/")
            rest = slash + rest
            account, at, self.host = authority.rpartition("@")
            if at:
                user, colon, password = account.partition(":")
                self.user, self.password = _unescape(user), _unescape(password) if colon else None
            _check_host(self.host)
        self.path = _unescape(rest)

    def split_host(self) -> tuple[str, str]:
        """Return host (without brackets) and port, "" where there is none."""
        if self.host[:1] == "[":
            host, _, rest = self.host[1:].partition("]")
            return host, rest.removeprefix(":")
        host, _, port = self.host.partition(":")
        return host, port


def _scheme(text: str) -> tuple[str, str]:
    for at, letter in enumerate(text):
        if letter == ":":
            if at == 0:
                raise ValueError("missing protocol scheme")
            return text[:at].lower(), text[at + 1 :]
        if not (letter.isascii() and (letter.isalpha() or (at and (letter.isdigit() or letter in "+-.")))):
            break
    return "", text


def _check_host(host: str) -> None:
    """Raise ValueError for a host or port that Go refuses."""
    if host[:1] == "[":
        _, bracket, port = host.rpartition("]")
        if not bracket:
            raise ValueError("missing ']' in host")
    else:
        port = host[host.rindex(":") :] if ":" in host else ""
    if port and (port[0] != ":" or not all("0" <= digit <= "9" for digit in port[1:])):
        raise ValueError(f"invalid port {quote(port)} after host")
    for letter in host:
        if not (letter.isalnum() or letter in _HOST_MARKS or ord(letter) >= 0x80):
            raise ValueError(f"invalid character {quote(letter)} in host name")
    _unescape(host)


def _unescape(text: str) -> str:
    if "%" not in text:
        return text
    out = bytearray()
    data = text.encode("utf-8", "surrogateescape")
    at = 0
    while at < len(data):
        if data[at] != 0x25:
            out.append(data[at])
            at += 1
            continue
        pair = data[at + 1 : at + 3]
        if len(pair) < 2 or not all(byte in b"0123456789abcdefABCDEF" for byte in pair):
            raise ValueError(f"invalid URL escape {quote(data[at : at + 3].decode('utf-8', 'replace'))}")
        out.append(int(pair, 16))
        at += 3
    return out.decode("utf-8", "surrogateescape")
