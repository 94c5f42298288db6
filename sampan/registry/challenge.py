"""``WWW-Authenticate``: what a registry wants to be shown (RFC 9110, 11.6.1). Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_TOKEN: Final = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_MOST: Final = 16


@dataclass(frozen=True, slots=True)
class Challenge:
    """A scheme in lower case (``bearer``, ``basic``) and its parameters, names in lower case."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(text: str) -> list[Challenge]:
    """Parse the header's value, leniently: what cannot be read ends the list."""
    found: list[Challenge] = []
    at = _skip(text, 0, " \t,")
    while at < len(text) and len(found) < _MOST:
        scheme, at = _token(text, at)
        if not scheme:
            break
        parameters: dict[str, str] = {}
        at = _skip(text, at, " \t")
        while True:
            start = at
            name, at = _token(text, at)
            at = _skip(text, at, " \t")
            if not name or text[at : at + 1] != "=":
                at = start  # the next scheme
                break
            value, at = _value(text, _skip(text, at + 1, " \t"))
            parameters.setdefault(name.lower(), value)
            at = _skip(text, at, " \t,")
        found.append(Challenge(scheme.lower(), parameters))
        at = _skip(text, at, " \t,")
    return found


def _skip(text: str, at: int, characters: str) -> int:
    while at < len(text) and text[at] in characters:
        at += 1
    return at


def _token(text: str, at: int) -> tuple[str, int]:
    start = at
    while at < len(text) and text[at] in _TOKEN:
        at += 1
    return text[start:at], at


def _value(text: str, at: int) -> tuple[str, int]:
    if text[at : at + 1] != '"':
        return _token(text, at)
    at += 1
    value = []
    while at < len(text) and text[at] != '"':
        if text[at] == "\\" and at + 1 < len(text):
            at += 1
        value.append(text[at])
        at += 1
    return "".join(value), at + 1
