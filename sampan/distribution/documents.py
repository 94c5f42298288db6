"""What a registry has to know of a manifest: its type, what it needs, and what it refers to.

Laxer than ``oci.manifest``, which reads images: a manifest may be of any kind of artifact and have no layers.
The bytes are stored as they came.
"""

from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from sampan.distribution.errors import DigestInvalid, ManifestInvalid
from sampan.distribution.target import parse_digest
from sampan.oci.descriptor import Descriptor, InvalidDocument, decode_leniently
from sampan.oci.digest import Digest
from sampan.oci.media_types import DOCKER_SCHEMA1, INDEXES, MANIFESTS, OCI_INDEX, OCI_MANIFEST

_MOST: Final = 4096  # descriptors in one document
_NONDISTRIBUTABLE: Final = (".nondistributable.", ".foreign.")
_GENERIC: Final = frozenset({"", "application/json", "application/octet-stream"})


class _Document(msgspec.Struct, rename="camel", omit_defaults=True):
    schema_version: int = 0
    media_type: str = ""
    artifact_type: str = ""
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] | UnsetType = UNSET
    manifests: tuple[Descriptor, ...] | UnsetType = UNSET
    subject: Descriptor | None = None
    annotations: dict[str, str] = {}
    fs_layers: msgspec.Raw | UnsetType = UNSET


class Referrer(msgspec.Struct, rename="camel", omit_defaults=True):
    """An entry of a list of referrers, its keys in the specification's order."""

    media_type: str
    size: int
    digest: str
    artifact_type: str = ""
    annotations: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Manifest:
    """A document that was understood.

    ``blobs`` and ``manifests`` are the digests that must be in the repository; ``elsewhere`` (layers that are
    not to be distributed) and ``subject`` ("" if none) need not be. ``artifact_type`` is what the list of
    referrers says.
    """

    media_type: str
    blobs: tuple[Digest, ...] = ()
    manifests: tuple[Digest, ...] = ()
    elsewhere: tuple[Digest, ...] = ()
    subject: str = ""
    artifact_type: str = ""
    annotations: dict[str, str] | None = None

    def referrer(self, digest: Digest, size: int) -> bytes:
        """Render the entry of a list of referrers."""
        entry = Referrer(self.media_type, size, str(digest), self.artifact_type, self.annotations or {})
        return msgspec.json.encode(entry)


_DECODER: Final = msgspec.json.Decoder(_Document)


def parse_manifest(content_type: str, data: bytes) -> Manifest:
    """Understand a manifest that came with ``content_type``. Raises ManifestInvalid."""
    try:
        document = decode_leniently(_DECODER, data, "manifest")
    except InvalidDocument as error:
        raise ManifestInvalid(str(error)) from error
    media_type = _media_type(content_type.partition(";")[0].strip().lower(), document)
    if document.schema_version != 2:
        raise ManifestInvalid(f"schemaVersion must be 2, not {document.schema_version}")
    try:
        if media_type in INDEXES:
            return _index(media_type, document)
        return _manifest(media_type, document)
    except DigestInvalid as error:
        raise ManifestInvalid(f"{error}: {(error.detail or {}).get('digest')}") from error


def _media_type(stated: str, document: _Document) -> str:
    inside = document.media_type
    if stated in _GENERIC:
        stated = inside or (OCI_MANIFEST if document.manifests is UNSET else OCI_INDEX)
    if inside and inside != stated:
        raise ManifestInvalid(f"Content-Type is {stated!r}, but the manifest says mediaType {inside!r}")
    if stated in DOCKER_SCHEMA1 or document.fs_layers is not UNSET:
        raise ManifestInvalid("Docker Image manifest version 2, schema 1 is not supported")
    if stated not in MANIFESTS and stated not in INDEXES:
        raise ManifestInvalid(f"unsupported media type of a manifest: {stated[:200]!r}")
    return stated


def _manifest(media_type: str, document: _Document) -> Manifest:
    if (
        document.manifests is not UNSET
    ):  # it would mean different images to different readers (CVE-2021-41190)
        raise ManifestInvalid("it claims to be an index as well")
    if document.config is None:
        raise ManifestInvalid("it has no config")
    layers = () if document.layers is UNSET else document.layers
    _count(len(layers))
    parts = {parse_digest(each.digest): _lives_elsewhere(each) for each in (document.config, *layers)}
    return Manifest(
        media_type,
        blobs=tuple(digest for digest, elsewhere in parts.items() if not elsewhere),
        elsewhere=tuple(digest for digest, elsewhere in parts.items() if elsewhere),
        subject=_subject(document),
        artifact_type=document.artifact_type or document.config.media_type,
        annotations=document.annotations,
    )


def _index(media_type: str, document: _Document) -> Manifest:
    if document.manifests is UNSET:
        raise ManifestInvalid("it has no manifests")
    if document.config is not None or document.layers is not UNSET:
        raise ManifestInvalid("it claims to be an image manifest as well")
    _count(len(document.manifests))
    return Manifest(
        media_type,
        manifests=tuple(dict.fromkeys(parse_digest(each.digest) for each in document.manifests)),
        subject=_subject(document),
        artifact_type=document.artifact_type,
        annotations=document.annotations,
    )


def _count(found: int) -> None:
    if found > _MOST:
        raise ManifestInvalid(f"{found} descriptors are more than {_MOST}")


def _subject(document: _Document) -> str:
    return str(parse_digest(document.subject.digest)) if document.subject is not None else ""


def _lives_elsewhere(layer: Descriptor) -> bool:
    return any(word in layer.media_type for word in _NONDISTRIBUTABLE)
