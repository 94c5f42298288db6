"""Order of API versions."""


def compare(left: str, right: str) -> int:
    """Return -1, 0 or 1 as version ``left`` is older than, equal to or newer than ``right``.

    What a version lacks counts as 0 (``1`` equals ``1.0.0``), and so does what is no number.
    """
    numbers = [_numbers(left), _numbers(right)]
    size = max(map(len, numbers))
    first, second = (part + [0] * (size - len(part)) for part in numbers)
    return (first > second) - (first < second)


def _numbers(version: str) -> list[int]:
    return [int(part) if part.isascii() and part.isdigit() else 0 for part in version.split(".")]
