"""Counters of cgroups of both versions and of network interfaces, read from files made for it."""

from pathlib import Path

from sampan.kernel.cgroup import Hierarchy, Layout
from sampan.kernel.usage import (
    Interface,
    Operation,
    machine_time_ns,
    parse_blkio,
    parse_interfaces,
    parse_io_stat,
    read_usage,
)

NET_DEV = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls c c
    lo: 100 1 0 0 0 0 0 0 100 1 0 0 0 0 0 0
  eth0:2182 27 1 2 0 0 0 0 656 9 3 4 0 0 0 0
"""


def test_interfaces_but_loopback() -> None:
    assert parse_interfaces(NET_DEV) == {"eth0": Interface(2182, 27, 1, 2, 656, 9, 3, 4)}
    assert parse_interfaces("") == {}


def test_block_operations() -> None:
    text = "8:0 Read 4096\n8:0 Write 0\n8:16 77\nTotal 4096\n"
    assert parse_blkio(text) == [
        Operation(8, 0, "Read", 4096),
        Operation(8, 0, "Write", 0),
        Operation(8, 16, "", 77),
    ]
    assert parse_io_stat("254:0 rbytes=1 wbytes=2 rios=3 wios=4\n7:0 \n") == [
        Operation(254, 0, "read", 1),
        Operation(254, 0, "write", 2),
    ]


def write(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)


def test_version_2(tmp_path: Path) -> None:
    write(
        tmp_path / "a/b",
        {
            "cpu.stat": "usage_usec 30\nuser_usec 20\nsystem_usec 10\n"
            "nr_periods 3\nnr_throttled 2\nthrottled_usec 1\n",
            "memory.current": "4096\n",
            "memory.max": "max\n",
            "memory.events": "low 0\noom 5\noom_kill 1\n",
            "memory.stat": "anon 1\ninactive_file 2\n",
            "io.stat": "",
            "pids.current": "7\n",
            "pids.max": "max\n",
        },
    )
    usage = read_usage(Layout(2, (Hierarchy(str(tmp_path), 2, frozenset()),)), "/a/b")
    cpu, memory = usage.processors, usage.memory
    assert (cpu.total_ns, cpu.user_ns, cpu.kernel_ns, cpu.per_cpu) == (30_000, 20_000, 10_000, [])
    assert (cpu.periods, cpu.throttled_periods, cpu.throttled_ns) == (3, 2, 1000)
    assert (memory.usage, memory.limit, memory.failures) == (4096, 0, 5)
    assert memory.details == {"anon": 1, "inactive_file": 2}
    assert (usage.pids, usage.pids_limit) == (7, 2**64 - 1)


def test_version_1(tmp_path: Path) -> None:
    controllers = ("cpu", "cpuacct", "memory", "pids", "blkio")
    layout = Layout(1, tuple(Hierarchy(str(tmp_path / name), 1, frozenset({name})) for name in controllers))
    write(tmp_path / "cpu/c", {"cpu.stat": "nr_periods 3\nnr_throttled 2\nthrottled_time 9\n"})
    write(
        tmp_path / "cpuacct/c",
        {"cpuacct.usage": "50\n", "cpuacct.usage_percpu": "20 30\n", "cpuacct.stat": "user 1\nsystem 2\n"},
    )
    write(
        tmp_path / "memory/c",
        {
            "memory.usage_in_bytes": "10\n",
            "memory.max_usage_in_bytes": "20\n",
            "memory.limit_in_bytes": "30\n",
            "memory.failcnt": "4\n",
            "memory.stat": "cache 1\ntotal_inactive_file 2\n",
        },
    )
    write(tmp_path / "pids/c", {"pids.current": "2\n", "pids.max": "max\n"})
    write(
        tmp_path / "blkio/c",
        {
            "blkio.bfq.io_service_bytes_recursive": "Total 0\n",
            "blkio.throttle.io_service_bytes_recursive": "8:0 Read 1\nTotal 1\n",
        },
    )
    usage = read_usage(layout, "/c")
    assert (usage.processors.total_ns, usage.processors.per_cpu) == (50, [20, 30])
    assert usage.processors.kernel_ns == 2 * usage.processors.user_ns
    memory = usage.memory
    assert (memory.usage, memory.max_usage, memory.limit, memory.failures) == (10, 20, 30, 4)
    assert (usage.pids, usage.pids_limit) == (2, 0)
    assert usage.io["service_bytes"] == [Operation(8, 0, "Read", 1)]
    assert usage.io["serviced"] == []


def test_a_group_that_has_gone_is_nothing(tmp_path: Path) -> None:
    usage = read_usage(Layout(2, (Hierarchy(str(tmp_path), 2, frozenset()),)), "/gone")
    assert (usage.processors.total_ns, usage.memory.usage, usage.pids) == (0, 0, 0)


def test_the_time_of_the_machine_passes() -> None:
    assert machine_time_ns() > 0
