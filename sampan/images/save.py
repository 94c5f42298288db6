"""``docker save``: images as an archive that is an OCI layout and Docker's own format at once.

    blobs/sha256/…      manifests, configurations, layers: kept ones as they once arrived
    index.json          an entry for each name (OCI)
    manifest.json       configuration, names and layers of each image (Docker)
    oci-layout, repositories

What an image came with is written again byte for byte, the other platforms of an index included. An image
that came without a manifest gets one, and a layer whose blob is gone is packed anew from its snapshot.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import msgspec

from sampan.base.errors import EngineError, HostFailure, NotFound
from sampan.base.outflow import FilePart, Piece
from sampan.images.content import ContentStore, Hold
from sampan.images.docker_archive import MANIFEST_FILE
from sampan.images.store import ImageRecord
from sampan.images.v1 import REPOSITORIES_FILE
from sampan.oci.config import parse_config
from sampan.oci.descriptor import Descriptor
from sampan.oci.digest import Digest
from sampan.oci.layout import IMAGE_NAME, INDEX_FILE, LAYOUT_FILE, REF_NAME, blob_path, is_attestation
from sampan.oci.manifest import Manifest, parse_index, parse_manifest, render_manifest
from sampan.oci.media_types import INDEXES, MANIFESTS, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST
from sampan.oci.platform import Platform, strict
from sampan.oci.reference import Reference
from sampan.storage.tar_header import BLOCK, DIRECTORY, FILE, Entry, encode, padding

_LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'
_MAX_DEPTH: Final = 8


class Differences(Protocol):
    """The part of the storage service that packs layers anew; it blocks."""

    def diff(self, key: str, parent: str | None) -> Generator[bytes, None, None]: ...


@dataclass(slots=True)
class Wanted:
    """An image to save, and the names to give it; none: it is only known by its ID."""

    record: ImageRecord
    names: list[Reference] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Planned:
    """An image as it is written. ``target`` is what the index names: None for an image without layers."""

    target: Descriptor | None
    config: Descriptor
    layers: Sequence[Descriptor]
    diff_ids: Sequence[str]
    names: Sequence[Reference]


class Saver:
    """Writes images of one store."""

    def __init__(self, content: ContentStore, differences: Differences) -> None:
        self._content = content
        self._differences = differences

    def check(self, record: ImageRecord, platform: Platform | None) -> None:
        """Raise NotFound if the image cannot be saved for ``platform``. Blocking."""
        if platform is not None and not self._is_for(record, platform):
            self._find_other(record, platform)

    def save(self, images: Sequence[Wanted], platform: Platform | None) -> Iterator[Piece]:
        """Yield the archive, piece by piece. Blocking; what it needs is held while it is read.

        Raises NotFound if an image has no manifest for ``platform``, HostFailure if a layer is gone for good.
        """
        with self._content.holding() as hold:
            for image in images:
                for digest in image.record.digests():
                    hold.add(digest)
            blobs: dict[str, int] = {}
            planned = [self._plan(image, platform, blobs, hold) for image in images]
            yield from self._archive(blobs, planned)

    # --- what to write ---

    def _plan(self, image: Wanted, platform: Platform | None, blobs: dict[str, int], hold: Hold) -> _Planned:
        record = image.record
        target: Descriptor | None
        layers: Sequence[Descriptor]
        if platform is not None and not self._is_for(record, platform):
            target, manifest = self._find_other(record, platform)
            config, layers = manifest.config, manifest.layers
        else:
            target, config, layers = self._own(record, hold)
        self._note(blobs, config, *layers)
        if target is not None:
            self._note(blobs, target)
        if platform is None and record.index is not None and target is not None:
            reached = dict(self._reachable(record.index))
            if target.digest in reached:
                self._note(blobs, *reached.values())
                target = record.index
        diff_ids = parse_config(self._content.read(Digest(config.digest))).rootfs.diff_ids
        return _Planned(target, config, layers, diff_ids, image.names)

    def _note(self, blobs: dict[str, int], *descriptors: Descriptor) -> None:
        for descriptor in descriptors:
            blobs[descriptor.digest] = descriptor.size

    def _is_for(self, record: ImageRecord, platform: Platform) -> bool:
        return strict(platform).matches(Platform(record.architecture, record.os, variant=record.variant))

    def _find_other(self, record: ImageRecord, platform: Platform) -> tuple[Descriptor, Manifest]:
        """Return the manifest for ``platform`` among what came with the image, if all of it is there."""
        for descriptor in dict(self._reachable(record.index)).values() if record.index is not None else ():
            if descriptor.media_type not in MANIFESTS or is_attestation(descriptor):
                continue
            manifest = parse_manifest(self._content.read(Digest(descriptor.digest)))
            if not self._has(manifest.config, *manifest.layers):
                continue
            found = descriptor.platform
            if found is None:
                found = parse_config(self._content.read(Digest(manifest.config.digest))).platform
            if strict(platform).matches(found):
                return descriptor, manifest
        raise NotFound(f"no suitable export target found for platform {platform}")

    def _own(
        self, record: ImageRecord, hold: Hold
    ) -> tuple[Descriptor | None, Descriptor, Sequence[Descriptor]]:
        """Return manifest, configuration and layers of the image itself.

        The manifest is the one it came with, if all that it names is there, else a new one.
        """
        if record.manifest is not None and record.manifest.media_type in MANIFESTS:
            with suppress(EngineError):
                manifest = parse_manifest(self._content.read(Digest(record.manifest.digest)))
                if manifest.config.digest == record.id and self._has(*manifest.layers):
                    return record.manifest, manifest.config, manifest.layers
        config = Descriptor(OCI_CONFIG, record.id, self._content.size(Digest(record.id)) or 0)
        layers = [self._layer(record, at, hold) for at in range(len(record.layers))]
        document = render_manifest(config, layers)
        hold.add(Digest.of(document))
        digest = self._content.add(document)
        return Descriptor(OCI_MANIFEST, str(digest), len(document)), config, layers

    def _layer(self, record: ImageRecord, at: int, hold: Hold) -> Descriptor:
        """Return the layer number ``at``: its blob or, where that is gone, one packed from its snapshot."""
        layer = record.layers[at]
        if (size := self._content.size(Digest(layer.digest))) is not None:
            return Descriptor(layer.media_type, layer.digest, size)
        hold.add(layer.diff_id)
        size = self._content.size(Digest(layer.diff_id))
        if size is None:
            parent = record.layers[at - 1].chain_id if at else None
            pieces = self._differences.diff(layer.chain_id, parent)
            with closing(pieces), self._content.ingest() as ingest:
                for piece in pieces:
                    ingest.write(piece)
                if ingest.digest() != layer.diff_id:
                    raise HostFailure(
                        f"the blob of layer {layer.diff_id} is gone, and it cannot be made again"
                    )
                ingest.commit()
                size = ingest.size
        return Descriptor(OCI_LAYER, layer.diff_id, size)

    def _has(self, *descriptors: Descriptor) -> bool:
        return all(self._content.size(Digest(one.digest)) == one.size for one in descriptors)

    def _reachable(self, top: Descriptor, depth: int = 0) -> Iterator[tuple[str, Descriptor]]:
        """Yield by digest what is there at and below ``top``."""
        if depth > _MAX_DEPTH or not self._has(top):
            return
        yield top.digest, top
        if top.media_type in INDEXES:
            for entry in parse_index(self._content.read(Digest(top.digest))).manifests:
                yield from self._reachable(entry, depth + 1)
        elif top.media_type in MANIFESTS:
            manifest = parse_manifest(self._content.read(Digest(top.digest)))
            for below in (manifest.config, *manifest.layers):
                if self._has(below):
                    yield below.digest, below

    # --- writing ---

    def _archive(self, blobs: Mapping[str, int], planned: Sequence[_Planned]) -> Iterator[Piece]:
        yield _folder("blobs/")
        for algorithm in sorted({digest.partition(":")[0] for digest in blobs}):
            yield _folder(f"blobs/{algorithm}/")
        for digest in sorted(blobs):
            yield _head(blob_path(digest), blobs[digest])
            with self._content.open(Digest(digest)) as file:
                yield FilePart(file.fileno(), 0, blobs[digest])
            yield padding(blobs[digest])
        yield from _file(INDEX_FILE, render_index(planned))
        yield from _file(MANIFEST_FILE, msgspec.json.encode([docker_entry(image) for image in planned]))
        yield from _file(LAYOUT_FILE, _LAYOUT)
        if (repositories := old_names(planned)) != {}:
            yield from _file(REPOSITORIES_FILE, msgspec.json.encode(repositories))
        yield bytes(2 * BLOCK)


def render_index(planned: Iterable[_Planned]) -> bytes:
    """Return ``index.json``: an entry for each name, and one for each image that has none."""
    entries: list[Descriptor] = []
    for image in planned:
        if image.target is None:
            continue
        plain = msgspec.structs.replace(
            image.target,
            annotations={
                key: value
                for key, value in image.target.annotations.items()
                if key not in (IMAGE_NAME, REF_NAME)
            },
        )
        for name in image.names:
            names = {IMAGE_NAME: str(name), REF_NAME: name.tag}
            entries.append(msgspec.structs.replace(plain, annotations={**plain.annotations, **names}))
        if not image.names:
            entries.append(plain)
    return msgspec.json.encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})


def docker_entry(image: _Planned) -> dict[str, Any]:
    """Return what Docker's ``manifest.json`` says of one image."""
    sources = dict(zip(image.diff_ids, image.layers, strict=True))
    return {
        "Config": blob_path(image.config.digest),
        "RepoTags": [name.familiar for name in image.names] or None,
        "Layers": [blob_path(layer.digest) for layer in image.layers],
        "LayerSources": {
            diff_id: {"mediaType": layer.media_type, "size": layer.size, "digest": layer.digest}
            for diff_id, layer in sources.items()
        },
    }


def old_names(planned: Iterable[_Planned]) -> dict[str, dict[str, str]]:
    """Return ``repositories``, the names in the form that Docker had before 1.10: by their top layer."""
    found: dict[str, dict[str, str]] = {}
    for image in planned:
        for name in image.names if image.layers else ():
            top = image.layers[-1].digest.partition(":")[2]
            found.setdefault(name.familiar_name, {})[name.tag] = top
    return found


def _head(name: str, size: int) -> bytes:
    return encode(Entry(name.encode(), FILE, 0o644, 0, 0, size, 0))


def _folder(name: str) -> bytes:
    return encode(Entry(name.encode(), DIRECTORY, 0o755, 0, 0, 0, 0))


def _file(name: str, data: bytes) -> Iterator[bytes]:
    yield _head(name, len(data)) + data + padding(len(data))
