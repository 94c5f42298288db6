"""JSON for the client's hot path, without the ``json`` package.

``import json`` costs more than the whole of a short command (it brings ``re`` along), yet its two workers are
C functions of the private module ``_json`` that can be called alone. What they accept and write is the same.
``typing`` is as dear, so that its names are seen by the type checker alone. Elsewhere use msgspec.
"""

import _json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final


class _Settings:
    """What ``make_scanner`` reads from a decoder: plain Python values, nothing hooked."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float


_scan = _json.make_scanner(_Settings)  # type: ignore[arg-type]  # the stub asks for a scanner
_SPACE: "Final" = " \t\n\r"


def loads(text: str | bytes | bytearray) -> "Any":
    """Return the value of the JSON document ``text`` (bytes: UTF-8). Raises ValueError."""
    document = text if isinstance(text, str) else str(text, "utf-8")
    value, end = scan(document, 0)
    if end != len(document):
        raise ValueError(f"invalid JSON: something follows the value at character {end}")
    return value


def scan(text: str, start: int) -> "tuple[Any, int]":
    """Read one value at ``start`` of a text that may hold several; return it and where the next begins.

    White space before and behind the value is skipped. Raises ValueError; the client of a stream may take
    that as "not all here yet".
    """
    size = len(text)
    while start < size and text[start] in _SPACE:
        start += 1
    try:
        value, end = _scan(text, start)
    except (StopIteration, SystemError):  # SystemError: json.decoder, home of the error, is not loaded
        raise ValueError(f"invalid JSON in the value at character {start}") from None
    while end < size and text[end] in _SPACE:
        end += 1
    return value, end


def _refuse(value: object) -> object:
    raise TypeError(f"no JSON for {type(value).__name__}")


_encode = _json.make_encoder(
    markers=None,
    default=_refuse,
    encoder=_json.encode_basestring,
    indent=None,
    key_separator=":",
    item_separator=",",
    sort_keys=False,
    skipkeys=False,
    allow_nan=False,
)


def dumps(value: object) -> str:
    """Return ``value`` (dict, list, tuple, str, int, float, bool, None) as compact JSON, keys in their order.

    Raises TypeError for other types and ValueError for NaN and infinities.
    """
    return "".join(_encode(value, 0))
