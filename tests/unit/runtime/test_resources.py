"""Limits: what is refused, what is dropped with a warning, and what the spec says."""

from typing import Any

import msgspec
import pytest
from support.facts import facts
from support.shared import table

from sampan.base.errors import InvalidParameter
from sampan.runtime.checks import check_host_config
from sampan.runtime.resources import cgroup_path, check_resources, linux_resources, parse_list
from sampan.wire.containers import ContainerConfig, HostConfig, ThrottleDevice

MIB = 1 << 20


@pytest.mark.parametrize("row", table("engine/resources"), ids=lambda row: str(row["resources"]))
def test_table(row: dict[str, Any]) -> None:
    host = msgspec.convert(row["resources"], HostConfig)
    able = facts(cpu_realtime=row["cpu_realtime"], cpu_shares=row["cpu_shares"])
    if "error" in row:
        with pytest.raises(InvalidParameter) as caught:
            check_host_config(ContainerConfig(), host, able)
        assert str(caught.value) == row["error"]
    else:
        check_host_config(ContainerConfig(), host, able)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"memory": 4096}, "Minimum memory limit allowed is 6MB"),
    ({"memory": -5}, "Minimum memory limit allowed is 6MB"),
    (
        {"memory": 8 * MIB, "memory_swap": 7 * MIB},
        "Minimum memoryswap limit should be larger than memory limit, see usage",
    ),
    (
        {"memory_swap": 8 * MIB},
        "You should always set the Memory limit when using Memoryswap limit, see usage",
    ),
    ({"memory_swappiness": 101}, "Invalid value: 101, valid memory swappiness range is 0-100"),
    ({"memory_reservation": 1}, "Minimum memory reservation allowed is 6MB"),
    (
        {"memory": 8 * MIB, "memory_reservation": 9 * MIB},
        "Minimum memory limit can not be less than memory reservation limit, see usage",
    ),
    (
        {"nano_cpus": 10**9, "cpu_period": 1000},
        "Conflicting options: Nano CPUs and CPU Period cannot both be set",
    ),
    (
        {"nano_cpus": 10**9, "cpu_quota": 1000},
        "Conflicting options: Nano CPUs and CPU Quota cannot both be set",
    ),
    (
        {"nano_cpus": 3 * 10**9},
        "Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available",
    ),
    ({"nano_cpus": -1}, "Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available"),
    (
        {"cpu_period": 10},
        "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
    ),
    ({"cpu_quota": 10}, "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
    ({"cpuset_cpus": "0-2"}, "Requested CPUs are not available - requested 0-2, available: 0-1"),
    ({"cpuset_mems": "1"}, "Requested memory nodes are not available - requested 1, available: 0"),
    ({"cpuset_cpus": "1-"}, "Invalid value 1- for cpuset cpus: invalid format: 1-"),
    ({"cpuset_cpus": "1-99999999"}, "Invalid value 1-99999999 for cpuset cpus: value of out range"),
    ({"blkio_weight": 5}, "Range of blkio weight is from 10 to 1000"),
    ({"blkio_weight": 1001}, "Range of blkio weight is from 10 to 1000"),
]


@pytest.mark.parametrize(("fields", "message"), REFUSED)
def test_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        check_resources(HostConfig(**fields), facts())
    assert str(caught.value).startswith(message)


def test_nothing_to_say() -> None:
    host = HostConfig(memory=64 * MIB, memory_swap=-1, cpu_shares=512, cpuset_cpus="0,1", pids_limit=-1)
    before = msgspec.structs.replace(host)
    assert check_resources(host, facts()) == []
    assert host == before


def test_memory_swap_alone_is_fine_in_an_update() -> None:
    assert check_resources(HostConfig(memory_swap=8 * MIB), facts(), update=True) == []


