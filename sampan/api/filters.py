"""The ``filters`` parameter: how it is written, and how values are matched."""

import re
from collections.abc import Collection, Mapping, Sequence

import msgspec

from sampan.base.errors import InvalidParameter

Filters = dict[str, list[str]]

_lists = msgspec.json.Decoder(dict[str, list[str]])
_maps = msgspec.json.Decoder(dict[str, dict[str, bool]])


class InvalidFilter(InvalidParameter):
    """A filter's name or value is not taken; the message is Docker's."""

    def __init__(self, name: str = "", values: Sequence[str] | None = None) -> None:
        what = "" if not name else f" '{name}'" if values is None else f" '{name}=[{' '.join(values)}]'"
        super().__init__(f"invalid filter{what}")


def parse_filters(text: str) -> Filters:
    """Parse ``{"key": ["value"]}``, or the older ``{"key": {"value": true}}``; each value once.

    Raises InvalidFilter.
    """
    if not text:
        return {}
    try:
        return {key: list(dict.fromkeys(values)) for key, values in _lists.decode(text).items()}
    except (msgspec.DecodeError, RecursionError):
        pass
    try:
        return {key: list(values) for key, values in _maps.decode(text).items()}
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidFilter from error


def check_names(filters: Filters, known: Collection[str]) -> None:
    """Raise InvalidFilter for the first filter that is not in ``known``."""
    for name in filters:
        if name not in known:
            raise InvalidFilter(name)


def flag(filters: Filters, name: str, *, default: bool) -> bool:
    """Return the yes or no of a filter such as ``dangling``. Raises InvalidFilter."""
    values = filters.get(name)
    if not values:
        return default
    if values == ["1"] or values == ["true"]:
        return True
    if values == ["0"] or values == ["false"]:
        return False
    raise InvalidFilter(name, values)


def matches_exactly(filters: Filters, name: str, value: str) -> bool:
    """Match when the filter is absent, or one of its values is ``value``."""
    values = filters.get(name)
    return not values or value in values


def matches_only(filters: Filters, name: str, value: str) -> bool:
    """Match when the filter is absent, or ``value`` is the only one that it has."""
    values = filters.get(name)
    return not values or values == [value]


def matches_prefix(filters: Filters, name: str, value: str) -> bool:
    """Match when the filter is absent, or ``value`` begins with one of its values."""
    values = filters.get(name)
    return not values or any(value.startswith(prefix) for prefix in values)


def matches_pattern(filters: Filters, name: str, value: str) -> bool:
    """Match when the filter is absent, or ``value`` equals or, as a regular expression, contains one of its
    values.

    An expression that cannot be compiled matches nothing.
    """
    values = filters.get(name)
    if not values or value in values:
        return True
    for pattern in values:
        try:
            if re.search(pattern, value):
                return True
        except re.error:
            continue
    return False


def matches_labels(filters: Filters, name: str, labels: Mapping[str, str]) -> bool:
    """Match when every value, ``key`` or ``key=value``, is found in ``labels``."""
    for wanted in filters.get(name) or ():
        key, equals, value = wanted.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    return True
