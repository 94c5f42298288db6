"""Limits of a container: checked when it is created or updated, and turned into the resources of its spec.

The rules and the wording are those of moby (daemon/daemon_unix.go, verifyPlatformContainerResources). What
the host cannot do is taken out of the HostConfig, with a warning; what makes no sense is refused.
"""

import os
import posixpath
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sampan.base.errors import HostFailure, InvalidParameter
from sampan.kernel.cgroup import Group, Layout
from sampan.kernel.host import HostFacts
from sampan.oci.spec import (
    LinuxBlockIO,
    LinuxCPU,
    LinuxDeviceCgroup,
    LinuxMemory,
    LinuxPids,
    LinuxResources,
    LinuxThrottleDevice,
    LinuxWeightDevice,
)
from sampan.wire.containers import HostConfig, ThrottleDevice, WeightDevice

MIN_MEMORY: Final = 6 << 20  # moby's own bound: less does not even start
_CPU_PERIOD_US: Final = 100_000
_NANO: Final = 10**9
_UNLIMITED: Final = -1
_MAX_CPUS: Final = 8192
_CGROUP_PARENT: Final = "/docker"
_DISCARDED: Final = "or the cgroup is not mounted."


def cgroup_path(parent: str, container: str) -> str:
    """Return a container's cgroup below ``--cgroup-parent`` (empty: ``/docker``); ``..`` leads nowhere."""
    return "/" + posixpath.normpath(f"/{parent or _CGROUP_PARENT}/{container}").lstrip("/")


def check_resources(host: HostConfig, facts: HostFacts, *, update: bool = False) -> list[str]:
    """Return warnings about the limits in ``host``, and drop those that this host cannot keep.

    Raises InvalidParameter for a limit that is out of range or contradicts another.
    """
    warnings: list[str] = []
    _check_memory(host, facts, warnings, update=update)
    _check_cpu(host, facts, warnings)
    _check_cpuset(host, facts, warnings)
    _check_block_io(host, facts, warnings)
    return warnings


def _check_memory(host: HostConfig, facts: HostFacts, warnings: list[str], *, update: bool) -> None:
    if host.memory_swappiness == _UNLIMITED:
        host.memory_swappiness = None
    if host.memory != 0 and host.memory < MIN_MEMORY:
        raise InvalidParameter("Minimum memory limit allowed is 6MB")
    if host.memory > 0 and not facts.memory_limit:
        warnings.append(
            f"Your kernel does not support memory limit capabilities {_DISCARDED} Limitation discarded."
        )
        host.memory, host.memory_swap = 0, _UNLIMITED
    if host.memory > 0 and host.memory_swap != _UNLIMITED and not facts.swap_limit:
        warnings.append(
            f"Your kernel does not support swap limit capabilities {_DISCARDED} Memory limited without swap."
        )
        host.memory_swap = _UNLIMITED
    if host.memory > 0 and 0 < host.memory_swap < host.memory:
        raise InvalidParameter("Minimum memoryswap limit should be larger than memory limit, see usage")
    if host.memory == 0 and host.memory_swap > 0 and not update:
        raise InvalidParameter(
            "You should always set the Memory limit when using Memoryswap limit, see usage"
        )
    if host.memory_swappiness is not None:
        if not facts.memory_swappiness:
            warnings.append(
                f"Your kernel does not support memory swappiness capabilities {_DISCARDED} "
                "Memory swappiness discarded."
            )
            host.memory_swappiness = None
        elif not 0 <= host.memory_swappiness <= 100:
            raise InvalidParameter(
                f"Invalid value: {host.memory_swappiness}, valid memory swappiness range is 0-100"
            )
    if host.memory_reservation > 0 and not facts.memory_reservation:
        warnings.append(
            f"Your kernel does not support memory soft limit capabilities {_DISCARDED} Limitation discarded."
        )
        host.memory_reservation = 0
    if 0 < host.memory_reservation < MIN_MEMORY:
        raise InvalidParameter("Minimum memory reservation allowed is 6MB")
    if host.memory > 0 and host.memory_reservation > host.memory:
        raise InvalidParameter(
            "Minimum memory limit can not be less than memory reservation limit, see usage"
        )
    if host.kernel_memory:
        warnings.append(
            f"Your kernel does not support kernel memory limit capabilities {_DISCARDED} "
            "Limitation discarded."
        )
        host.kernel_memory = None
    if host.oom_kill_disable is not None and not facts.oom_kill_disable:
        if host.oom_kill_disable:
            warnings.append("Your kernel does not support OomKillDisable. OomKillDisable discarded.")
        host.oom_kill_disable = None
    if host.oom_kill_disable and host.memory == 0:
        warnings.append(
            "OOM killer is disabled for the container, but no memory limit is set, "
            "this can result in the system running out of resources."
        )
    if host.pids_limit is not None and not facts.pids_limit:
        if host.pids_limit > 0:
            warnings.append(
                f"Your kernel does not support PIDs limit capabilities {_DISCARDED} PIDs limit discarded."
            )
        host.pids_limit = None


