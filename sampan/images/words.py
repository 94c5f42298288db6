"""The words of Dockerfile instructions: quotes, escapes and variables, as BuildKit's shell lexer reads them.

Pure text. Patterns in substitutions (``${x#y}``, ``${x/y/z}``) are refused by name.
"""

from collections.abc import Mapping
from typing import Final

from sampan.base.errors import InvalidParameter

_SPECIAL: Final = frozenset("@*#?-$!0")
_QUOTED_ESCAPES: Final = frozenset('"$\\')


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Return one word with quotes taken off and variables put in. Raises InvalidParameter."""
    return _Lexer(text, variables).run()[0]


def expand_words(text: str, variables: Mapping[str, str]) -> list[str]:
    """Return the words of ``text``; a variable may bring several, unless quoted. Raises InvalidParameter."""
    return _Lexer(text, variables).run()[1]


def split_raw(text: str) -> list[str]:
    """Return the words of ``text`` with their quotes and escapes as they are."""
    words: list[str] = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        start, quote = at, ""
        while at < len(text) and (quote or not text[at].isspace()):
            if text[at] == "\\" and quote != "'":
                at += 1
            elif quote == text[at]:
                quote = ""
            elif not quote and text[at] in "'\"":
                quote = text[at]
            at += 1
        words.append(text[start:at])
    return words


class _Lexer:
    def __init__(self, text: str, variables: Mapping[str, str]) -> None:
        self._text = text
        self._variables = variables
        self._at = 0
        self._words: list[str] = []
        self._word = ""
        self._in_word = False

    def run(self) -> tuple[str, list[str]]:
        """Return the text as one word, and as several."""
        whole = self._until("")
        if self._in_word:
            self._words.append(self._word)
        return whole, self._words

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        char = self._peek()
        self._at += 1
        return char

    def _bad(self, reason: str) -> InvalidParameter:
        return InvalidParameter(f'failed to process "{self._text}": {reason}')

    def _add(self, text: str) -> None:
        """Add text that is not split."""
        self._word += text
        self._in_word = True

    def _add_split(self, text: str) -> None:
        for char in text:
            if not char.isspace():
                self._add(char)
            elif self._in_word:
                self._words.append(self._word)
                self._word, self._in_word = "", False

    def _until(self, stop: str) -> str:
        """Return what comes before ``stop`` ("": the end), which is taken off."""
        out: list[str] = []
        while char := self._peek():
            if stop and char == stop:
                self._at += 1
                return "".join(out)
            if char == "'":
                piece = self._single()
                self._add(piece)
            elif char == '"':
                piece = self._double()
                self._add(piece)
            elif char == "$":
                piece = self._dollar()
                self._add_split(piece)
            elif self._next() == "\\":
                piece = self._next()
                if piece:
                    self._add(piece)
            else:
                piece = char
                self._add_split(piece)
            out.append(piece)
        if stop:
            raise self._bad(f"unexpected end of statement while looking for matching {stop}")
        return "".join(out)

    def _single(self) -> str:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            raise self._bad("unexpected end of statement while looking for matching single-quote")
        piece = self._text[self._at + 1 : end]
        self._at = end + 1
        return piece

    def _double(self) -> str:
        self._at += 1
        out: list[str] = []
        while char := self._peek():
            if char == '"':
                self._at += 1
                return "".join(out)
            if char == "$":
                out.append(self._dollar())
                continue
            self._at += 1
            if char == "\\":
                following = self._next()
                if not following:
                    break
                out.append(following if following in _QUOTED_ESCAPES else char + following)
            else:
                out.append(char)
        raise self._bad("unexpected end of statement while looking for matching double-quote")

    def _dollar(self) -> str:
        self._at += 1
        if self._peek() != "{":
            name = self._name()
            return self._variables.get(name, "") if name else "$"
        self._at += 1
        if self._peek() in ("{", ""):
            raise self._bad("bad substitution")
        name = self._name()
        char = self._next()
        if not name:
            raise self._bad("bad substitution")
        if char == "}":
            return self._variables.get(name, "")
        colon = ":" * (char == ":")
        modifier = self._next() if colon else char
        if modifier not in ("-", "+", "?"):
            kind = (
                "missing ':' in substitution" if not modifier else f"unsupported modifier ({colon}{modifier})"
            )
            raise self._bad(f"{kind} in substitution")
        word = self._nested()
        value = self._variables.get(name)
        given = bool(value) if colon else value is not None
        if modifier == "+":
            return word if given else ""
        if given:
            return value or ""
        if modifier == "?":
            raise self._bad(f"{name}: {word or 'is not allowed to be empty'}")
        return word

    def _nested(self) -> str:
        """Return the word up to the closing brace; it becomes a part of ours, not words of its own."""
        kept = (self._words, self._word, self._in_word)
        self._words = []
        try:
            return self._until("}")
        finally:
            self._words, self._word, self._in_word = kept

    def _name(self) -> str:
        first = self._peek()
        start = self._at
        if first.isalpha() or first == "_":
            while (char := self._peek()) and (char.isalnum() or char == "_"):
                self._at += 1
        elif first.isdigit():
            while self._peek().isdigit():
                self._at += 1
        elif first in _SPECIAL:
            self._at += len(first)
        return self._text[start : self._at]
