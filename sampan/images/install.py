"""Putting an image in: blobs into the content store, layers into snapshots, then a row into the state.

Whatever makes images (load, bootstrap, pull, import, commit) describes them as a ``NewImage``. Until
the row is written nothing is visible; it comes with rows for what may not be on the disk by then. What a
failure leaves behind is dropped at once; after a crash it is dropped at the next start, as no row names it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec

from sampan.base import times
from sampan.base.errors import HostFailure
from sampan.base.faults import point
from sampan.base.threads import blocking
from sampan.images.content import ContentStore, Hold
from sampan.images.groups import together
from sampan.images.layers import Layers, LayerSource, Snapshots
from sampan.images.store import ImageRecord, ImageStore, LayerRecord
from sampan.images.unsettled import Settler, Unsettled, blob_key, layer_key
from sampan.oci.config import ImageConfig
from sampan.oci.descriptor import Descriptor, InvalidDocument, decode_leniently
from sampan.oci.digest import Digest
from sampan.oci.reference import Reference
from sampan.wire.containers import ContainerConfig

_CONTAINER_CONFIG: Final[msgspec.json.Decoder[ContainerConfig | None]] = msgspec.json.Decoder(
    ContainerConfig | None
)


class Source(LayerSource, Protocol):
    """A blob on its way in: ``keep`` moves it into the content store. Blocking."""

    def keep(self) -> Digest: ...


@dataclass(frozen=True, slots=True)
class NewLayer:
    """A layer of a new image."""

    diff_id: Digest
    source: Source
    media_type: str


@dataclass(frozen=True, slots=True)
class NewImage:
    """An image to be put in; ``document`` is the configuration's text, whose digest is the image ID."""

    document: bytes
    config: ImageConfig
    layers: Sequence[NewLayer]
    manifest: Descriptor | None = None
    index: Descriptor | None = None
    kept: Sequence[Source] = ()  # documents and blobs of other platforms that came along
    parent: str = ""  # the ID of the image it was made from here
    id: Digest = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", Digest.of(self.document))
        if len(self.layers) != len(self.config.rootfs.diff_ids):
            raise InvalidDocument(
                f"invalid manifest, layers length mismatch: expected {len(self.layers)}, "
                f"got {len(self.config.rootfs.diff_ids)}"
            )
        container_config(self.config.config)
        container_config(self.config.container_config)


def container_config(document: msgspec.Raw) -> ContainerConfig | None:
    """Return ``config`` or ``container_config`` of an image, None for null. Raises InvalidDocument."""
    return decode_leniently(_CONTAINER_CONFIG, bytes(document), "image JSON")


@dataclass(frozen=True, slots=True)
class Installed:
    """An image that was put in; for each of its names, the ID of the image that had it before."""

    id: str
    replaced: Sequence[str | None]


LayerProgress = Callable[[str, int, int], None]  # diffID, bytes read, bytes in all


