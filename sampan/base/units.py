"""Sizes, durations, ages and truth values as Docker's programs read and write them.

No ``re`` and no ``typing`` here: the client loads this on every start. The rules are those of docker/go-units
and of Go's ``time`` and ``strconv``, down to their messages, which reach the user as they are.
"""

_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")
_MAX_INT64 = 2**63 - 1
_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # U+00B5, the micro sign
    "μs": 1_000,  # U+03BC, the Greek letter
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


def human_size(size: float, precision: int = 4) -> str:
    """Return ``size`` bytes in powers of 1000 with ``precision`` significant digits: ``12.35MB``, ``0B``."""
    return _scaled(size, 1000.0, _DECIMAL, precision)


def bytes_size(size: float) -> str:
    """Return ``size`` bytes in powers of 1024 with four significant digits: ``1.953GiB``."""
    return _scaled(size, 1024.0, _BINARY, 4)


def _scaled(size: float, base: float, names: tuple[str, ...], precision: int) -> str:
    value, step = float(size), 0
    while value >= base and step < len(names) - 1:
        value /= base
        step += 1
    return f"{value:.{precision}g}{names[step]}"


def parse_size(text: str) -> int:
    """Read a size whose ``k`` is 1000 (``10GB``, ``1.5 kB``) as bytes. Raises ValueError, Docker's words."""
    return _parse_size(text, 1000)


def parse_ram(text: str) -> int:
    """Read a size whose ``k`` is 1024, as memory options take it, as bytes. Raises ValueError likewise."""
    return _parse_size(text, 1024)


def _parse_size(text: str, base: int) -> int:
    cut = max(text.rfind(character) for character in "0123456789. ")
    if cut < 0:
        raise ValueError(f"invalid size: '{text}'")
    number, suffix = text[: cut + 1], text[cut + 1 :].lower()
    if text[cut] == " ":
        number = text[:cut]
    size = parse_float(number)
    if size < 0:
        raise ValueError(f"invalid size: '{text}'")
    if suffix not in {"", "b"}:
        power = "kmgtp".find(suffix[0]) + 1
        if not power or suffix[1:] not in {"", "b", "ib"}:
            raise ValueError(f"invalid suffix: '{suffix}'")
        size *= float(base**power)
    if not size <= _MAX_INT64:
        raise ValueError(f"invalid size: '{text}'")
    return int(size)


def parse_float(text: str) -> float:
    """Read a number as Go's ParseFloat does. Raises ValueError (``strconv.ParseFloat: parsing …``)."""
    body = (text[1:] if text[:1] in {"+", "-"} else text).lower()
    try:
        if not body.isascii() or body != body.strip() or body[:1] in {"+", "-"}:
            raise ValueError
        if body[:2] == "0x":
            if "p" not in body or not _well_spaced(body):
                raise ValueError
            value = float.fromhex(text.replace("_", ""))
        elif "_" in body:
            raise ValueError
        else:
            value = float(text)
        if value - value != 0 and body not in {"inf", "infinity", "nan"}:
            raise OverflowError
        return value
    except OverflowError:
        raise ValueError(f"strconv.ParseFloat: parsing {_quote(text)}: value out of range") from None
    except ValueError:
        raise ValueError(f"strconv.ParseFloat: parsing {_quote(text)}: invalid syntax") from None


def _well_spaced(digits: str) -> bool:
    """Tell whether every underscore stands between digits, or behind the base prefix."""
    return "__" not in digits and all(
        part[:1].isalnum() and part[-1:].isalnum() for part in digits[1:].split("_")
    )


