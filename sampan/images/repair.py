"""Finding out whether the blobs and snapshots of images are what the rows say, and making them so again."""

from collections.abc import Iterator
from dataclasses import dataclass

from sampan.base.threads import apart, blocking
from sampan.images.content import ContentStore
from sampan.images.errors import BlobNotFound
from sampan.images.layers import Layers, Snapshots
from sampan.images.planned import StoredBlob
from sampan.images.store import ImageRecord, ImageStore, LayerRecord
from sampan.oci.digest import Digest
from sampan.oci.reference import Reference

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class BlobState:
    """What is wrong with a blob: ``missing``, or ``problem`` in words; neither if it is sound."""

    missing: bool = False
    problem: str = ""


class ImageRepairs:
    """Checks and repairs for one image service. Methods that are not ``async`` and read blobs block."""

    def __init__(
        self, store: ImageStore, content: ContentStore, layers: Layers, snapshots: Snapshots
    ) -> None:
        self._store = store
        self._content = content
        self._layers = layers
        self._snapshots = snapshots

    def wanted_blobs(self) -> dict[str, int]:
        """Return the digests of all blobs that images need, with their sizes; -1: not known."""
        wanted: dict[str, int] = {}
        for record in self._store.everything():
            known = {layer.digest: layer.size for layer in record.layers}
            for document in (record.manifest, record.index):
                if document is not None:
                    known[document.digest] = document.size
            for digest in record.digests():
                wanted[digest] = max(known.get(digest, -1), wanted.get(digest, -1))
        return wanted

    def look_at(self, digest: str, size: int, *, quick: bool) -> BlobState:
        """Say whether a blob is what it should be; ``quick``: its bytes are not read."""
        wanted = Digest(digest)
        found = self._content.size(wanted)
        if found is None:
            return BlobState(missing=True)
        if size >= 0 and found != size:
            return BlobState(problem=f"it has {found} bytes instead of {size}")
        if quick:
            return BlobState()
        hasher = wanted.hasher()
        try:
            with self._content.open(wanted) as file:
                while piece := file.read(_PIECE):
                    hasher.update(piece)
        except BlobNotFound:
            return BlobState(missing=True)
        except OSError as error:
            return BlobState(problem=f"it cannot be read: {error.strerror}")
        return BlobState() if hasher.digest() == wanted else BlobState(problem="its bytes are not its own")

    def plain_layer(self, digest: str) -> tuple[LayerRecord, str | None] | None:
        """Return the layer whose blob is the bare tar ``digest``, and what it stands on; None for others."""
        for record in self._store.everything():
            below: str | None = None
            for layer in record.layers:
                if layer.digest == digest == layer.diff_id:
                    return layer, below
                below = layer.chain_id
        return None

    def drop_blob(self, digest: str) -> None:
        """Remove a blob that is not what it should be; the next pull or load brings it again."""
        self._content.remove(Digest(digest))

    def make_blob(self, layer: LayerRecord, below: str | None) -> None:
        """Make the blob of a bare layer of its snapshot. Raises WrongDigest if that is another by now."""
        with self._content.ingest() as ingest:
            for piece in self._pieces(layer.chain_id, below):
                ingest.write(piece)
            ingest.commit(expected=layer.digest)

    def _pieces(self, chain_id: str, below: str | None) -> Iterator[bytes]:
        pieces = self._snapshots.diff(chain_id, below)
        try:
            yield from pieces
        finally:
            pieces.close()

    def missing_snapshots(self) -> dict[str, ImageRecord]:
        """Return the chainIDs without a snapshot, each with an image that needs it."""
        return {
            layer.chain_id: record
            for record in self._store.everything()
            for layer in record.layers
            if not self._snapshots.exists(layer.chain_id)
        }

    async def unpack(self, record: ImageRecord) -> None:
        """Make the snapshots of an image that are not there of its blobs.

        Raises BlobNotFound, WrongDigest, HostFailure.
        """
        chain = [layer.chain_id for layer in record.layers]
        async with self._layers.leased(chain):
            below: str | None = None
            for layer in record.layers:
                blob = StoredBlob(self._content, Digest(layer.digest), layer.size)
                await self._layers.ensure(layer.chain_id, below, Digest(layer.diff_id), blob)
                below = layer.chain_id

    def stray_names(self) -> list[Reference]:
        """Return the names that stand for no image."""
        return self._store.stray_names()

    def remove_name(self, reference: Reference) -> None:
        """Forget a name."""
        self._store.remove_name(reference)

    async def sweep(self, digest: str) -> bool:
        """Remove a blob unless an image needs it, or somebody works with it; return whether it is gone."""
        swept = await blocking(self._content.sweep, self._store.digests(), [digest])
        await apart(swept.remove)
        return bool(swept.paths)
