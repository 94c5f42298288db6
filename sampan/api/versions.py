"""The versions of the Engine API: which are spoken, and how answers differ between them.

Answers are made in the newest form; the functions ``old_…`` take them back for older clients.
"""

from typing import Final

from msgspec import UNSET

from sampan.base.errors import InvalidParameter
from sampan.wire.system import Info

Version = tuple[int, ...]
MIN: Final = "1.24"
MAX: Final = "1.51"
MIN_VERSION: Final[Version] = (1, 24)
MAX_VERSION: Final[Version] = (1, 51)
SPOKEN: Final[dict[str, Version]] = {"": MAX_VERSION} | {f"1.{minor}": (1, minor) for minor in range(24, 52)}


def parse_version(text: str) -> Version:
    """Parse the digits and dots of ``/v1.47``; empty parts count as 0."""
    return tuple(int(part[-9:] or 0) for part in text.split("."))


def check_version(text: str) -> Version:
    """Return the version ``text`` if it is spoken. Raises InvalidParameter in Docker's words."""
    version = parse_version(text)
    if version < MIN_VERSION:
        raise InvalidParameter(
            f"client version {text} is too old. Minimum supported API version is {MIN}, "
            "please upgrade your client to a newer version"
        )
    if version > MAX_VERSION:
        raise InvalidParameter(f"client version {text} is too new. Maximum supported API version is {MAX}")
    return version


def old_info(info: Info, version: Version) -> Info:
    """Take the newest form of GET /info back to ``version``."""
    if version < (1, 50):
        info.bridge_nf_iptables = info.bridge_nf_ip6tables = False
    if version < (1, 49):
        info.firewall_backend = UNSET
    if version < (1, 42):
        info.kernel_memory = False
    if version < (1, 25):
        info.execution_driver = "<not supported>"
        names = (option.partition(",")[0] for option in info.security_options)
        info.security_options = [name.removeprefix("name=") for name in names]
    return info
