"""After a power cut: what was not on the disk by then is looked at, and images are made whole or absent.

Only pieces whose rows in ``unsettled`` are of another boot are in doubt. A blob is read and hashed; a layer,
whose files nobody has digests of, is unpacked anew from its blob, under whatever stands on it. An image that
cannot be made whole is dropped, and what is right of its blobs is kept for the next pull.
"""

import logging
from collections.abc import Callable

import msgspec

from sampan.base.errors import EngineError
from sampan.base.faults import point
from sampan.base.ids import short_id
from sampan.base.threads import apart, blocking
from sampan.images.content import ContentStore
from sampan.images.layers import Layers, Snapshots
from sampan.images.planned import StoredBlob
from sampan.images.remove import ImageUsers
from sampan.images.repair import BlobState, ImageRepairs
from sampan.images.store import ImageRecord, ImageStore, LayerRecord
from sampan.images.unsettled import Unsettled, split_keys
from sampan.oci.digest import Digest

_log = logging.getLogger(__name__)


class Recovery:
    """Brings the images of one service back after a power cut, before anybody uses them."""

    def __init__(
        self,
        store: ImageStore,
        content: ContentStore,
        layers: Layers,
        snapshots: Snapshots,
        repairs: ImageRepairs,
        unsettled: Unsettled,
    ) -> None:
        self._store = store
        self._content = content
        self._layers = layers
        self._snapshots = snapshots
        self._repairs = repairs
        self._unsettled = unsettled

    async def run(self, users: ImageUsers) -> list[str]:
        """Look at what is in doubt; return the IDs of the images that were dropped.

        It may be broken off at any point, and begins anew the next time.
        """
        if not self._unsettled.lost:
            return []
        digests, chains = split_keys(self._unsettled.lost)
        chains &= self._store.chains()
        bad = await self._bad_blobs(digests)
        rebuilt: set[str] = set()
        lost: dict[str, str] = {}
        for record in self._store.everything():
            problem = next((bad[digest] for digest in record.digests() if digest in bad), "")
            problem = problem or await self._rebuild(record, chains, rebuilt)
            if problem:
                lost[record.id] = problem
        dropped = [record for record in self._store.everything() if record.id in lost]
        for record in dropped:
            self._say(record, lost[record.id])
        self._forget(dropped, users)
        point("images.recovery.rows")
        await self._clear(dropped, chains - rebuilt, set(bad))
        self._unsettled.resolve()
        return [record.id for record in dropped]

    async def _bad_blobs(self, digests: set[str]) -> dict[str, str]:
        """Return, for those of the blobs ``digests`` with which something is wrong, what it is."""
        bad: dict[str, str] = {}
        for digest, size in self._repairs.wanted_blobs().items():
            if digest in digests:
                state: BlobState = await apart(self._repairs.look_at, digest, size, quick=False)
                if state.missing or state.problem:
                    bad[digest] = f"blob {digest}: {state.problem or 'it is missing'}"
        return bad

    async def _rebuild(self, record: ImageRecord, doubtful: set[str], rebuilt: set[str]) -> str:
        """Unpack the ``doubtful`` layers of an image anew; return what stands against it, or ""."""
        below: str | None = None
        for layer in record.layers:
            if layer.chain_id not in rebuilt and layer.chain_id in doubtful:
                try:
                    await self._layers.rebuild(
                        layer.chain_id, below, Digest(layer.diff_id), self._blob(layer)
                    )
                except EngineError as error:
                    return f"layer {layer.chain_id}: {error}"
                rebuilt.add(layer.chain_id)
                _log.info(
                    "a layer that may not have been on the disk was unpacked again",
                    extra={"layer": layer.chain_id, "image": short_id(record.id)},
                )
            below = layer.chain_id
        return ""

    def _blob(self, layer: LayerRecord) -> StoredBlob:
        return StoredBlob(self._content, Digest(layer.digest), layer.size)

    def _say(self, record: ImageRecord, problem: str) -> None:
        references = self._store.references(record.id)
        names = ", ".join(reference.familiar for reference in references if reference.tag) or record.id
        _log.error(
            "image %s was not on the disk when the machine stopped, and is dropped: pull or load it again",
            names,
            extra={"image": record.id, "reason": problem},
        )

    def _forget(self, records: list[ImageRecord], users: ImageUsers) -> None:
        if not records:
            return
        with self._store.transaction():
            for record in records:
                for reference in self._store.references(record.id):
                    self._store.remove_name(reference)
                if users.containers_of(record.id):
                    self._store.put(msgspec.structs.replace(record, removed=True))
                else:
                    self._store.delete(record.id)

    async def _clear(self, records: list[ImageRecord], damaged: set[str], bad: set[str]) -> None:
        """Remove what is damaged or needed no more; keep the good blobs of layers for the next pull."""
        in_use: Callable[[str], bool] = self._store.chains().__contains__
        for record in records:
            for layer in reversed(record.layers):
                if layer.chain_id in damaged:
                    await self._snapshots.discard(layer.chain_id)
            await self._layers.drop([layer.chain_id for layer in reversed(record.layers)], in_use)
        for digest in bad:
            await blocking(self._content.remove, Digest(digest))
        for record in records:
            for layer in record.layers:
                if layer.digest not in bad and layer.digest not in self._store.digests():
                    await blocking(self._content.put_back, Digest(layer.digest))
            swept = await blocking(self._content.sweep, self._store.digests(), list(record.digests()))
            await blocking(swept.remove)
