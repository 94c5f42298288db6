"""Tokens of a Go template.

A token is a tuple ``(kind, position, text, line)``: position in characters from 0, line from 1. An error is
the last token, of kind ``error``, its text the message: the parser meets it only after what stands before it,
as in Go. Spaces inside actions are tokens, because ``$x.y`` and ``$x .y`` differ.
"""

from sampan.cli.gotext import printable, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    Token = tuple[str, int, str, int]

_SPACE = " \t\r\n"
_KEYWORDS = (
    "block",
    "break",
    "continue",
    "define",
    "else",
    "end",
    "if",
    "nil",
    "range",
    "template",
    "with",
)
_DIGITS = {"x": "0123456789abcdefABCDEF_", "o": "01234567_", "b": "01_"}
_DECIMAL = "0123456789_"


class _LexError(Exception):
    """The text is wrong from here on; ``str()`` is the message."""


def tokens(text: str) -> "list[Token]":
    """Return the tokens of ``text``; the last one is ``eof`` or ``error``."""
    found: list[Token] = []
    lexer = _Lexer(text)
    try:
        for token in lexer.run():
            found.append(token)  # noqa: PERF402  # what came before an error is kept
    except _LexError as error:
        found.append(("error", lexer.start, str(error), lexer.line))
    return found


