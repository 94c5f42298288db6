"""The figures of ``stats``, worked out of samples as Docker's client does."""

import pytest

from sampan.cli.commands.stats import block_io, cpu_percentage, entry, memory_used, waiting
from sampan.cli.format import Formatter


def cpu(total: int, system: int, online: int = 2) -> dict[str, object]:
    return {"cpu_usage": {"total_usage": total}, "system_cpu_usage": system, "online_cpus": online}


def test_processor_share() -> None:
    assert cpu_percentage(cpu(300, 1100), cpu(100, 100)) == pytest.approx(40.0)
    assert cpu_percentage(cpu(100, 100), cpu(100, 100)) == 0
    assert cpu_percentage({}, {}) == 0
    old = {"cpu_usage": {"total_usage": 50, "percpu_usage": [25, 25]}, "system_cpu_usage": 100}
    assert cpu_percentage(old, {}) == pytest.approx(100.0)


def test_memory_without_cache() -> None:
    assert memory_used({"usage": 500, "stats": {"total_inactive_file": 400, "inactive_file": 1}}) == 100
    assert memory_used({"usage": 500, "stats": {"inactive_file": 400}}) == 100
    assert memory_used({"usage": 500, "stats": {"inactive_file": 501}}) == 500
    assert memory_used({}) == 0


def test_block_operations_of_both_versions() -> None:
    operations = [
        {"op": "Read", "value": 1},
        {"op": "write", "value": 10},
        {"op": "read", "value": 2},
        {"op": "Sync", "value": 100},
        {"op": "", "value": 100},
    ]
    assert block_io({"blkio_stats": {"io_service_bytes_recursive": operations}}) == (3, 10)
    assert block_io({"blkio_stats": {"io_service_bytes_recursive": None}}) == (0, 0)


def test_a_row() -> None:
    sample = {
        "name": "/web",
        "id": "c" * 64,
        "cpu_stats": cpu(300, 1100),
        "memory_stats": {"usage": 1 << 20, "limit": 4 << 20},
        "networks": {"eth0": {"rx_bytes": 1000, "tx_bytes": 1}, "eth1": {"rx_bytes": 500, "tx_bytes": 1}},
        "pids_stats": {"current": 3},
    }
    shown = Formatter("stats").render([entry("web", sample, {"cpu_stats": cpu(100, 100)})])
    assert shown.splitlines()[1].split() == (
        "cccccccccccc web 40.00% 1MiB / 4MiB 25.00% 1.5kB / 2B 0B / 0B 3".split()
    )
    assert "--" in Formatter("stats").render([waiting("web")])
    zeros = Formatter("stats", "{{.CPUPerc}} {{.MemPerc}} {{.PIDs}}").render([entry("x", {}, None)])
    assert zeros == "0.00% 0.00% 0\n"
