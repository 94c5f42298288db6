"""What a cgroup has used so far: time of processors, memory, block I/O, processes; and network interfaces.

Numbers are the kernel's, in bytes and nanoseconds. A file that is not there (a controller that is off, a
group that has just gone) counts as nothing. Blocking, some tenths of a millisecond.
Sources: Documentation/admin-guide/cgroup-v1/{cpuacct,memory,blkio-controller}.rst and cgroup-v2.rst; proc(5).
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from sampan.kernel.cgroup import Layout, read_or_nothing

_TICK_NS: Final = 10**9 // os.sysconf("SC_CLK_TCK")
_USED_FIELDS: Final = 7  # of /proc/stat: user nice system idle iowait irq softirq
_NO_LIMIT: Final = (1 << 64) - 1
_IO_FILES: Final = {
    "service_bytes": ("blkio.bfq.io_service_bytes_recursive", "blkio.throttle.io_service_bytes_recursive"),
    "serviced": ("blkio.bfq.io_serviced_recursive", "blkio.throttle.io_serviced_recursive"),
    "queued": ("blkio.bfq.io_queued_recursive",),
    "service_time": ("blkio.bfq.io_service_time_recursive",),
    "wait_time": ("blkio.bfq.io_wait_time_recursive",),
    "merged": ("blkio.bfq.io_merged_recursive",),
    "time": ("blkio.bfq.time_recursive",),
    "sectors": ("blkio.bfq.sectors_recursive",),
}


@dataclass(slots=True)
class Processors:
    """Time that the group's processes ran; ``per_cpu`` only with v1."""

    total_ns: int = 0
    user_ns: int = 0
    kernel_ns: int = 0
    per_cpu: list[int] = field(default_factory=list)
    periods: int = 0
    throttled_periods: int = 0
    throttled_ns: int = 0


