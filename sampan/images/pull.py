"""``docker pull``: find the image for the platform, fetch its layers side by side, unpack them meanwhile.

A pull begins with the manifest; from then on it speaks. Nothing of an image is visible before all of it is
there; what a failed pull has fetched stays, and the next one goes on with it.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

from sampan.base.errors import EngineError, InvalidParameter, NotFound, NotImplementedHere
from sampan.base.faults import point
from sampan.base.ids import short_id
from sampan.base.threads import blocking
from sampan.images.content import ContentStore, Hold
from sampan.images.downloads import Downloads, Incoming
from sampan.images.groups import together
from sampan.images.install import Installer, NewImage, NewLayer, Source
from sampan.images.layers import Snapshots
from sampan.images.planned import StoredBlob
from sampan.images.progress import action_line, transfer_line
from sampan.images.slots import Slots
from sampan.images.store import ImageStore
from sampan.oci.config import ImageConfig, parse_config
from sampan.oci.descriptor import Descriptor, InvalidDocument
from sampan.oci.digest import Digest
from sampan.oci.layout import is_attestation
from sampan.oci.manifest import Manifest, parse_index, parse_manifest
from sampan.oci.media_types import CONFIGS, INDEXES, is_encrypted, is_layer
from sampan.oci.platform import Platform, compatible, host
from sampan.oci.reference import Reference
from sampan.registry.auth import Credentials
from sampan.registry.errors import NotFoundThere, Refused, pull_error
from sampan.registry.repository import Document, Repository
from sampan.registry.service import Registries
from sampan.wire.system import Progress

_log = logging.getLogger(__name__)
_MAX_DEPTH: Final = 4  # of indexes in indexes
Report = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Found:
    """What a name stands for in a registry: the top document, and below it the image for the platform.

    ``places``: where its blobs are, in the order to ask. ``between``: indexes from the top down to it.
    """

    top: Document
    document: Document
    manifest: Manifest
    between: Sequence[Document]
    places: Sequence[Repository]


class Puller:
    """Pulls for one image service. ``pulled`` is called with the reference and image ID of each image."""

    def __init__(
        self,
        registries: Registries,
        content: ContentStore,
        installer: Installer,
        snapshots: Snapshots,
        store: ImageStore,
        pulled: Callable[[Reference, str], None],
    ) -> None:
        self._registries = registries
        self._content = content
        self._installer = installer
        self._snapshots = snapshots
        self._store = store
        self._pulled = pulled
        self.slots = Slots(lambda: registries.settings.max_downloads)
        self._downloads = Downloads(content, self.slots)

    async def close(self) -> None:
        """End all downloads."""
        await self._downloads.close()

    def fetching(self) -> list[str]:
        """Return the digests of the blobs that are being fetched."""
        return self._downloads.digests()

    async def pull(
        self, reference: Reference, progress: Report, *, platform: Platform | None, credentials: Credentials
    ) -> None:
        """Pull one image, or all tags of a ``reference`` that is a name only.

        Raises NotFoundThere and its kin in Docker's words, ConnectionFailed, BadAnswer, InvalidDocument.
        """
        places = await self._registries.repositories(reference, credentials)
        if not reference.is_name_only:
            fresh = await self._pull_one(places, reference, progress, platform)
        else:
            fresh = False
            for tag in await self._tags(places, reference):
                fresh = await self._pull_one(places, reference.with_tag(tag), progress, platform) or fresh
        what = "Downloaded newer image" if fresh else "Image is up to date"
        progress(Progress(status=f"Status: {what} for {reference.familiar}"))

    async def _tags(self, places: Sequence[Repository], reference: Reference) -> list[str]:
        for number, place in enumerate(places, 1):
            try:
                tags = await place.tags()
            except Refused as error:
                if number == len(places):
                    raise pull_error(error, reference) from error
            except EngineError:
                if number == len(places):
                    raise
            else:
                if not tags:
                    raise NotFoundThere(f"repository {reference.familiar_name} has no tags")
                return tags
        raise NotFoundThere(f"repository {reference.familiar_name} not found")

    async def _pull_one(
        self,
        places: Sequence[Repository],
        reference: Reference,
        progress: Report,
        platform: Platform | None,
    ) -> bool:
        """Pull one image; return whether it, or its name, is new here."""
        found = await self._find(places, reference, platform)
        name = reference.digest or reference.tag
        progress(Progress(status=f"Pulling from {reference.path}", id=name))
        async with self._installer.session() as hold:
            image = await self._describe(found, hold)
            before = self._store.named(reference)
            names = [reference.name_only().with_digest(found.top.descriptor.digest)]
            if not reference.digest:
                names.insert(0, reference)
            await self._fetch(image, found, names, hold, progress)
        progress(Progress(status=f"Digest: {found.top.descriptor.digest}"))
        if platform is not None and not compatible(platform).matches(image.config.platform):
            progress(Progress(status=f"WARNING: {_mismatch(reference, platform, image.config.platform)}"))
        self._pulled(reference, image.id)
        _log.info("image pulled", extra={"image": short_id(image.id), "reference": reference.familiar})
        return before != image.id

    # --- finding

    async def _find(
        self, places: Sequence[Repository], reference: Reference, platform: Platform | None
    ) -> Found:
        for number, place in enumerate(places, 1):
            try:
                return await self._find_in(places[number - 1 :], reference, platform)
            except Refused as error:
                failure: EngineError = pull_error(error, reference)
            except EngineError as error:
                failure = error
            if number == len(places):
                raise failure
            _log.warning(
                "a mirror does not give an image: %s", failure, extra={"registry": place.endpoint.host}
            )
        raise NotFoundThere(f"manifest for {reference.familiar} not found")

    async def _find_in(
        self, places: Sequence[Repository], reference: Reference, platform: Platform | None
    ) -> Found:
        top = document = await places[0].manifest(reference.digest or reference.tag)
        between: list[Document] = []
        while document.descriptor.media_type in INDEXES:
            if len(between) == _MAX_DEPTH:
                raise InvalidDocument("invalid image index: its indexes are nested too deeply")
            if document is not top:
                between.append(document)
            chosen = choose(parse_index(document.data).manifests, platform)
            document = await places[0].manifest(chosen.digest)
            if len(document.data) != chosen.size:
                raise InvalidDocument(f"manifest {chosen.digest} has not the size that its index says")
        manifest = parse_manifest(document.data)
        if manifest.config.media_type not in CONFIGS:
            raise NotImplementedHere(
                f"{reference.familiar} is no image but an artifact of type {manifest.config.media_type}"
            )
        return Found(top, document, manifest, between, places)

    async def _describe(self, found: Found, hold: Hold) -> NewImage:
        """Return the image with its documents put into the store; its layers are not there yet."""
        manifest = found.manifest
        text = await self._config_text(manifest.config, found.places, hold)
        config = parse_config(text)
        if config.platform.os != "linux":
            raise NotImplementedHere(
                f'image operating system "{config.platform.os}" cannot be used on this platform'
            )
        for document in (found.top, found.document, *found.between):
            hold.add(document.descriptor.digest)
            await blocking(self._content.put, document.data, Digest(document.descriptor.digest))
        return NewImage(
            text,
            config,
            _layers(manifest, config, self._content, hold),
            manifest=found.document.descriptor,
            index=found.top.descriptor if found.top is not found.document else None,
            kept=[
                StoredBlob(self._content, Digest(document.descriptor.digest), document.descriptor.size)
                for document in found.between
            ],
        )

    async def _config_text(self, descriptor: Descriptor, places: Sequence[Repository], hold: Hold) -> bytes:
        digest = Digest(descriptor.digest)
        hold.add(digest)
        if self._content.size(digest) == descriptor.size:
            return await blocking(self._content.read, digest)
        for place in places[:-1]:
            try:
                return await place.document(descriptor)
            except EngineError as error:
                _log.warning("a mirror does not give a blob: %s", error)
        return await places[-1].document(descriptor)

    # --- fetching

    async def _fetch(
        self,
        image: NewImage,
        found: Found,
        names: Sequence[Reference],
        hold: Hold,
        progress: Report,
    ) -> None:
        chain = image.config.chain_ids
        descriptors = {layer.digest: layer for layer in found.manifest.layers}
        known = self._store.get(image.id) is not None
        lines = _Lines(progress, {layer.diff_id: layer.source.digest for layer in image.layers})
        async with AsyncExitStack() as stack:
            incoming: dict[str, Incoming] = {}
            layers: list[NewLayer] = []
            pending: list[Descriptor] = []
            for layer, chain_id in zip(image.layers, chain, strict=True):
                digest = layer.source.digest
                there = self._content.size(digest) is not None
                if there and self._snapshots.exists(chain_id):
                    lines.quiet(layer.diff_id)
                    if not known:
                        progress(action_line("Already exists", digest))
                else:
                    progress(action_line("Pulling fs layer", digest))
                if not there and digest not in {wanted.digest for wanted in pending}:
                    pending.append(descriptors[digest])
            for number, descriptor in enumerate(pending):
                if number >= self._registries.settings.max_downloads:
                    progress(action_line("Waiting", descriptor.digest))
            for descriptor in pending:
                incoming[descriptor.digest] = await stack.enter_async_context(
                    self._downloads.joined(descriptor, found.places, lines.downloading(descriptor.digest))
                )
            for layer in image.layers:
                source: Source = incoming.get(layer.source.digest, layer.source)
                layers.append(NewLayer(layer.diff_id, source, layer.media_type))
            await self._install(
                NewImage(image.document, image.config, layers, image.manifest, image.index, image.kept),
                names,
                hold,
                lines,
                list(incoming.values()),
            )

    async def _install(
        self,
        image: NewImage,
        names: Sequence[Reference],
        hold: Hold,
        lines: "_Lines",
        incoming: Sequence[Incoming],
    ) -> None:
        """Unpack what comes while it comes; the first thing that goes wrong ends all of it."""

        async def settled() -> None:
            for blob in incoming:
                await blob.finished()
            point("images.pull.settled")

        async def put_in() -> None:
            try:
                await self._installer.install(
                    image, names, hold, lines.extracting, unpacked=lines.unpacked, settled=settled
                )
            except InvalidParameter:
                for blob in incoming:
                    await blob.unreadable()  # wrong bytes explain it better than what came of them
                raise

        async with together() as group:
            for blob in incoming:
                group.create_task(blob.finished())
            work = group.create_task(put_in())
            try:
                await asyncio.wait([work])  # awaited itself, it would be cancelled first, and waited out
            except BaseException:
                for blob in incoming:
                    blob.abort()
                raise


class _Lines:
    """What one pull says about its layers, by their short digests."""

    def __init__(self, progress: Report, digests: dict[Digest, Digest]) -> None:
        self._progress = progress
        self._digests = digests
        self._complete = {str(digest) for digest in digests.values()}
        self._quiet: set[str] = set()

    def quiet(self, diff_id: str) -> None:
        """Say nothing more about a layer: it is there."""
        self._quiet.add(diff_id)

    def downloading(self, digest: str) -> Callable[[str, int, int], None]:
        """Return what tells of the download of ``digest``; until its end nothing else is told of it."""
        self._complete.discard(digest)

        def show(action: str, current: int, total: int) -> None:
            if action == "Download complete":
                self._complete.add(digest)
            if action != "Waiting":
                self._progress(transfer_line(action, digest, current, total))

        return show

    def extracting(self, diff_id: str, current: int, total: int) -> None:
        """Tell of a layer being unpacked."""
        digest = self._digests[Digest(diff_id)]
        if digest in self._complete and diff_id not in self._quiet:
            self._progress(transfer_line("Extracting", digest, current, total))

    def unpacked(self, diff_id: str) -> None:
        """Tell of a layer that is in place."""
        if diff_id not in self._quiet:
            self._quiet.add(diff_id)
            self._progress(action_line("Pull complete", self._digests[Digest(diff_id)]))


def choose(manifests: Sequence[Descriptor], platform: Platform | None) -> Descriptor:
    """Return the entry of an index that fits ``platform`` (None: this machine) best. Raises NotFound."""
    wanted = platform or host()
    matcher = compatible(wanted)
    images = [entry for entry in manifests if not is_attestation(entry)]
    fitting = [(entry.platform, entry) for entry in images if entry.platform is not None]
    fitting = [(known, entry) for known, entry in fitting if matcher.matches(known)]
    if fitting:
        return matcher.best_first(fitting)[0][1]
    if len(images) == 1 and images[0].platform is None:
        return images[0]
    raise NotFound(f"no matching manifest for {wanted} in the manifest list entries")


def _layers(manifest: Manifest, config: ImageConfig, content: ContentStore, hold: Hold) -> list[NewLayer]:
    if len(manifest.layers) != len(config.rootfs.diff_ids):
        raise InvalidDocument(
            f"invalid manifest, layers length mismatch: expected {len(manifest.layers)}, "
            f"got {len(config.rootfs.diff_ids)}"
        )
    layers = []
    for descriptor, diff_id in zip(manifest.layers, config.rootfs.diff_ids, strict=True):
        if is_encrypted(descriptor.media_type):
            raise NotImplementedHere(f"layer {descriptor.digest} is encrypted, and this engine has no keys")
        if not is_layer(descriptor.media_type):
            raise InvalidDocument(f"{descriptor.media_type} is no layer of a file system")
        hold.add(descriptor.digest)
        blob = StoredBlob(content, Digest(descriptor.digest), descriptor.size)
        layers.append(NewLayer(Digest(diff_id), blob, descriptor.media_type))
    return layers


def _mismatch(reference: Reference, wanted: Platform, actual: Platform) -> str:
    return (
        f"image with reference {reference.familiar} was found but does not match the specified platform: "
        f"wanted {wanted}, actual: {actual}"
    )
