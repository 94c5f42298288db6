"""The settings of a registry server, from ``--name=value`` words as ``sampan registry`` gives them."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from sampan.base.errors import InvalidParameter

_LEVELS: Final = ("debug", "info", "warn", "error")
_MOST_PORTS: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Proxy:
    """The registry that a cache stands before: ``url`` is checked, credentials may be empty."""

    url: str
    username: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Settings:
    """Checked settings. ``address`` is a host and a port (0: any that is free)."""

    address: tuple[str, int]
    root: Path
    tls_cert: str = ""
    tls_key: str = ""
    htpasswd: Path | None = None
    read_only: bool = False
    delete: bool = True
    max_blob: int = 0
    upload_timeout_s: float = 86400.0
    proxy: Proxy | None = None
    log_level: str = "info"


@dataclass(frozen=True, slots=True)
class Collection:
    """What a collection is asked for; ``older_than_s``: what is younger stays."""

    root: Path
    older_than_s: float = 86400.0
    untagged: bool = False
    dry_run: bool = False


def parse_words(words: Sequence[str]) -> dict[str, str]:
    """Return the values by name. Raises InvalidParameter."""
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name.startswith("--") or not equals:
            raise InvalidParameter(f"not --NAME=VALUE: {word!r} (this program is run by `sampan registry`)")
        found[name[2:]] = value
    return found


def parse_settings(given: Mapping[str, str]) -> Settings:
    """Check the settings of a server. Raises InvalidParameter."""
    cert, key = given.get("tls-cert", ""), given.get("tls-key", "")
    if bool(cert) != bool(key):
        raise InvalidParameter("--tls-cert and --tls-key go together")
    level = given.get("log-level", "info")
    if level not in _LEVELS:
        raise InvalidParameter(f"invalid --log-level {level!r}: one of {', '.join(_LEVELS)}")
    proxy = _proxy(given)
    return Settings(
        address=parse_address(given.get("addr", "127.0.0.1:5000")),
        root=_root(given),
        tls_cert=cert,
        tls_key=key,
        htpasswd=Path(given["htpasswd"]) if given.get("htpasswd") else None,
        read_only=_bool(given, "read-only"),
        delete=_bool(given, "delete", default="true"),
        max_blob=_number(given, "max-blob-size"),
        upload_timeout_s=_number(given, "upload-timeout", "86400"),
        proxy=proxy,
        log_level=level,
    )


def parse_collection(given: Mapping[str, str]) -> Collection:
    """Check what a collection is asked for. Raises InvalidParameter."""
    return Collection(
        _root(given),
        older_than_s=_number(given, "older-than", "86400"),
        untagged=_bool(given, "untagged"),
        dry_run=_bool(given, "dry-run"),
    )


def parse_address(text: str) -> tuple[str, int]:
    """Parse ``HOST:PORT``; no host is every address of the machine. Raises InvalidParameter."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not colon or not (port.isascii() and port.isdigit()) or int(port) >= _MOST_PORTS:
        raise InvalidParameter(f"invalid --addr {text!r}: it must be HOST:PORT or :PORT")
    return host, int(port)


def _root(given: Mapping[str, str]) -> Path:
    if given.get("root"):
        return Path(given["root"]).absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/sampan-registry")
    data = os.environ.get("XDG_DATA_HOME") or f"{os.environ.get('HOME', '/')}/.local/share"
    return Path(data) / "sampan-registry"


def _proxy(given: Mapping[str, str]) -> Proxy | None:
    url, username, password = (given.get(name, "") for name in ("proxy", "proxy-username", "proxy-password"))
    if path := given.get("proxy-password-file", ""):
        try:
            password = Path(path).read_text(encoding="utf-8").rstrip("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidParameter(f"cannot read --proxy-password-file {path}: {error}") from error
    if not url:
        if username or password:
            raise InvalidParameter("--proxy-username and --proxy-password need --proxy")
        return None
    if bool(username) != bool(password):
        raise InvalidParameter("--proxy-username needs a password, and a password needs --proxy-username")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise InvalidParameter(f"invalid --proxy {url!r}: {error}") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise InvalidParameter(f"invalid --proxy {url!r}: it must be http://HOST or https://HOST")
    if "@" in parts.netloc:
        raise InvalidParameter("no credentials in --proxy: see --proxy-username and --proxy-password-file")
    return Proxy(url.rstrip("/"), username, password)


def _bool(given: Mapping[str, str], name: str, default: str = "false") -> bool:
    text = given.get(name, default)
    if text not in {"true", "false"}:
        raise InvalidParameter(f"invalid --{name} {text!r}: true or false")
    return text == "true"


def _number(given: Mapping[str, str], name: str, default: str = "0") -> int:
    text = given.get(name, default)
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InvalidParameter(f"invalid --{name} {text!r}: a number from 0")
    return int(text)
