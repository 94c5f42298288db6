"""From wire structs to the JSON that Docker sends: what Go leaves out when empty, what older versions lack.

Answers are made in the newest form; the tables say what is dropped from it and for whom. A struct that needs
nothing dropped is encoded as it is.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET

from sampan.api.versions import MAX_VERSION, Version
from sampan.images.describe import portable
from sampan.wire.containers import ContainerConfig, ContainerSummary, InspectedContainer
from sampan.wire.images import ImageSummary, InspectedImage
from sampan.wire.system import Info

_Names = frozenset[str]
_encode: Final = msgspec.json.Encoder().encode

ENTRIES_SINCE: Final[Version] = (1, 48)  # entries of a list of containers are the same from then on

# `omitempty` in moby's api/types: left out when empty, zero or false
_CONFIG: Final[_Names] = frozenset(
    {
        "ArgsEscaped",
        "ExposedPorts",
        "Healthcheck",
        "MacAddress",
        "NetworkDisabled",
        "Shell",
        "StopSignal",
    }
)
_HOST_CONFIG: Final[_Names] = frozenset(
    {"Annotations", "KernelMemory", "KernelMemoryTCP", "Mounts", "Runtime", "StorageOpt", "Sysctls", "Tmpfs"}
)
_MOUNT_POINT: Final[_Names] = frozenset({"Driver", "Name", "Type"})
# pointers with `omitempty`: left out when null, kept when zero
_CONFIG_POINTERS: Final[_Names] = frozenset({"StopTimeout"})
_HOST_CONFIG_POINTERS: Final[_Names] = frozenset({"Init"})

_LATER: Final[_Names] = frozenset({"State", "Status"})
_NOT_BRIEF: Final[_Names] = frozenset({"HostConfig", "Labels", "Mounts", "NetworkSettings"})

# fields that came later than the oldest version spoken, by section
_SINCE: Final[Mapping[str, Mapping[str, Version]]] = {
    "HostConfig": {
        "Annotations": (1, 43),
        "CgroupnsMode": (1, 41),
        "DeviceRequests": (1, 40),
        "Init": (1, 25),
        "MaskedPaths": (1, 38),
        "Mounts": (1, 25),
        "ReadonlyPaths": (1, 38),
    },
    "Endpoint": {"DNSNames": (1, 44), "DriverOpts": (1, 29), "GwPriority": (1, 48)},
}


def _drop_empty(section: dict[str, Any], names: _Names, pointers: _Names = frozenset()) -> None:
    for name in names:
        if not section.get(name):
            section.pop(name, None)
    for name in pointers:
        if section.get(name) is None:
            section.pop(name, None)


def _drop_later(section: dict[str, Any], kind: str, version: Version) -> None:
    for name, since in _SINCE[kind].items():
        if version < since:
            section.pop(name, None)


def render_config(config: ContainerConfig) -> dict[str, Any]:
    """Return a Config section."""
    section: dict[str, Any] = msgspec.to_builtins(config)
    _drop_empty(section, _CONFIG, _CONFIG_POINTERS)
    return section


def _user_defined(mode: str) -> bool:
    return mode not in {"bridge", "host", "none", "default", ""} and not mode.startswith("container:")


def render_container(container: InspectedContainer, version: Version) -> dict[str, Any]:
    """Return the answer of GET /containers/{id}/json."""
    document: dict[str, Any] = msgspec.to_builtins(container)
    _drop_empty(document, frozenset(), frozenset({"SizeRw", "SizeRootFs"}))
    config, host, networks = (
        document["Config"],
        document["HostConfig"],
        document["NetworkSettings"]["Networks"],
    )
    _drop_empty(config, _CONFIG, _CONFIG_POINTERS)
    _drop_empty(host, _HOST_CONFIG, _HOST_CONFIG_POINTERS)
    _drop_later(host, "HostConfig", version)
    if host.get("ConsoleSize") is None:
        host["ConsoleSize"] = [0, 0]
    _drop_empty(document["State"], frozenset({"Health"}))
    for point in document["Mounts"]:
        _drop_empty(point, _MOUNT_POINT)
    for name, endpoint in networks.items():
        if version < (1, 45) and _user_defined(name) and endpoint["EndpointID"]:
            aliases = [*(endpoint["Aliases"] or []), container.id[:12], config["Hostname"]]
            endpoint["Aliases"] = list(dict.fromkeys(aliases))
        _drop_later(endpoint, "Endpoint", version)
    return document


def render_containers(containers: Sequence[ContainerSummary], version: Version) -> Any:
    """Return the answer of GET /containers/json, sizes included; see ``render_entries``."""
    if version >= ENTRIES_SINCE and not any(container.mounts for container in containers):
        return containers
    return [_render_summary(container, version) for container in containers]


def render_entry(container: ContainerSummary) -> bytes:
    """Return an entry of GET /containers/json but for its end: state, status and the brace behind them."""
    return _without(_LATER, container)


def render_brief_entry(container: ContainerSummary) -> bytes:
    """Return the same without what the usual table of containers does not show."""
    return _without(_LATER | _NOT_BRIEF, container)


def _without(names: _Names, container: ContainerSummary) -> bytes:
    document = _render_summary(container, MAX_VERSION)
    return _encode({name: value for name, value in document.items() if name not in names})[:-1]


def render_entries(entries: Iterable[tuple[bytes, str, str]]) -> bytes:
    """Return the answer of GET /containers/json from entries, each with its state and its status."""
    pieces = [b"["]
    for entry, state, status in entries:
        pieces += (entry, b',"State":%b,"Status":%b}' % (_encode(state), _encode(status)), b",")
    pieces[-1] = b"]\n" if len(pieces) > 1 else b"[]\n"
    return b"".join(pieces)


def _render_summary(container: ContainerSummary, version: Version) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(container)
    if version < (1, 46):
        document["HostConfig"].pop("Annotations", None)
    for point in document["Mounts"]:
        _drop_empty(point, _MOUNT_POINT)
    for endpoint in document["NetworkSettings"]["Networks"].values():
        _drop_later(endpoint, "Endpoint", version)
    return document


def render_image(image: InspectedImage, version: Version) -> dict[str, Any]:
    """Return the answer of GET /images/{name}/json."""
    config = image.config
    if version >= (1, 44):
        image.virtual_size = UNSET
    if version >= (1, 45):
        image.container = image.container_config = UNSET
    if version < (1, 48):
        image.descriptor = UNSET
    document: dict[str, Any] = msgspec.to_builtins(image)
    if isinstance(config, ContainerConfig):
        old = version < (1, 50)
        document["Config"] = render_config(config) if old else msgspec.to_builtins(portable(config))
    if "ContainerConfig" in document:
        _drop_empty(document["ContainerConfig"], _CONFIG, _CONFIG_POINTERS)
    return document


def render_images(
    images: Iterable[ImageSummary], users: Mapping[str, int], version: Version
) -> Sequence[ImageSummary]:
    """Return the answer of GET /images/json; ``users`` counts the containers of each image by its id."""
    shown = []
    for image in images:
        if version < (1, 43) and not image.repo_tags and not image.repo_digests:
            image.repo_tags, image.repo_digests = ["<none>:<none>"], ["<none>@<none>"]
        if version < (1, 44):
            image.virtual_size = image.size
        image.containers = users.get(image.id, 0) if version >= (1, 51) else -1
        shown.append(image)
    return shown


def render_info(info: Info, version: Version) -> Info:
    """Return the answer of GET /info."""
    if version < (1, 50):
        info.bridge_nf_iptables = info.bridge_nf_ip6tables = False
    if version < (1, 49):
        info.firewall_backend = UNSET
    if version < (1, 42):
        info.kernel_memory = False
    if version < (1, 25):
        info.execution_driver = "<not supported>"
        names = (option.partition(",")[0] for option in info.security_options)
        info.security_options = [name.removeprefix("name=") for name in names]
    return info
