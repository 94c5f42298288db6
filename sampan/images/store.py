"""Which images there are and what they are called: two tables of ``state.db`` and their image in memory.

    table images    id: image ID            document: ImageRecord
    table names     id: full reference      document: NameRecord

Writes are durable (``synchronous=FULL``) unless they say otherwise, and made on the event loop, which is the
only thread to use this.
"""

from collections.abc import Iterator, KeysView, Mapping
from contextlib import contextmanager
from typing import Final

import msgspec

from sampan.base.errors import HostFailure, InvalidParameter
from sampan.base.state import StateDB
from sampan.oci.descriptor import Descriptor
from sampan.oci.digest import CANONICAL
from sampan.oci.reference import Reference, parse_canonical

IMAGES: Final = "images"
NAMES: Final = "names"
VERSION: Final = 1


class LayerRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A layer of an image: its blob (as it arrived) and its snapshot (``unpacked`` bytes of files)."""

    diff_id: str
    chain_id: str
    digest: str
    size: int
    media_type: str
    unpacked: int = 0


class ImageRecord(msgspec.Struct, omit_defaults=True, frozen=True):
    """What is kept about an image beside its configuration, which is the blob of its ID.

    ``kept`` are blobs that came with it and belong to other platforms. ``removed``: deleted by force while
    stopped containers use it; its layers stay until they are gone.
    """

    id: str
    architecture: str
    os: str
    layers: list[LayerRecord]
    variant: str = ""
    os_version: str = ""
    created: str | None = None
    created_ns: int | None = None
    labels: dict[str, str] | None = None
    has_config: bool = True
    parent: str = ""
    manifest: Descriptor | None = None
    index: Descriptor | None = None
    kept: list[str] = []
    tagged_ns: int = 0
    removed: bool = False
    version: int = VERSION

    @property
    def chain_id(self) -> str | None:
        """The chainID of the top layer; None for an image without layers."""
        return self.layers[-1].chain_id if self.layers else None

    @property
    def size(self) -> int:
        """Bytes of the files in all layers."""
        return sum(layer.unpacked for layer in self.layers)

    def digests(self) -> Iterator[str]:
        """Yield the digests of all blobs that belong to the image."""
        yield self.id
        yield from (layer.digest for layer in self.layers)
        yield from (descriptor.digest for descriptor in (self.manifest, self.index) if descriptor is not None)
        yield from self.kept


class NameRecord(msgspec.Struct, frozen=True):
    """What a name stands for."""

    image: str


class ImageStore:
    """Images by ID, names by reference, and both ways between. Raises HostFailure for rows it cannot read."""

    def __init__(self, state: StateDB) -> None:
        self._state = state
        self._images: dict[str, ImageRecord] = {}
        self._names: dict[str, tuple[Reference, str]] = {}  # full reference → itself and the image ID
        self._by_image: dict[str, dict[str, Reference]] = {}
        self._chains: dict[str, int] = {}  # chainIDs and digests of blobs: how many images need them
        self._digests: dict[str, int] = {}
        self.version = 0  # another one after each change of a row
        self._load()

    def _load(self) -> None:
        for table in (self._images, self._names, self._by_image, self._chains, self._digests):
            table.clear()
        try:
            for document in self._state.load(IMAGES).values():
                record = msgspec.json.decode(document, type=ImageRecord)
                if record.version > VERSION:
                    raise HostFailure(f"image {record.id} was written by a newer version of the engine")
                self._images[record.id] = record
                self._count(record, 1)
            for text, document in self._state.load(NAMES).items():
                self._remember(parse_canonical(text), msgspec.json.decode(document, type=NameRecord).image)
        except (msgspec.DecodeError, InvalidParameter) as error:
            raise HostFailure(f"the image tables of the state database are damaged: {error}") from error

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[None]:
        """Make the changes of the block one, ``durable`` when it ends; an error takes all of them back."""
        try:
            with self._state.transaction(durable=durable):
                yield
        except BaseException:
            self._load()
            raise

    def images(self) -> Mapping[str, ImageRecord]:
        """Return the images that are not removed, by ID."""
        return {image_id: record for image_id, record in self._images.items() if not record.removed}

    def everything(self) -> list[ImageRecord]:
        """Return all records, those of removed images with containers included."""
        return list(self._images.values())

    def get(self, image_id: str) -> ImageRecord | None:
        """Return the image with this whole ID."""
        record = self._images.get(image_id)
        return None if record is None or record.removed else record

    def get_used(self, image_id: str) -> ImageRecord | None:
        """Return the image with this whole ID, also one that is removed while containers use it."""
        return self._images.get(image_id)

    def put(self, record: ImageRecord, *, durable: bool = True) -> None:
        """Add or replace an image; rows are replaced, never changed in place."""
        self._state.put(IMAGES, record.id, msgspec.json.encode(record), durable=durable)
        self._count(record, 1)
        if (old := self._images.get(record.id)) is not None:
            self._count(old, -1)
        self._images[record.id] = record

    def delete(self, image_id: str) -> None:
        """Forget an image; its names must be gone already."""
        self._state.delete(IMAGES, image_id, durable=True)
        if (old := self._images.pop(image_id, None)) is not None:
            self._count(old, -1)

    def chains(self) -> KeysView[str]:
        """Return the chainIDs of all snapshots that images need, as they are at any moment."""
        return self._chains.keys()

    def digests(self) -> KeysView[str]:
        """Return the digests of all blobs that images need, as they are at any moment."""
        return self._digests.keys()

    def _count(self, record: ImageRecord, change: int) -> None:
        self.version += 1
        chains = (layer.chain_id for layer in record.layers)
        for counts, keys in ((self._chains, chains), (self._digests, record.digests())):
            for key in keys:
                counts[key] = counts.get(key, 0) + change
                if not counts[key]:
                    del counts[key]

    def search(self, prefix: str) -> ImageRecord | None:
        """Return the only image whose ID begins with ``prefix`` (with or without algorithm), or None."""
        digits = prefix.removeprefix(CANONICAL + ":")
        if not digits:
            return None
        wanted = f"{CANONICAL}:{digits}"
        found = [
            record
            for image_id, record in self._images.items()
            if image_id.startswith(wanted) and not record.removed
        ]
        return found[0] if len(found) == 1 else None

    def children(self, image_id: str) -> list[str]:
        """Return the images that were made from this one."""
        return [
            record.id for record in self._images.values() if record.parent == image_id and not record.removed
        ]

    def parents(self) -> set[str]:
        """Return the IDs of all images from which others were made."""
        return {record.parent for record in self._images.values() if record.parent and not record.removed}

    # --- names ---

    def named(self, reference: Reference) -> str | None:
        """Return the ID of the image with this name; a digest counts more than a tag, no tag means latest."""
        found = self._names.get(str(_key(reference)))
        return None if found is None else found[1]

    def references(self, image_id: str) -> list[Reference]:
        """Return the names of an image, sorted by their full text."""
        names = self._by_image.get(image_id)
        return [names[text] for text in sorted(names)] if names else []

    def stray_names(self) -> list[Reference]:
        """Return the names that stand for no image."""
        return [reference for reference, image_id in self._names.values() if image_id not in self._images]

    def tagged(self, name: str) -> list[tuple[Reference, str]]:
        """Return the tags of the repository ``name`` (in full), sorted, with the IDs of their images."""
        found = [entry for entry in self._names.values() if entry[0].name == name and entry[0].tag]
        return sorted(found, key=lambda entry: entry[0].tag)

    def add_name(self, reference: Reference, image_id: str) -> str | None:
        """Let ``reference`` stand for the image; return the ID of the one it stood for.

        Raises InvalidParameter for names that could not be told from digests.
        """
        check_name(reference)
        key = _key(reference)
        old = self.named(key)
        self._state.put(NAMES, str(key), msgspec.json.encode(NameRecord(image_id)), durable=True)
        if old is not None:
            self._forget(key, old)
        self._remember(key, image_id)
        return old

    def remove_name(self, reference: Reference) -> bool:
        """Forget a name; return False if there was none."""
        key = _key(reference)
        if (image_id := self.named(key)) is None:
            return False
        self._state.delete(NAMES, str(key), durable=True)
        self._forget(key, image_id)
        return True

    def _remember(self, reference: Reference, image_id: str) -> None:
        self._names[str(reference)] = (reference, image_id)
        self._by_image.setdefault(image_id, {})[str(reference)] = reference

    def _forget(self, reference: Reference, image_id: str) -> None:
        del self._names[str(reference)]
        names = self._by_image[image_id]
        del names[str(reference)]
        if not names:
            del self._by_image[image_id]


def check_name(reference: Reference) -> None:
    """Raise InvalidParameter if the name could not be told from a digest."""
    if reference.familiar_name == CANONICAL:
        raise InvalidParameter("refusing to create an ambiguous tag using digest algorithm as name")


def _key(reference: Reference) -> Reference:
    return reference.without_tag() if reference.digest else reference.with_default_tag()
