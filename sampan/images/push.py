"""``docker push``: what the registry lacks is mounted from where it has it, or sent; the manifest last."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sampan.base.errors import InvalidParameter, NotFound
from sampan.base.faults import point
from sampan.base.threads import blocking
from sampan.images.content import ContentStore, Hold
from sampan.images.groups import together
from sampan.images.install import Installer
from sampan.images.pack import Packer
from sampan.images.progress import action_line, transfer_line
from sampan.images.slots import Slots
from sampan.images.store import ImageRecord, ImageStore
from sampan.oci.descriptor import Descriptor
from sampan.oci.digest import Digest
from sampan.oci.manifest import parse_index, parse_manifest
from sampan.oci.media_types import INDEXES, MANIFESTS
from sampan.oci.platform import Platform, strict
from sampan.oci.reference import Reference
from sampan.registry.auth import Credentials
from sampan.registry.errors import NoCredentials, RefusedForbidden, RefusedNotFound, RefusedUnauthorized
from sampan.registry.referrers import push_manifest
from sampan.registry.repository import Repository
from sampan.registry.service import Registries
from sampan.registry.upload import Upload
from sampan.wire.system import Progress

Report = Callable[[Progress], None]
_PIECE: Final = 1 << 20
_TICK_S: Final = 0.1
_MAX_SOURCES: Final = 4  # repositories that are asked to lend a blob


@dataclass(frozen=True, slots=True)
class Layer:
    """A blob to be sent, and what the progress calls it: the diffID where it is known."""

    descriptor: Descriptor
    shown: str


@dataclass(frozen=True, slots=True)
class Shipment:
    """All that a tag stands for: blobs, then documents in the order in which they must arrive.

    The last document gets the tag.
    """

    layers: Sequence[Layer]
    configs: Sequence[Descriptor]
    documents: Sequence[Descriptor]


class Pusher:
    """Pushes for one image service. ``pushed`` is called with the reference and image ID of each image."""

    def __init__(
        self,
        registries: Registries,
        content: ContentStore,
        installer: Installer,
        store: ImageStore,
        packer: Packer,
        pushed: Callable[[Reference, str], None],
    ) -> None:
        self._registries = registries
        self._content = content
        self._installer = installer
        self._store = store
        self._packer = packer
        self._pushed = pushed
        self.slots = Slots(lambda: registries.settings.max_uploads)

    async def push(
        self, reference: Reference, progress: Report, *, platform: Platform | None, credentials: Credentials
    ) -> None:
        """Push one tag, or all tags of a ``reference`` that is a name only.

        Raises InvalidParameter and NotFound in Docker's words, what registries refuse, ConnectionFailed.
        """
        if reference.digest:
            raise InvalidParameter("cannot push a digest reference")
        progress(Progress(status=f"The push refers to repository [{reference.name}]"))
        tagged = self._store.tagged(reference.name)
        if not tagged:
            raise NotFound(f"An image does not exist locally with the tag: {reference.familiar_name}")
        if reference.tag:
            tagged = [entry for entry in tagged if entry[0].tag == reference.tag]
            if not tagged:
                raise NotFound(f"tag does not exist: {reference.familiar}")
        try:
            for tag, image_id in tagged:
                await self._push_tag(tag, image_id, progress, platform, credentials)
        except NoCredentials:
            raise NoCredentials from None

    async def _push_tag(
        self,
        reference: Reference,
        image_id: str,
        progress: Report,
        platform: Platform | None,
        credentials: Credentials,
    ) -> None:
        async with self._installer.session() as hold:
            shown = self._store.get(image_id)
            for layer in reversed(shown.layers if shown is not None else ()):
                progress(action_line("Preparing", layer.diff_id))
            record = await self._packer.packed(image_id, hold)
            shipment = self._plan(record, hold, platform)
            sources = self._sources(reference, shipment)
            repository = (
                await self._registries.repositories(
                    reference, credentials, actions="push,pull", sources=sources
                )
            )[-1]
            await repository.open()
            for number, blob in enumerate(shipment.layers):
                if number >= self._registries.settings.max_uploads:
                    progress(action_line("Waiting", blob.shown))
            async with together() as group:
                for blob in shipment.layers:
                    group.create_task(self._send_layer(repository, blob, sources, progress))
            point("images.push.layers")
            for config in shipment.configs:
                if not await repository.has_blob(config.digest):
                    await self._upload(repository, config)
            top = shipment.documents[-1]
            for document in shipment.documents:
                data = await blocking(self._content.read, Digest(document.digest))
                target = reference.tag if document is top else document.digest
                await push_manifest(repository, target, document.media_type, data)
            name = reference.name_only().with_digest(top.digest)
            with self._store.transaction():
                self._store.add_name(name, image_id)
        progress(Progress(status=f"{reference.tag}: digest: {top.digest} size: {top.size}"))
        progress(
            Progress(progress_detail={}, aux={"Tag": reference.tag, "Digest": top.digest, "Size": top.size})
        )
        self._pushed(reference, image_id)

    # --- planning

    def _plan(self, record: ImageRecord, hold: Hold, platform: Platform | None) -> Shipment:
        """Return what to send: a whole index if all of it is here, else the image alone."""
        own = {layer.digest: layer.diff_id for layer in record.layers}
        assert record.manifest is not None  # noqa: S101 - it was packed
        if platform is not None:
            return self._ship([self._of_platform(record, platform)], own, hold)
        if record.index is not None:
            documents = self._below(record.index)
            if documents is not None:
                return self._ship(documents, own, hold)
        return self._ship([record.manifest], own, hold)

    def _of_platform(self, record: ImageRecord, platform: Platform) -> Descriptor:
        matcher = strict(platform)
        if record.index is not None and (documents := self._below(record.index)) is not None:
            for document in documents:
                if document.platform is not None and matcher.matches(document.platform):
                    return document
        ours = Platform(record.architecture, record.os, variant=record.variant)
        if record.manifest is not None and matcher.matches(ours):
            return record.manifest
        raise NotFound(f"image was found but does not match the specified platform: wanted {platform}")

    def _below(self, index: Descriptor) -> list[Descriptor] | None:
        """Return the documents below ``index``, itself last; None if something is not here."""
        found: list[Descriptor] = []
        if self._content.size(Digest(index.digest)) is None:
            return None
        for entry in parse_index(self._content.read(Digest(index.digest))).manifests:
            if entry.media_type in INDEXES:
                below = self._below(entry)
                if below is None:
                    return None
                found += below
                continue
            if entry.media_type not in MANIFESTS or self._content.size(Digest(entry.digest)) is None:
                return None
            manifest = parse_manifest(self._content.read(Digest(entry.digest)))
            for blob in (manifest.config, *manifest.layers):
                if not blob.urls and self._content.size(Digest(blob.digest)) is None:
                    return None
            found.append(entry)
        return [*found, index]

    def _ship(self, documents: Sequence[Descriptor], own: dict[str, str], hold: Hold) -> Shipment:
        layers: dict[str, Layer] = {}
        configs: dict[str, Descriptor] = {}
        for document in documents:
            hold.add(document.digest)
            if document.media_type in INDEXES:
                continue
            manifest = parse_manifest(self._content.read(Digest(document.digest)))
            hold.add(manifest.config.digest)
            configs[manifest.config.digest] = manifest.config
            for layer in reversed(manifest.layers):
                hold.add(layer.digest)
                layers.setdefault(layer.digest, Layer(layer, own.get(layer.digest, layer.digest)))
        return Shipment(list(layers.values()), list(configs.values()), documents)

    def _sources(self, reference: Reference, shipment: Shipment) -> list[str]:
        """Return the paths of other repositories of the same registry that have blobs of the shipment."""
        wanted = {layer.descriptor.digest for layer in shipment.layers}
        found: dict[str, None] = {}
        for record in self._store.everything():
            if not wanted.intersection(layer.digest for layer in record.layers):
                continue
            for name in self._store.references(record.id):
                if name.domain == reference.domain and name.path != reference.path and name.digest:
                    found[name.path] = None
        return list(found)[:_MAX_SOURCES]

    # --- sending

    async def _send_layer(
        self, repository: Repository, layer: Layer, sources: Sequence[str], progress: Report
    ) -> None:
        digest = layer.descriptor.digest
        if layer.descriptor.urls and self._content.size(Digest(digest)) is None:
            progress(action_line("Skipped foreign layer", layer.shown))
            return
        async with self.slots.taken():
            if await repository.has_blob(digest):
                progress(action_line("Layer already exists", layer.shown))
                return
            session = ""
            for source in sources:
                try:
                    session = await repository.mount(digest, source)
                except (RefusedNotFound, RefusedForbidden, RefusedUnauthorized):
                    continue
                if not session:
                    progress(action_line(f"Mounted from {source}", layer.shown))
                    return
            loop = asyncio.get_running_loop()
            due = 0.0

            def show(sent: int) -> None:
                nonlocal due
                if (now := loop.time()) >= due or sent == layer.descriptor.size:
                    due = now + _TICK_S
                    progress(transfer_line("Pushing", layer.shown, sent, layer.descriptor.size))

            await self._upload(repository, layer.descriptor, show, session)
            progress(action_line("Pushed", layer.shown))

    async def _upload(
        self,
        repository: Repository,
        blob: Descriptor,
        show: Callable[[int], None] = lambda sent: None,
        session: str = "",
    ) -> None:
        file = self._content.open(Digest(blob.digest))  # not in a thread: a cancelled wait would lose it
        try:

            async def read(start: int, count: int) -> AsyncIterator[bytes]:
                while count:
                    piece = await blocking(os.pread, file.fileno(), min(_PIECE, count), start)
                    if not piece:
                        raise InvalidParameter(f"blob {blob.digest} is too short")
                    yield piece
                    start += len(piece)
                    count -= len(piece)

            await Upload(repository, blob.digest, blob.size, read, show, session).run()
        finally:
            file.close()
