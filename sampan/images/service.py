"""The image service: what images there are, what they are called, how they come and go."""

import asyncio
import builtins
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from sampan.base.errors import Conflict, NotFound
from sampan.base.events import EventBus
from sampan.base.faults import point
from sampan.base.outflow import Outflow
from sampan.base.state import StateDB
from sampan.base.tasks import Tasks
from sampan.base.threads import blocking
from sampan.images import describe, remove
from sampan.images.changes import apply_changes
from sampan.images.compression import Limits, Readable
from sampan.images.content import ContentStore, Hold
from sampan.images.errors import ImageNotFound
from sampan.images.filters import ListFilter, PruneFilter
from sampan.images.image import Image, tag_reference
from sampan.images.install import Installer, NewImage, container_config
from sampan.images.layers import Layers, Snapshots
from sampan.images.load import Loader
from sampan.images.making import Commit, plan_commit, plan_import, receive_layer, write_layer
from sampan.images.needs import ImageNeeds
from sampan.images.planned import check_os
from sampan.images.progress import stream_line
from sampan.images.prune import against, plan_prune
from sampan.images.remove import ImageUsers, NoUsers
from sampan.images.repair import ImageRepairs
from sampan.images.save import Saver, Wanted
from sampan.images.store import ImageRecord, ImageStore, check_name
from sampan.images.unsettled import Settler, Unsettled
from sampan.kernel.host import boot_id
from sampan.kernel.memory import trim
from sampan.oci.config import ImageConfig, parse_config
from sampan.oci.digest import Digest
from sampan.oci.platform import Platform, compatible, host, parse_platform
from sampan.oci.reference import Reference, parse_any, parse_normalized
from sampan.registry.auth import NOBODY, Credentials
from sampan.registry.service import Registries
from sampan.registry.settings import RegistrySettings
from sampan.wire.containers import ContainerConfig, GraphDriver
from sampan.wire.disk import Prunable
from sampan.wire.images import (
    HistoryEntry,
    ImageSummary,
    InspectedImage,
    ManifestSummary,
    PrunedImages,
    RemovedImage,
)
from sampan.wire.system import Progress

if TYPE_CHECKING:
    from sampan.images.pull import Puller
    from sampan.images.push import Pusher

_log = logging.getLogger(__name__)
_SIDE_BY_SIDE: Final = 4  # images whose snapshots are removed at once
_CACHED: Final = 256  # images whose configuration is kept decoded