class _Lexer:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self.start = 0  # where the token being read begins
        self.line = 1  # and its line
        self._depth = 0  # open parentheses

    def _emit(self, kind: str) -> "Token":
        token = (kind, self.start, self._text[self.start : self._at], self.line)
        self._skip()
        return token

    def _skip(self) -> None:
        """Drop what was read since the last token."""
        self.line += self._text.count("\n", self.start, self._at)
        self.start = self._at

    def _peek(self, size: int = 1) -> str:
        return self._text[self._at : self._at + size]

    def run(self) -> "Iterator[Token]":
        while True:
            opening = self._text.find("{{", self._at)
            end = len(self._text) if opening < 0 else opening
            trimmed = opening >= 0 and self._left_trim(opening + 2)
            self._at = end
            if trimmed:
                while self._at > self.start and self._text[self._at - 1] in _SPACE:
                    self._at -= 1
            if self._at > self.start:
                yield self._emit("text")
            self._at = end
            self._skip()
            if opening < 0:
                yield self._emit("eof")
                return
            inside = opening + (4 if trimmed else 2)
            if self._text.startswith("/*", inside):
                self._comment(inside)
                continue
            self._at = opening + 2
            yield self._emit("left")
            self._at = inside
            self._skip()
            self._depth = 0
            yield from self._action()

    def _left_trim(self, at: int) -> bool:
        return self._text[at : at + 1] == "-" and self._text[at + 1 : at + 2] in {" ", "\t", "\r", "\n"}

    def _comment(self, at: int) -> None:
        end = self._text.find("*/", at + 2)
        if end < 0:
            raise _LexError("unclosed comment")
        self._at = end + 2
        if not self._close():
            raise _LexError("comment ends before closing delimiter")

    def _close(self) -> bool:
        """Pass the right delimiter, with its trimming, if it stands here."""
        if self._at_trimmed_end(self._at):
            self._at += 4
            while self._peek() and self._peek() in _SPACE:
                self._at += 1
        elif self._peek(2) == "}}":
            self._at += 2
        else:
            return False
        self._skip()
        return True

    def _at_trimmed_end(self, at: int) -> bool:
        return self._text[at : at + 1] in {" ", "\t", "\r", "\n"} and self._text[at + 1 : at + 4] == "-}}"

    def _action(self) -> "Iterator[Token]":
        while True:
            if self._at_trimmed_end(self._at) or self._peek(2) == "}}":
                if self._depth:
                    raise _LexError("unclosed left paren")
                token = ("right", self.start, "}}", self.line)
                self._close()
                yield token
                return
            letter = self._peek()
            if not letter:
                raise _LexError("unclosed action")
            self._at += 1
            if letter in _SPACE:
                while self._peek() and self._peek() in _SPACE and not self._at_trimmed_end(self._at):
                    self._at += 1
                yield self._emit("space")
            elif letter == "=":
                yield self._emit("assign")
            elif letter == ":":
                if self._peek() != "=":
                    raise _LexError("expected :=")
                self._at += 1
                yield self._emit("declare")
            elif letter == "|":
                yield self._emit("pipe")
            elif letter in "\"'":
                yield self._quoted(letter)
            elif letter == "`":
                yield self._raw()
            elif letter == "(":
                self._depth += 1
                yield self._emit("(")
            elif letter == ")":
                yield self._emit(")")
                self._depth -= 1
                if self._depth < 0:
                    raise _LexError(f"unexpected right paren {_code_point(')')}")
            else:
                yield self._word(letter)

    def _word(self, letter: str) -> "Token":
        if letter == "$" or (letter == "." and not self._peek().isdecimal()):
            if self._at_terminator():
                return self._emit("variable" if letter == "$" else "dot")
            self._name()
            return self._emit("variable" if letter == "$" else "field")
        if letter in "+-." or "0" <= letter <= "9":
            self._at -= 1
            return self._number()
        if _is_word(letter):
            self._name()
            word = self._text[self.start : self._at]
            return self._emit(
                word if word in _KEYWORDS else "bool" if word in {"true", "false"} else "identifier"
            )
        if letter.isascii() and letter.isprintable():
            return self._emit("char")
        raise _LexError(f"unrecognized character in action: {_code_point(letter)}")

    def _name(self) -> None:
        while self._peek() and _is_word(self._peek()):
            self._at += 1
        if not self._at_terminator():
            raise _LexError(f"bad character {_code_point(self._peek())}")

    def _at_terminator(self) -> bool:
        return (
            self._peek() in {"", " ", "\t", "\r", "\n", ".", ",", "|", ":", ")", "("} or self._peek(2) == "}}"
        )

    def _quoted(self, mark: str) -> "Token":
        what = "quoted string" if mark == '"' else "character constant"
        while (letter := self._peek()) != mark:
            self._at += 1
            if letter == "\\" and self._peek() not in {"", "\n"}:
                self._at += 1
            elif letter in {"", "\n", "\\"}:
                raise _LexError(f"unterminated {what}")
        self._at += 1
        return self._emit("string" if mark == '"' else "character")

    def _raw(self) -> "Token":
        end = self._text.find("`", self._at)
        if end < 0:
            raise _LexError("unterminated raw quoted string")
        self._at = end + 1
        return self._emit("raw")

    def _number(self) -> "Token":
        complete = self._scan_number()
        if complete and self._peek() in {"+", "-"}:  # 1+2i
            complete = self._scan_number() and self._text[self._at - 1] == "i"
            if complete:
                return self._emit("complex")
        if not complete:
            raise _LexError(f"bad number syntax: {quote(self._text[self.start : self._at])}")
        return self._emit("number")

    def _scan_number(self) -> bool:
        """Pass a number loosely; the parser reads it strictly. False if a letter follows at once."""
        if self._peek() in {"+", "-"}:
            self._at += 1
        digits, mark = _DECIMAL, "eE"
        if self._peek() == "0":
            self._at += 1
            if self._peek() and self._peek() in "xXoObB":
                digits = _DIGITS[self._peek().lower()]
                mark = "pP" if self._peek() in "xX" else ""
                self._at += 1
        self._pass(digits)
        if self._peek() == ".":
            self._at += 1
            self._pass(digits)
        if self._peek() and self._peek() in mark:
            self._at += 1
            if self._peek() in {"+", "-"}:
                self._at += 1
            self._pass(_DECIMAL)
        if self._peek() == "i":
            self._at += 1
        if self._peek() and _is_word(self._peek()):
            self._at += 1
            return False
        return True

    def _pass(self, digits: str) -> None:
        while self._peek() and self._peek() in digits:
            self._at += 1


def _is_word(letter: str) -> bool:
    return letter == "_" or letter.isalpha() or letter.isdecimal()


def _code_point(letter: str) -> str:
    """Return ``letter`` as Go's ``%#U`` shows it: ``U+0023 '#'``; the end of the text is -1 there."""
    if not letter:
        return "U+FFFFFFFFFFFFFFFF"
    return f"U+{ord(letter):04X}" + (f" '{letter}'" if printable(letter) else "")
