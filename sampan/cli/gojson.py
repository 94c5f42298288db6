"""JSON as Go writes it: what ``inspect``, ``--format json`` and the function ``json`` of templates show."""

import _json

from sampan.cli.record import Missing, Nil, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def to_json(value: "Any", *, html: bool = False) -> str:
    """Return a value as Go's JSON, compact. ``html``: ``<``, ``>``, ``&`` escaped, as in rows always."""
    if isinstance(value, str):
        return _json_text(value, html=html)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _json_number(value)
    if isinstance(value, (list, tuple)):
        return f"[{','.join([to_json(item, html=html) for item in value])}]"
    if value is None or isinstance(value, (Missing, Nil)):
        return "null"
    if isinstance(value, Record):
        value, html = value.as_dict(), True
    if not isinstance(value, dict):
        raise ValueError(f"json: unsupported type: {type(value).__name__}")
    pairs = [f"{_json_text(key, html=html)}:{to_json(item, html=html)}" for key, item in value.items()]
    return f"{{{','.join(pairs)}}}"


def _json_text(text: str, *, html: bool) -> str:
    if any(0xD800 <= ord(letter) <= 0xDFFF for letter in text):
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    out: str = _json.encode_basestring(text).replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return out.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026") if html else out


def _json_number(number: float) -> str:
    """Write a float as Go's JSON does: like JavaScript, with an exponent only below 1e-6 and from 1e21 on."""
    if number != number or number in {float("inf"), float("-inf")}:
        raise ValueError(f"json: unsupported value: {number}")
    if number == 0 or 1e-6 <= abs(number) < 1e21:
        text = repr(number)
        if "e" in text:
            text = format(number, ".0f") if abs(number) > 1 else format(number, ".25f").rstrip("0")
        return text.removesuffix(".0")
    mantissa, _, power = repr(number).partition("e")
    return f"{mantissa.removesuffix('.0')}e{power[0]}{power[1:].lstrip('0')}"
