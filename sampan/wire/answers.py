"""Small answers of the Docker Engine API that are part of no larger document."""

import msgspec
from msgspec import field


class CreatedExec(msgspec.Struct, rename="pascal"):
    """POST /containers/{id}/exec."""

    id: str


class CommittedImage(msgspec.Struct, rename="pascal"):
    """POST /commit."""

    id: str


class UpdatedContainer(msgspec.Struct, rename="pascal"):
    """POST /containers/{id}/update."""

    warnings: list[str] | None


class ChangedPath(msgspec.Struct, rename="pascal"):
    """One entry of GET /containers/{id}/changes. Kind: 0 modified, 1 added, 2 deleted."""

    path: str
    kind: int


class PrunedContainers(msgspec.Struct, rename="pascal"):
    """POST /containers/prune; SpaceReclaimed in bytes."""

    containers_deleted: list[str] | None
    space_reclaimed: int


class PrunedNetworks(msgspec.Struct, rename="pascal"):
    """POST /networks/prune."""

    networks_deleted: list[str] | None = None


class PrunedBuildCache(msgspec.Struct, rename="pascal"):
    """POST /build/prune; SpaceReclaimed in bytes."""

    caches_deleted: list[str] | None = field(default=None)
    space_reclaimed: int = 0
