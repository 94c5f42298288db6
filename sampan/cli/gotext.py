"""Text as Go quotes it (``%q``): needed for messages and by ``printf`` of templates."""

_ESCAPES = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
}


def printable(character: str) -> bool:
    """Tell whether Go prints ``character`` as it is: graphic, and of the blanks only U+0020."""
    return character.isprintable() and not 0xD800 <= ord(character) <= 0xDFFF


def escape(text: str, mark: str, *, ascii_only: bool = False) -> str:
    """Return ``text`` between two ``mark`` (one of the quotation marks), what does not print escaped."""
    out = [mark]
    for character in text:
        code = ord(character)
        if character == mark:
            out.append("\\" + mark)
        elif character in _ESCAPES:
            out.append(_ESCAPES[character])
        elif printable(character) and (code < 0x80 or not ascii_only):
            out.append(character)
        elif 0xDC80 <= code <= 0xDCFF:  # a byte that was no UTF-8 (surrogateescape)
            out.append(f"\\x{code - 0xDC00:02x}")
        elif code < 0x20 or code == 0x7F:
            out.append(f"\\x{code:02x}")
        else:
            out.append(f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}")
    out.append(mark)
    return "".join(out)


def quote(text: str, *, ascii_only: bool = False) -> str:
    """Return ``text`` as a Go string literal in double quotes."""
    return escape(text, '"', ascii_only=ascii_only)


def may_be_raw(text: str) -> bool:
    """Tell whether ``text`` can stand in back quotes unchanged: one line, no control characters."""
    return not any(
        character in "`\x7f\ufeff\ufffd"
        or (character < " " and character != "\t")
        or 0xD800 <= ord(character) <= 0xDFFF
        for character in text
    )
