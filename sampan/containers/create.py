"""From a create request to a container's row: the image's config merged in, defaults filled in."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from sampan.base.errors import InvalidParameter
from sampan.base.signals import parse_signal
from sampan.wire.containers import ContainerConfig, CreateContainer, HostConfig, LogConfig, Ulimit

_SHM_SIZE: Final = 64 << 20
_INT64_MAX: Final = (1 << 63) - 1
# What an update may change (moby, container.UpdateContainer); all else is fixed when a container is made.
_UPDATABLE: Final = (
    "blkio_weight cpu_shares nano_cpus cpu_period cpu_quota cpuset_cpus cpuset_mems cpu_realtime_period "
    "cpu_realtime_runtime memory memory_swap memory_reservation kernel_memory pids_limit"
).split()


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the daemon's configuration says about containers that do not say it themselves."""

    runtime: str = "crun"
    log_driver: str = "json-file"
    log_options: dict[str, str] = field(default_factory=dict)
    shm_size: int = _SHM_SIZE
    cgroup_parent: str = ""
    cgroupns_mode: str = "private"
    ipc_mode: str = "private"
    init: bool = False
    init_path: str = ""
    no_new_privileges: bool = False
    ulimits: Sequence[Ulimit] = ()


def as_list(words: list[str] | str | None) -> list[str]:
    """Return a command as a list; old clients send it as one string."""
    return [words] if isinstance(words, str) else list(words or [])


def merge_config(user: ContainerConfig, image: ContainerConfig) -> ContainerConfig:
    """Return ``user`` with everything it leaves open taken from ``image`` (Docker's Merge rules).

    Raises InvalidParameter when there is no command at all, or a variable or the stop signal is malformed.
    """
    merged = msgspec.structs.replace(user)
    merged.user = user.user or image.user
    merged.working_dir = user.working_dir or image.working_dir
    merged.exposed_ports = {**(image.exposed_ports or {}), **(user.exposed_ports or {})} or user.exposed_ports
    merged.volumes = {**(image.volumes or {}), **(user.volumes or {})} or None
    merged.labels = {**(image.labels or {}), **(user.labels or {})}
    for entry in user.env or []:
        if not entry or entry.startswith("=") or "\0" in entry:
            raise InvalidParameter(f"invalid environment variable: {entry}")
    if image.env:
        given = {entry.partition("=")[0] for entry in user.env or []}
        kept = [entry for entry in image.env if entry.partition("=")[0] not in given]
        merged.env = [*(user.env or []), *kept]
    command, entrypoint = as_list(user.cmd), user.entrypoint
    if not as_list(entrypoint):
        if not command:
            command = as_list(image.cmd)
        if entrypoint is None:
            entrypoint = image.entrypoint
    elif as_list(entrypoint) == [""]:
        entrypoint = []
    merged.cmd = command or (None if user.cmd is None else [])
    merged.entrypoint = as_list(entrypoint) if entrypoint is not None else None
    merged.stop_signal = user.stop_signal or image.stop_signal
    merged.stop_timeout = user.stop_timeout if user.stop_timeout is not None else image.stop_timeout
    merged.shell = user.shell if user.shell is not None else image.shell
    _merge_health(merged, user, image)
    if not as_list(merged.entrypoint) and not command:
        raise InvalidParameter("no command specified")
    if merged.stop_signal:
        parse_signal(merged.stop_signal)
    return merged


def _merge_health(merged: ContainerConfig, user: ContainerConfig, image: ContainerConfig) -> None:
    if user.healthcheck is None:
        merged.healthcheck = image.healthcheck
        return
    if image.healthcheck is None:
        return
    mine, theirs = user.healthcheck, image.healthcheck
    merged.healthcheck = msgspec.structs.replace(
        mine,
        test=mine.test or theirs.test,
        interval=mine.interval or theirs.interval,
        timeout=mine.timeout or theirs.timeout,
        start_period=mine.start_period or theirs.start_period,
        start_interval=mine.start_interval or theirs.start_interval,
        retries=mine.retries or theirs.retries,
    )


def fill_host_config(host: HostConfig, defaults: Defaults) -> HostConfig:
    """Return ``host`` with the daemon's defaults where it is silent (moby's adaptContainerSettings)."""
    filled = msgspec.structs.replace(host)
    if filled.network_mode in ("", "default"):
        filled.network_mode = "bridge"
    filled.runtime = host.runtime or defaults.runtime
    filled.shm_size = host.shm_size or defaults.shm_size
    filled.ipc_mode = host.ipc_mode or defaults.ipc_mode
    filled.cgroupns_mode = host.cgroupns_mode or ("host" if host.privileged else defaults.cgroupns_mode)
    filled.log_config = LogConfig(
        host.log_config.type or defaults.log_driver,
        {
            **(defaults.log_options if host.log_config.type in ("", defaults.log_driver) else {}),
            **(host.log_config.config or {}),
        },
    )
    if not filled.restart_policy.name:
        filled.restart_policy = msgspec.structs.replace(host.restart_policy, name="no")
    if host.memory > 0 and host.memory_swap == 0:
        filled.memory_swap = min(host.memory * 2, _INT64_MAX)
    if host.init is None and defaults.init:
        filled.init = True
    filled.cgroup_parent = host.cgroup_parent or defaults.cgroup_parent
    if host.privileged and host.security_opt is None:
        filled.security_opt = ["label=disable"]
    if host.auto_remove and filled.restart_policy.name != "no":
        raise InvalidParameter("can't create 'AutoRemove' container with restart policy")
    return filled


def check_network_mode(config: ContainerConfig, host: HostConfig) -> None:
    """Raise InvalidParameter for options that make no sense in the network mode (moby's runconfig)."""
    mode = host.network_mode
    if mode.startswith("container:"):
        conflicts = {
            "hostname and the network mode": bool(config.hostname),
            "container type network can't be used with links. This would result in undefined behavior": bool(
                host.links
            ),
            "dns and the network mode": bool(host.dns),
            "custom host-to-IP mapping and the network mode": bool(host.extra_hosts),
            "mac-address and the network mode": bool(config.mac_address),
            "port publishing and the container type network mode": bool(
                host.port_bindings or host.publish_all_ports
            ),
            "port exposing and the container type network mode": bool(config.exposed_ports),
        }
    elif mode == "host":
        conflicts = {
            "host type networking can't be used with links. This would result in undefined behavior": bool(
                host.links
            ),
        }
    else:
        return
    for text, conflict in conflicts.items():
        if conflict:
            raise InvalidParameter(f"conflicting options: {text}")


def split_body(body: CreateContainer) -> ContainerConfig:
    """Return the portable config of a create request."""
    return ContainerConfig(**{name: getattr(body, name) for name in ContainerConfig.__struct_fields__})


def update_host_config(host: HostConfig, body: HostConfig) -> HostConfig:
    """Return ``host`` with every limit that ``body`` sets; the restart policy is the caller's to check."""
    changes = {name: value for name in _UPDATABLE if (value := getattr(body, name))}
    return msgspec.structs.replace(host, **changes)
