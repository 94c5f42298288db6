"""What a container may ask of this host: checked when it is created, in Docker's words.

Bind mounts, volumes, networks and names are judged by others. The order is moby's, since only the first error
is shown.
"""

import posixpath
from typing import Final

from sampan.base.errors import InvalidParameter
from sampan.kernel.host import HostFacts, ipv4_forwarding
from sampan.runtime.capabilities import normalize
from sampan.runtime.devices import check_access, check_rules
from sampan.runtime.namespaces import is_host, is_valid
from sampan.runtime.resources import check_resources
from sampan.runtime.seccomp_profile import DEFAULT, UNCONFINED, parse_profile
from sampan.runtime.security import parse_security_options
from sampan.runtime.sysctls import check_sysctls
from sampan.runtime.ulimits import check_ulimits
from sampan.wire.containers import ContainerConfig, HealthConfig, HostConfig

_MAX_HOSTNAME: Final = 64  # linux/limits.h via limits.h, HOST_NAME_MAX
_MAX_NAME: Final = 255  # linux/limits.h, NAME_MAX; some kernels do not hold cgroups to it
_MAX_CGROUP_PARENT: Final = 2048  # leaves room in a path (PATH_MAX) for what comes before and after it
_MIN_INTERVAL_NS: Final = 1_000_000


def check_host_config(
    config: ContainerConfig, host: HostConfig, facts: HostFacts, *, update: bool = False
) -> list[str]:
    """Return warnings for the client about ``config`` and ``host``, and drop limits that this host lacks.

    ``config`` is as the client and the image say it, before the engine fills in a hostname; its working
    directory is cleaned. With ``update`` it is that of a container which was checked before. Raises
    InvalidParameter.
    """
    if not update:
        _check_config(config)
        if is_host(host.uts_mode) and config.hostname:
            raise InvalidParameter("conflicting options: hostname and the UTS mode")
    if host.isolation.lower() not in ("", "default"):
        raise InvalidParameter(f"invalid isolation ({host.isolation}): linux only supports 'default'")
    if host.io_maximum_bandwidth:
        raise InvalidParameter(
            "invalid option: QoS maximum bandwidth configuration is not supported on linux"
        )
    if host.io_maximum_iops:
        raise InvalidParameter("invalid option: QoS maximum IOPs configuration is not supported on linux")
    _check_capabilities(host, facts)
    if "" in (host.annotations or {}):
        raise InvalidParameter("invalid Annotations: the empty string is not permitted as an annotation key")
    parent = host.cgroup_parent.encode()
    if len(parent) > _MAX_CGROUP_PARENT or any(len(name) > _MAX_NAME for name in parent.split(b"/")):
        raise InvalidParameter(f"invalid cgroup parent: {host.cgroup_parent}: file name too long")
    warnings = check_resources(host, facts, update=update)
    _check_namespaces(host)
    if host.shm_size < 0:
        raise InvalidParameter("SHM size can not be less than 0")
    if not -1000 <= host.oom_score_adj <= 1000:
        raise InvalidParameter(
            f"Invalid value {host.oom_score_adj}, range for oom score adj is [-1000, 1000]"
        )
    if not update:
        warnings += _network_warnings(host)
    check_ulimits(host.ulimits or ())
    check_sysctls(host)
    check_rules(host.device_cgroup_rules or ())
    for device in host.devices or ():
        check_access(device.cgroup_permissions)
    for request in host.device_requests or ():
        capabilities = " ".join(f"[{' '.join(names)}]" for names in request.capabilities or ())
        raise InvalidParameter(
            f'could not select device driver "{request.driver}" with capabilities: [{capabilities}]'
        )
    _check_security(host, facts)
    if host.cgroupns_mode == "private" and not facts.cgroup_namespaces:
        warnings.append(
            "Your kernel does not support cgroup namespaces.  Cgroup namespace setting discarded."
        )
        host.cgroupns_mode = "host"
    return warnings


def _check_config(config: ContainerConfig) -> None:
    if config.working_dir:
        if not config.working_dir.startswith("/"):
            raise InvalidParameter(
                f"the working directory '{config.working_dir}' is invalid, it needs to be an absolute path"
            )
        config.working_dir = posixpath.normpath(config.working_dir)
    if config.healthcheck is not None:
        _check_health(config.healthcheck)
    if len(config.hostname.encode()) > _MAX_HOSTNAME:
        raise InvalidParameter(f'hostname "{config.hostname}" is too long (maximum {_MAX_HOSTNAME} bytes)')


def _check_health(health: HealthConfig) -> None:
    for name, value in (
        ("Interval", health.interval),
        ("Timeout", health.timeout),
        ("StartPeriod", health.start_period),
        ("StartInterval", health.start_interval),
    ):
        if value != 0 and value < _MIN_INTERVAL_NS:
            raise InvalidParameter(f"{name} in Healthcheck cannot be less than 1ms")
    if health.retries < 0:
        raise InvalidParameter("Retries in Healthcheck cannot be negative")


def _check_capabilities(host: HostConfig, facts: HostFacts) -> None:
    for field, names in (("CapAdd", host.cap_add), ("CapDrop", host.cap_drop)):
        try:
            normalize(names or (), facts)
        except InvalidParameter as error:
            raise InvalidParameter(f"invalid {field}: {error}") from error


def _check_namespaces(host: HostConfig) -> None:
    for kind, mode, what in (
        ("ipc", host.ipc_mode, "IPC mode"),
        ("pid", host.pid_mode, "PID mode"),
        ("uts", host.uts_mode, "UTS mode"),
        ("userns", host.userns_mode, "USER mode"),
        ("cgroupns", host.cgroupns_mode, "cgroup namespace mode"),
    ):
        if not is_valid(kind, mode):
            raise InvalidParameter(f"invalid {what}: {mode}")


def _network_warnings(host: HostConfig) -> list[str]:
    warnings = []
    if host.network_mode not in ("host", "none") and not ipv4_forwarding():
        warnings.append("IPv4 forwarding is disabled. Networking will not work.")
    if is_host(host.network_mode) and host.port_bindings:
        warnings.append("Published ports are discarded when using host network mode")
    return warnings


def _check_security(host: HostConfig, facts: HostFacts) -> None:
    options = parse_security_options(host.security_opt or ())
    if options.seccomp not in ("", UNCONFINED, DEFAULT):
        parse_profile(options.seccomp)
        if not facts.seccomp:
            raise InvalidParameter(
                "seccomp is not enabled in your kernel, cannot run a custom seccomp profile"
            )