DISCARDED: list[tuple[dict[str, Any], dict[str, Any], str, str, Any]] = [
    ({"memory": 8 * MIB}, {"memory_limit": False}, "memory limit capabilities", "memory", 0),
    ({"memory": 8 * MIB}, {"swap_limit": False}, "Memory limited without swap", "memory_swap", -1),
    ({"memory_swappiness": 5}, {"memory_swappiness": False}, "swappiness", "memory_swappiness", None),
    ({"memory_reservation": 9 * MIB}, {"memory_reservation": False}, "soft limit", "memory_reservation", 0),
    ({"oom_kill_disable": True}, {"oom_kill_disable": False}, "OomKillDisable", "oom_kill_disable", None),
    ({"pids_limit": 5}, {"pids_limit": False}, "PIDs limit", "pids_limit", None),
    ({"cpu_shares": 5}, {"cpu_shares": False}, "CPU shares", "cpu_shares", 0),
    ({"cpu_quota": 5000}, {"cpu_cfs": False}, "CPU CFS scheduler", "cpu_quota", 0),
    ({"cpuset_cpus": "9"}, {"cpuset": False}, "cpuset", "cpuset_cpus", ""),
    ({"blkio_weight": 50}, {"blkio_weight": False}, "Block I/O weight", "blkio_weight", 0),
    ({"kernel_memory": 9 * MIB}, {}, "kernel memory", "kernel_memory", None),
    ({"cpu_percent": 5}, {}, "CPU percent", "cpu_percent", 0),
    (
        {"blkio_device_read_bps": [ThrottleDevice("/dev/x", 5)]},
        {"blkio_read_bps": False},
        "BPS Block I/O read limit",
        "blkio_device_read_bps",
        [],
    ),
]


@pytest.mark.parametrize(("fields", "lacking", "words", "field", "left"), DISCARDED)
def test_discarded(
    fields: dict[str, Any], lacking: dict[str, Any], words: str, field: str, left: Any
) -> None:
    host = HostConfig(**fields)
    warnings = check_resources(host, facts(**lacking))
    assert any(words in warning for warning in warnings)
    assert getattr(host, field) == left


def test_harmless_wishes_are_dropped_silently() -> None:
    host = HostConfig(oom_kill_disable=False, pids_limit=0, memory_swappiness=-1)
    assert check_resources(host, facts(oom_kill_disable=False, pids_limit=False)) == []
    assert (host.oom_kill_disable, host.pids_limit, host.memory_swappiness) == (None, None, None)


def test_spec() -> None:
    host = HostConfig(
        memory=64 * MIB,
        memory_swap=128 * MIB,
        memory_reservation=32 * MIB,
        oom_kill_disable=True,
        nano_cpus=1_500_000_000,
        cpu_shares=512,
        cpuset_cpus="0",
        pids_limit=0,
        blkio_weight=300,
        blkio_device_read_iops=[ThrottleDevice("/dev/null", 7)],
    )
    assert msgspec.json.decode(msgspec.json.encode(linux_resources(host))) == {
        "memory": {
            "limit": 64 * MIB,
            "swap": 128 * MIB,
            "reservation": 32 * MIB,
            "disableOOMKiller": True,
        },
        "cpu": {"shares": 512, "quota": 150000, "period": 100000, "cpus": "0"},
        "pids": {"limit": -1},
        "blockIO": {
            "weight": 300,
            "throttleReadIOPSDevice": [{"major": 1, "minor": 3, "rate": 7}],
        },
    }


def test_nothing_asked_nothing_said() -> None:
    assert msgspec.to_builtins(linux_resources(HostConfig(memory_swap=-1, oom_kill_disable=False))) == {}


def test_unlimited_swap_is_said_in_an_update_only() -> None:
    host = HostConfig(memory=64 * MIB, memory_swap=-1)
    assert msgspec.to_builtins(linux_resources(host)) == {"memory": {"limit": 64 * MIB}}
    assert msgspec.to_builtins(linux_resources(host, update=True)) == {
        "memory": {"limit": 64 * MIB, "swap": -1}
    }


def test_device_that_is_not_there() -> None:
    host = HostConfig(blkio_device_write_bps=[ThrottleDevice("/dev/nope", 1)])
    with pytest.raises(InvalidParameter, match="stat /dev/nope: no such file or directory"):
        linux_resources(host)


def test_lists() -> None:
    assert parse_list("") == set()
    assert parse_list("0,3-4,7,8-10") == {0, 3, 4, 7, 8, 9, 10}
    assert parse_list("03,1-3") == {1, 2, 3}
    for bad in ("a", "1,", "-1", "3-1", "1--2", "1-2-3", " 1"):
        with pytest.raises(ValueError, match="invalid format"):
            parse_list(bad)


@pytest.mark.parametrize(
    ("parent", "path"),
    [
        ("", "/docker/abc"),
        ("/mine", "/mine/abc"),
        ("mine/inner/", "/mine/inner/abc"),
        ("../../x", "/x/abc"),
        ("/", "/abc"),
        ("..", "/abc"),
    ],
)
def test_cgroup_path(parent: str, path: str) -> None:
    assert cgroup_path(parent, "abc") == path
