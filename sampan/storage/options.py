"""Options of storage drivers, as ``--storage-opt`` gives them: to the daemon, and to one container.

Words and sentences are Docker's (daemon/graphdriver).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from sampan.base.errors import InvalidParameter
from sampan.base.units import parse_ram

SIZE_HELP: Final = "limit of what each container may write, unless it says another"


def parse_options(texts: Sequence[str]) -> dict[str, str]:
    """Return the daemon's options ``driver.name=value`` by name. Raises InvalidParameter."""
    options = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise InvalidParameter(f"unable to parse storage-opt key/value option: {text}")
        options[key.strip().lower()] = value.strip()
    return options


def check_options(driver: str, options: Mapping[str, str], known: Iterable[str]) -> None:
    """Raise InvalidParameter for the first of ``options`` that is not ``known``."""
    for key in options:
        if key not in known:
            raise InvalidParameter(f"{driver}: unknown option {key}")


def size_option(options: Mapping[str, str], key: str, default: int = 0) -> int:
    """Return the size in bytes that the option ``key`` has. Raises InvalidParameter."""
    text = options.get(key)
    if text is None:
        return default
    return _size(text, key)


def container_size(options: Mapping[str, str]) -> int:
    """Return the size in bytes that a container's own options limit it to, 0 for none.

    Raises InvalidParameter.
    """
    size = 0
    for key, value in options.items():
        if key.lower() != "size":
            raise InvalidParameter(f"Unknown option {key}")
        size = _size(value, key)
    return size


def _size(text: str, key: str) -> int:
    try:
        return parse_ram(text)
    except ValueError as error:
        raise InvalidParameter(f"{key}: {error}") from error
