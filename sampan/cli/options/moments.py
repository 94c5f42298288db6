"""Moments on the command line: what ``--since`` and ``--until`` send to the engine."""

import time

from sampan.base.units import parse_duration
from sampan.cli.gotext import quote

_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def parse_moment(text: str, now_ns: int | None = None, offset_s: int | None = None) -> str:
    """Return ``seconds[.nanoseconds]`` since 1970 for a duration ago, a date, an RFC 3339 time or seconds.

    A time without a zone is in the client's: ``offset_s`` seconds east of UTC, by default the present one.
    Raises ValueError.
    """
    if text != "0":
        try:
            ago = parse_duration(text)
        except ValueError:
            pass
        else:
            return str(((time.time_ns() if now_ns is None else now_ns) - ago) // 10**9)
    local = not set(text) & set("zZ+") and text.count("-") != 3
    try:
        seconds, nanoseconds = _Reader(text, local=local).moment()
    except ValueError:
        if "-" in text:
            raise
        _check_seconds(text)
        return text
    if local:
        seconds -= time.localtime().tm_gmtoff if offset_s is None else offset_s
    return f"{seconds}.{nanoseconds:09d}"


def _check_seconds(text: str) -> None:
    seconds, dot, fraction = text.partition(".")
    for part in [seconds, fraction] if dot else [seconds]:
        digits = part[1:] if part[:1] in {"+", "-"} else part
        if not (digits.isascii() and digits.isdigit()):
            raise ValueError(f"failed to parse value as time or duration: {quote(text)}")


class _Reader:
    """A reader of one date or time; which parts it must have follows from the marks in it, as in Docker."""

    def __init__(self, text: str, *, local: bool) -> None:
        self._text = self._rest = text
        self._local = local
        colons = text.count(":")
        if not local and colons and not set(text) & set("zZ"):
            colons -= 1
        parts = 3 if "." in text else min(colons + 1, 3) if "T" in text else 0
        self._parts = parts
        self._layout = "2006-01-02" + ("T15", "T15:04", "T15:04:05")[parts - 1] * bool(parts)
        self._layout += (".999999999" if "." in text else "") + ("" if local else "Z07:00")

    def moment(self) -> tuple[int, int]:
        """Return seconds since 1970 (as if in UTC, when local) and nanoseconds. Raises ValueError."""
        year = self._number(4, "2006")
        month = self._number(2, "01", mark="-", highest=12, lowest=1, name="month")
        day = self._number(2, "02", mark="-")
        clock = [0, 0, 0]
        if self._parts:
            clock[0] = self._hour()
            for at, layout in enumerate(("04", "05")[: self._parts - 1], start=1):
                clock[at] = self._number(2, layout, mark=":", highest=59, name=("", "minute", "second")[at])
        nanoseconds = self._fraction() if self._parts == 3 else 0
        offset = 0 if self._local else self._zone()
        if self._rest:
            raise ValueError(f"parsing time {quote(self._text)}: extra text: {quote(self._rest)}")
        leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        if not 1 <= day <= _DAYS[month - 1] + (leap and month == 2):
            raise ValueError(f"parsing time {quote(self._text)}: day out of range")
        return _seconds(year, month, day, clock) - offset, nanoseconds

    def _number(
        self, size: int, layout: str, mark: str = "", highest: int = 9999, lowest: int = 0, name: str = ""
    ) -> int:
        """Read ``mark`` and exactly ``size`` digits."""
        if mark and self._rest[:1] != mark:
            raise self._error(mark)
        rest = self._rest[len(mark) :]
        digits = rest[:size]
        if len(digits) < size or not (digits.isascii() and digits.isdigit()):
            self._rest = rest
            raise self._error(layout)
        if not lowest <= int(digits) <= highest:
            raise ValueError(f"parsing time {quote(self._text)}: {name} out of range")
        self._rest = rest[size:]
        return int(digits)

    def _hour(self) -> int:
        """Read ``T`` and an hour, which alone may have one digit."""
        if self._rest[:1] != "T":
            raise self._error("T")
        self._rest = self._rest[1:]
        if not self._rest[1:2].isdigit() and self._rest[:1] and self._rest[0] in "0123456789":
            hour, self._rest = int(self._rest[0]), self._rest[1:]
            return hour
        return self._number(2, "15", highest=23, name="hour")

    def _fraction(self) -> int:
        if self._rest[:1] != "." or not self._rest[1:2].isdigit():
            return 0
        end = 1
        while end < len(self._rest) and self._rest[end] in "0123456789":
            end += 1
        digits, self._rest = self._rest[1:end], self._rest[end:]
        return int((digits + "000000000")[:9])

    def _zone(self) -> int:
        """Read ``Z`` or ``+hh:mm``; return seconds east of UTC."""
        if self._rest[:1] == "Z":
            self._rest = self._rest[1:]
            return 0
        sign, hours, colon, minutes = self._rest[:1], self._rest[1:3], self._rest[3:4], self._rest[4:6]
        digits = hours + minutes
        if sign not in {"+", "-"} or colon != ":" or len(digits) != 4 or not digits.isdigit():
            raise self._error("Z07:00")
        self._rest = self._rest[6:]
        seconds = int(hours) * 3600 + int(minutes) * 60
        return -seconds if sign == "-" else seconds

    def _error(self, layout: str) -> ValueError:
        return ValueError(
            f"parsing time {quote(self._text)} as {quote(self._layout)}: "
            f"cannot parse {quote(self._rest)} as {quote(layout)}"
        )


def _seconds(year: int, month: int, day: int, clock: list[int]) -> int:
    """Return seconds since 1970 of a Gregorian date and time in UTC."""
    years = year - (month <= 2)
    days_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1  # the year begins in March
    days = years * 365 + years // 4 - years // 100 + years // 400 + days_of_year - 719468
    return days * 86400 + clock[0] * 3600 + clock[1] * 60 + clock[2]
