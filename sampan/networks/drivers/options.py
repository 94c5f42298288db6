"""Options that several drivers take, Docker's ``com.docker.network.*``."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from sampan.base.errors import InvalidParameter
from sampan.networks.model import Network

OPTION_MTU: Final = "com.docker.network.driver.mtu"
OPTION_PREFIX: Final = "com.docker.network.container_iface_prefix"
_MTU_MAX: Final = 65535


def parse_flag(text: str) -> bool | None:
    """Return a yes/no option, in any of the spellings of Go's strconv.ParseBool; None if it is none."""
    if text in {"1", "t", "T", "true", "TRUE", "True"}:
        return True
    return False if text in {"0", "f", "F", "false", "FALSE", "False"} else None


def flag(options: Mapping[str, str], option: str, *, default: bool = True) -> bool:
    """Return a yes/no option; ``default`` where it is not given."""
    value = parse_flag(options.get(option, ""))
    return default if value is None else value


def mtu(options: Mapping[str, str]) -> int:
    """Return the MTU that was asked for, 0 for the kernel's own choice."""
    return int(options.get(OPTION_MTU, "0"))


def interface_prefix(network: Network) -> str:
    """Return what the names of the network's interfaces in containers begin with."""
    return network.options.get(OPTION_PREFIX) or "eth"


def check_flags(options: Mapping[str, str], flags: Iterable[str]) -> None:
    """Raise InvalidParameter if one of ``flags`` is neither yes nor no."""
    for option in flags:
        if option in options and parse_flag(options[option]) is None:
            raise InvalidParameter(
                f"failed to parse {option} value: {options[option]} "
                f'(strconv.ParseBool: parsing "{options[option]}": invalid syntax)'
            )


def check_mtu(options: Mapping[str, str]) -> None:
    """Raise InvalidParameter if the MTU is none."""
    text = options.get(OPTION_MTU, "0")
    if not re.fullmatch("[+-]?[0-9]{1,9}", text, re.ASCII):
        raise InvalidParameter(
            f'failed to parse {OPTION_MTU} value: {text} (strconv.Atoi: parsing "{text}": invalid syntax)'
        )
    if not 0 <= int(text) <= _MTU_MAX:
        raise InvalidParameter(f"invalid MTU number: {int(text)}")
