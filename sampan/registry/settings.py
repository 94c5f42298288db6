"""Which registries there are, as the daemon's settings say: mirrors, insecure ones, limits, certificates.

Texts are checked in dockerd's words. No ``ssl`` and no sockets here: the daemon reads this at its start.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from sampan.base.errors import InvalidParameter
from sampan.oci.reference import DEFAULT_DOMAIN, is_domain

HUB: Final = "registry-1.docker.io"  # where the images of docker.io are
CERTIFICATES: Final = (Path("/etc/docker/certs.d"), Path("/etc/sampan/certs.d"))
_LOOPBACK: Final = ("127.0.0.0/8", "::1/128")
_MAX_DOWNLOADS: Final = 3  # Docker's defaults
_MAX_UPLOADS: Final = 5
_MAX_ATTEMPTS: Final = 5

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A place that answers for a registry: ``host[:port]``, and what stands before ``/v2/`` there.

    ``schemes`` are tried in order; ``verify``: its certificate must be good.
    """

    host: str
    schemes: Sequence[str]
    prefix: str = ""
    verify: bool = True
    mirror: bool = False


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """Checked settings; ``insecure_hosts`` are ``host[:port]``, ``mirrors`` URLs that end with a slash."""

    insecure_hosts: frozenset[str] = frozenset()
    insecure_networks: Sequence[Network] = tuple(ipaddress.ip_network(text) for text in _LOOPBACK)
    mirrors: Sequence[str] = ()
    max_downloads: int = _MAX_DOWNLOADS
    max_uploads: int = _MAX_UPLOADS
    max_attempts: int = _MAX_ATTEMPTS
    certificates: Sequence[Path] = CERTIFICATES
    proxies: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(
        cls,
        *,
        insecure: Sequence[str] = (),
        mirrors: Sequence[str] = (),
        max_downloads: int = 0,
        max_uploads: int = 0,
        max_attempts: int = 0,
        proxies: Mapping[str, str] | None = None,
    ) -> Self:
        """Return the settings for the daemon's options; a limit of 0 is Docker's default.

        Raises InvalidParameter.
        """
        if max_downloads < 0:
            raise InvalidParameter(f"invalid max concurrent downloads: {max_downloads}")
        if max_uploads < 0:
            raise InvalidParameter(f"invalid max concurrent uploads: {max_uploads}")
        if max_attempts < 0:
            raise InvalidParameter(f"invalid max download attempts: {max_attempts}")
        networks = [ipaddress.ip_network(text) for text in _LOOPBACK]
        hosts: set[str] = set()
        for text in insecure:
            found = parse_insecure(text)
            if isinstance(found, str):
                hosts.add(found)
            else:
                networks.append(found)
        urls = dict.fromkeys(parse_mirror(text) for text in mirrors)
        return cls(
            insecure_hosts=frozenset(hosts),
            insecure_networks=tuple(networks),
            mirrors=tuple(urls),
            max_downloads=max_downloads or _MAX_DOWNLOADS,
            max_uploads=max_uploads or _MAX_UPLOADS,
            max_attempts=max_attempts or _MAX_ATTEMPTS,
            proxies=proxies or {},
        )

    def is_insecure(self, host: str, addresses: Sequence[str] = ()) -> bool:
        """Tell whether ``host[:port]``, whose name stands for ``addresses``, needs no good certificate."""
        if host in self.insecure_hosts:
            return True
        name, _ = split_host(host)
        for text in (name, *addresses):
            try:
                address = ipaddress.ip_address(text.partition("%")[0])
            except ValueError:
                continue
            if any(address in network for network in self.insecure_networks):
                return True
        return False


def split_host(host: str) -> tuple[str, int | None]:
    """Return the name (an IPv6 address without brackets) and the port of ``host[:port]``."""
    if host.startswith("["):
        name, _, rest = host[1:].partition("]")
        return name, int(rest[1:]) if rest[1:].isdecimal() else None
    name, colon, port = host.rpartition(":")
    if colon and port.isdecimal():
        return name, int(port)
    return host, None


def registry_host(domain: str) -> str:
    """Return the host that serves the images of ``domain``."""
    return HUB if domain == DEFAULT_DOMAIN else domain


def parse_insecure(text: str) -> str | Network:
    """Parse an entry of insecure-registries into ``host[:port]`` or a network. Raises InvalidParameter."""
    host = text
    for scheme in ("http://", "https://"):
        if host.lower().startswith(scheme):
            host = host[len(scheme) :]
            break
    if "://" in host:
        raise InvalidParameter(f"insecure registry {text} should not contain '://'")
    try:
        if "/" in host:
            return ipaddress.ip_network(host, strict=False)
    except ValueError:
        pass
    name, colon, port = host.rpartition(":")
    if not colon or (":" in name and not name.endswith("]")):
        name, port = host, ""
    if not is_domain(host) and not _is_address(name.strip("[]")):
        raise InvalidParameter(f"insecure registry {text} is not valid: invalid host {_quote(name)}")
    if port and not (port.isdecimal() and int(port) <= 65535):
        raise InvalidParameter(f"insecure registry {text} is not valid: invalid port {_quote(port)}")
    return host


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def parse_mirror(text: str) -> str:
    """Check the URL of a mirror and return it with one slash at its end. Raises InvalidParameter."""
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError as error:
        raise InvalidParameter(f"invalid mirror: {_quote(text)} is not a valid URI: {error}") from error
    if url.scheme not in {"http", "https"}:
        raise InvalidParameter(
            f'invalid mirror: unsupported scheme "{url.scheme}" in {_quote(text)}: '
            "must use either 'https://' or 'http://'"
        )
    if "?" in text or "#" in text:
        raise InvalidParameter(f"invalid mirror: query or fragment at end of the URI {_quote(text)}")
    if "@" in url.netloc:
        shown = text.replace(url.netloc, f"{url.username}:xxxxx@{url.netloc.rpartition('@')[2]}")
        raise InvalidParameter(f"invalid mirror: username/password not allowed in URI {_quote(shown)}")
    if not url.hostname:
        raise InvalidParameter(f"invalid mirror: {_quote(text)} is not a valid URI")
    return text.rstrip("/") + "/"


def parse_index_name(text: str) -> str:
    """Return the registry that ``text`` means. Raises InvalidParameter."""
    if text == "index.docker.io":
        return DEFAULT_DOMAIN
    if text.startswith("-") or text.endswith("-"):
        raise InvalidParameter(f"invalid index name ({text}). Cannot begin or end with a hyphen")
    return text


def mirror_endpoint(url: str, settings: RegistrySettings) -> Endpoint:
    """Return the endpoint of a checked mirror."""
    parts = urlsplit(url)
    insecure = settings.is_insecure(parts.netloc)
    return Endpoint(parts.netloc, (parts.scheme,), parts.path.rstrip("/"), verify=not insecure, mirror=True)
