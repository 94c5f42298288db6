"""Daemon-wide documents of the Docker Engine API: errors, version, ping, events."""

from typing import Any

import msgspec
from msgspec import field


class ErrorMessage(msgspec.Struct):
    """The body of every error answer."""

    message: str


class VersionComponent(msgspec.Struct, rename="pascal"):
    name: str
    version: str
    details: dict[str, str] = {}


class Platform(msgspec.Struct, rename="pascal"):
    name: str


class Version(msgspec.Struct, rename="pascal"):
    """GET /version."""

    platform: Platform
    components: list[VersionComponent]
    version: str
    api_version: str
    min_api_version: str = field(name="MinAPIVersion")
    git_commit: str
    go_version: str
    os: str
    arch: str
    kernel_version: str
    build_time: str
    experimental: bool = False


class EventActor(msgspec.Struct, rename="pascal"):
    id: str = field(name="ID")
    attributes: dict[str, str] = {}


class EventMessage(msgspec.Struct):
    """One line of GET /events. status, id and from are the old names that clients before 1.22 read."""

    type: str = field(name="Type")
    action: str = field(name="Action")
    actor: EventActor = field(name="Actor")
    scope: str
    time: int
    time_nano: int = field(name="timeNano")
    status: str = ""
    id: str = ""
    from_: str = field(default="", name="from")


class Progress(msgspec.Struct, omit_defaults=True):
    """One line of a JSON stream (load, pull, push, build)."""

    stream: str = ""
    status: str = ""
    id: str = ""
    progress: str = ""
    progress_detail: dict[str, Any] | None = field(default=None, name="progressDetail")
    error: str = ""
    error_detail: dict[str, Any] | None = field(default=None, name="errorDetail")
    aux: dict[str, Any] | None = None
