"""Who owns what below the data root: every folder and file that the engine makes has a claim here.

A claim covers its path and all below it. What lies in a folder of the engine's without a claim is an orphan.
Whoever lets the engine keep something new adds its claim, and its line in ``docs/state.md``.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sampan.containers.service import ContainersService
from sampan.images.needs import ImageNeeds
from sampan.images.store import ImageRecord
from sampan.storage.driver import Kind
from sampan.storage.service import StorageService
from sampan.volumes.service import VolumesService

_DATABASE: Final = ("state.db", "state.db-wal", "state.db-shm")
# Beginnings of names under which things are made and taken away; the daemon's start removes what is left.
_PASSING: Final = {
    "tmp": ("image-blob-", "image-work-"),
    "volumes": (".new-", ".gone-"),
    "storage": (".overlay-", "driver.tmp"),
}
_PASSING_SNAPSHOTS: Final = (".new-", ".gone-", "apply-", "view-")
_WHY_PASSING: Final = "on its way in or out; what is left of it goes when the daemon starts"


@dataclass(frozen=True, slots=True)
class Claim:
    """What a path is: see ``wire.disk.DiskEntry`` for the words."""

    kind: str
    name: str
    users: tuple[str, ...] = ()
    why: str = ""


@dataclass(slots=True)
class Claims:
    """All claims, by path; ``folders`` are the engine's own, in which everything must be claimed."""

    root: str
    paths: dict[str, Claim] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)  # path → what an orphan in it looks like
    passing: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def of(self, folder: str, name: str) -> Claim | None:
        """Return who claims the entry ``name`` of one of ``folders``, None for an orphan."""
        if (claim := self.paths.get(f"{folder}/{name}")) is not None:
            return claim
        if name.startswith(self.passing.get(folder, ()) or "\0"):
            return Claim("temporary", name, why=_WHY_PASSING)
        return None


def collect(
    root: Path,
    containers: ContainersService,
    needs: ImageNeeds,
    storage: StorageService,
    volumes: VolumesService,
) -> Claims:
    """Return the claims as they are at this moment; on the event loop."""
    claims = Claims(str(root))
    claims.folders[str(root)] = "nothing that the engine makes"
    for name in _DATABASE:
        claims.paths[str(root / name)] = Claim("engine", "state database")
    claims.paths[str(root / "lock")] = Claim("engine", "lock")
    for name, beginnings in _PASSING.items():
        claims.passing[str(root / name)] = beginnings
    _claim_content(claims, root, needs)
    _claim_snapshots(claims, root, containers, needs, storage)
    claims.folders[str(root / "containers")] = "the folder of a container that is not there"
    for container in containers.everybody():
        path = str(containers.folder(container.id))
        claims.paths[path] = Claim("container", container.name, why="log, configuration and files")
    claims.folders[str(root / "volumes")] = "the folder of a volume that is not there"
    users = containers.users_by_volume()
    for record in volumes.store:
        if record.driver == "local":
            path = str(volumes.local.folder(record.name))
            claims.paths[path] = Claim("volume", record.name, tuple(users.get(record.name, ())))
    return claims


def _claim_content(claims: Claims, root: Path, needs: ImageNeeds) -> None:
    folder = root / "content"
    claims.folders[str(root / "tmp")] = "left by work that was broken off"
    claims.folders[str(folder)] = claims.folders[str(folder / "blobs")] = "nothing that the engine makes"
    for algorithm in ("sha256", "sha512"):
        claims.folders[str(folder / "blobs" / algorithm)] = "a blob that no image needs"
    claims.folders[str(folder / "partial")] = "no beginning of a blob"
    for digest in needs.held():
        claims.paths[str(needs.blob_path(digest))] = Claim("blob", digest, why="somebody works with it")
    for digest, users in _by(needs, lambda record: record.digests()):
        claims.paths[str(needs.blob_path(digest))] = Claim("blob", digest, users)
    for digest, path in needs.partials():
        why = "the beginning of a blob, for the next pull"
        claims.paths[str(path)] = Claim("download", digest, why=why)


def _claim_snapshots(
    claims: Claims,
    root: Path,
    containers: ContainersService,
    needs: ImageNeeds,
    storage: StorageService,
) -> None:
    claims.folders[str(root / "storage")] = "data of another storage driver, or of nobody"
    home = str(root / "storage" / storage.name)
    claims.folders[home] = "a snapshot of no image and no container"
    claims.passing[home] = _PASSING_SNAPSHOTS
    snapshots, own = storage.places()
    for path in own:
        claims.paths[path] = Claim("engine", f"storage driver {storage.name}")
    owners = {
        key: Claim("layer", key, users)
        for key, users in _by(needs, lambda record: (layer.chain_id for layer in record.layers))
    }
    for key in needs.leased():
        owners.setdefault(key, Claim("layer", key, why="somebody works with it"))
    for container in containers.everybody():
        owners[container.id] = Claim("container", container.name, why="what it has written")
        for entry in container.row.mounts:
            if entry.view:
                owners[entry.view] = Claim("container", container.name, why=f"view of {entry.point.name}")
    parents = {snapshot.key: snapshot.parent for snapshot in snapshots.values()}
    for key in [key for key in owners if key in parents]:
        below = parents[key]
        while below is not None and below not in owners:
            owners[below] = Claim("layer", below, (owners[key].name,), "what is above stands on it")
            below = parents.get(below)
    for path, snapshot in snapshots.items():
        if (claim := owners.get(snapshot.key)) is not None:
            claims.paths[path] = claim
        elif snapshot.kind is not Kind.COMMITTED and snapshot.key.startswith(_PASSING_SNAPSHOTS):
            claims.paths[path] = Claim("temporary", snapshot.key, why=_WHY_PASSING)


def _by(
    needs: ImageNeeds, keys: Callable[[ImageRecord], Iterable[str]]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each of the ``keys`` of all images, and the names of the images that have it."""
    users: dict[str, list[str]] = {}
    for record in needs.records():
        name = needs.name(record.id)
        for key in dict.fromkeys(keys(record)):
            users.setdefault(key, []).append(name)
    for key, names in users.items():
        yield key, tuple(names)