class Installer:
    """Puts images in, for one image service."""

    def __init__(
        self,
        content: ContentStore,
        layers: Layers,
        snapshots: Snapshots,
        store: ImageStore,
        unsettled: Unsettled,
        settler: Settler,
    ) -> None:
        self._content = content
        self._layers = layers
        self._snapshots = snapshots
        self._store = store
        self._unsettled = unsettled
        self._settler = settler

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Hold]:
        """Yield a hold on blobs for the time of some installs; what no image needs in the end is removed.

        Raises HostFailure for whatever the disk says meanwhile.
        """
        with self._content.holding() as hold:
            try:
                yield hold
            except OSError as error:
                raise HostFailure(f"cannot store the image: {error.strerror or error}") from error
            finally:
                digests = hold.digests()
                hold.release()
                await blocking(self._content.sweep(self.live_digests(), digests).remove)

    def live_digests(self) -> Collection[str]:
        """Return the digests of all blobs that images need, as they are at any moment."""
        return self._store.digests()

    def live_chains(self) -> Collection[str]:
        """Return the chainIDs of all snapshots that images need, as they are at any moment."""
        return self._store.chains()

    async def install(
        self,
        image: NewImage,
        names: Sequence[Reference],
        hold: Hold,
        progress: LayerProgress | None = None,
        *,
        unpacked: Callable[[str], None] = lambda diff_id: None,
        settled: Callable[[], Awaitable[None]] | None = None,
    ) -> Installed:
        """Put ``image`` in under ``names``; one that is there already is completed, not replaced.

        ``unpacked`` is called with the diffID of each layer that is in place. ``settled`` is for sources that
        outlive a failure: it is awaited when all layers are, and before any blob is kept.

        Raises InvalidArchive, WrongDigest, TooLarge for what is wrong with it, HostFailure for the disk.
        """
        chain = image.config.chain_ids
        try:
            async with self._layers.leased(chain):
                hold.add(image.id)
                if settled is None:
                    async with together() as group:
                        unpacking = group.create_task(self._unpack(image, chain, progress, unpacked))
                        keeping = group.create_task(self._keep(image))
                    sizes, kept = unpacking.result(), keeping.result()
                else:
                    sizes = await self._unpack(image, chain, progress, unpacked)
                    await settled()
                    kept = await self._keep(image)
                point("images.install.row")
                record = self._record(image, chain, sizes, kept)
                with self._store.transaction(durable=False):
                    self._unsettled.note(pieces(record))
                    self._store.put(record)
                    replaced = [self._store.add_name(name, record.id) for name in names]
        except BaseException:
            await self._layers.drop(reversed(chain), self.live_chains().__contains__)
            raise
        point("images.install.answer")
        self._settler.wake()
        return Installed(record.id, replaced)

    def _record(
        self, image: NewImage, chain: Sequence[str], sizes: Sequence[int], kept: Sequence[Digest]
    ) -> ImageRecord:
        config = image.config
        run = container_config(config.config)
        old = self._store.get(image.id)
        return ImageRecord(
            id=str(image.id),
            architecture=config.architecture,
            os=config.platform.os,
            layers=[
                LayerRecord(
                    diff_id=str(layer.diff_id),
                    chain_id=chain_id,
                    digest=str(layer.source.digest),
                    size=layer.source.size,
                    media_type=layer.media_type,
                    unpacked=size,
                )
                for layer, chain_id, size in zip(image.layers, chain, sizes, strict=True)
            ],
            variant=config.variant,
            os_version=config.os_version,
            created=config.created,
            created_ns=_moment(config.created),
            labels=run.labels if run is not None else None,
            has_config=run is not None,
            parent=image.parent or (old.parent if old is not None else ""),
            manifest=image.manifest or (old.manifest if old is not None else None),
            index=image.index or (old.index if old is not None else None),
            kept=sorted({*map(str, kept), *(old.kept if old is not None else ())}),
            tagged_ns=old.tagged_ns if old is not None else 0,
        )

    async def _keep(self, image: NewImage) -> list[Digest]:
        """Move all blobs into the content store; return the digests of those beside config and layers."""
        await blocking(self._content.add, image.document)
        for layer in image.layers:
            await blocking(layer.source.keep)
        return [await blocking(source.keep) for source in image.kept]

    async def _unpack(
        self,
        image: NewImage,
        chain: Sequence[str],
        progress: LayerProgress | None,
        unpacked: Callable[[str], None],
    ) -> list[int]:
        sizes: list[int] = []
        parent: str | None = None
        known = {layer.chain_id: layer.unpacked for row in self._store.everything() for layer in row.layers}
        for layer, chain_id in zip(image.layers, chain, strict=True):

            def show(current: int, total: int, diff_id: str = layer.diff_id) -> None:
                if progress is not None:
                    progress(diff_id, current, total)

            point("images.install.layer")
            size = await self._layers.ensure(
                chain_id, parent, layer.diff_id, layer.source, show if progress is not None else None
            )
            if size is None:
                size = known.get(chain_id)
            if size is None:
                size = (await self._snapshots.usage(chain_id)).size
            sizes.append(size)
            unpacked(layer.diff_id)
            parent = chain_id
        return sizes


def pieces(record: ImageRecord) -> list[str]:
    """Return the keys, for ``unsettled``, of all that an image consists of."""
    return [
        *(blob_key(digest) for digest in record.digests()),
        *(layer_key(layer.chain_id) for layer in record.layers),
    ]


def _moment(text: str | None) -> int | None:
    """Return the nanoseconds since 1970 of a configuration's time; None for none, or one that is no time."""
    try:
        return times.parse_ns(text) if text else None
    except (ValueError, OverflowError):
        return None
