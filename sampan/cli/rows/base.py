"""What rows have in common: their options, short ids, ages, times and labels."""

import time

from sampan.base.units import human_duration
from sampan.cli.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Options:
    """How rows are shown. ``now``: seconds since 1970 that ages count from."""

    __slots__ = ("digests", "human", "now", "size", "trunc")

    def __init__(
        self,
        *,
        trunc: bool = True,
        human: bool = True,
        size: bool = False,
        digests: bool = False,
        now: float | None = None,
    ) -> None:
        self.trunc = trunc
        self.human = human
        self.size = size
        self.digests = digests
        self.now = time.time() if now is None else now


class Row(Record):
    """One object of the engine's, ``item`` in the API's spelling."""

    __slots__ = ("item", "options")

    def __init__(self, item: "dict[str, Any]", options: Options) -> None:
        self.item = item
        self.options = options

    def text(self, name: str) -> str:
        """Return a field that is text; "" where it is absent or null."""
        value = self.item.get(name)
        return value if isinstance(value, str) else "" if value is None else str(value)

    def number(self, name: str) -> int:
        """Return a field that is a number; 0 where it is absent or null."""
        value: int = self.item.get(name) or 0
        return value

    def identifier(self, name: str = "Id") -> str:
        """Return an id, short unless all of it is asked for."""
        return short_id(self.text(name)) if self.options.trunc else self.text(name)

    def since(self, moment: float) -> str:
        """Return how long ago ``moment`` was, in words."""
        return f"{human_duration(self.options.now - moment)} ago"


def short_id(identifier: str) -> str:
    """Return the 12 digits that people see; an algorithm prefix (``sha256:``) is dropped."""
    return identifier[identifier.find(":") + 1 :][:12]


def labels_text(row: Row) -> str:
    """Return the labels of a row: ``a=1,b=2``, sorted."""
    return ",".join(sorted(f"{key}={value}" for key, value in (row.item.get("Labels") or {}).items()))


def label(row: Row, name: str) -> str:
    """Return one label of a row, "" if it has none by that name."""
    value: str = (row.item.get("Labels") or {}).get(name, "")
    return value


def local_time(seconds: int) -> str:
    """Return a moment as Go prints it: ``2006-01-02 15:04:05 -0700 MST``, in the client's zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(seconds))


def printed_time(text: str) -> str:
    """Return an RFC 3339 time as Go prints it: ``2006-01-02 15:04:05.999 +0200 CEST``."""
    if not text:
        return "0001-01-01 00:00:00 +0000 UTC"
    clock, zone = (text[:-1], "+00:00") if text[-1] in "zZ" else (text[:-6], text[-6:])
    clock = clock.replace("T", " ").replace("t", " ")
    if "." in clock:
        clock = clock.rstrip("0").rstrip(".")
    offset = zone.replace(":", "")
    if offset == "+0000":
        return f"{clock} +0000 UTC"
    from sampan.base.times import parse_ns

    here = time.localtime(parse_ns(text) // 10**9)
    name = time.strftime("%Z", here) if time.strftime("%z", here) == offset else offset
    return f"{clock} {offset} {name}"
