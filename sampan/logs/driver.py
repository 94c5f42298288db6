"""What a log driver promises: where its files lie, which options it takes, and how its records are read.

Drivers are written to by the shim, not here. A driver's decoder is a pure machine: bytes in, lines out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

ReadAt = Callable[[int, int], bytes]
"""``read(offset, length)``: bytes of a file, fewer at its end."""


class Line(Protocol):
    """One record: a line of output, or a part of a long one. What costs time is worked out when asked for."""

    @property
    def stream(self) -> str:
        """``stdout`` or ``stderr``."""

    @property
    def data(self) -> bytes:
        """What the container wrote; it ends with a newline unless the line goes on in the next record."""

    @property
    def time_ns(self) -> int:
        """When it was written, in nanoseconds since 1970."""

    @property
    def stamp(self) -> str:
        """The same as RFC 3339 in UTC with nine digits: ``2024-05-01T10:11:12.000000345Z``."""

    @property
    def attrs(self) -> Mapping[str, str] | None:
        """Labels and variables that were asked for with the container's log options."""


@dataclass(frozen=True, slots=True)
class LogOptions:
    """Checked options. ``max_size`` is bytes (0: never rotate); ``max_file`` counts all files; the others
    choose what goes into each record's attributes."""

    max_size: int = 0
    max_file: int = 1
    compress: bool = False
    labels: tuple[str, ...] = ()
    labels_regex: str = ""
    env: tuple[str, ...] = ()
    env_regex: str = ""
    tag: str = ""


class LogDriver(Protocol):
    """One log format. Instances have no state."""

    name: ClassVar[str]

    def file(self, container: str) -> str:
        """Return the path of the present log file in the container's folder; older ones are ``path.1``, …"""

    def options(self, config: Mapping[str, str]) -> LogOptions:
        """Check a LogConfig's options. Raises InvalidParameter in Docker's words."""

    def decode(self, data: bytes, *, final: bool) -> tuple[Sequence[Line], int]:
        """Return the lines at the start of ``data`` and how many bytes they took.

        The rest is the beginning of a record that is not complete; with ``final`` none of it will come, and
        all of ``data`` is consumed. What is damaged is passed over.
        """

    def find_tail(self, read: ReadAt, size: int, count: int) -> tuple[int, int]:
        """Return the offset of the last ``count`` (>= 1) records in ``size`` bytes, and how many they are."""
