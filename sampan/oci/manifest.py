"""Image manifests and indexes, OCI's and Docker's schema 2 (they have the same shape).

A manifest is never encoded again: the bytes that arrived are kept, these structs only read them.
"""

from typing import Final, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from sampan.oci.descriptor import Descriptor, ListedDescriptor, check_media_type, decode
from sampan.oci.media_types import DOCKER_MANIFEST, OCI_MANIFEST

MAX_LAYERS: Final = 500  # overlayfs in one mount(2) call ends about there
MAX_MANIFESTS: Final = 4096


class Manifest(msgspec.Struct, rename="camel", omit_defaults=True, frozen=True):
    """An image manifest: the configuration and the layers, base first. Spec: image-spec v1.1, manifest.md.

    There may be no layer at all: an image ``FROM scratch`` that only has a configuration.
    """

    schema_version: Literal[2]
    config: Descriptor
    layers: tuple[Descriptor, ...]
    media_type: str = ""
    artifact_type: str = ""
    subject: Descriptor | None = None
    annotations: dict[str, str] = {}
    # A document that is an index too means different images to different readers: refused (CVE-2021-41190).
    manifests: Raw | UnsetType = UNSET
    fs_layers: Raw | UnsetType = UNSET

    def __post_init__(self) -> None:
        for media_type in filter(None, (self.media_type, self.artifact_type)):
            check_media_type(media_type)
        if len(self.layers) > MAX_LAYERS:
            raise ValueError(f"{len(self.layers)} layers are more than {MAX_LAYERS}")
        if self.manifests is not UNSET or self.fs_layers is not UNSET:
            raise ValueError("it claims to be an index or a schema 1 manifest as well")


class Index(msgspec.Struct, rename="camel", omit_defaults=True, frozen=True):
    """A list of manifests, one a platform, or of further indexes. Spec: image-spec v1.1, image-index.md."""

    schema_version: Literal[2]
    manifests: tuple[ListedDescriptor, ...]
    media_type: str = ""
    artifact_type: str = ""
    subject: Descriptor | None = None
    annotations: dict[str, str] = {}
    config: Raw | UnsetType = UNSET
    layers: Raw | UnsetType = UNSET

    def __post_init__(self) -> None:
        for media_type in filter(None, (self.media_type, self.artifact_type)):
            check_media_type(media_type)
        if len(self.manifests) > MAX_MANIFESTS:
            raise ValueError(f"{len(self.manifests)} manifests are more than {MAX_MANIFESTS}")
        if self.config is not UNSET or self.layers is not UNSET:
            raise ValueError("it claims to be a manifest as well")


_MANIFEST: Final = msgspec.json.Decoder(Manifest)
_INDEX: Final = msgspec.json.Decoder(Index)


def parse_manifest(document: bytes) -> Manifest:
    """Parse an image manifest. Raises InvalidDocument."""
    return decode(_MANIFEST, document, "image manifest")


def parse_index(document: bytes) -> Index:
    """Parse an image index or a Docker manifest list. Raises InvalidDocument."""
    return decode(_INDEX, document, "image index")


class _NewManifest(msgspec.Struct, rename="camel", omit_defaults=True):
    """A manifest of ours, its keys in the order in which others write them."""

    schema_version: int
    media_type: str
    config: Descriptor
    layers: list[Descriptor]


def render_manifest(config: Descriptor, layers: list[Descriptor]) -> bytes:
    """Return the bytes of a new OCI manifest."""
    return _render(OCI_MANIFEST, config, layers)


def render_docker_manifest(config: Descriptor, layers: list[Descriptor]) -> bytes:
    """Return the bytes of a new schema 2 manifest of Docker, which every registry takes."""
    return _render(DOCKER_MANIFEST, config, layers)


def _render(media_type: str, config: Descriptor, layers: list[Descriptor]) -> bytes:
    return msgspec.json.encode(_NewManifest(2, media_type, config, layers))
