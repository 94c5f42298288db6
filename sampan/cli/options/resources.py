"""Limits on the command line: CPUs, swap, ulimits, sysctls, restart policy and the health check."""

from sampan.base.units import parse_ram

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.cli.parser import Flags

_LIMITS = frozenset(
    "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()
)
_SYSCTLS = frozenset(
    f"kernel.{name}" for name in "msgmax msgmnb msgmni sem shmall shmmax shmmni shm_rmid_forced".split()
)


def parse_swap(text: str) -> int:
    """Return the bytes of ``--memory-swap``; -1: unlimited. Raises ValueError."""
    return -1 if text == "-1" else parse_ram(text)


def parse_cpus(text: str) -> int:
    """Return the units of 1e-9 CPUs of a decimal number or fraction, as Go's big.Rat reads it.

    Raises ValueError (``failed to parse x as a rational number``, ``value is too precise``).
    """
    bad = ValueError(f"failed to parse {text} as a rational number")
    top, slash, bottom = text.partition("/")
    numerator, denominator = _rational(top)
    if slash:
        if not (bottom.isascii() and bottom.isdigit()) or int(bottom) == 0:
            raise bad
        denominator *= int(bottom)
    if denominator == 0:
        raise bad
    nano, rest = divmod(numerator * 10**9, denominator)
    if rest:
        raise ValueError("value is too precise")
    return nano


def _rational(text: str) -> tuple[int, int]:
    """Return numerator and denominator of a decimal number, exponent or not; 0 and 0 if it is none."""
    sign, body = (-1 if text[:1] == "-" else 1), (text[1:] if text[:1] in {"+", "-"} else text)
    mantissa, mark, exponent = body.lower().partition("e")
    digits = exponent[1:] if exponent[:1] in {"+", "-"} else exponent
    whole, _, fraction = mantissa.partition(".")
    number = whole + fraction
    if not (number.isascii() and number.isdigit()) or (mark and not (digits.isascii() and digits.isdigit())):
        return 0, 0
    power = (int(exponent) if mark else 0) - len(fraction)
    if abs(power) > 1000:
        return 0, 0
    return sign * int(number) * 10 ** max(power, 0), 10 ** max(-power, 0)


def render_cpus(nano: int) -> str:
    """Return a number of 1e-9 CPUs with three decimals; "" for 0."""
    if not nano:
        return ""
    thousandths = (abs(nano) + 500_000) // 10**6
    return f"{'-' if nano < 0 else ''}{thousandths // 1000}.{thousandths % 1000:03d}"


def parse_ulimit(text: str) -> "dict[str, Any]":
    """Return ``name=soft[:hard]`` as the API's Ulimit; -1: no limit. Raises ValueError."""
    name, equals, values = text.partition("=")
    if not equals:
        raise ValueError(f"invalid ulimit argument: {text}")
    if name not in _LIMITS:
        raise ValueError(f"invalid ulimit type: {name}")
    parts = values.split(":")
    if len(parts) > 2:
        raise ValueError(f"too many limit value arguments - {values}, can only have up to two, `soft[:hard]`")
    hard = _limit(parts[-1])
    soft = _limit(parts[0])
    if hard != -1 and (soft == -1 or soft > hard):
        shown = f"soft: -1 (unlimited), hard: {hard}" if soft == -1 else f"{soft} > {hard}"
        raise ValueError(f"ulimit soft limit must be less than or equal to hard limit: {shown}")
    return {"Name": name, "Hard": hard, "Soft": soft}


def _limit(text: str) -> int:
    from sampan.cli.gotext import quote

    digits = text[1:] if text[:1] in {"+", "-"} else text
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(f"strconv.ParseInt: parsing {quote(text)}: invalid syntax")
    if not -(2**63) <= int(text) < 2**63:
        raise ValueError(f"strconv.ParseInt: parsing {quote(text)}: value out of range")
    return int(text)


def check_sysctl(text: str) -> str:
    """Return ``name=value`` as it is, if the parameter belongs to a namespace. Raises ValueError."""
    name, equals, _ = text.partition("=")
    if not equals or not (name in _SYSCTLS or name.startswith(("net.", "fs.mqueue."))):
        raise ValueError(f"sysctl '{text}' is not allowed")
    return text


def parse_restart_policy(text: str) -> "dict[str, Any]":
    """Return ``name[:count]`` as the API's RestartPolicy; the name is the engine's to judge.

    Raises ValueError.
    """
    if not text:
        return {"Name": "", "MaximumRetryCount": 0}
    name, colon, count = text.partition(":")
    if colon and not name:
        raise ValueError("invalid restart policy format: no policy provided before colon")
    digits = count[1:] if count[:1] in {"+", "-"} else count
    if count and not (digits.isascii() and digits.isdigit() and -(2**63) <= int(count) < 2**63):
        raise ValueError("invalid restart policy format: maximum retry count must be an integer")
    return {"Name": name, "MaximumRetryCount": int(count or "0")}


# Flag behind "health-", field of the API, in the order they are checked.
_HEALTH = (
    ("interval", "Interval"),
    ("timeout", "Timeout"),
    ("retries", "Retries"),
    ("start-period", "StartPeriod"),
    ("start-interval", "StartInterval"),
)


def health_check(flags: "Flags") -> "dict[str, Any] | None":
    """Return Config.Healthcheck (times in ns), or None if no flag is about it. Raises ValueError."""
    command = flags["health-cmd"]
    numbers = {name: flags[f"health-{flag}"] for flag, name in _HEALTH}
    given = bool(command) or any(numbers.values())
    if flags["no-healthcheck"]:
        if given:
            raise ValueError("--no-healthcheck conflicts with --health-* options")
        return {"Test": ["NONE"]}
    if not given:
        return None
    for flag, name in _HEALTH:
        if numbers[name] < 0:
            raise ValueError(f"--health-{flag} cannot be negative")
    check: dict[str, Any] = {name: number for name, number in numbers.items() if number}
    return {"Test": ["CMD-SHELL", command], **check} if command else check
