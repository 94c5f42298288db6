"""``system check``: rows, blobs, snapshots, folders and mounts, held against each other.

Every problem is a finding with the remedy that a repair applies; before it does, it looks again, so that what
has changed meanwhile is left alone. Nothing that somebody may want is thrown away: a volume without a row is
taken in, files that are not the engine's are only told of.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sampan.base.errors import EngineError, HostFailure
from sampan.base.threads import blocking
from sampan.insight.claims import Claims, collect
from sampan.kernel.fs import remove_tree
from sampan.kernel.mount import mounts, umount
from sampan.storage.driver import SnapshotNotFound
from sampan.wire.disk import CheckReport, DiskEntry, Finding

if TYPE_CHECKING:
    from sampan.insight.service import Insight

_DATA: Final = "_data"

Remedy = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Problem:
    """A finding, and what repairs it; None if only people can."""

    finding: Finding
    remedy: Remedy | None = None


class Check:
    """One run over the services of ``insight``; ``quick``: blobs are not read, only their sizes."""

    def __init__(self, insight: "Insight", *, quick: bool) -> None:
        self._insight = insight
        self._quick = quick
        self._checked: dict[str, int] = {}

    async def run(self, *, repair: bool) -> CheckReport:
        """Look at everything, and with ``repair`` apply the remedy of each finding at once."""
        begun = time.monotonic()
        findings: list[Finding] = []
        # In this order: what one repair brings back is sound when the next ones look at it.
        for look in (
            self._state,
            self._mounts,
            self._blobs,
            self._snapshots,
            self._names,
            self._containers,
            self._volumes,
            self._orphans,
        ):
            async for problem in look():
                finding = problem.finding
                if repair and problem.remedy is not None:
                    try:
                        await problem.remedy()
                        finding.repaired = True
                    except (EngineError, OSError) as error:
                        finding.error = str(error)
                findings.append(finding)
        return CheckReport(self._checked, findings, round(time.monotonic() - begun, 3))

    def _count(self, kind: str, number: int) -> None:
        self._checked[kind] = self._checked.get(kind, 0) + number

    async def _state(self) -> AsyncIterator[Problem]:
        self._count("state database", 1)
        for sentence in self._insight.state.verify():
            yield Problem(Finding("state", "state.db", sentence, str(self._insight.root / "state.db")))

    # --- blobs

    async def _blobs(self) -> AsyncIterator[Problem]:
        repairs, needs = self._insight.images.repairs, self._insight.images.needs
        wanted = repairs.wanted_blobs()
        users: dict[str, list[str]] = {}
        for record in needs.records():
            for digest in record.digests():
                users.setdefault(digest, []).append(needs.name(record.id))
        for digest, size in wanted.items():
            self._count("blobs", 1)
            state = await blocking(repairs.look_at, digest, size, quick=self._quick)
            if not (state.missing or state.problem) or digest not in needs.digests():
                continue
            names = ", ".join(dict.fromkeys(users[digest]))
            problem = "it is missing" if state.missing else state.problem
            finding = Finding("blob", digest, f"{problem}; needed by {names}", str(needs.blob_path(digest)))
            if repairs.plain_layer(digest) is not None:
                finding.remedy = "it is made again of its snapshot"
                yield Problem(finding, self._remaking(digest))
            elif not state.missing:
                finding.remedy = f"it is removed; pull or load {users[digest][0]} again to have it back"
                yield Problem(finding, self._dropping(digest))
            else:
                finding.problem += f"; pull or load {users[digest][0]} again to have it back"
                yield Problem(finding)

    def _remaking(self, digest: str) -> Remedy:
        async def remake() -> None:
            repairs = self._insight.images.repairs
            await blocking(repairs.drop_blob, digest)
            if (found := repairs.plain_layer(digest)) is not None:
                await blocking(repairs.make_blob, *found)

        return remake

    def _dropping(self, digest: str) -> Remedy:
        return lambda: blocking(self._insight.images.repairs.drop_blob, digest)

    # --- snapshots

    async def _snapshots(self) -> AsyncIterator[Problem]:
        images, storage = self._insight.images, self._insight.storage
        self._count("snapshots", len(storage.places()[0]))
        for chain_id, record in images.repairs.missing_snapshots().items():
            name = images.needs.name(record.id)
            finding = Finding("snapshot", chain_id, f"it is missing; {name} needs it")
            finding.remedy = "it is unpacked again of its blob"
            yield Problem(finding, lambda record=record: images.repairs.unpack(record))  # type: ignore[misc]
        sizes = {layer.chain_id: layer for record in images.needs.records() for layer in record.layers}
        for chain_id, usage in (await blocking(storage.remeasure, list(sizes))).items():
            if usage.size != sizes[chain_id].unpacked:
                problem = f"it holds {usage.size} bytes of files instead of {sizes[chain_id].unpacked}"
                finding = Finding("snapshot", chain_id, problem)
                finding.remedy = "it is unpacked again of its blob, if nothing stands on it"
                yield Problem(finding, self._unpacking_anew(chain_id))

    def _unpacking_anew(self, chain_id: str) -> Remedy:
        async def unpack() -> None:
            images = self._insight.images
            await self._insight.storage.remove(chain_id)
            record = images.repairs.missing_snapshots().get(chain_id)
            if record is not None:
                await images.repairs.unpack(record)

        return unpack

    # --- rows

    async def _names(self) -> AsyncIterator[Problem]:
        repairs = self._insight.images.repairs
        self._count("images", len(self._insight.images.needs.records()))
        for reference in repairs.stray_names():
            finding = Finding("name", reference.familiar, "it stands for an image that is not there")
            finding.remedy = "it is removed"

            async def remove(reference: "object" = reference) -> None:
                repairs.remove_name(reference)  # type: ignore[arg-type]

            yield Problem(finding, remove)

    async def _containers(self) -> AsyncIterator[Problem]:
        insight = self._insight
        images = {record.id for record in insight.images.needs.records()}
        for container in insight.containers.everybody():
            self._count("containers", 1)
            row = container.row
            if row.image_id not in images:
                yield Problem(Finding("container", row.name, f"its image {row.image_id} is not there"))
            try:
                below = insight.storage.driver.find(row.id).parent
            except SnapshotNotFound:
                pass  # it has not been started yet
            else:
                if below != row.chain_id:
                    problem = f"its layer stands on {below} instead of {row.chain_id}"
                    yield Problem(Finding("container", row.name, problem))
            for entry in row.mounts:
                name = entry.point.name
                if entry.point.type == "volume" and insight.volumes.store.get(name) is None:
                    finding = Finding("container", row.name, f"its volume {name} is not there")
                    finding.remedy = "an empty one is made"
                    yield Problem(finding, self._making_folder(name))

    async def _volumes(self) -> AsyncIterator[Problem]:
        volumes = self._insight.volumes
        for record in list(volumes.store):
            self._count("volumes", 1)
            path = Path(volumes.local.path(record.name))
            if record.driver != "local" or record.incoming or await blocking(path.is_dir):
                continue
            if volumes.store.get(record.name) is not None:
                finding = Finding("volume", record.name, "its folder is missing", str(path))
                finding.remedy = "an empty one is made"
                yield Problem(finding, self._making_folder(record.name))

    def _making_folder(self, name: str) -> Remedy:
        return lambda: self._insight.volumes.make_folder(name)

    # --- what lies about

    def _claims(self) -> Claims:
        insight = self._insight
        return collect(
            insight.root, insight.containers, insight.images.needs, insight.storage, insight.volumes
        )

    async def _orphans(self) -> AsyncIterator[Problem]:
        account = await self._insight.account()
        self._count("files", account.files)
        for entry in account.entries:
            if entry.orphan:
                yield self._orphan(entry)

    def _orphan(self, entry: DiskEntry) -> Problem:
        path, root = Path(entry.path), self._insight.root
        name = path.name
        finding = Finding("orphan", name, f"{entry.why}, {entry.disk} bytes", entry.path)
        if path.parent in (root, root / "storage", root / "content"):
            return Problem(finding)  # whoever put it there knows what it is
        if path.parent == root / "volumes" and (path / _DATA).is_dir():
            finding.remedy = "it is taken in as a volume"

            async def adopt() -> None:
                self._insight.volumes.adopt(name)

            return Problem(finding, adopt)
        finding.remedy = "it is removed"
        return Problem(finding, self._removing(path))

    def _removing(self, path: Path) -> Remedy:
        async def remove() -> None:
            insight = self._insight
            if self._claims().of(str(path.parent), path.name) is not None:
                raise HostFailure("somebody has come to own it")
            snapshot = insight.storage.places()[0].get(str(path))
            if snapshot is not None:
                await insight.storage.remove(snapshot.key)
            else:
                await blocking(remove_tree, path)

        return remove

    # --- mounts

    async def _mounts(self) -> AsyncIterator[Problem]:
        insight = self._insight
        running = {c.id: c for c in insight.containers.everybody()}
        folders = {path: snapshot.key for path, snapshot in insight.storage.places()[0].items()}
        views = {entry.view: c.id for c in running.values() for entry in c.row.mounts if entry.view}
        claims = self._claims()
        for target in await blocking(insight.mounts):
            self._count("mounts", 1)
            if target in claims.folders:
                continue  # somebody gave a disk of its own to it
            top = self._top(target, claims)
            finding = Finding("mount", target, "it is mounted for nobody", target, "it is unmounted")
            if (key := folders.get(str(top))) is not None:
                owner = running.get(views.get(key, key))
                if not insight.storage.in_use(key) and (owner is None or not owner.row.acquired):
                    yield Problem(finding, self._unmounting_snapshot(key))
            elif top.parent == insight.root / "volumes":
                if target == str(top / _DATA) and not insight.volumes.mounted_by(top.name):
                    yield Problem(finding, self._unmounting_volume(top.name))
            elif top.parent == insight.root / "containers":
                owner = running.get(top.name)
                if owner is None or not owner.row.acquired:
                    yield Problem(finding, self._unmounting(target))
            else:
                yield Problem(finding, self._unmounting(target))
        async for problem in self._staged():
            yield problem

    @staticmethod
    def _top(target: str, claims: Claims) -> Path:
        """Return the part of ``target`` that lies directly in one of the engine's folders."""
        path = Path(target)
        while str(path.parent) not in claims.folders:
            path = path.parent
        return path

    async def _staged(self) -> AsyncIterator[Problem]:
        """Look at what stood in for a container's mounts while it started."""
        insight = self._insight
        folder = insight.exec_root / "mounts"
        starting = {c.id for c in insight.containers.everybody() if c.starting or c.lock.locked()}
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.name in starting or "-" in path.name:
                continue  # a copy is under way
            finding = Finding("mount", path.name, "left from a start", str(path), "it is taken down")
            yield Problem(finding, lambda name=path.name: insight.volumes.unstage(name))  # type: ignore[misc]

    def _unmounting_snapshot(self, key: str) -> Remedy:
        return lambda: blocking(self._insight.storage.unmount_stray, key)

    def _unmounting_volume(self, name: str) -> Remedy:
        return lambda: self._insight.volumes.unmount_stray(name)

    @staticmethod
    def _unmounting(target: str) -> Remedy:
        async def unmount() -> None:
            if any(entry.target == target for entry in mounts()):
                umount(target, lazy=True)

        return unmount
