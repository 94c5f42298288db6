"""GET /containers/{id}/stats: counters of a container, and those of the moment before for comparison."""

import msgspec
from msgspec import field

from sampan.base.times import ZERO


class PidsStats(msgspec.Struct, omit_defaults=True):
    """Processes and threads; a limit of 2^64-1 is none."""

    current: int = 0
    limit: int = 0


class BlkioEntry(msgspec.Struct):
    """What was done to one device."""

    major: int
    minor: int
    op: str
    value: int


class BlkioStats(msgspec.Struct):
    """Block I/O by what is counted."""

    io_service_bytes_recursive: list[BlkioEntry] | None = None
    io_serviced_recursive: list[BlkioEntry] | None = None
    io_queue_recursive: list[BlkioEntry] | None = None
    io_service_time_recursive: list[BlkioEntry] | None = None
    io_wait_time_recursive: list[BlkioEntry] | None = None
    io_merged_recursive: list[BlkioEntry] | None = None
    io_time_recursive: list[BlkioEntry] | None = None
    sectors_recursive: list[BlkioEntry] | None = None


class StorageStats(msgspec.Struct):
    """Always empty on Linux."""


class CPUUsage(msgspec.Struct):
    """Nanoseconds that processes of the container ran; ``percpu_usage`` only with cgroup v1."""

    total_usage: int = 0
    percpu_usage: list[int] | msgspec.UnsetType = msgspec.UNSET
    usage_in_kernelmode: int = 0
    usage_in_usermode: int = 0


class ThrottlingData(msgspec.Struct):
    """How often, and for how many nanoseconds, a CPU quota stopped the container."""

    periods: int = 0
    throttled_periods: int = 0
    throttled_time: int = 0


class CPUStats(msgspec.Struct):
    """``system_cpu_usage``: nanoseconds of all processors of the host together, idle ones too."""

    cpu_usage: CPUUsage = field(default_factory=CPUUsage)
    system_cpu_usage: int | msgspec.UnsetType = msgspec.UNSET
    online_cpus: int | msgspec.UnsetType = msgspec.UNSET
    throttling_data: ThrottlingData = field(default_factory=ThrottlingData)


class MemoryStats(msgspec.Struct, omit_defaults=True):
    """Bytes. ``stats`` are the lines of the kernel's ``memory.stat``."""

    usage: int = 0
    max_usage: int = 0
    stats: dict[str, int] | None = None
    failcnt: int = 0
    limit: int = 0


class NetworkStats(msgspec.Struct):
    """Counters of one interface."""

    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int


class ContainerStats(msgspec.Struct):
    """One sample; ``precpu_stats`` and ``preread`` are of the sample before in the same stream."""

    name: str
    id: str
    read: str = ZERO
    preread: str = ZERO
    pids_stats: PidsStats = field(default_factory=PidsStats)
    blkio_stats: BlkioStats = field(default_factory=BlkioStats)
    num_procs: int = 0
    storage_stats: StorageStats = field(default_factory=StorageStats)
    cpu_stats: CPUStats = field(default_factory=CPUStats)
    precpu_stats: CPUStats = field(default_factory=CPUStats)
    memory_stats: MemoryStats = field(default_factory=MemoryStats)
    networks: dict[str, NetworkStats] | msgspec.UnsetType = msgspec.UNSET
