"""Signals by the names and numbers that Docker takes."""

import signal
from typing import Final

from sampan.base.errors import InvalidParameter

_RTMIN: Final = 34
_RTMAX: Final = 64
_INT_END: Final = 1 << 63
_NUMBERS: dict[str, int] = {
    name[3:]: int(getattr(signal, name))
    for name in dir(signal)
    if name.startswith("SIG") and not name.startswith("SIG_") and name not in {"SIGRTMIN", "SIGRTMAX"}
} | {"STKFLT": 16, "IOT": 6, "CLD": 17, "POLL": 29, "UNUSED": 31}
_NUMBERS |= {"RTMIN": _RTMIN, "RTMAX": _RTMAX}
_NUMBERS |= {f"RTMIN+{n}": _RTMIN + n for n in range(1, 16)} | {
    f"RTMAX-{n}": _RTMAX - n for n in range(1, 15)
}


def parse_signal(text: str) -> int:
    """Return the number of the signal ``text``: ``KILL``, ``SIGKILL``, ``sigkill``, ``9``, ``RTMIN+3``.

    Raises InvalidParameter ("invalid signal: …", Docker's words).
    """
    name = text.upper().removeprefix("SIG")
    if text.isascii() and text.isdigit():
        number = int(text)
        if 0 < number <= _RTMAX:
            return number
        if 0 < number < _INT_END:
            raise InvalidParameter(f"the linux daemon does not support signal {number}")
    elif name in _NUMBERS:
        return _NUMBERS[name]
    raise InvalidParameter(f"invalid signal: {text}")


def signal_name(number: int) -> str:
    """Return the name without ``SIG`` of a standard signal, or the number as text."""
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return str(number)
