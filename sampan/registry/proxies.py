"""Which proxy a request goes through: HTTP_PROXY, HTTPS_PROXY and NO_PROXY, by the rules of Go's programs."""

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from sampan.base.errors import InvalidParameter


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy; ``login`` is ``user:password`` or empty."""

    host: str
    port: int
    login: str = ""

    def headers(self) -> dict[str, str]:
        """Return the headers that the proxy wants."""
        if not self.login:
            return {}
        return {"Proxy-Authorization": "Basic " + base64.b64encode(self.login.encode()).decode()}


def find_proxy(scheme: str, host: str, port: int, environment: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for ``scheme://host:port``, None for none. Raises InvalidParameter for a bad one.

    This machine is never reached by a proxy (golang.org/x/net/http/httpproxy).
    """
    name = f"{scheme}_proxy"
    url = environment.get(name.upper()) or environment.get(name) or ""
    excluded = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
    if not url or _is_local(host) or _excludes(excluded, host, port):
        return None
    return parse_proxy(url)


def parse_proxy(url: str) -> Proxy:
    """Parse a proxy's URL, or its bare ``host:port``. Raises InvalidParameter."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port
    except ValueError as error:
        raise InvalidParameter(f"invalid proxy address {url!r}: {error}") from error
    if parts.scheme != "http" or not parts.hostname:
        raise InvalidParameter(f"invalid proxy address {url!r}: only http:// proxies are supported")
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else ""
    return Proxy(parts.hostname, port or 80, login)


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _excludes(entries: str, host: str, port: int) -> bool:
    for entry in (part.strip().lower() for part in entries.split(",")):
        if entry == "*":
            return True
        name, colon, digits = entry.rpartition(":")
        if colon and digits.isdecimal() and ":" not in name:
            if int(digits) != port:
                continue
            entry = name
        if entry and _covers(entry, host.lower()):
            return True
    return False


def _covers(entry: str, host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        entry = entry.removeprefix("*")
        return host.endswith(entry) if entry.startswith(".") else host == entry or host.endswith(f".{entry}")
    try:
        return address in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False
