"""The query string, and how Docker reads flags, numbers and platforms out of it."""

from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from sampan.base.errors import InvalidParameter

_FALSE: Final = frozenset({"", "0", "no", "false", "none"})
_INT64: Final = 1 << 63
_HEX: Final = frozenset("0123456789abcdefABCDEF")


class Platform(msgspec.Struct, omit_defaults=True):
    """A platform as the image calls take it: the OCI object in JSON."""

    architecture: str = ""
    os: str = ""
    os_version: str = msgspec.field(name="os.version", default="")
    os_features: list[str] = msgspec.field(name="os.features", default_factory=list)
    variant: str = ""


class Query:
    """Decoded parameters by name, in the order in which they came."""

    __slots__ = ("_values",)

    def __init__(self, text: str = "") -> None:
        """Parse ``text`` (without the ``?``). Raises InvalidParameter in Go's words."""
        self._values: dict[str, list[str]] = {}
        if not text:
            return
        if ";" in text:
            raise InvalidParameter("invalid semicolon separator in query")
        for pair in text.split("&"):
            if pair:
                key, _, value = pair.partition("=")
                self._values.setdefault(_unescape(key), []).append(_unescape(value))

    def text(self, name: str, default: str = "") -> str:
        """Return the first value of ``name``."""
        values = self._values.get(name)
        return values[0] if values else default

    def all(self, name: str) -> list[str]:
        """Return every value of ``name``."""
        return self._values.get(name, [])

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Return a yes or no: anything is yes but nothing, ``0``, ``no``, ``false`` and ``none``."""
        values = self._values.get(name)
        return default if values is None else values[0].strip().lower() not in _FALSE

    def integer(self, name: str) -> int | None:
        """Return a signed 64-bit number, or None when it is absent or empty. Raises InvalidParameter."""
        text = self.text(name)
        return parse_integer(text) if text else None

    def terminal_size(self, name: str, what: str) -> int:
        """Return an unsigned 32-bit number that must be there. Raises InvalidParameter naming ``what``."""
        text = self.text(name)
        try:
            return parse_uint32(text)
        except ValueError as error:
            raise InvalidParameter(f'invalid resize {what} "{text}": {error}') from error

    def platform(self, name: str = "platform") -> Platform | None:
        """Return the platform that is given as JSON, or None. Raises InvalidParameter in Docker's words."""
        return parse_platform(self.text(name)) if name in self._values else None


def _unescape(text: str) -> str:
    if "+" in text:
        text = text.replace("+", " ")
    if "%" not in text:
        return text
    at = text.find("%")
    while at >= 0:
        if not (len(text) >= at + 3 and text[at + 1] in _HEX and text[at + 2] in _HEX):
            raise InvalidParameter(f'invalid URL escape "{text[at : at + 3]}"')
        at = text.find("%", at + 3)
    return unquote_to_bytes(text.encode("latin-1")).decode("utf-8", "replace")


def _go_number(text: str) -> bool:
    digits = text[1:] if text[:1] in {"+", "-"} else text
    return digits.isascii() and digits.isdigit()


def parse_integer(text: str) -> int:
    """Parse a signed 64-bit decimal number. Raises InvalidParameter in Go's words."""
    if not _go_number(text):
        raise InvalidParameter(f'strconv.Atoi: parsing "{text}": invalid syntax')
    if len(text) > 20 or not -_INT64 <= (value := int(text)) < _INT64:
        raise InvalidParameter(f'strconv.Atoi: parsing "{text}": value out of range')
    return value


def parse_uint32(text: str) -> int:
    """Parse a number from 0 to 2^32-1. Raises ValueError("invalid syntax" or "value out of range")."""
    if not _go_number(text):
        raise ValueError("invalid syntax")
    if len(text) > 20 or not 0 <= (value := int(text)) < 1 << 32:
        raise ValueError("value out of range")
    return value


def parse_platform(text: str) -> Platform:
    """Parse a platform in JSON; it needs at least OS and architecture. Raises InvalidParameter."""
    try:
        platform = msgspec.json.decode(text, type=Platform)
    except msgspec.ValidationError as error:
        raise InvalidParameter(f"failed to parse platform: {error}") from error
    except RecursionError as error:
        raise InvalidParameter("failed to parse platform: exceeded max depth") from error
    except msgspec.DecodeError as error:
        reason = "unexpected end of JSON input" if "truncated" in str(error) else str(error)
        raise InvalidParameter(f"failed to parse platform: {reason}") from error
    optional = platform.variant or platform.os_version or platform.os_features
    if optional and not platform.os and not platform.architecture:
        raise InvalidParameter("optional platform fields provided, but OS and Architecture are missing")
    if not (platform.os and platform.architecture):
        raise InvalidParameter("both OS and Architecture must be provided")
    return platform
