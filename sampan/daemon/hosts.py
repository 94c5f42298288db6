"""Where the daemon listens: the values of ``-H``, parsed."""

from dataclasses import dataclass
from typing import Final

from sampan.base.errors import InvalidParameter

_HTTP_PORT: Final = 2375
_TLS_PORT: Final = 2376


@dataclass(frozen=True, slots=True)
class Host:
    """``kind`` is unix (``place``: a path), tcp (an address) or fd (a descriptor's number, or ``*``)."""

    kind: str
    place: str
    port: int = 0

    def __str__(self) -> str:
        if self.kind != "tcp":
            return f"{self.kind}://{self.place}"
        place = f"[{self.place}]" if ":" in self.place else self.place
        return f"tcp://{place}:{self.port}"


def parse_host(text: str, *, tls: bool) -> Host:
    """Parse ``unix:///path``, ``tcp://[address][:port]``, ``address:port``, ``fd://[number]``.

    Raises InvalidParameter in Docker's words (moby, opts/hosts.go).
    """
    kind, mark, place = text.strip().partition("://")
    if not mark:
        kind, place = "tcp", text.strip()
    if kind == "unix":
        if not place.startswith("/"):
            raise InvalidParameter(
                f"invalid bind address ({text}): the path of a unix socket must be absolute"
            )
        return Host("unix", place)
    if kind == "fd":
        if place not in {"", "*"} and not (place.isascii() and place.isdigit()):
            raise InvalidParameter(f"invalid bind address ({text}): not the number of a descriptor")
        return Host("fd", place or "*")
    if kind == "tcp":
        return _parse_tcp(text, place, _TLS_PORT if tls else _HTTP_PORT)
    raise InvalidParameter(f"invalid bind address ({text}): unsupported proto '{kind}'")


def _parse_tcp(text: str, place: str, default_port: int) -> Host:
    bad = f"invalid bind address ({text})"
    if "/" in place.rstrip("/") or "@" in place or "?" in place:
        raise InvalidParameter(f"{bad}: should not contain a path element")
    place = place.rstrip("/")
    if place.startswith("["):
        address, bracket, port = place[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise InvalidParameter(f"{bad}: missing ']' in address")
        port = port[1:]
    elif place.count(":") > 1:
        raise InvalidParameter(f"{bad}: too many colons in address")
    else:
        address, _, port = place.partition(":")
    if port and not (port.isascii() and port.isdigit() and int(port) < 1 << 16):
        raise InvalidParameter(f"{bad}: invalid port: {port}")
    return Host("tcp", address or "localhost", int(port) if port else default_port)
