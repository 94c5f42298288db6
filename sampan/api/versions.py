"""The versions of the Engine API: which are spoken, and what requests of older ones mean.

How answers differ between versions is in ``render``.
"""

from typing import Final

from sampan.base.errors import InvalidParameter
from sampan.wire.containers import (
    BindOptions,
    ContainerConfig,
    CreateContainer,
    HostConfig,
    Mount,
    UpdateContainer,
)

Version = tuple[int, ...]
MIN: Final = "1.24"
MAX: Final = "1.51"
MIN_VERSION: Final[Version] = (1, 24)
MAX_VERSION: Final[Version] = (1, 51)
_EMPTY: Final = ContainerConfig()
_NO_CONFIG: Final = {name: getattr(_EMPTY, name) for name in ContainerConfig.__struct_fields__}
SPOKEN: Final[dict[str, Version]] = {"": MAX_VERSION} | {f"1.{minor}": (1, minor) for minor in range(24, 52)}


def parse_version(text: str) -> Version:
    """Parse the digits and dots of ``/v1.47``; empty parts count as 0."""
    return tuple(int(part[-9:] or 0) for part in text.split("."))


def check_version(text: str) -> Version:
    """Return the version ``text`` if it is spoken. Raises InvalidParameter in Docker's words."""
    version = parse_version(text)
    if version < MIN_VERSION:
        raise InvalidParameter(
            f"client version {text} is too old. Minimum supported API version is {MIN}, "
            "please upgrade your client to a newer version"
        )
    if version > MAX_VERSION:
        raise InvalidParameter(f"client version {text} is too new. Maximum supported API version is {MAX}")
    return version


def read_create(body: CreateContainer, version: Version, *, cgroup_v2: bool) -> None:
    """Bring the body of POST /containers/create, sent in ``version``, into the newest form.

    What a version did not know is ignored, as its engines did; what it took for granted is spelled out
    (moby, postContainersCreate). Raises InvalidParameter for what cannot be ignored safely.
    """
    if all(getattr(body, name) == value for name, value in _NO_CONFIG.items()):
        raise InvalidParameter("config cannot be empty in order to create a container")
    host = body.host_config = body.host_config or HostConfig()
    if version < (1, 25):
        host.auto_remove = False
    if version < (1, 40):
        host.kernel_memory_tcp = None
        host.ipc_mode = host.ipc_mode or "shareable"
        host.device_requests = None
    if version < (1, 41) and not cgroup_v2:
        host.cgroupns_mode = host.cgroupns_mode or "host"
    if version < (1, 42):
        host.console_size = None
    else:
        host.kernel_memory = None
    if version < (1, 43):
        host.annotations = None
    for mount in host.mounts or []:
        _read_mount(mount, version)
    if version < (1, 44):
        _read_networks(body)
        if body.healthcheck is not None:
            body.healthcheck.start_interval = 0
    if host.pids_limit is not None and host.pids_limit <= 0:
        host.pids_limit = None


def _read_mount(mount: Mount, version: Version) -> None:
    if version < (1, 42):
        # wrong combinations that were not checked then
        if mount.type != "volume":
            mount.volume_options = None
        if mount.type != "tmpfs":
            mount.tmpfs_options = None
    if version < (1, 45) and mount.volume_options is not None and mount.volume_options.subpath:
        raise InvalidParameter("VolumeOptions.Subpath needs API v1.45 or newer")
    if mount.type == "bind" and version < (1, 44):
        bind = mount.bind_options = mount.bind_options or BindOptions()
        if bind.read_only_force_recursive:
            raise InvalidParameter("BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer")
        bind.read_only_non_recursive = mount.read_only
        bind.create_mountpoint = bind.create_mountpoint and version >= (1, 42)
        bind.non_recursive = bind.non_recursive and version >= (1, 40)


def _read_networks(body: CreateContainer) -> None:
    """A container was made on one network, and its MAC address given for the container as a whole."""
    networking = body.networking_config
    endpoints = (networking.endpoints_config if networking is not None else None) or {}
    if len(endpoints) > 1:
        names = ", ".join(endpoints)
        raise InvalidParameter(f"Container cannot be created with multiple network endpoints: {names}")
    for endpoint in endpoints.values():
        if endpoint is not None:
            endpoint.mac_address = ""


def read_update(body: UpdateContainer, version: Version) -> None:
    """Bring the body of POST /containers/{id}/update, sent in ``version``, into the newest form."""
    if version < (1, 40):
        body.pids_limit = None
    if version >= (1, 42):
        body.kernel_memory = None
