"""What goes beyond Docker about the disk: who has which bytes, what a prune would take, what a check found.

Sizes are bytes; where a field is called ``disk`` they are those that the disk gives, as ``du`` counts.
"""

import msgspec


class DiskEntry(msgspec.Struct, rename="pascal"):
    """One owner of files below the data root.

    ``kind``: engine, blob, download, temporary, layer, container, volume, or unknown for an orphan. ``users``
    are the images or containers that it is there for, ``why`` is a sentence for people.
    """

    kind: str
    name: str
    path: str
    disk: int
    files: int
    users: list[str] = []
    orphan: bool = False
    why: str = ""


class DiskAccount(msgspec.Struct, rename="pascal"):
    """GET /sampan/system/df: the entries add up to ``disk``, which is what ``du -s`` says of ``root``.

    ``mounts`` lie below the root and are not counted: their bytes are elsewhere, or counted where they are.
    """

    root: str
    disk: int
    files: int
    entries: list[DiskEntry]
    mounts: list[str] = []


class Prunable(msgspec.Struct, rename="pascal"):
    """What a prune would take: a container, an image, a network, a volume, or a download broken off.

    ``names`` of an image go with it; with ``only_names`` they are all that goes. ``size`` is
    in bytes: of an image those on the disk, as ``system df`` counts, of the others those of files.
    """

    kind: str
    id: str = msgspec.field(name="ID")
    name: str
    size: int
    reason: str
    names: list[str] = []
    only_names: bool = False


class PrunePlan(msgspec.Struct, rename="pascal"):
    """GET /sampan/prune; also the body of POST /sampan/prune, which takes exactly these."""

    items: list[Prunable]


class Kept(msgspec.Struct, rename="pascal"):
    """An item of a plan that was not taken, and why."""

    kind: str
    id: str = msgspec.field(name="ID")
    name: str
    reason: str


class PruneResult(msgspec.Struct, rename="pascal"):
    """POST /sampan/prune."""

    removed: list[Prunable]
    kept: list[Kept]
    space_reclaimed: int


class Finding(msgspec.Struct, rename="pascal"):
    """Something that does not fit. ``remedy`` is what a repair does, "" if only people can."""

    kind: str
    name: str
    problem: str
    path: str = ""
    remedy: str = ""
    repaired: bool = False
    error: str = ""


class CheckReport(msgspec.Struct, rename="pascal"):
    """GET and POST /sampan/system/check: how much of each kind was looked at, and what was found."""

    checked: dict[str, int]
    findings: list[Finding]
    seconds: float
