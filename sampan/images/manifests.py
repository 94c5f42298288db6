"""What is here of an image for several platforms, manifest by manifest: the tree of ``images --tree``."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from sampan.base.errors import EngineError
from sampan.images.content import ContentStore
from sampan.images.store import ImageRecord, ImageStore
from sampan.oci.config import parse_config
from sampan.oci.descriptor import Descriptor
from sampan.oci.digest import Digest
from sampan.oci.layout import is_attestation
from sampan.oci.manifest import Manifest, parse_index, parse_manifest
from sampan.oci.media_types import INDEXES, MANIFESTS
from sampan.oci.platform import Platform
from sampan.wire.images import (
    AttestationData,
    ContentSize,
    ImageData,
    ManifestSummary,
    OCIDescriptor,
    OCIPlatform,
    UnpackedSize,
)

_FOR: Final = "vnd.docker.reference.digest"  # BuildKit: which image an attestation is about
_MAX_DEPTH: Final = 4


def summarize_manifests(
    record: ImageRecord, content: ContentStore, store: ImageStore, users: Callable[[str], Sequence[str]]
) -> list[ManifestSummary]:
    """Return what there is of each manifest that belongs to the image's name. Blocking.

    ``users`` gives the IDs of the containers of an image ID.
    """
    top = record.index or record.manifest
    return [] if top is None else list(_below(top, content, store, users, 0))


def _below(
    top: Descriptor,
    content: ContentStore,
    store: ImageStore,
    users: Callable[[str], Sequence[str]],
    depth: int,
) -> Iterator[ManifestSummary]:
    if top.media_type not in INDEXES:
        yield _summary(top, content, store, users)
        return
    if depth == _MAX_DEPTH or content.size(Digest(top.digest)) is None:
        return
    for entry in parse_index(content.read(Digest(top.digest))).manifests:
        yield from _below(entry, content, store, users, depth + 1)


def _summary(
    entry: Descriptor, content: ContentStore, store: ImageStore, users: Callable[[str], Sequence[str]]
) -> ManifestSummary:
    manifest = _manifest(entry, content)
    blobs = (manifest.config, *manifest.layers) if manifest is not None else ()
    here = [size for blob in blobs if (size := content.size(Digest(blob.digest))) is not None]
    held = sum(here) + (entry.size if manifest is not None else 0)
    found = ManifestSummary(
        id=entry.digest,
        descriptor=msgspec.convert(msgspec.to_builtins(entry), OCIDescriptor),
        available=manifest is not None and len(here) == len(blobs),
        size=ContentSize(content=held, total=held),
        kind="unknown",
    )
    if is_attestation(entry):
        found.kind = "attestation"
        found.attestation_data = AttestationData(entry.annotations.get(_FOR, ""))
    elif entry.media_type in MANIFESTS:
        found.kind = "image"
        image = store.get(manifest.config.digest) if manifest is not None else None
        unpacked = image.size if image is not None else 0
        found.size.total += unpacked
        found.image_data = ImageData(
            _platform(entry, manifest, content),
            list(users(image.id)) if image is not None else [],
            UnpackedSize(unpacked),
        )
    return found


def _manifest(entry: Descriptor, content: ContentStore) -> Manifest | None:
    if entry.media_type not in MANIFESTS or content.size(Digest(entry.digest)) is None:
        return None
    return parse_manifest(content.read(Digest(entry.digest)))


def _platform(entry: Descriptor, manifest: Manifest | None, content: ContentStore) -> OCIPlatform:
    found: Platform | None = entry.platform
    if found is None and manifest is not None:
        try:
            found = parse_config(content.read(Digest(manifest.config.digest))).platform
        except EngineError:  # its configuration is not here
            found = None
    if found is None:
        return OCIPlatform()
    return OCIPlatform(found.architecture, found.os, found.os_version, list(found.os_features), found.variant)
