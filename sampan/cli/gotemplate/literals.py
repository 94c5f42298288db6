"""Constants of Go's grammar in templates: numbers, characters and quoted text. All raise ValueError."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ESCAPES = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    "'": "'",
    '"': '"',
}
_SIZES = {"x": 2, "u": 4, "U": 8}


def parse_number(text: str) -> "Any":
    """Return the int, float or complex that ``text`` is; an integer beyond 64 bits stays an int."""
    from sampan.cli.gotext import quote

    body = text[1:] if text[:1] in {"+", "-"} else text
    error = ValueError(f"illegal number syntax: {quote(text)}")
    if not body or body[0] in "+-" or not body.isascii():
        raise error
    try:
        if body[-1] == "i":
            return complex(0, float(parse_number(text[:-1])))
        if body[0] == "0" and body[1:].replace("_", "").isdigit() and not body.strip("01234567_"):
            value = int("0o" + body[1:].lstrip("_"), 0)
            return -value if text[0] == "-" else value
        return int(text, 0)
    except ValueError:
        pass
    from sampan.base.units import parse_float

    try:
        lowered = body.lower()
        if lowered in {"inf", "infinity", "nan"}:
            raise error
        if lowered.startswith("0x"):
            return parse_float(text)
        if "_" in lowered and ("__" in lowered or "_." in lowered or "._" in lowered or lowered[-1] == "_"):
            raise error
        return parse_float(text.replace("_", ""))
    except ValueError:
        raise error from None


def parse_character(text: str) -> int:
    """Return the code point of ``'x'``."""
    inner = text[1:-1]
    try:
        value, rest = _character(inner, "'")
    except ValueError:
        rest, value = "?", ""
    if rest or not value:
        raise ValueError(f"malformed character constant: {text}")
    return ord(value)


def unquote(text: str) -> str:
    """Return what a string in double or back quotes says."""
    if text[:1] == "`":
        return text[1:-1].replace("\r", "")
    rest, out = text[1:-1], []
    while rest:
        value, rest = _character(rest, '"')
        out.append(value)
    return "".join(out).encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def _character(text: str, mark: str) -> tuple[str, str]:
    """Split one character or escape off ``text``; a byte that is no text of its own as surrogateescape."""
    error = ValueError("invalid syntax")
    if not text or text[0] == mark:
        raise error
    if text[0] != "\\":
        return text[0], text[1:]
    letter = text[1:2]
    if letter in _ESCAPES and letter not in ({"'", '"'} - {mark}):
        return _ESCAPES[letter], text[2:]
    if letter in _SIZES:
        digits = text[2 : 2 + _SIZES[letter]]
        if len(digits) < _SIZES[letter]:
            raise error
        code = int(digits, 16) if all(d in "0123456789abcdefABCDEF" for d in digits) else -1
        rest = text[2 + len(digits) :]
    elif letter and letter in "01234567":
        digits = text[1:4]
        code = int(digits, 8) if len(digits) == 3 and all(d in "01234567" for d in digits) else -1
        rest = text[4:]
        if code > 255:
            raise error
    else:
        raise error
    if code < 0 or code > 0x10FFFF or (0xD800 <= code <= 0xDFFF):
        raise error
    if letter in {"u", "U"} or code < 0x80 or mark == "'":
        return chr(code), rest
    return chr(0xDC00 + code), rest