@dataclass(slots=True)
class Memory:
    """Memory in use. ``limit`` 0: none is set; ``max_usage`` only with v1; ``failures`` counts refusals."""

    usage: int = 0
    max_usage: int = 0
    limit: int = 0
    failures: int = 0
    details: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Operation:
    """What was done to one block device; ``kind`` as the kernel names it (``Read``, v2 ``read``)."""

    major: int
    minor: int
    kind: str
    value: int


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface, received (rx) and sent (tx)."""

    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int


@dataclass(slots=True)
class Usage:
    """All of one group at one moment; ``io`` by what is counted, ``service_bytes`` for example."""

    processors: Processors
    memory: Memory
    io: dict[str, list[Operation]]
    pids: int = 0
    pids_limit: int = 0


def read_usage(layout: Layout, path: str) -> Usage:
    """Read the counters of the group ``path``."""
    return _read_v2(layout, path) if layout.version == 2 else _read_v1(layout, path)


def machine_time_ns() -> int:
    """Return the time of all processors since the start, idle or not, in nanoseconds."""
    fields = read_or_nothing("/proc/stat").partition("\n")[0].split()
    return sum(map(int, fields[1 : 1 + _USED_FIELDS])) * _TICK_NS


def read_interfaces(pid: int) -> dict[str, Interface]:
    """Return the interfaces of the network namespace of process ``pid``, loopback left out."""
    return parse_interfaces(read_or_nothing(f"/proc/{pid}/net/dev"))


def parse_interfaces(text: str) -> dict[str, Interface]:
    """Parse /proc/net/dev."""
    found: dict[str, Interface] = {}
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        counts = [int(word) for word in rest.split()]
        if len(counts) >= 12 and name.strip() != "lo":
            found[name.strip()] = Interface(*counts[:4], *counts[8:12])
    return found


# --- v1 ---


def _read_v1(layout: Layout, path: str) -> Usage:
    def read(controller: str, name: str) -> str:
        tree = layout.tree(controller)
        return read_or_nothing(f"{tree}{path}/{name}") if tree is not None else ""

    ticks = _pairs(read("cpuacct", "cpuacct.stat"))
    periods = _pairs(read("cpu", "cpu.stat"))
    limit = _number(read("memory", "memory.limit_in_bytes"))
    return Usage(
        Processors(
            total_ns=_number(read("cpuacct", "cpuacct.usage")),
            user_ns=ticks.get("user", 0) * _TICK_NS,
            kernel_ns=ticks.get("system", 0) * _TICK_NS,
            per_cpu=[int(word) for word in read("cpuacct", "cpuacct.usage_percpu").split()],
            periods=periods.get("nr_periods", 0),
            throttled_periods=periods.get("nr_throttled", 0),
            throttled_ns=periods.get("throttled_time", 0),
        ),
        Memory(
            usage=_number(read("memory", "memory.usage_in_bytes")),
            max_usage=_number(read("memory", "memory.max_usage_in_bytes")),
            limit=limit,
            failures=_number(read("memory", "memory.failcnt")),
            details=_pairs(read("memory", "memory.stat")),
        ),
        {kind: _first(read, names) for kind, names in _IO_FILES.items()},
        pids=_number(read("pids", "pids.current")),
        pids_limit=_number(read("pids", "pids.max")),
    )


def _first(read: Callable[[str, str], str], names: tuple[str, ...]) -> list[Operation]:
    """Return the operations of the first file that has some: which one counts depends on the scheduler."""
    for name in names:
        if found := parse_blkio(read("blkio", name)):
            return found
    return []


def parse_blkio(text: str) -> list[Operation]:
    """Parse lines of ``MAJOR:MINOR [KIND] NUMBER``; the sums at the end are left out."""
    found = []
    for line in text.splitlines():
        device, _, rest = line.partition(" ")
        major, colon, minor = device.partition(":")
        kind, _, value = rest.rpartition(" ")
        if colon and value.isdigit():
            found.append(Operation(int(major), int(minor), kind, int(value)))
    return found


# --- v2 ---


def _read_v2(layout: Layout, path: str) -> Usage:
    folder = layout.hierarchies[0].mountpoint + path

    def read(name: str) -> str:
        return read_or_nothing(f"{folder}/{name}")

    cpu = _pairs(read("cpu.stat"))
    return Usage(
        Processors(
            total_ns=cpu.get("usage_usec", 0) * 1000,
            user_ns=cpu.get("user_usec", 0) * 1000,
            kernel_ns=cpu.get("system_usec", 0) * 1000,
            periods=cpu.get("nr_periods", 0),
            throttled_periods=cpu.get("nr_throttled", 0),
            throttled_ns=cpu.get("throttled_usec", 0) * 1000,
        ),
        Memory(
            usage=_number(read("memory.current")),
            limit=_number(read("memory.max")),
            failures=_pairs(read("memory.events")).get("oom", 0),
            details=_pairs(read("memory.stat")),
        ),
        {"service_bytes": parse_io_stat(read("io.stat"))},
        pids=_number(read("pids.current")),
        pids_limit=_NO_LIMIT if (most := read("pids.max").strip()) == "max" else _number(most),
    )


def parse_io_stat(text: str) -> list[Operation]:
    """Parse io.stat (``8:0 rbytes=1 wbytes=2 …``) into bytes read and written."""
    found = []
    for line in text.splitlines():
        device, *words = line.split()
        major, colon, minor = device.partition(":")
        values = dict(word.split("=", 1) for word in words if "=" in word)
        if colon and values:
            for kind, key in (("read", "rbytes"), ("write", "wbytes")):
                found.append(Operation(int(major), int(minor), kind, int(values.get(key, "0"))))
    return found


def _pairs(text: str) -> dict[str, int]:
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if value.strip().isdigit():
            found[name] = int(value)
    return found


def _number(text: str) -> int:
    """Return the number in ``text``; 0 for nothing and for ``max``."""
    text = text.strip()
    return int(text) if text.isdigit() else 0
