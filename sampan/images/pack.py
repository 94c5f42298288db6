"""Making an image fit for registries: layers packed with gzip, and a manifest that names them.

An image that came from a registry, or with a manifest of its own, is left as it is. Another one gets a
manifest of Docker's schema 2 when it is first pushed; its layers are packed then, and kept packed.
"""

import asyncio
from contextlib import closing

import msgspec

from sampan.base.faults import point
from sampan.base.threads import apart, blocking
from sampan.images.compression import (
    MAGIC_BYTES,
    PIECE,
    Compression,
    Decompressor,
    Limits,
    detect,
)
from sampan.images.content import ContentStore, Hold
from sampan.images.errors import InvalidArchive
from sampan.images.gzip_writer import GzipWriter
from sampan.images.layers import wrong_diff_id
from sampan.images.store import ImageRecord, ImageStore, LayerRecord
from sampan.oci.descriptor import Descriptor
from sampan.oci.digest import Digest
from sampan.oci.manifest import Manifest, parse_manifest, render_docker_manifest
from sampan.oci.media_types import DOCKER_CONFIG, DOCKER_LAYER_GZIP, DOCKER_MANIFEST


class Packer:
    """Gives the images of one service their manifests."""

    def __init__(self, content: ContentStore, store: ImageStore, limits: Limits | None = None) -> None:
        self._content = content
        self._store = store
        self._limits = limits
        self._packing = asyncio.Lock()

    def manifest(self, record: ImageRecord) -> Manifest | None:
        """Return the manifest of an image, None if it has none or not all that it names."""
        descriptor = record.manifest
        if descriptor is None or self._content.size(Digest(descriptor.digest)) is None:
            return None
        manifest = parse_manifest(self._content.read(Digest(descriptor.digest)))
        blobs = (manifest.config, *(layer for layer in manifest.layers if not layer.urls))
        if any(self._content.size(Digest(blob.digest)) is None for blob in blobs):
            return None
        return manifest

    async def packed(self, image_id: str, hold: Hold) -> ImageRecord:
        """Return the record of an image that has a manifest; one is made if need be.

        Raises InvalidArchive for an image that cannot have one.
        """
        async with self._packing:
            record = self._record(image_id)
            if self.manifest(record) is not None:
                return record
            layers = [await self._packed_layer(layer, hold) for layer in record.layers]
            config = Descriptor(DOCKER_CONFIG, record.id, self._content.size(Digest(record.id)) or 0)
            document = render_docker_manifest(
                config, [Descriptor(layer.media_type, layer.digest, layer.size) for layer in layers]
            )
            digest = Digest.of(document)
            hold.add(digest)
            await blocking(self._content.add, document, durable=True)
            record = msgspec.structs.replace(
                self._record(image_id),
                layers=layers,
                manifest=Descriptor(DOCKER_MANIFEST, str(digest), len(document)),
                index=None,
            )
            with self._store.transaction():
                self._store.put(record)
            return record

    def _record(self, image_id: str) -> ImageRecord:
        record = self._store.get(image_id)
        if record is None:
            raise InvalidArchive(f"image {image_id} was removed meanwhile")
        return record

    async def _packed_layer(self, layer: LayerRecord, hold: Hold) -> LayerRecord:
        """Return ``layer`` as a gzip blob: its own, another image's, or a new one."""
        hold.add(layer.digest)  # it may go when nobody else has it
        for record in (None, *self._store.everything()):
            for known in (layer,) if record is None else record.layers:
                if known.diff_id == layer.diff_id and self._is_gzip(known.digest):
                    hold.add(known.digest)
                    return msgspec.structs.replace(
                        layer, digest=known.digest, size=known.size, media_type=DOCKER_LAYER_GZIP
                    )
        digest, size = await apart(self._pack, layer, hold)
        return msgspec.structs.replace(layer, digest=digest, size=size, media_type=DOCKER_LAYER_GZIP)

    def _is_gzip(self, digest: str) -> bool:
        if self._content.size(Digest(digest)) is None:
            return False
        with self._content.open(Digest(digest)) as file:
            return detect(file.read(MAGIC_BYTES)) is Compression.GZIP

    def _pack(self, layer: LayerRecord, hold: Hold) -> tuple[str, int]:
        """Pack a layer into a new blob; return its digest and size. Blocking."""
        expected = Digest(layer.diff_id)
        # A plain blob that is its own diffID was hashed when it came.
        hasher = expected.hasher() if layer.digest != layer.diff_id else None
        with (
            closing(self._content.open(Digest(layer.digest))) as file,
            self._content.ingest() as ingest,
            GzipWriter(ingest.write) as writer,
        ):

            def take(piece: bytes | memoryview) -> None:
                if hasher is not None:
                    hasher.update(piece)
                writer.write(piece)

            head = file.read(MAGIC_BYTES)
            file.seek(0)
            reader = Decompressor(detect(head), take, f"layer {layer.digest}", self._limits)
            while data := file.read(PIECE):
                reader.feed(data)
            reader.finish()
            writer.finish()
            point("images.pack.layer")
            if hasher is not None and (found := hasher.digest()) != expected:
                raise wrong_diff_id(expected, found)
            hold.add(ingest.digest())
            # on the disk before the row that names it: the plain blob that it replaces may be so since long
            digest = ingest.commit(durable=True)
            return str(digest), ingest.size
