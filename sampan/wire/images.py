"""Images in the Docker Engine API's JSON.

What a version of the API lacks or still has is the API's business: optional fields that may be left out are
``UNSET`` until somebody sets them.
"""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType, field

from sampan.wire.containers import ContainerConfig, GraphDriver, HealthConfig


class OCIPlatform(msgspec.Struct, omit_defaults=True):
    """A platform inside a descriptor."""

    architecture: str = ""
    os: str = ""
    os_version: str = field(default="", name="os.version")
    os_features: list[str] = field(default_factory=list, name="os.features")
    variant: str = ""


class OCIDescriptor(msgspec.Struct, rename="camel", omit_defaults=True):
    """A blob's media type, digest and size."""

    media_type: str = ""
    digest: str = ""
    size: int = 0
    urls: list[str] | None = None
    annotations: dict[str, str] | None = None
    platform: OCIPlatform | None = None


class PortableConfig(msgspec.Struct, rename="pascal", omit_defaults=True):
    """Config of an inspected image from API 1.50 on: the fields of the OCI specification and Docker's own."""

    user: str = ""
    exposed_ports: dict[str, Any] | None = None
    env: list[str] | None = None
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    volumes: dict[str, Any] | None = None
    working_dir: str = ""
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    args_escaped: bool = False
    healthcheck: HealthConfig | None = None
    on_build: list[str] | None = None
    shell: list[str] | None = None


class ImageRootFS(msgspec.Struct, rename="pascal"):
    """The diffIDs of an image, base first."""

    type: str = "layers"
    layers: list[str] | UnsetType = UNSET


class ContentSize(msgspec.Struct, rename="pascal"):
    """Bytes that a manifest has here: of its blobs, and with what is unpacked of them."""

    content: int = 0
    total: int = 0


class UnpackedSize(msgspec.Struct, rename="pascal"):
    """Bytes of unpacked files."""

    unpacked: int = 0


class ImageData(msgspec.Struct, rename="pascal"):
    """What a manifest of an image is for, and who uses it."""

    platform: OCIPlatform
    containers: list[str]
    size: UnpackedSize


class AttestationData(msgspec.Struct, rename="pascal"):
    """The manifest that an attestation is about."""

    for_: str = field(default="", name="For")


class ManifestSummary(msgspec.Struct, rename="pascal"):
    """One manifest of an image, from API 1.47 on; ``kind`` is image, attestation or unknown."""

    id: str = field(name="ID")
    descriptor: OCIDescriptor
    available: bool
    size: ContentSize
    kind: str
    image_data: ImageData | UnsetType = UNSET
    attestation_data: AttestationData | UnsetType = UNSET


class ImageMetadata(msgspec.Struct, rename="pascal"):
    """What this engine knows of the image; the zero time says "never tagged here"."""

    last_tag_time: str = "0001-01-01T00:00:00Z"


class InspectedImage(msgspec.Struct, rename="pascal"):
    """GET /images/{name}/json.

    ``config`` is a ContainerConfig below API 1.50. ``container`` and ``container_config`` end with 1.44,
    ``virtual_size`` with 1.43; ``descriptor`` begins with 1.48, as do ``manifests`` where asked for.
    Sizes are bytes.
    """

    id: str
    repo_tags: list[str]
    repo_digests: list[str]
    parent: str
    comment: str
    docker_version: str
    author: str
    config: ContainerConfig | PortableConfig | None
    architecture: str
    os: str
    size: int
    graph_driver: GraphDriver
    root_fs: ImageRootFS = field(name="RootFS")
    metadata: ImageMetadata
    created: str | UnsetType = UNSET
    variant: str | UnsetType = UNSET
    os_version: str | UnsetType = UNSET
    virtual_size: int | UnsetType = UNSET
    container: str | UnsetType = UNSET
    container_config: ContainerConfig | UnsetType = UNSET
    descriptor: OCIDescriptor | UnsetType = UNSET
    manifests: list[ManifestSummary] | UnsetType = UNSET


class ImageSummary(msgspec.Struct, rename="pascal"):
    """One entry of GET /images/json. Created is seconds since 1970; -1 says "not counted"."""

    id: str
    parent_id: str
    repo_tags: list[str]
    repo_digests: list[str]
    created: int
    size: int
    labels: dict[str, str] | None
    shared_size: int = -1
    containers: int = -1
    virtual_size: int | UnsetType = UNSET
    manifests: list[ManifestSummary] | UnsetType = UNSET


class HistoryEntry(msgspec.Struct, rename="pascal"):
    """One entry of GET /images/{name}/history, newest first; Size is the layer's, 0 where there is none."""

    id: str
    created: int
    created_by: str
    tags: list[str] | None
    size: int
    comment: str


class RemovedImage(msgspec.Struct, rename="pascal", omit_defaults=True):
    """One step of DELETE /images/{name}: a name taken away, or an image or layer removed."""

    untagged: str = ""
    deleted: str = ""


class PrunedImages(msgspec.Struct, rename="pascal"):
    """POST /images/prune; SpaceReclaimed is bytes."""

    images_deleted: list[RemovedImage] | None
    space_reclaimed: int


class DistributionInspect(msgspec.Struct, rename="pascal"):
    """GET /distribution/{name}/json."""

    descriptor: OCIDescriptor
    platforms: list[OCIPlatform]


class SearchResult(msgspec.Struct):
    """One entry of GET /images/search: a repository of a registry."""

    star_count: int = 0
    is_official: bool = False
    name: str = ""
    is_automated: bool = False
    description: str = ""
