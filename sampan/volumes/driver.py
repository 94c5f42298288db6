"""What a volume driver promises, and what the rest of the engine lends to this package.

Drivers keep data; which volumes there are is known to ``store``, and who uses them to ``service``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sampan.base.outflow import Piece


@dataclass(frozen=True, slots=True)
class Described:
    """What a driver tells of a volume. ``mountpoint`` is "" while there is none."""

    name: str
    mountpoint: str = ""
    status: Mapping[str, Any] = field(default_factory=dict)


class VolumeDriver(Protocol):
    """Keeps the data of volumes. Calls block; those for one volume never overlap.

    Raises EngineError with a message for the user; the caller puts operation and volume before it.
    """

    @property
    def name(self) -> str:
        """The name by which users ask for the driver."""

    @property
    def scope(self) -> str:
        """``local``: a volume is on this host alone; ``global``: the driver has it on every host."""

    def create(self, name: str, options: Mapping[str, str]) -> None:
        """Make the volume, or find it there. Raises InvalidParameter for options that it does not take."""

    def remove(self, name: str) -> None:
        """Remove the volume with its data; nobody uses it."""

    def path(self, name: str) -> str:
        """Return where the data is on this host, "" if it must be mounted first."""

    def mount(self, name: str, options: Mapping[str, str], user: str) -> str:
        """Make the data reachable for ``user`` and return the path; once for each user, and idempotent."""

    def unmount(self, name: str, options: Mapping[str, str], user: str, *, last: bool) -> None:
        """Take back what ``mount`` did for ``user``; idempotent. ``last``: nobody else has it mounted."""

    def describe(self, name: str) -> Described | None:
        """Return what is known about the volume, None if the driver does not have it."""

    def list_volumes(self) -> list[Described]:
        """Return the volumes that the driver knows and others may have made; [] if it keeps no list."""


class Readable(Protocol):
    """A stream of bytes; b"" is its end."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Size:
    """What a tree comes to: bytes of its files, bytes on the disk, number of files and directories."""

    size: int
    disk: int
    files: int


class Trees(Protocol):
    """Works on whole directory trees. Calls block and raise EngineError."""

    def copy(self, source: Path, target: Path) -> None:
        """Copy all of ``source`` and its own attributes into the empty directory ``target``.

        Owners, modes, times, xattrs, links, devices and holes are kept; data is shared where it can be.
        """

    def pack(self, source: Path, compression: str) -> Iterator[Piece]:
        """Yield the tar of ``source``, itself included; ``compression``: ``none``, ``gzip`` or ``zstd``."""

    def unpack(self, archive: Readable, target: Path) -> None:
        """Put a tar of any compression into the empty directory ``target``; nothing outside is reached."""

    def compare(self, new: Path, old: Path, *, ready_ns: int) -> Iterator[tuple[int, str]]:
        """Yield (0 changed | 1 added | 2 deleted, path) as ``docker diff`` orders them.

        ``ready_ns``: since when one of the two may have changed after it was a copy of the other.
        """

    def measure(self, folder: Path) -> Size:
        """Add up what is in ``folder``, hard links once."""