def _check_cpu(host: HostConfig, facts: HostFacts, warnings: list[str]) -> None:
    if (host.cpu_realtime_period or host.cpu_realtime_runtime) and not facts.cpu_realtime:
        raise InvalidParameter("kernel does not support CPU real-time scheduler")
    if host.cpu_realtime_period and host.cpu_realtime_runtime > host.cpu_realtime_period:
        raise InvalidParameter("cpu real-time runtime cannot be higher than cpu real-time period")
    if facts.cpu_shares and host.cpu_shares < 0:
        raise InvalidParameter(f"invalid CPU shares ({host.cpu_shares}): value must be a positive integer")
    if host.nano_cpus > 0 and host.cpu_period > 0:
        raise InvalidParameter("Conflicting options: Nano CPUs and CPU Period cannot both be set")
    if host.nano_cpus > 0 and host.cpu_quota > 0:
        raise InvalidParameter("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
    if host.nano_cpus > 0 and not facts.cpu_cfs:
        raise InvalidParameter(
            "NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is "
            "not mounted"
        )
    if not 0 <= host.nano_cpus <= facts.ncpu * _NANO:
        raise InvalidParameter(
            f"Range of CPUs is from 0.01 to {facts.ncpu}.00, as there are only {facts.ncpu} CPUs available"
        )
    if host.cpu_shares != 0 and not facts.cpu_shares:
        warnings.append(f"Your kernel does not support CPU shares {_DISCARDED} Shares discarded.")
        host.cpu_shares = 0
    if (host.cpu_period or host.cpu_quota) and not facts.cpu_cfs:
        warnings.append("Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.")
        host.cpu_period = host.cpu_quota = 0
    if host.cpu_period and not 1000 <= host.cpu_period <= 1_000_000:
        raise InvalidParameter(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
        )
    if 0 < host.cpu_quota < 1000:
        raise InvalidParameter("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    if host.cpu_percent > 0:
        warnings.append("linux does not support CPU percent. Percent discarded.")
        host.cpu_percent = 0


def _check_cpuset(host: HostConfig, facts: HostFacts, warnings: list[str]) -> None:
    if (host.cpuset_cpus or host.cpuset_mems) and not facts.cpuset:
        warnings.append(f"Your kernel does not support cpuset {_DISCARDED} Cpuset discarded.")
        host.cpuset_cpus = host.cpuset_mems = ""
    for field, wanted, what, present in (
        ("cpus", host.cpuset_cpus, "CPUs", facts.cpuset_cpus),
        ("mems", host.cpuset_mems, "memory nodes", facts.cpuset_mems),
    ):
        if not wanted:
            continue
        try:
            missing = parse_list(wanted) - parse_list(present)
        except ValueError as error:
            raise InvalidParameter(f"Invalid value {wanted} for cpuset {field}: {error}") from error
        if missing:
            raise InvalidParameter(
                f"Requested {what} are not available - requested {wanted}, available: {present}"
            )


def parse_list(text: str) -> set[int]:
    """Read a list of CPUs or memory nodes (``0-2,4``). Raises ValueError, Docker's words."""
    found: set[int] = set()
    for part in text.split(",") if text else ():
        low, dash, high = part.partition("-")
        numbers = (low, high) if dash else (low,)
        if not all(number.isascii() and number.isdigit() and len(number) < 20 for number in numbers):
            raise ValueError(f"invalid format: {text}")
        first, last = int(numbers[0]), int(numbers[-1])
        if last < first:
            raise ValueError(f"invalid format: {text}")
        if last > _MAX_CPUS:
            raise ValueError(f"value of out range, maximum is {_MAX_CPUS}")
        found.update(range(first, last + 1))
    return found


def _check_block_io(host: HostConfig, facts: HostFacts, warnings: list[str]) -> None:
    if host.blkio_weight > 0 and not facts.blkio_weight:
        warnings.append(f"Your kernel does not support Block I/O weight {_DISCARDED} Weight discarded.")
        host.blkio_weight = 0
    if host.blkio_weight != 0 and not 10 <= host.blkio_weight <= 1000:
        raise InvalidParameter("Range of blkio weight is from 10 to 1000")
    if host.io_maximum_bandwidth or host.io_maximum_iops:
        raise InvalidParameter(
            "Invalid QoS settings: linux does not support Maximum IO Bandwidth or Maximum IO IOps"
        )
    if host.blkio_weight_device and not facts.blkio_weight_device:
        warnings.append(
            f"Your kernel does not support Block I/O weight_device {_DISCARDED} Weight-device discarded."
        )
        host.blkio_weight_device = []
    if host.blkio_device_read_bps and not facts.blkio_read_bps:
        warnings.append(
            f"Your kernel does not support BPS Block I/O read limit {_DISCARDED} "
            "Block I/O BPS read limit discarded."
        )
        host.blkio_device_read_bps = []
    if host.blkio_device_write_bps and not facts.blkio_write_bps:
        warnings.append(
            f"Your kernel does not support BPS Block I/O write limit {_DISCARDED} "
            "Block I/O BPS write limit discarded."
        )
        host.blkio_device_write_bps = []
    if host.blkio_device_read_iops and not facts.blkio_read_iops:
        warnings.append(
            f"Your kernel does not support IOPS Block read limit {_DISCARDED} "
            "Block I/O IOPS read limit discarded."
        )
        host.blkio_device_read_iops = []
    if host.blkio_device_write_iops and not facts.blkio_write_iops:
        warnings.append(
            f"Your kernel does not support IOPS Block write limit {_DISCARDED} "
            "Block I/O IOPS write limit discarded."
        )
        host.blkio_device_write_iops = []


def linux_resources(
    host: HostConfig, devices: Sequence[LinuxDeviceCgroup] = (), *, update: bool = False
) -> LinuxResources:
    """Return the resources that ``host`` asks for; parts that it leaves open are None.

    In an ``update``, swap of -1 takes away a limit that may be there. Looks up block devices by path; raises
    InvalidParameter for one that is not there.
    """
    return LinuxResources(
        devices=devices,
        memory=_memory(host, update=update),
        cpu=_cpu(host),
        block_io=_block_io(host),
        pids=None if host.pids_limit is None else LinuxPids(host.pids_limit if host.pids_limit > 0 else -1),
    )


def _memory(host: HostConfig, *, update: bool) -> LinuxMemory | None:
    memory = LinuxMemory(
        limit=host.memory if host.memory > 0 else None,
        reservation=host.memory_reservation if host.memory_reservation > 0 else None,
        swap=host.memory_swap if host.memory_swap > 0 or (update and host.memory_swap) else None,
        swappiness=host.memory_swappiness,
        disable_oom_killer=True if host.oom_kill_disable else None,
    )
    return None if memory == LinuxMemory() else memory


def _cpu(host: HostConfig) -> LinuxCPU | None:
    quota: int | None = host.cpu_quota or None
    period: int | None = host.cpu_period or None
    if host.nano_cpus > 0:
        quota, period = host.nano_cpus * _CPU_PERIOD_US // _NANO, _CPU_PERIOD_US
    cpu = LinuxCPU(
        shares=host.cpu_shares or None,
        quota=quota,
        period=period,
        realtime_runtime=host.cpu_realtime_runtime or None,
        realtime_period=host.cpu_realtime_period or None,
        cpus=host.cpuset_cpus,
        mems=host.cpuset_mems,
    )
    return None if cpu == LinuxCPU() else cpu


def _block_io(host: HostConfig) -> LinuxBlockIO | None:
    block_io = LinuxBlockIO(
        weight=host.blkio_weight or None,
        weight_device=tuple(
            LinuxWeightDevice(*_numbers(device), device.weight) for device in host.blkio_weight_device or ()
        ),
        throttle_read_bps_device=_throttles(host.blkio_device_read_bps),
        throttle_write_bps_device=_throttles(host.blkio_device_write_bps),
        throttle_read_iops_device=_throttles(host.blkio_device_read_iops),
        throttle_write_iops_device=_throttles(host.blkio_device_write_iops),
    )
    return None if block_io == LinuxBlockIO() else block_io


def _throttles(devices: Sequence[ThrottleDevice] | None) -> tuple[LinuxThrottleDevice, ...]:
    return tuple(LinuxThrottleDevice(*_numbers(device), device.rate) for device in devices or ())


def _numbers(device: WeightDevice | ThrottleDevice) -> tuple[int, int]:
    try:
        number = Path(device.path).stat().st_rdev
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidParameter(f"stat {device.path}: {reason.lower()}") from error
    return os.major(number), os.minor(number)


def update_limits(layout: Layout, path: str, host: HostConfig) -> None:
    """Put the limits of ``host`` on the living cgroup ``path``. Blocks.

    Raises HostFailure with the file that refused one.
    """
    try:
        Group(layout, path).update(linux_resources(host, update=True))
    except OSError as error:
        raise HostFailure(f"cannot update {error.filename or path}: {error.strerror}") from error
