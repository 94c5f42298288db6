"""Moments as Docker writes and reads them: RFC 3339 with nanoseconds, UTC."""

import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from sampan.base.errors import InvalidParameter

_LONGEST_FRACTION: Final = 20  # digits: more overflow in Docker
ZERO: Final = "0001-01-01T00:00:00Z"  # Go's zero time: "never"
_UNITS_NS: Final = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}


def format_ns(time_ns: int) -> str:
    """Render nanoseconds since 1970 as RFC 3339 in UTC, no trailing zeros in the fraction (RFC3339Nano)."""
    seconds, nanos = divmod(time_ns, 10**9)
    year, month, day, hour, minute, second = time.gmtime(seconds)[:6]
    text = f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}"
    return f"{text}.{nanos:09d}".rstrip("0") + "Z" if nanos else text + "Z"


def now() -> str:
    """Return the present moment as ``format_ns`` writes it."""
    return format_ns(time.time_ns())


def parse_ns(text: str) -> int:
    """Return nanoseconds since 1970 of an RFC 3339 time with an offset. Raises ValueError."""
    main, zone = (text[:-1], "+00:00") if text[-1:] in "zZ" else (text[:-6], text[-6:])
    whole, _, fraction = main.partition(".")
    moment = datetime.fromisoformat(whole + zone)
    if fraction and not (fraction.isascii() and fraction.isdigit()):
        raise ValueError(f"bad fraction in {text!r}")
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86400 + delta.seconds) * 10**9 + int((fraction + "000000000")[:9])


def parse_duration_ns(text: str) -> int:
    """Parse a Go duration (``1h2m3.5s``, ``-5ms``, ``0``) into nanoseconds. Raises ValueError."""
    rest, sign = text, 1
    if rest[:1] in {"+", "-"}:
        sign, rest = (-1 if rest[0] == "-" else 1), rest[1:]
    if rest == "0":
        return 0
    if not rest:
        raise ValueError(f"invalid duration {text!r}")
    total = 0
    while rest:
        end = 0
        while end < len(rest) and (rest[end] in "0123456789."):
            end += 1
        number, rest = rest[:end], rest[end:]
        unit = 0
        while unit < len(rest) and rest[unit] not in "0123456789.":
            unit += 1
        scale = _UNITS_NS.get(rest[:unit])
        if scale is None or number.count(".") > 1 or number in {"", "."}:
            raise ValueError(f"invalid duration {text!r}")
        rest = rest[unit:]
        whole, _, fraction = number.partition(".")
        total += int(whole or "0") * scale + int(fraction or "0") * scale // 10 ** max(len(fraction), 1)
    return sign * total


def parse_moment_ns(text: str, *, now_ns: int | None = None, local: timezone = UTC) -> int:
    """Parse ``since``/``until``: Unix seconds, RFC 3339 and its shorter forms, or a Go duration ago.

    Raises InvalidParameter naming the text.
    """
    try:
        return _parse_moment(text, time.time_ns() if now_ns is None else now_ns, local)
    except (ValueError, OverflowError) as error:
        raise InvalidParameter(f'invalid value for "since" or "until": {text!r}') from error


def _parse_moment(text: str, now_ns: int, local: timezone) -> int:
    if (
        text
        and text.lstrip("-").replace(".", "", 1).isdigit()
        and text.isascii()
        and text.count("-") == text.startswith("-")
    ):
        return parse_unix_ns(text)
    try:
        return now_ns - parse_duration_ns(text)
    except ValueError:
        pass
    if "T" not in text:
        zone = ""
        for cut in (len(text) - 6, len(text) - 1):
            if cut >= 10 and (
                text[cut:] in {"Z", "z"}
                or (len(text) - cut == 6 and text[cut] in "+-" and text[cut + 3] == ":")
            ):
                zone, text = text[cut:], text[:cut]
                break
        return parse_ns(f"{text}T00:00:00{zone or _offset(local)}")
    date, _, clock = text.partition("T")
    zone = ""
    if clock[-1:] in {"Z", "z"}:
        clock, zone = clock[:-1], "Z"
    elif len(clock) > 6 and clock[-6] in "+-":
        clock, zone = clock[:-6], clock[-6:]
    hour, colon, rest = clock.partition(":")
    clock = f"{hour:0>2}{colon}{rest}" + {0: ":00:00", 1: ":00"}.get(clock.count(":"), "")
    return parse_ns(f"{date}T{clock}{zone or _offset(local)}")


def _offset(local: timezone) -> str:
    minutes = int((local.utcoffset(None) or timedelta()).total_seconds()) // 60
    sign = "-" if minutes < 0 else "+"
    return f"{sign}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


def parse_unix_ns(text: str) -> int:
    """Parse ``seconds[.fraction]`` since 1970 into ns; digits after the ninth are cut. Raises ValueError."""
    seconds, dot, fraction = text.partition(".")
    if dot and not (fraction.isascii() and fraction.isdigit() and len(fraction) <= _LONGEST_FRACTION):
        raise ValueError(f"bad time {text!r}")
    return int(seconds) * 10**9 + int((fraction + "000000000")[:9])
