"""From method and path to the function that answers.

A path is written as in the API reference: ``/containers/{name}/start``. ``{name...}`` matches one or more
segments (image names contain slashes). A version in front (``/v1.47``) is taken off before matching.
"""

from collections.abc import Callable, Coroutine, Iterable
from inspect import iscoroutinefunction
from typing import Any, Final, TypeVar
from urllib.parse import unquote

from sampan.api.request import Request
from sampan.api.response import Answer
from sampan.api.services import Services

Handler = Callable[[Request, Services], Answer | Coroutine[Any, Any, Answer]]
H = TypeVar("H", bound=Handler)
_VERSION_CHARACTERS: Final = frozenset("0123456789.")


class Route:
    """One entry: a method, the segments of a path, and the handler; ``waits`` if that is ``async``."""

    __slots__ = ("handler", "method", "path", "segments", "waits", "wild")

    def __init__(self, method: str, path: str, handler: Handler) -> None:
        self.method = method
        self.path = path
        self.handler = handler
        self.waits = iscoroutinefunction(handler)
        self.segments = path.split("/")[1:]
        self.wild = next((i for i, s in enumerate(self.segments) if s.endswith("...}")), -1)

    def match(self, segments: list[str]) -> dict[str, str] | None:
        """Return what the names match, or None when ``segments`` is another path."""
        if self.wild >= 0:
            tail = len(self.segments) - self.wild - 1
            end = len(segments) - tail
            if end <= self.wild:
                return None
            segments = [*segments[: self.wild], "/".join(segments[self.wild : end]), *segments[end:]]
        elif len(segments) != len(self.segments):
            return None
        found: dict[str, str] = {}
        for pattern, segment in zip(self.segments, segments, strict=True):
            if pattern[:1] == "{":
                if not segment:
                    return None
                found[pattern[1:-1].removesuffix("...")] = segment
            elif pattern != segment:
                return None
        return found


class Routes:
    """The routes of one subject; its decorators register them."""

    def __init__(self) -> None:
        self.entries: list[Route] = []

    def add(self, method: str, path: str, handler: Handler) -> None:
        """Register ``handler``."""
        self.entries.append(Route(method, path, handler))

    def _decorator(self, method: str, path: str) -> Callable[[H], H]:
        def register(handler: H) -> H:
            self.add(method, path, handler)
            return handler

        return register

    def get(self, path: str) -> Callable[[H], H]:
        """Register the decorated function for GET."""
        return self._decorator("GET", path)

    def head(self, path: str) -> Callable[[H], H]:
        """Register the decorated function for HEAD."""
        return self._decorator("HEAD", path)

    def post(self, path: str) -> Callable[[H], H]:
        """Register the decorated function for POST."""
        return self._decorator("POST", path)

    def put(self, path: str) -> Callable[[H], H]:
        """Register the decorated function for PUT."""
        return self._decorator("PUT", path)

    def delete(self, path: str) -> Callable[[H], H]:
        """Register the decorated function for DELETE."""
        return self._decorator("DELETE", path)


class Router:
    """Finds routes; those with a literal in a place win over those with a name there."""

    def __init__(self, groups: Iterable[Routes]) -> None:
        self._exact: dict[tuple[str, str], Route] = {}
        self._by_ends: dict[tuple[str, str, str], list[Route]] = {}
        for route in (entry for group in groups for entry in group.entries):
            if "{" not in route.path:
                self._exact[route.method, route.path] = route
            else:
                first, last = route.segments[0], route.segments[-1]
                key = (route.method, first, "" if last[:1] == "{" else last)
                self._by_ends.setdefault(key, []).append(route)

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        """Return the route of ``path`` (without version, percent-decoded) and what its names match."""
        if (route := self._exact.get((method, path))) is not None:
            return route, {}
        segments = path.split("/")[1:]
        for last in (segments[-1], ""):
            for route in self._by_ends.get((method, segments[0], last), ()):
                if (found := route.match(segments)) is not None:
                    return route, found
        return None


def split_target(target: str) -> tuple[str, str, str]:
    """Split a request target into version text ("" if none), decoded path and query text."""
    path, _, query = target.partition("?")
    if "%" in path:
        path = unquote(path)
    if path[:2] == "/v":
        first, slash, rest = path[2:].partition("/")
        if first and slash and _VERSION_CHARACTERS.issuperset(first):
            return first, slash + rest, query
    return "", path, query
