"""What the API asks about the disk as a whole: usage, every byte's owner, plans of prunes, the check."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sampan.base.errors import EngineError, InvalidParameter
from sampan.base.state import StateDB
from sampan.base.threads import blocking
from sampan.containers.service import ContainersService
from sampan.images.service import ImagesService
from sampan.kernel.mount import mounts
from sampan.networks.service import NetworksService
from sampan.storage.service import StorageService
from sampan.storage.tree import measure, opened
from sampan.volumes.service import VolumesService
from sampan.wire.containers import ContainerSummary
from sampan.wire.disk import CheckReport, DiskAccount, Kept, Prunable, PruneResult
from sampan.wire.images import ImageSummary

KINDS = ("container", "network", "volume", "image")
"""What can be pruned, in the order in which one may set another free."""

Filters = Mapping[str, Sequence[str]]


class Insight:
    """Looks at the services of one engine; ``root`` is the data root."""

    def __init__(
        self,
        root: Path,
        exec_root: Path,
        *,
        state: StateDB,
        containers: ContainersService,
        images: ImagesService,
        networks: NetworksService,
        storage: StorageService,
        volumes: VolumesService,
    ) -> None:
        self.root = root
        self.exec_root = exec_root
        self.state = state
        self.containers = containers
        self.images = images
        self.networks = networks
        self.storage = storage
        self.volumes = volumes
        self._folders: dict[str, tuple[int, int]] = {}  # of containers at rest: when they ended, bytes

    # --- Docker's system df

    async def image_usage(self) -> tuple[list[ImageSummary], int]:
        """Return the images with what they take on the disk, layers and blobs, and what all take together."""
        shares = await self.images.needs.shares()
        found = self.images.list(all=False, filters={})
        for image in found:
            image.size, image.shared_size = shares.by_image.get(image.id, (0, 0))
        return found, shares.total

    async def container_usage(self) -> list[ContainerSummary]:
        """Return the containers with what they take on the disk: what they have written, log and files."""
        found = await self.containers.list_containers(all=True)
        at_rest = {c.id: c.state.finished_ns for c in self.containers.everybody() if not c.row.acquired}
        sizes = await blocking(self._measure_containers, [summary.id for summary in found], at_rest)
        for summary in found:
            summary.size_rw = sizes[summary.id]
            summary.size_root_fs = sizes[summary.id] + self.containers.image_size(summary.image_id)
        return found

    def _measure_containers(self, ids: Sequence[str], at_rest: Mapping[str, int]) -> dict[str, int]:
        """Measure containers; ``at_rest`` are those that write nothing, each with the time when it ended."""
        layers = self.storage.measure(ids)
        folders: dict[str, tuple[int, int]] = {}
        sizes: dict[str, int] = {}
        for container_id in ids:
            ended = at_rest.get(container_id)
            known = self._folders.get(container_id)
            own = known[1] if known is not None and known[0] == ended else self._measure_folder(container_id)
            if ended is not None:
                folders[container_id] = (ended, own)
            layer = layers.get(container_id)
            sizes[container_id] = own + (layer.disk if layer is not None else 0)
        self._folders = folders
        return sizes

    def _measure_folder(self, container_id: str) -> int:
        try:
            with opened(str(self.containers.folder(container_id))) as folder:
                return measure(folder).disk
        except OSError:
            return 0  # it was never started, or goes in this moment

    async def volume_usage(self) -> dict[str, tuple[int, int]]:
        """Return each volume's bytes on the disk (-1: a plugin has it) and how many containers use it."""
        records = list(self.volumes.store)
        sizes = await blocking(self.volumes.measure, records)
        users = self.containers.users_by_volume()
        return {
            record.name: (
                sizes[record.name].disk if record.driver == "local" else -1,
                len(users.get(record.name, ())),
            )
            for record in records
        }

    # --- every byte

    async def account(self) -> DiskAccount:
        """Return who has which bytes below the data root; what nobody has is marked as an orphan."""
        from sampan.insight.account import add_up
        from sampan.insight.claims import collect

        await self.containers.settle()
        services = (self.containers, self.images.needs, self.storage, self.volumes)
        found = await blocking(add_up, collect(self.root, *services), await blocking(self.mounts))
        later = collect(self.root, *services)
        for entry in found.entries:  # what has come while the disk was looked at is no orphan
            folder, name = entry.path.rsplit("/", 1)
            if entry.orphan and (claim := later.of(folder, name)) is not None:
                entry.kind, entry.name, entry.users = claim.kind, claim.name, list(claim.users)
                entry.why, entry.orphan = claim.why, False
        return found

    def mounts(self) -> list[str]:
        """Return the mount points below the data root. Blocking."""
        below = f"{self.root}/"
        return [entry.target for entry in mounts() if entry.target.startswith(below)]

    # --- prunes

    async def plan_prune(self, filters: Mapping[str, Filters]) -> list[Prunable]:
        """Return what a prune of the kinds in ``filters`` takes, in the order of ``KINDS``.

        What containers of the plan hold counts as free. Raises InvalidParameter for a bad filter.
        """
        items: list[Prunable] = []
        if "container" in filters:
            items += await self.containers.plan_prune(filters["container"])
        going = {item.id for item in items}
        if "network" in filters:
            items += self.networks.plan_prune(filters["network"])
        if "volume" in filters:
            items += await self.volumes.plan_prune(filters["volume"], ignoring=going)
        if "image" in filters:
            items += await self.images.plan_prune(filters["image"], ignoring=going)
        return items

    async def prune(self, items: Sequence[Prunable]) -> PruneResult:
        """Remove exactly ``items``, those that are still unused; the others are told with the reason."""
        kept: dict[str, str] = {}
        by_kind = {kind: [item for item in items if item.kind == kind] for kind in (*KINDS, "download")}
        if unknown := [item.kind for item in items if item.kind not in by_kind]:
            raise InvalidParameter(f"unknown object type: {unknown[0]}")
        kept |= await self.containers.remove_planned(by_kind["container"])
        for item in (*by_kind["network"], *by_kind["volume"]):
            remove = self.networks.remove_network if item.kind == "network" else self.volumes.remove
            try:
                await remove(item.id)
            except EngineError as error:
                kept[item.id] = str(error)
        kept |= await self.images.remove_planned([*by_kind["image"], *by_kind["download"]])
        removed = [item for item in items if item.id not in kept]
        told = [Kept(item.kind, item.id, item.name, kept[item.id]) for item in items if item.id in kept]
        return PruneResult(removed, told, sum(item.size for item in removed))

    # --- the check

    async def check(self, *, repair: bool = False, quick: bool = False) -> CheckReport:
        """Hold blobs, snapshots, rows, files and mounts against each other; see ``insight.check``."""
        from sampan.insight.check import Check

        return await Check(self, quick=quick).run(repair=repair)
