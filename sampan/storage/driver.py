"""What a storage driver promises, and the words in which it answers.

A driver stacks layers into root file systems. It returns ``Mount`` values and never mounts for its callers;
what is in a layer (tar, whiteouts) is read and written by ``storage.unpack`` and ``storage.pack``.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum, IntEnum
from pathlib import Path
from typing import ClassVar, Final, Protocol, runtime_checkable

from sampan.base.errors import Conflict, NotFound
from sampan.kernel.mount import Mount

KEY_LIMIT: Final = 200
LAYER_WORK: Final = "apply-"
"""How the keys of active snapshots begin into which a layer is unpacked."""
NO_OPTIONS: Final[Mapping[str, str]] = {}


class SnapshotNotFound(NotFound):
    """No snapshot has that key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"snapshot {key} does not exist")


class SnapshotExists(Conflict):
    """A snapshot of that key exists already."""

    def __init__(self, key: str) -> None:
        super().__init__(f"snapshot {key} already exists")


class SnapshotInUse(Conflict):
    """The snapshot has children, or is not of the kind that the call needs."""


class Kind(Enum):
    """What a snapshot may be used for."""

    ACTIVE = "active"  # writable, mountable
    VIEW = "view"  # read-only, mountable
    COMMITTED = "committed"  # may have children, is not mounted itself


class ChangeKind(IntEnum):
    """How a path differs from the parent; the numbers of Docker's ``GET /containers/{id}/changes``."""

    MODIFIED = 0
    ADDED = 1
    DELETED = 2


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot as ``walk`` lists it; ``parent`` is the key of a committed one, or None."""

    key: str
    kind: Kind
    parent: str | None


@dataclass(frozen=True, slots=True)
class Usage:
    """What a snapshot takes by itself, without its parents.

    ``size`` is in bytes as Docker counts: the lengths of new and changed files, hard links once, directories
    not. ``disk`` (bytes of blocks, as ``du`` counts) and ``inodes`` are all that is there, copies included.
    """

    size: int
    inodes: int
    disk: int


@dataclass(frozen=True, slots=True)
class Difference:
    """One path (absolute, in the snapshot) that differs from the parent.

    ``shown``: a list of changes shows it. ``held``: a layer must hold it, even if it does not look different
    (only a directory's time has changed; a file was copied up and not written). A directory that is neither
    is listed for the sake of what is below it.
    """

    path: bytes
    kind: ChangeKind
    shown: bool = True
    held: bool = True


@dataclass(frozen=True, slots=True)
class Delta:
    """The differences of a snapshot in depth-first order, and the directory to read their contents from.

    ``tree`` is a descriptor, open as long as the delta's context. ``root`` tells how the root directory's own
    attributes differ; its path is empty.
    """

    tree: int
    root: Difference
    differences: Sequence[Difference]


@dataclass(frozen=True, slots=True)
class Change:
    """A line of ``docker diff``; ``kind`` is a number of ``ChangeKind``."""

    path: str
    kind: int


class SnapshotDriver(Protocol):
    """Stacks layers into root file systems.

    A snapshot is *active* (writable, named by ``key``), a read-only *view*, or *committed* (named by its
    chainID). Only committed snapshots have children. Calls block, and may run in parallel for different keys.
    Every change of state is whole or absent, also after a crash. OSError means that the disk failed.
    """

    name: ClassVar[str]

    others: ClassVar[frozenset[str]]
    """What lies beside the snapshots' folders in the driver's: names."""

    options: ClassVar[Mapping[str, str]]
    """What ``--storage-opt`` may set, by Docker's names, each with a line on what it does."""

    def __init__(self, root: Path, options: Mapping[str, str] = NO_OPTIONS) -> None:
        """Open the driver's part of the storage root ``root``, creating it if it is not there.

        Raises InvalidParameter, with the name, for an option that has no such value.
        """

    @classmethod
    def supported(cls, root: Path, options: Mapping[str, str] = NO_OPTIONS) -> str | None:
        """Return why the driver cannot work on ``root``, or None when it can."""

    def check_size(self, size: int) -> None:
        """Raise InvalidParameter, in Docker's words, if no snapshot can be limited to ``size`` bytes here."""

    def prepare(self, key: str, parent: str | None, *, size: int = 0) -> Sequence[Mount]:
        """Create active snapshot ``key`` over ``parent`` (None: empty) and return its mounts.

        ``size`` is the most, in bytes, that it may hold: of its own, or parents included where they are one
        with it (btrfs, zfs, devicemapper); 0: what the daemon's options say. Raises SnapshotExists,
        SnapshotNotFound (the parent), SnapshotInUse (the parent is not committed), and as ``check_size``.
        """

    def view(self, key: str, parent: str | None) -> Sequence[Mount]:
        """Create read-only snapshot ``key`` of ``parent`` and return its mounts; raises as ``prepare``."""

    def commit(self, name: str, key: str) -> None:
        """Turn the active, unmounted snapshot ``key`` into the committed one ``name``.

        Raises SnapshotNotFound (the key), SnapshotExists (the name), SnapshotInUse (the key is not active).
        """

    def find(self, key: str) -> Snapshot:
        """Return the snapshot ``key``; raises SnapshotNotFound."""

    def mounts(self, key: str) -> Sequence[Mount]:
        """Return the mounts that show active snapshot or view ``key``; the last one's target is its root."""

    def usage(self, key: str) -> Usage:
        """Measure what ``key`` holds itself. Raises SnapshotNotFound."""

    def diff(self, key: str, parent: str | None) -> AbstractContextManager[Delta]:
        """Yield the differences between ``key`` and its ancestor ``parent`` (None: the empty tree).

        The delta's tree may be read while the context is open. Raises SnapshotNotFound.
        """

    def remove(self, key: str) -> None:
        """Remove ``key``; one that does not exist is no error. Raises SnapshotInUse if it has children."""

    def walk(self) -> Iterator[Snapshot]:
        """Yield every snapshot, parents before children."""

    def sweep(self) -> list[str]:
        """Remove what calls cut off by a crash left behind; return a word for each thing removed."""

    def describe(self, key: str) -> dict[str, str]:
        """Return the paths of ``key`` as ``inspect`` shows them in ``GraphDriver.Data``."""

    def status(self) -> list[tuple[str, str]]:
        """Return what ``info`` shows as ``DriverStatus``."""


@runtime_checkable
class NeedsAttaching(Protocol):
    """A driver whose mounts need something before they can be done: a block device for instance.

    Both calls are idempotent, and block.
    """

    def attach(self, key: str) -> None:
        """Bring up what the mounts of active snapshot or view ``key`` need. Raises SnapshotNotFound."""

    def detach(self, key: str) -> None:
        """Take down what ``attach`` brought up, unless it is in use still; an unknown ``key`` is no error."""


@runtime_checkable
class Replaces(Protocol):
    """A driver whose committed snapshots are files that a power cut may damage for a while after the commit.

    The layers of the others are on the disk when they are committed: their file system was unmounted.
    """

    def replace(self, name: str, key: str) -> None:
        """Let the committed snapshot ``name`` hold what the active, unmounted ``key`` holds, at once.

        Both have the same parent; what stands on ``name`` stays. ``key`` is gone afterwards. Raises
        SnapshotNotFound.
        """

    def discard(self, name: str) -> None:
        """Remove ``name`` whatever stands on it, which cannot be used until there is a ``name`` again."""


@runtime_checkable
class HoldsHost(Protocol):
    """A driver that holds something of the host as long as it is in use: a pool, a loop device."""

    def close(self) -> None:
        """Give back what no mounted snapshot needs; the next to open the driver takes it anew. Blocks."""