class ImagesService:
    """All images below the data root ``root``. Methods are called on the event loop.

    Raises HostFailure if the content store or the tables cannot be opened. What a crash left behind of blobs
    and archives is removed here; of snapshots by ``StorageService.recover(chains_in_use())``.
    """

    def __init__(
        self,
        root: Path,
        storage: Snapshots,
        state: StateDB,
        events: EventBus,
        *,
        limits: Limits | None = None,
        registries: Registries | None = None,
    ) -> None:
        self.users: ImageUsers = NoUsers()
        self._storage = storage
        self._events = events
        self._store = ImageStore(state)
        self._tasks = Tasks("images")
        self._unsettled = Unsettled(state, boot_id())
        self._settler = Settler(self._unsettled, self._flush, self._tasks)
        self._content = ContentStore(root, unsettled=self._unsettled)
        self._limits = limits
        self._layers = Layers(storage, limits, self._unsettled)
        self.repairs = ImageRepairs(self._store, self._content, self._layers, storage)
        self.needs = ImageNeeds(self._store, self._content, self._layers, storage)
        self._installer = Installer(
            self._content, self._layers, storage, self._store, self._unsettled, self._settler
        )
        self._saver = Saver(self._content, storage)
        self._loader = Loader(self._content, self._installer, self._store, self._loaded, limits)
        self._registries = registries or Registries(RegistrySettings())
        self._snapshots = storage
        self._pulls: Puller | None = None
        self._pushes: Pusher | None = None
        self._removing = asyncio.Lock()
        self._pruning = False
        self._cache: dict[str, Image] = {}
        self._content.sweep(self._installer.live_digests()).remove()

    # --- looking ---

    def find(self, name: str, *, platform: str | None = None) -> Image:
        """Return the image called ``name``: a reference, a whole or shortened ID.

        Raises ImageNotFound, InvalidReference, and NotFound if it is not for ``platform``.
        """
        record = self._resolve(name)
        image = self._cache.get(record.id)
        if image is None:
            config = self._config(record)
            image = Image(
                id=record.id,
                config=container_config(config.config) or ContainerConfig(),
                chain_id=record.chain_id,
                os=record.os,
                architecture=record.architecture,
                variant=record.variant,
                created=record.created or "",
                size=record.size,
            )
            if len(self._cache) >= _CACHED:
                self._cache.pop(next(iter(self._cache)))
            self._cache[record.id] = image
        if platform:
            self._check_platform(name, image, parse_platform(platform))
        return image

    def _check_platform(self, name: str, image: Image, wanted: Platform) -> None:
        ours = image.platform.normalized()
        loose = msgspec.structs.replace(ours, variant="")
        if compatible(wanted).matches(image.platform):
            return
        asked = wanted.normalized()
        if not image.variant and (loose.os, loose.architecture) == (asked.os, asked.architecture):
            return  # configurations often leave the variant out
        raise NotFound(
            f"image with reference {name} was found but does not match the specified platform: "
            f"wanted {wanted}, actual: {image.platform}"
        )

    def _resolve(self, name: str) -> ImageRecord:
        reference = parse_any(name)
        if isinstance(reference, Digest):
            record = self._store.get(reference)
            if record is None:
                raise ImageNotFound(reference)
            return record
        image_id = self._store.named(reference)
        record = self._store.get(image_id) if image_id is not None else self._store.search(name)
        if record is None:
            raise ImageNotFound(reference.with_default_tag().familiar)
        return record

    def _config(self, record: ImageRecord) -> ImageConfig:
        return parse_config(self._content.read(Digest(record.id)))

    def list(
        self,
        *,
        all: bool,  # noqa: A002 - the API's word
        filters: Mapping[str, Sequence[str]],
        shared_size: bool = False,
        digests: bool = False,
        manifests: bool = False,
    ) -> builtins.list[ImageSummary]:
        """Return the images that pass ``filters``, newest first; ``all``: intermediate ones too.

        An image without names has none here (``<none>:<none>`` is for old versions of the API to add). As
        with Docker's classic store, digests are always there. ``manifests``: what there is for each platform.
        Raises InvalidFilter, and ImageNotFound for the images that before and since name.
        """
        wanted = ListFilter.parse(filters, self._resolve)
        records = self._store.images()
        parents = self._store.parents()
        shared = describe.shared_sizes(records) if shared_size else {}
        found: builtins.list[ImageSummary] = []
        for record in records.values():
            if not wanted.takes(record) or (wanted.dangling and record.id in parents):
                continue
            shown = wanted.shown(self._store.references(record.id))
            if not shown:
                if (record.id in parents and not all) or not wanted.takes_unnamed():
                    continue
            elif wanted.dangling and any(reference.tag for reference in shown):
                continue
            summary = describe.summarized(record, shown, shared_size=shared.get(record.id, -1))
            if manifests:
                summary.manifests = self._manifests(record)
            found.append(summary)
        found.sort(key=lambda summary: summary.created, reverse=True)
        return found

    def _manifests(self, record: ImageRecord) -> builtins.list[ManifestSummary]:
        from sampan.images.manifests import summarize_manifests  # seldom asked for

        def users(image_id: str) -> builtins.list[str]:
            return [container for container, _ in self.users.containers_of(image_id)]

        return summarize_manifests(record, self._content, self._store, users)

    def inspect(self, name: str, *, platform: str | None = None, manifests: bool = False) -> InspectedImage:
        """Return everything about the image called ``name``. Raises as ``find``."""
        record = self._resolve(self.find(name, platform=platform).id)
        config = self._config(record)
        data = self._storage.graph_data(record.chain_id) if record.chain_id else None
        found = describe.inspected(
            record,
            config,
            container_config(config.config),
            self._store.references(record.id),
            GraphDriver(self._storage.name, data),
        )
        if manifests:
            found.manifests = self._manifests(record)
        return found

    def history(self, name: str, *, platform: str | None = None) -> builtins.list[HistoryEntry]:
        """Return how the image was made, newest step first. Raises as ``find``."""
        record = self._resolve(self.find(name, platform=platform).id)
        lineage: builtins.list[tuple[str, builtins.list[str]]] = []
        at: ImageRecord | None = record
        while at is not None and len(lineage) < len(self._store.images()):
            lineage.append((at.id, describe.tags(self._store.references(at.id))))
            at = self._store.get(at.parent) if at.parent else None
        return describe.history(self._config(record), record, lineage)

    async def recover(self) -> None:
        """Go on after the last daemon's end; for the start, once ``StorageService.recover`` is done.

        Images that a power cut has left by halves are made whole, or dropped.
        """
        if self._unsettled.lost:
            from sampan.images.recovery import Recovery  # seldom needed

            recovery = Recovery(
                self._store, self._content, self._layers, self._storage, self.repairs, self._unsettled
            )
            for image_id in await recovery.run(self.users):
                self._cache.pop(image_id, None)
        self._settler.wake()

    def _flush(self) -> None:
        """Bring all blobs and layers to the disk; blocking."""
        self._content.flush()
        self._storage.flush()

    def chains_in_use(self) -> set[str]:
        """Return the chainIDs that images need, for ``StorageService.recover``."""
        return set(self._installer.live_chains())

    # --- coming ---

    async def load(
        self,
        source: AsyncIterator[bytes],
        progress: Callable[[Progress], None],
        *,
        quiet: bool = False,
        platform: str | None = None,
    ) -> None:
        """Put in the images of the archive that ``source`` yields; ``progress`` gets Docker's messages.

        Raises InvalidArchive and its kin for a bad archive, HostFailure for the disk. The caller's going away
        stops the load; nothing of the image at hand is left then.
        """
        wanted = parse_platform(platform) if platform else None
        try:
            await self._loader.load(source, progress, quiet=quiet, platform=wanted)
        finally:
            await blocking(trim)

    def _loaded(self, image_id: str) -> None:
        self._cache.pop(image_id, None)
        self._publish("load", image_id, image_id)

    async def pull(
        self,
        name: str,
        progress: Callable[[Progress], None],
        *,
        platform: str | None = None,
        credentials: Credentials = NOBODY,
    ) -> None:
        """Pull the image ``name`` from its registry; a name without tag and digest: all its tags.

        ``progress`` gets Docker's messages, the first when the image was found. Raises InvalidReference and
        what ``Puller.pull`` raises. The caller's going away stops the pull; the next one goes on with it.
        """
        reference = parse_normalized(name)
        check_name(reference)
        wanted = parse_platform(platform) if platform else None
        await self._puller().pull(
            replace(reference, tag="") if reference.digest else reference,
            progress,
            platform=wanted,
            credentials=credentials,
        )

    async def push(
        self,
        name: str,
        tag: str,
        progress: Callable[[Progress], None],
        *,
        platform: str | None = None,
        credentials: Credentials = NOBODY,
    ) -> None:
        """Push the image ``name`` with ``tag`` to its registry; no tag at all: all its tags.

        ``progress`` gets Docker's messages. Raises InvalidReference and what ``Pusher.push`` raises.
        """
        reference = parse_normalized(name)
        if tag:
            reference = reference.with_tag(tag)
        wanted = parse_platform(platform) if platform else None
        await self._pusher().push(reference, progress, platform=wanted, credentials=credentials)

    def settings_changed(self) -> None:
        """Let transfers that wait for a place begin, if the registries' settings allow more of them now."""
        for transfers in (self._pulls, self._pushes):
            if transfers is not None:
                transfers.slots.wake()

    def _pusher(self) -> "Pusher":
        if self._pushes is None:
            from sampan.images.pack import Packer
            from sampan.images.push import Pusher

            self._pushes = Pusher(
                self._registries,
                self._content,
                self._installer,
                self._store,
                Packer(self._content, self._store, self._limits),
                self._pushed,
            )
        return self._pushes

    def _puller(self) -> "Puller":
        if self._pulls is None:
            from sampan.images.pull import Puller  # most daemons' starts are not followed by a pull

            self._pulls = Puller(
                self._registries,
                self._content,
                self._installer,
                self._snapshots,
                self._store,
                self._pulled,
            )
        return self._pulls

    def _pulled(self, reference: Reference, image_id: str) -> None:
        self._cache.pop(image_id, None)
        self._publish_transfer("pull", reference, image_id)

    def _pushed(self, reference: Reference, image_id: str) -> None:
        self._publish_transfer("push", reference, image_id)

    def _publish_transfer(self, action: str, reference: Reference, image_id: str) -> None:
        record = self._store.get(image_id)
        labels = (record.labels or {}) if record is not None else {}
        self._events.publish("image", action, reference.familiar, {**labels, "name": reference.familiar_name})

    async def bootstrap(self, spec: str, progress: Callable[[Progress], None]) -> str:
        """Make the base image ``busybox``, ``debian`` or ``debian:SUITE`` of the host's packages.

        Returns its ID; ``progress`` gets lines for people. Raises as ``bootstrap.make``.
        """
        from sampan.images import bootstrap

        async with self._installer.session() as hold:
            with bootstrap.Workshop(self._content, hold, progress) as workshop:
                base = await bootstrap.make(spec, workshop)
                image = await blocking(bootstrap.describe, base, workshop)
                installed = await self._installer.install(image, base.names, hold)
        for reference in base.names:
            progress(stream_line(f"Created image: {reference.familiar}"))
        self._cache.pop(installed.id, None)
        self._publish("import", installed.id, base.names[0].familiar)
        return installed.id

    async def commit(
        self,
        image_id: str,
        layer: Iterator[bytes],
        commit: Commit,
        *,
        repo: str = "",
        tag: str = "",
        reading: AbstractAsyncContextManager[object] | None = None,
    ) -> str:
        """Make an image of ``image_id`` and the layer tar ``layer`` on top; return its ID.

        ``layer`` is read in a thread while ``reading`` is entered. Without ``repo`` the image has no name.
        Raises InvalidReference, and HostFailure for the disk; nothing is left of the image then.
        """
        reference = tag_reference(repo, tag) if repo else None
        async with self._installer.session() as hold:
            record = self._store.get_used(image_id)
            async with reading or nullcontext():
                written = await blocking(write_layer, self._content, hold, layer)
            base = (record, self._config(record)) if record is not None else None
            image = plan_commit(self._content, base, written, commit)
            return await self._made(image, reference, hold)

    async def import_archive(
        self,
        source: Readable,
        *,
        repo: str = "",
        tag: str = "",
        comment: str = "",
        changes: Sequence[str] = (),
        platform: str | None = None,
    ) -> str:
        """Make an image of one layer, the archive ``source``, which is read in a thread; return its ID.

        Raises InvalidReference, InvalidParameter for a bad change or platform, InvalidArchive.
        """
        reference = tag_reference(repo, tag) if repo else None
        config = apply_changes(ContainerConfig(), changes)
        wanted = parse_platform(platform) if platform else host()
        check_os(wanted)
        async with self._installer.session() as hold:
            layer = await blocking(receive_layer, self._content, hold, source, self._limits)
            image = plan_import(layer, wanted, config, comment)
            image_id = await self._made(image, reference, hold, event="import")
        await blocking(trim)
        return image_id

    async def _made(
        self, image: NewImage, reference: Reference | None, hold: Hold, *, event: str = ""
    ) -> str:
        """Put an image in that was made here, and tell of it."""
        if reference is not None:
            check_name(reference)
        installed = await self._installer.install(image, [reference] if reference else [], hold)
        self._cache.pop(installed.id, None)
        if event:
            self._publish(event, installed.id, installed.id)
        if reference is not None:
            record = self._resolve(installed.id)
            self._store.put(msgspec.structs.replace(record, tagged_ns=time.time_ns()), durable=False)
            self._publish("tag", installed.id, reference.familiar)
        return installed.id

    async def tag(self, source: str, repo: str, tag: str) -> None:
        """Give the image ``source`` the name ``repo:tag``, latest if ``tag`` is empty.

        Raises ImageNotFound, InvalidReference.
        """
        reference = tag_reference(repo, tag)
        check_name(reference)
        record = self._resolve(source)
        with self._store.transaction():
            self._store.add_name(reference, record.id)
            self._store.put(msgspec.structs.replace(record, tagged_ns=time.time_ns()))
        self._publish("tag", record.id, reference.familiar)

    # --- going out ---

    async def save(self, names: Sequence[str], *, platform: str | None = None) -> Outflow:
        """Return the archive of the images ``names``: an OCI layout, and Docker's format.

        A repository without a tag means all of its tags, an ID none. Raises ImageNotFound, InvalidReference,
        and NotFound for one that is not there for ``platform``.
        """
        wanted: dict[str, Wanted] = {}
        for name in names:
            for record, reference in self._saved(name):
                image = wanted.setdefault(record.id, Wanted(record))
                if reference is not None and reference not in image.names:
                    image.names.append(reference)
        chosen = parse_platform(platform) if platform else None
        for image in wanted.values():
            await blocking(self._saver.check, image.record, chosen)
        for image in wanted.values():
            self._publish("save", image.record.id, image.record.id)
        return Outflow.of(self._saver.save(list(wanted.values()), chosen))

    def _saved(self, name: str) -> builtins.list[tuple[ImageRecord, Reference | None]]:
        """Return the images that ``name`` means for ``save``, and what they are called there."""
        reference = parse_any(name)
        if isinstance(reference, Digest):
            return [(self._resolve(name), None)]
        if reference.is_name_only:
            tagged = [
                (record, known)
                for record in self._store.images().values()
                for known in self._store.references(record.id)
                if known.tag and known.name == reference.name
            ]
            return [*tagged] or [(self._resolve(name), None)]
        return [(self._resolve(name), None if reference.digest else reference)]

    # --- going ---

    async def remove(self, name: str, *, force: bool, prune: bool) -> builtins.list[RemovedImage]:
        """Take a name away or delete an image, with Docker's rules; ``prune``: unnamed parents too.

        Raises ImageNotFound, Conflict (Docker's words).
        """
        return await self._tasks.finish(self._remove(name, force=force, prune=prune), name=f"remove {name}")

    async def _remove(self, name: str, *, force: bool, prune: bool) -> builtins.list[RemovedImage]:
        async with self._removing:
            image_id = self._resolve(name).id
            steps: builtins.list[RemovedImage] = []
            by_name = not remove.is_id_prefix(image_id, name)
            if by_name:
                remove.check_name_removal(self._store, self.users, image_id, name, force=force)
                reference = parse_normalized(name).with_default_tag()
                self._untag(image_id, reference, steps)
                for left in remove.digests_left_behind(self._store, image_id, reference):
                    self._untag(image_id, left, steps, silent=True)
                if self._store.references(image_id):
                    return steps
            elif remove.is_single(self._store.references(image_id)):
                kinds = remove.HARD if force else remove.HARD | remove.Against.STOPPED
                if (against := remove.conflict(self._store, self.users, image_id, kinds)) is not None:
                    raise against
                for reference in self._store.references(image_id):
                    self._untag(image_id, reference, steps)
            await self._delete(image_id, steps, force=force, prune=prune, quiet=by_name)
            await self._collect()
            return steps

    async def _delete(
        self, image_id: str, steps: builtins.list[RemovedImage], *, force: bool, prune: bool, quiet: bool
    ) -> None:
        kinds = remove.HARD if force else remove.HARD | remove.SOFT
        if (against := remove.conflict(self._store, self.users, image_id, kinds)) is not None:
            if quiet and (against.used or not remove.is_dangling(self._store, image_id)):
                return
            raise against
        record = self._store.get(image_id)
        if record is None:
            return
        for reference in self._store.references(image_id):
            self._untag(image_id, reference, steps)
        self._publish("delete", image_id, image_id)
        if self.users.containers_of(image_id):
            self._store.put(msgspec.structs.replace(record, removed=True))
        else:
            self._store.delete(image_id)
        self._cache.pop(image_id, None)
        point("images.remove.row")
        steps.append(RemovedImage(deleted=image_id))
        steps += [RemovedImage(deleted=chain_id) for chain_id in await self._drop([record])]
        if prune and record.parent:
            await self._delete(record.parent, steps, force=False, prune=True, quiet=True)

    def _untag(
        self,
        image_id: str,
        reference: Reference,
        steps: builtins.list[RemovedImage],
        *,
        silent: bool = False,
    ) -> None:
        if not self._store.remove_name(reference):
            raise NotFound("reference does not exist")
        steps.append(RemovedImage(untagged=reference.familiar))
        if not silent:
            self._publish("untag", image_id, image_id)

    async def _drop(self, records: Sequence[ImageRecord]) -> builtins.list[str]:
        """Remove the snapshots and blobs of removed images that nothing needs; return the chainIDs."""
        in_use = self._installer.live_chains().__contains__
        removed: builtins.list[str] = []
        for first in range(0, len(records), _SIDE_BY_SIDE):
            chains = [
                [layer.chain_id for layer in reversed(record.layers)]
                for record in records[first : first + _SIDE_BY_SIDE]
            ]
            dropped = await asyncio.gather(*(self._layers.drop(chain, in_use) for chain in chains))
            removed += [chain_id for chain in dropped for chain_id in chain]
        digests = {digest for record in records for digest in record.digests()}
        await blocking(self._content.sweep(self._installer.live_digests(), digests).remove)
        return removed

    async def prune(self, filters: Mapping[str, Sequence[str]]) -> PrunedImages:
        """Remove the images that nobody names (or, with ``dangling=false``, uses) and that pass ``filters``.

        Raises InvalidFilter, and Conflict while another prune runs.
        """
        wanted = PruneFilter.parse(filters)
        if self._pruning:
            raise Conflict("a prune operation is already running")
        self._pruning = True
        try:
            return await self._tasks.finish(self._prune(wanted), name="prune")
        finally:
            self._pruning = False

    async def _prune(self, wanted: PruneFilter) -> PrunedImages:
        planned = await self._plan_prune(wanted, ())
        steps, kept = await self._remove_planned(planned)
        freed = sum(item.size for item in planned if item.id not in kept)
        freed += await blocking(self._content.forget_partials, 0.0, self._fetching())
        self._events.publish("image", "prune", "", {"reclaimed": str(freed)})
        return PrunedImages(steps or None, freed)

    def _fetching(self) -> Collection[str]:
        return self._pulls.fetching() if self._pulls is not None else ()

    async def _plan_prune(self, wanted: PruneFilter, ignoring: Collection[str]) -> builtins.list[Prunable]:
        planned = plan_prune(self._store, self.users.users_of_images(ignoring).__contains__, wanted)
        freed = await self.needs.freed(item.id for item in planned if not item.only_names)
        for item in planned:
            item.size = freed.get(item.id, 0)
        return planned

    async def plan_prune(
        self, filters: Mapping[str, Sequence[str]], *, ignoring: Collection[str] = ()
    ) -> builtins.list[Prunable]:
        """Return what ``prune`` takes: images, and beginnings of blobs that nobody fetches.

        ``ignoring`` are containers that are thought away. Raises InvalidFilter.
        """
        images = await self._plan_prune(PruneFilter.parse(filters), ignoring)
        partials = await blocking(self._content.partials, self._fetching())
        return [
            *images,
            *(Prunable("download", name, name, size, "a pull was broken off") for name, size in partials),
        ]

    async def remove_planned(self, items: Sequence[Prunable]) -> dict[str, str]:
        """Take what a plan named, and nothing else; return why some of it is kept, by ID."""
        kept: dict[str, str] = {}
        for item in (item for item in items if item.kind == "download"):
            if item.id in self._fetching() or not await blocking(self._content.forget_partial, item.id):
                kept[item.id] = "it is being fetched, or gone"
        images = [item for item in items if item.kind != "download"]
        work = self._tasks.finish(self._remove_planned(images), name="remove what was planned")
        return kept | (await work)[1]

    async def _remove_planned(
        self, items: Sequence[Prunable]
    ) -> tuple[builtins.list[RemovedImage], dict[str, str]]:
        """Take the rows in one transaction, then snapshots and blobs side by side."""
        steps: builtins.list[RemovedImage] = []
        kept: dict[str, str] = {}
        gone: builtins.list[ImageRecord] = []
        told: builtins.list[tuple[str, ImageRecord]] = []
        async with self._removing:
            with self._store.transaction():
                for item in items:
                    record = self._store.get(item.id)
                    if record is None or (why := against(self._store, self.users, item)):
                        kept[item.id] = "it is gone" if record is None else why
                        continue
                    for reference in self._store.references(item.id):
                        self._untag(item.id, reference, steps, silent=True)
                        told.append(("untag", record))
                    if not item.only_names:
                        self._store.delete(item.id)
                        self._cache.pop(item.id, None)
                        steps.append(RemovedImage(deleted=item.id))
                        gone.append(record)
                        told.append(("delete", record))
            point("images.remove.row")
            for action, record in told:
                attributes = {**(record.labels or {}), "name": record.id}
                self._events.publish("image", action, record.id, attributes)
            removed = await self._drop(gone)
            await self._collect()
        return [*steps, *(RemovedImage(deleted=chain_id) for chain_id in removed)], kept

    async def collect(self) -> None:
        """Drop what images that were deleted under their containers left, once those containers are gone.

        Removals do it too; it need not be called.
        """
        async with self._removing:
            await self._collect()

    async def _collect(self) -> None:
        for record in self._store.everything():
            if record.removed and not self.users.containers_of(record.id):
                self._store.delete(record.id)
                await self._drop([record])

    async def close(self) -> None:
        """End downloads, and wait for removals that still run."""
        if self._pulls is not None:
            await self._pulls.close()
        await self._tasks.close()

    def _publish(self, action: str, image_id: str, name: str) -> None:
        record = self._store.get(image_id)
        labels = (record.labels or {}) if record is not None else {}
        self._events.publish("image", action, image_id, {**labels, "name": name})
