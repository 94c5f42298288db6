"""Cgroups of the real kernel, with processes in them."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.kernel.cgroup import Group, Layout, find_layout, remove_if_empty
from sampan.oci.spec import LinuxMemory, LinuxPids, LinuxResources

pytestmark = pytest.mark.root
PARENT = f"/sampan-cgroup-{os.getpid()}"


@pytest.fixture(scope="module")
def layout() -> Layout:
    return find_layout()


@pytest.fixture
def group(layout: Layout) -> Iterator[Group]:
    """A group in every tree, with one below it; gone afterwards."""
    made = Group(layout, f"{PARENT}/one")
    for directory in map(Path, made.directories):
        (directory / "below").mkdir(parents=True)
        for place in (directory.parent, directory, directory / "below"):
            for name in ("cpuset.cpus", "cpuset.mems"):
                if layout.version == 1 and (place / name).exists():
                    (place / name).write_text((place.parent / name).read_text())
    if layout.version == 2:
        (Path(made.directories[0]).parent / "cgroup.subtree_control").write_text("+memory +pids")
    yield made
    made.remove()
    assert not made.exists()
    assert remove_if_empty(layout, PARENT)


def sleeper(group: Group, below: str = "") -> subprocess.Popen[bytes]:
    process = subprocess.Popen(["sleep", "600"])
    for directory in group.directories:
        Path(directory, below, "cgroup.procs").write_text(str(process.pid))
    return process


def state(process: subprocess.Popen[bytes]) -> str:
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2][0]


def test_processes(group: Group) -> None:
    first, second = sleeper(group), sleeper(group, "below")
    assert group.procs() == sorted([first.pid, second.pid])
    group.kill()
    assert {first.wait(10), second.wait(10)} == {-signal.SIGKILL}
    group.kill()
    assert group.procs() == []


def test_freeze_and_thaw(group: Group) -> None:
    process = sleeper(group)
    assert not group.frozen()
    group.freeze()
    assert group.frozen()
    group.freeze()
    group.thaw()
    group.thaw()
    assert not group.frozen()
    process.kill()
    assert process.wait(10) == -signal.SIGKILL


@pytest.mark.parametrize("frozen", [False, True])
def test_remove_kills_what_is_left(group: Group, *, frozen: bool) -> None:
    processes = [sleeper(group), sleeper(group, "below")]
    if frozen:
        group.freeze()
    group.remove()
    assert not group.exists()
    assert [process.wait(10) for process in processes] == [-signal.SIGKILL, -signal.SIGKILL]
    group.remove()
    group.thaw()


def test_update(group: Group) -> None:
    memory, pids = group.directory("memory"), group.directory("pids")
    assert memory is not None
    assert pids is not None
    files = [
        path for name in ("memory.max", "memory.limit_in_bytes") if (path := Path(memory, name)).exists()
    ]
    for limit in (64 << 20, 256 << 20, 32 << 20):
        group.update(
            LinuxResources(memory=LinuxMemory(limit=limit, swap=2 * limit), pids=LinuxPids(limit >> 20))
        )
        assert [int(path.read_text()) for path in files] == [limit]
        assert Path(pids, "pids.max").read_text().strip() == str(limit >> 20)
    group.update(LinuxResources(pids=LinuxPids(-1)))
    assert Path(pids, "pids.max").read_text().strip() == "max"
    assert group.oom_kills() == 0
