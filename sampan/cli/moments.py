"""Moments on the command line (``--since``, ``--until``) as the API takes them: seconds since 1970."""

import time
from datetime import timedelta, timezone

from sampan.base.errors import InvalidParameter
from sampan.base.times import parse_duration_ns, parse_moment_ns

_S = 10**9


def render_moment(text: str, now_ns: int | None = None) -> str:
    """Return ``text`` (a time, ``10m`` ago, or seconds already) as ``seconds[.nanoseconds]``.

    A time without an offset is the user's local time. Raises ValueError in Docker's words.
    """
    if text.replace(".", "", 1).isdigit() and text.isascii():
        return text
    now = time.time_ns() if now_ns is None else now_ns
    try:
        return str((now - parse_duration_ns(text)) // _S)
    except ValueError:
        pass
    _, separator, clock = text.partition("T")
    if separator and not clock[:1].isdigit():
        raise ValueError(f'failed to parse value as time or duration: "{text}"')
    try:
        moment = parse_moment_ns(text, now_ns=now)
        if moment != parse_moment_ns(text, now_ns=now, local=timezone(timedelta(hours=1))):
            moment = _as_local(moment)
    except InvalidParameter:
        raise ValueError(f'failed to parse value as time or duration: "{text}"') from None
    return f"{moment // _S}.{moment % _S:09d}"


def _as_local(moment_ns: int) -> int:
    """Return the moment at which local clocks show what clocks in Greenwich show at ``moment_ns``."""
    seconds, rest = divmod(moment_ns, _S)
    year, month, day, hour, minute, second, *_ = time.gmtime(seconds)
    return int(time.mktime((year, month, day, hour, minute, second, 0, 0, -1))) * _S + rest
