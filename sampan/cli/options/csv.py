"""One record of comma-separated values, as Go's ``encoding/csv`` reads it for the long forms of options."""


def split_record(text: str) -> list[str]:
    """Return the fields of the first record of ``text``.

    A field may stand in double quotes, with ``""`` for one of them inside. Raises ValueError in Go's words.
    """
    if '"' not in text and "\n" not in text:
        if not text:
            raise ValueError("EOF")
        return text.removesuffix("\r").split(",")
    return _Record(text.replace("\r\n", "\n").lstrip("\n")).fields()


class _Record:
    """A reader of one record; ``_at`` is the next character, ``_line`` and ``_start`` are for messages."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._start = 0  # where the present line begins

    def fields(self) -> list[str]:
        if not self._text:
            raise ValueError("EOF")
        found: list[str] = []
        while True:
            found.append(self._quoted() if self._peek() == '"' else self._bare())
            if self._peek() != ",":
                return found
            self._at += 1

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _bare(self) -> str:
        begin = self._at
        while self._peek() not in {"", ",", "\n"}:
            if self._peek() == '"':
                raise self._error('bare " in non-quoted-field')
            self._at += 1
        return self._text[begin : self._at]

    def _quoted(self) -> str:
        out: list[str] = []
        self._at += 1
        while character := self._peek():
            if character != '"':
                out.append(character)
                self._at += 1
                if character == "\n":
                    self._line, self._start = self._line + 1, self._at
            elif self._text[self._at + 1 : self._at + 2] == '"':
                out.append('"')
                self._at += 2
            elif self._text[self._at + 1 : self._at + 2] in {"", ",", "\n"}:
                self._at += 1
                return "".join(out)
            else:
                break
        raise self._error('extraneous or missing " in quoted-field')

    def _error(self, what: str) -> ValueError:
        column = len(self._text[self._start : self._at].encode("utf-8", "surrogateescape")) + 1
        where = f"parse error on line {self._line}, column {column}: {what}"
        return ValueError(where if self._line == 1 else f"record on line 1; {where}")
