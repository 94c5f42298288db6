"""Volumes in the Docker Engine API's JSON."""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType, field


class Volume(msgspec.Struct, rename="pascal"):
    """GET /volumes/{name}. Mountpoint is a path on the host; Status is what a plugin tells."""

    name: str
    driver: str
    mountpoint: str
    created_at: str
    labels: dict[str, str] | None
    scope: str
    options: dict[str, str] | None
    status: dict[str, Any] | UnsetType = UNSET


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


class CopyVolume(msgspec.Struct, rename="pascal"):
    """Body of POST /sampan/volumes/{name}/clone, …/snapshot and …/rename; Name is that of the new volume."""

    name: str = ""
    labels: dict[str, str] | None = None
    pause: bool = False


class CopiedVolume(msgspec.Struct, rename="pascal"):
    """The volume that a clone, a snapshot or a restore made: bytes of its files, seconds it took."""

    name: str
    mountpoint: str
    size: int
    seconds: float


class VolumeUsage(msgspec.Struct, rename="pascal"):
    """GET /sampan/volumes/{name}/usage: bytes of files and on the disk, and the ids of its containers."""

    name: str
    size: int
    disk: int
    files: int
    containers: list[str]


class VolumeChange(msgspec.Struct, rename="pascal"):
    """An entry of GET /sampan/volumes/{name}/diff; Kind: 0 changed, 1 added, 2 deleted."""

    path: str
    kind: int