def human_duration(seconds: float) -> str:
    """Return an age as ``ps`` shows it, without "ago": ``5 minutes``, ``About an hour``, ``2 weeks``."""
    if (whole := int(seconds)) < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    if (minutes := whole // 60) == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    if (hours := int(seconds / 3600 + 0.5)) == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    if hours < 24 * 7 * 2:
        return f"{hours // 24} days"
    if hours < 24 * 30 * 2:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{whole // 3600 // 24 // 365} years"


def parse_duration(text: str) -> int:
    """Read a Go duration (``1h2m3.5s``, ``-5ms``, ``0``) as nanoseconds.

    Raises ValueError (``time: invalid duration "x"``) for what Go refuses, 64 bits too few included.
    """
    invalid = ValueError(f"time: invalid duration {_quote(text)}")
    rest = text[1:] if text[:1] in {"+", "-"} else text
    if rest == "0":
        return 0
    if not rest:
        raise invalid
    total = 0
    while rest:
        whole, rest = _digits(rest)
        fraction = ""
        dot = rest[:1] == "."
        if dot:
            fraction, rest = _digits(rest[1:])
        if not whole and not fraction:
            raise invalid
        name = rest
        for at, character in enumerate(rest):
            if character in "0123456789.":
                name = rest[:at]
                break
        rest = rest[len(name) :]
        if not name:
            raise ValueError(f"time: missing unit in duration {_quote(text)}")
        if (unit := _NS.get(name)) is None:
            raise ValueError(f"time: unknown unit {_quote(name)} in duration {_quote(text)}")
        total += int(whole or "0") * unit + _fraction(fraction, unit)
        if total > 2**63:
            raise invalid
    if text[0] == "-":
        return -total
    if total > _MAX_INT64:
        raise invalid
    return total


def _digits(text: str) -> tuple[str, str]:
    """Split the ASCII digits off the front of ``text``."""
    end = 0
    while end < len(text) and text[end] in "0123456789":
        end += 1
    return text[:end], text[end:]


def _fraction(digits: str, unit: int) -> int:
    """Return 0.``digits`` of ``unit`` nanoseconds; in floating point and with as many digits as Go uses."""
    value, scale = 0, 1.0
    for digit in digits:
        longer = value * 10 + int(digit)
        if value > _MAX_INT64 // 10 or longer > 2**63:
            break
        value, scale = longer, scale * 10
    return int(float(value) * (float(unit) / scale))


def format_duration(nanoseconds: int) -> str:
    """Write a duration as Go does: ``1h2m3.5s``, ``4m5s``, ``1.1µs``, ``0s``."""
    sign, rest = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if rest == 0:
        return "0s"
    for name, unit in (("ns", 1), ("µs", 1_000), ("ms", 1_000_000)):
        if rest < unit * 1_000:
            return f"{sign}{_decimal(rest, unit)}{name}"
    minutes, rest = divmod(rest, _NS["m"])
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest, _NS['s'])}s"
    if hours:
        return f"{sign}{hours}h{minutes}m{text}"
    return f"{sign}{minutes}m{text}" if minutes else sign + text


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    if not rest:
        return str(whole)
    fraction = f"{rest:0{len(str(unit)) - 1}d}".rstrip("0")
    return f"{whole}.{fraction}"


def parse_bool(text: str) -> bool:
    """Read a yes/no flag as Go's ParseBool does. Raises ValueError (``strconv.ParseBool: parsing …``)."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f"strconv.ParseBool: parsing {_quote(text)}: invalid syntax")


def parse_int(text: str, bits: int = 64, *, signed: bool = True) -> int:
    """Read an integer in Go's notation (``0x1f``, ``0b1``, ``017``, ``1_000``) that fits ``bits``.

    Raises ValueError (``strconv.ParseInt: parsing "x": invalid syntax`` or ``value out of range``).
    """
    what = f"strconv.Parse{'Int' if signed else 'Uint'}: parsing {_quote(text)}"
    body = text[1:] if signed and text[:1] in {"+", "-"} else text
    try:
        if not body.isascii() or not body[:1].isdigit() or not body[-1:].isalnum():
            raise ValueError
        if len(body) > 1 and body[0] == "0" and body[1] in "01234567_":  # C's octal, which Python refuses
            number = int("0o" + body[1:], 0)
        else:
            number = int(body, 0)
    except ValueError:
        raise ValueError(f"{what}: invalid syntax") from None
    if text[0] == "-":
        number = -number
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if not low <= number <= high:
        raise ValueError(f"{what}: value out of range")
    return number


def _quote(text: str) -> str:
    """Put ``text`` in double quotes, bytes that are not printable ASCII as ``\\x`` escapes."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    body = "".join(
        "\\" + chr(byte) if byte in b'"\\' else chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}"
        for byte in text.encode("utf-8", "surrogateescape")
    )
    return f'"{body}"'
