"""What images need on the disk: their blobs and snapshots, for whoever accounts for them or checks them."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sampan.base.threads import blocking
from sampan.images.content import ContentStore
from sampan.images.layers import Layers, Snapshots
from sampan.images.store import ImageRecord, ImageStore
from sampan.oci.digest import Digest

Piece = tuple[str, str]
"""``("layer", chainID)`` or ``("blob", digest)``: a lowest layer, a bare tar, and its blob share a name."""


class ImageNeeds:
    """A read-only view of the images' rows, blobs and leases. Called on the event loop."""

    def __init__(
        self, store: ImageStore, content: ContentStore, layers: Layers, snapshots: Snapshots
    ) -> None:
        self._store = store
        self.content = content
        self._layers = layers
        self._snapshots = snapshots
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

    async def shares(self) -> "Shares":
        """Return what images take on the disk; worked out anew when an image has come or gone."""
        while self._shares.version != (version := self._store.version):
            records = self.records()
            chains, digests = list(self._store.chains()), list(self._store.digests())
            sizes = await blocking(self._sizes, chains, digests)
            self._shares = Shares(version, *disk_shares(records, sizes), sizes)
        return self._shares

    async def freed(self, going: Iterable[str]) -> dict[str, int]:
        """Return the bytes on the disk that each image of ``going`` frees when they go in this order."""
        sizes = (await self.shares()).sizes
        return disk_freed(self.records(), list(going), sizes)

    def _sizes(self, chains: Iterable[str], digests: Iterable[str]) -> dict[Piece, int]:
        layers = self._snapshots.measure(chains)
        sizes = {("layer", chain): usage.disk for chain, usage in layers.items()}
        return sizes | {("blob", digest): self.content.disk_size(Digest(digest)) for digest in digests}


@dataclass(frozen=True, slots=True)
class Shares:
    """For each image by ID the bytes that it takes on the disk, and those of them that others need too.

    ``total`` is what all take together, ``sizes`` what each piece takes; ``version`` that of the rows from
    which it was worked out.
    """

    version: int
    by_image: Mapping[str, tuple[int, int]]
    total: int
    sizes: Mapping[Piece, int] = field(default_factory=dict)


def disk_shares(
    records: Collection[ImageRecord], sizes: Mapping[Piece, int]
) -> tuple[dict[str, tuple[int, int]], int]:
    """Return what each image takes on the disk and what of it others need too, and what all take. Pure."""
    users = _users(records)
    shares = {}
    for record in records:
        pieces = set(_pieces(record))
        whole = sum(sizes.get(piece, 0) for piece in pieces)
        shares[record.id] = (whole, sum(sizes.get(piece, 0) for piece in pieces if users[piece] > 1))
    return shares, sum(sizes.get(piece, 0) for piece in users)


def disk_freed(
    records: Collection[ImageRecord], going: Iterable[str], sizes: Mapping[Piece, int]
) -> dict[str, int]:
    """Return for each image of ``going`` the bytes of what nobody needs any more when it is gone. Pure."""
    users = _users(records)
    by_id = {record.id: record for record in records}
    freed = {}
    for image_id in going:
        pieces = set(_pieces(by_id[image_id])) if image_id in by_id else set()
        users.subtract(pieces)
        freed[image_id] = sum(sizes.get(piece, 0) for piece in pieces if not users[piece])
    return freed


def _users(records: Iterable[ImageRecord]) -> Counter[Piece]:
    """Return how many images need each piece."""
    return Counter(piece for record in records for piece in set(_pieces(record)))


def _pieces(record: ImageRecord) -> Iterator[Piece]:
    yield from (("layer", layer.chain_id) for layer in record.layers)
    yield from (("blob", digest) for digest in record.digests())
