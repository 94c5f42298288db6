"""Volumes in the Docker Engine API's JSON."""

import msgspec
from msgspec import field


class Volume(msgspec.Struct, rename="pascal"):
    """GET /volumes/{name}. Mountpoint is a path on the host."""

    name: str
    driver: str
    mountpoint: str
    created_at: str
    labels: dict[str, str] | None
    scope: str
    options: dict[str, str] | None


class CreateVolume(msgspec.Struct, rename="pascal"):
    """Body of POST /volumes/create."""

    name: str = ""
    driver: str = ""
    driver_opts: dict[str, str] | None = None
    labels: dict[str, str] | None = None


class VolumeList(msgspec.Struct, rename="pascal"):
    """GET /volumes."""

    volumes: list[Volume]
    warnings: list[str] | None = None


class PrunedVolumes(msgspec.Struct, rename="pascal"):
    """POST /volumes/prune; SpaceReclaimed in bytes."""

    volumes_deleted: list[str] | None
    space_reclaimed: int = field(default=0)
