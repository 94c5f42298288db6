"""What the API asks about the disk as a whole: usage, every byte's owner, plans of prunes, the check."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sampan.base.errors import EngineError, InvalidParameter
from sampan.base.state import StateDB
from sampan.base.threads import blocking
from sampan.containers.service import ContainersService
from sampan.images.needs import disk_shares
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

    # --- Docker's system df

    async def image_usage(self) -> tuple[list[ImageSummary], int]:
        """Return the images with what they take on the disk, layers and blobs, and what all take together."""
        chains = await blocking(self.storage.measure, self.images.chains_in_use())
        blobs = await blocking(self.images.needs.sizes)
        layers = {chain: usage.disk for chain, usage in chains.items()}
        shares, total = disk_shares(self.images.needs.records(), layers, blobs)
        found = self.images.list(all=False, filters={})
        for image in found:
            image.size, image.shared_size = shares.get(image.id, (0, 0))
        return found, total

    async def container_usage(self) -> list[ContainerSummary]:
        """Return the containers with what they take on the disk: what they have written, log and files."""
        found = await self.containers.list_containers(all=True)
        sizes = await blocking(self._measure_containers, [summary.id for summary in found])
        for summary in found:
            summary.size_rw = sizes[summary.id]
            summary.size_root_fs = sizes[summary.id] + self.containers.image_size(summary.image_id)
        return found

    def _measure_containers(self, ids: Sequence[str]) -> dict[str, int]:
        layers = self.storage.measure(ids)
        sizes: dict[str, int] = {}
        for container_id in ids:
            layer = layers.get(container_id)
            try:
                with opened(str(self.containers.folder(container_id))) as folder:
                    own = measure(folder).disk
            except OSError:
                own = 0  # it was never started, or goes in this moment
            sizes[container_id] = own + (layer.disk if layer is not None else 0)
        return sizes

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
        removed: list[Prunable] = []
        kept: list[Kept] = []
        for item in items:
            try:
                await self._remove(item)
            except EngineError as error:
                kept.append(Kept(item.kind, item.id, item.name, str(error)))
            else:
                removed.append(item)
        await self.images.collect()
        return PruneResult(removed, kept, sum(item.size for item in removed))

    async def _remove(self, item: Prunable) -> None:
        match item.kind:
            case "container":
                await self.containers.remove(item.id)
            case "network":
                await self.networks.remove_network(item.id)
            case "volume":
                await self.volumes.remove(item.id)
            case "image" | "download":
                await self.images.remove_planned(item)
            case _:
                raise InvalidParameter(f"unknown object type: {item.kind}")

    # --- the check

    async def check(self, *, repair: bool = False, quick: bool = False) -> CheckReport:
        """Hold blobs, snapshots, rows, files and mounts against each other; see ``insight.check``."""
        from sampan.insight.check import Check

        return await Check(self, quick=quick).run(repair=repair)
