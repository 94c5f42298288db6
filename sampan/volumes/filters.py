"""Which volumes a list or a prune is about. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from sampan.base.errors import InvalidParameter
from sampan.volumes.store import Record

Filters = Mapping[str, Sequence[str]]

LIST: Final = frozenset({"dangling", "driver", "label", "name"})
PRUNE: Final = frozenset({"all", "label", "label!"})
ANONYMOUS_LABEL: Final = "com.docker.volume.anonymous"


def check(filters: Filters, known: frozenset[str]) -> None:
    """Raise InvalidParameter for a filter that is not in ``known``."""
    for key in filters:
        if key not in known:
            raise InvalidParameter(f"invalid filter '{key}'")


def flag(filters: Filters, key: str) -> bool | None:
    """Return the yes or no of a filter, None if it is not there. Raises InvalidParameter."""
    values = list(filters.get(key, ()))
    if not values:
        return None
    if values in (["1"], ["true"]):
        return True
    if values in (["0"], ["false"]):
        return False
    raise InvalidParameter(f"invalid filter '{key}=[{' '.join(values)}]'")


def passes(record: Record, filters: Filters) -> bool:
    """Tell whether name, driver and labels pass; each filter that is there must let it through."""
    labels = record.labels or {}
    if (names := filters.get("name")) and not any(_named(record.name, name) for name in names):
        return False
    if (drivers := filters.get("driver")) and record.driver not in drivers:
        return False
    if not all(has_label(labels, wanted) for wanted in filters.get("label", ())):
        return False
    return not any(has_label(labels, unwanted) for unwanted in filters.get("label!", ()))


def has_label(labels: Mapping[str, str], wanted: str) -> bool:
    """Tell whether ``labels`` has ``KEY`` or ``KEY=VALUE``."""
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)


def _named(name: str, pattern: str) -> bool:
    if pattern == name:
        return True
    try:
        return re.search(pattern, name) is not None
    except re.error:
        return False
