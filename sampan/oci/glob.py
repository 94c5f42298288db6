"""Shell patterns with the rules of Go's ``path.Match``: a star never crosses a slash."""

from collections.abc import Iterable
from dataclasses import dataclass

from sampan.base.errors import InvalidParameter


class InvalidPattern(InvalidParameter):
    """A pattern is malformed."""

    def __init__(self) -> None:
        super().__init__("syntax error in pattern")


@dataclass(frozen=True, slots=True)
class _One:
    """Matches one character: any but a slash, or one inside (``negated``: outside) inclusive ranges."""

    ranges: tuple[tuple[str, str], ...] = ()
    negated: bool = False
    any: bool = False

    def accepts(self, character: str) -> bool:
        if self.any:
            return character != "/"
        return any(low <= character <= high for low, high in self.ranges) is not self.negated


class Glob:
    """A compiled pattern of ``*``, ``?``, ``[a-z]``, ``[^a]`` and ``\\`` escapes. Raises InvalidPattern."""

    __slots__ = ("_tokens",)

    def __init__(self, pattern: str) -> None:
        self._tokens: list[_One | None] = []  # None: a star
        at = 0
        while at < len(pattern):
            character = pattern[at]
            if character == "*":
                self._tokens.append(None)
                at += 1
            elif character == "?":
                self._tokens.append(_One(any=True))
                at += 1
            elif character == "[":
                token, at = _parse_class(pattern, at + 1)
                self._tokens.append(token)
            else:
                if character == "\\":
                    at += 1
                    if at == len(pattern):
                        raise InvalidPattern
                self._tokens.append(_One(((pattern[at], pattern[at]),)))
                at += 1

    def matches(self, text: str) -> bool:
        """True if the pattern matches the whole of ``text``; takes time in proportion to both lengths."""
        states = self._closure([0])
        for character in text:
            following: list[int] = []
            for state in states:
                if state == len(self._tokens):
                    continue
                token = self._tokens[state]
                if token is None:
                    if character != "/":
                        following.append(state)
                elif token.accepts(character):
                    following.append(state + 1)
            states = self._closure(following)
        return len(self._tokens) in states

    def _closure(self, states: Iterable[int]) -> set[int]:
        """Add the states behind each star, which may match nothing."""
        closed: set[int] = set()
        for start in states:
            state = start
            closed.add(state)
            while state < len(self._tokens) and self._tokens[state] is None:
                state += 1
                closed.add(state)
        return closed


def _parse_class(pattern: str, at: int) -> tuple[_One, int]:
    """Parse behind ``[``; return the token and the position behind ``]``."""
    negated = pattern[at : at + 1] == "^"
    at += negated
    ranges: list[tuple[str, str]] = []
    while not (ranges and pattern[at : at + 1] == "]"):
        low, at = _parse_bound(pattern, at)
        high = low
        if pattern[at : at + 1] == "-":
            high, at = _parse_bound(pattern, at + 1)
        ranges.append((low, high))
    return _One(tuple(ranges), negated), at + 1


def _parse_bound(pattern: str, at: int) -> tuple[str, int]:
    character = pattern[at : at + 1]
    if character in {"", "-", "]"}:
        raise InvalidPattern
    if character == "\\":
        at += 1
        if at == len(pattern):
            raise InvalidPattern
    if at + 1 == len(pattern):
        raise InvalidPattern  # the class is never closed
    return pattern[at], at + 1
