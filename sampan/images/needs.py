"""What images need on the disk: their blobs and snapshots, for whoever accounts for them or checks them."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sampan.base.threads import blocking
from sampan.images.content import ContentStore
from sampan.images.layers import Layers
from sampan.images.store import ImageRecord, ImageStore
from sampan.oci.digest import Digest


class ImageNeeds:
    """A read-only view of the images' rows, blobs and leases. Called on the event loop."""

    def __init__(self, store: ImageStore, content: ContentStore, layers: Layers) -> None:
        self._store = store
        self.content = content
        self._layers = layers
        self._shares = Shares(-1, {}, 0)

    def records(self) -> list[ImageRecord]:
        """Return the rows of all images, those that only containers still need included."""
        return self._store.everything()

    def digests(self) -> Collection[str]:
        """Return the digests of all blobs that images need, as they are at any moment."""
        return self._store.digests()

    def name(self, image_id: str) -> str:
        """Return the first name of the image, its ID without one."""
        references = self._store.references(image_id)
        return references[0].familiar if references else image_id

    def blob_path(self, digest: str) -> Path:
        """Return where a blob lies, or would lie."""
        return self.content.path(Digest(digest))

    def held(self) -> Collection[str]:
        """Return the digests of blobs that somebody works with."""
        return self.content.held()

    def leased(self) -> Collection[str]:
        """Return the chainIDs of snapshots that somebody works with."""
        return self._layers.leases()

    def partials(self) -> list[tuple[str, Path]]:
        """Return digest and place of each beginning of a blob."""
        return [(digest, self.content.partial(Digest(digest))) for digest, _ in self.content.partials()]

    async def shares(self, measure: Callable[[Iterable[str]], dict[str, int]]) -> "Shares":
        """Return what images take on the disk; worked out anew when an image has come or gone.

        ``measure`` returns the bytes that snapshots take, by chainID; it blocks.
        """
        while self._shares.version != (version := self._store.version):
            records = self.records()
            chains, digests = list(self._store.chains()), list(self._store.digests())
            layers = await blocking(measure, chains)
            blobs = await blocking(self._blob_sizes, digests)
            shares, total = disk_shares(records, layers, blobs)
            self._shares = Shares(version, shares, total)
        return self._shares

    def _blob_sizes(self, digests: Iterable[str]) -> dict[str, int]:
        return {digest: self.content.disk_size(Digest(digest)) for digest in digests}


@dataclass(frozen=True, slots=True)
class Shares:
    """For each image by ID the bytes that it takes on the disk, and those of them that others need too.

    ``total`` is what all take together; ``version`` that of the rows from which it was worked out.
    """

    version: int
    by_image: Mapping[str, tuple[int, int]]
    total: int


def disk_shares(
    records: Collection[ImageRecord], layers: Mapping[str, int], blobs: Mapping[str, int]
) -> tuple[dict[str, tuple[int, int]], int]:
    """Return what each image takes on the disk, and what of that it shares; and what all take together.

    ``layers`` and ``blobs`` are bytes on the disk by chainID and by digest. Pure.
    """
    # the lowest layer and its blob, a bare tar, have the same digest for a name
    sizes = {("layer", key): size for key, size in layers.items()}
    sizes |= {("blob", key): size for key, size in blobs.items()}
    needs = {
        record.id: {
            *(("layer", layer.chain_id) for layer in record.layers),
            *(("blob", digest) for digest in record.digests()),
        }
        for record in records
    }
    users: dict[tuple[str, str], int] = {}
    for keys in needs.values():
        for key in keys:
            users[key] = users.get(key, 0) + 1
    shares = {
        image_id: (
            sum(sizes.get(key, 0) for key in keys),
            sum(sizes.get(key, 0) for key in keys if users[key] > 1),
        )
        for image_id, keys in needs.items()
    }
    return shares, sum(sizes.get(key, 0) for key in users)
