"""Where cgroups are, and what is written to them, on made-up trees."""

import errno
from pathlib import Path

import pytest

from sampan.kernel import cgroup
from sampan.kernel.cgroup import Group, Hierarchy, Layout, find_layout, remove_if_empty, weight_of_shares
from sampan.oci.spec import (
    LinuxBlockIO,
    LinuxCPU,
    LinuxMemory,
    LinuxPids,
    LinuxResources,
    LinuxThrottleDevice,
)

PROC_CGROUPS = "#subsys_name\thierarchy\tnum_cgroups\tenabled\n" + "".join(
    f"{name}\t1\t1\t1\n" for name in ("cpu", "cpuacct", "memory", "freezer", "pids", "hugetlb")
)
V1_LINES = """\
23 1 0:20 / / rw - ext4 /dev/vda rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory,release_agent=/x
34 31 0:30 / /mnt/again rw - cgroup cgroup rw,memory
37 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
"""
UNIFIED = "41 31 0:38 / {} rw - cgroup2 cgroup2 rw\n"


@pytest.fixture
def proc_cgroups(tmp_path: Path) -> str:
    path = tmp_path / "cgroups"
    path.write_text(PROC_CGROUPS)
    return str(path)


def layout_of(tmp_path: Path, mountinfo: str, controllers: str) -> Layout:
    path = tmp_path / "mountinfo"
    path.write_text(mountinfo)
    return find_layout(str(path), controllers)


def test_v1(tmp_path: Path, proc_cgroups: str) -> None:
    layout = layout_of(tmp_path, V1_LINES, proc_cgroups)
    assert (layout.version, layout.hybrid) == (1, False)
    assert layout.controllers == {"cpu", "cpuacct", "memory"}
    assert layout.tree("cpuacct") == "/sys/fs/cgroup/cpu,cpuacct"
    assert layout.tree("memory") == "/sys/fs/cgroup/memory"
    assert layout.tree("io") is None
    assert "/sys/fs/cgroup/systemd/docker/x" in Group(layout, "/docker/x").directories


def test_hybrid(tmp_path: Path, proc_cgroups: str) -> None:
    tree = tmp_path / "unified"
    tree.mkdir()
    (tree / "cgroup.controllers").write_text("hugetlb\n")
    layout = layout_of(tmp_path, V1_LINES + UNIFIED.format(tree), proc_cgroups)
    assert (layout.version, layout.hybrid) == (1, True)
    assert layout.tree("hugetlb") is None
    assert layout.hierarchies[-1] == Hierarchy(str(tree), 2, frozenset({"hugetlb"}))


def test_v2_wins_when_it_is_at_the_root(tmp_path: Path, proc_cgroups: str) -> None:
    named = "37 31 0:37 / /mnt/named rw - cgroup cgroup rw,name=elsewhere\n"
    layout = layout_of(tmp_path, named + UNIFIED.format("/sys/fs/cgroup"), proc_cgroups)
    assert layout.version == 2
    assert layout.hierarchies[0].mountpoint == "/sys/fs/cgroup"


def test_nothing_mounted(tmp_path: Path, proc_cgroups: str) -> None:
    layout = layout_of(tmp_path, "23 1 0:20 / / rw - ext4 /dev/vda rw\n", proc_cgroups)
    assert (layout.version, layout.controllers) == (2, frozenset())


@pytest.mark.parametrize("path", ["", "/", "//", "/..", "/a/..", "../..", "/x\0y"])
def test_the_root_is_out_of_reach(path: str) -> None:
    with pytest.raises(ValueError, match="not a cgroup of a container"):
        Group(Layout(2, (Hierarchy("/sys/fs/cgroup", 2, frozenset()),)), path)


def test_dots_do_not_leave_the_tree() -> None:
    assert Group(Layout(2, (Hierarchy("/t", 2, frozenset()),)), "/../../x").directories == ["/t/x"]


def v2_group(tmp_path: Path, *names: str) -> Group:
    layout = Layout(2, (Hierarchy(str(tmp_path), 2, frozenset({"cpu", "cpuset", "io", "memory", "pids"})),))
    group = Group(layout, "/docker/x")
    directory = Path(group.directories[0])
    directory.mkdir(parents=True)
    for name in names:
        (directory / name).write_text("")
    return group


def v1_group(tmp_path: Path, **files: tuple[str, ...]) -> Group:
    for controller, names in files.items():
        directory = tmp_path / controller / "docker/x"
        directory.mkdir(parents=True)
        for name in names:
            (directory / name).write_text("")
    trees = tuple(Hierarchy(str(tmp_path / name), 1, frozenset({name})) for name in files)
    return Group(Layout(1, trees), "/docker/x")


def test_update_v2(tmp_path: Path) -> None:
    names = (
        "memory.max",
        "memory.swap.max",
        "memory.low",
        "cpu.weight",
        "cpu.max",
        "cpuset.cpus",
        "pids.max",
    )
    group = v2_group(tmp_path, *names, "io.weight", "io.max")
    group.update(
        LinuxResources(
            memory=LinuxMemory(limit=100, swap=150, reservation=50),
            cpu=LinuxCPU(shares=1024, quota=50000, period=100000, cpus="0-1"),
            pids=LinuxPids(-1),
            block_io=LinuxBlockIO(weight=500, throttle_read_bps_device=[LinuxThrottleDevice(8, 0, 1000)]),
        )
    )
    directory = Path(group.directories[0])
    found = {path.name: path.read_text() for path in directory.iterdir()}
    assert found == {
        "memory.max": "100",
        "memory.swap.max": "50",
        "memory.low": "50",
        "cpu.weight": "39",
        "cpu.max": "50000 100000",
        "cpuset.cpus": "0-1",
        "pids.max": "max",
        "io.weight": "4950",
        "io.max": "8:0 rbps=1000",
    }


def test_update_v2_keeps_what_is_not_named(tmp_path: Path) -> None:
    group = v2_group(tmp_path, "memory.max", "memory.swap.max", "cpu.max")
    directory = Path(group.directories[0])
    (directory / "memory.max").write_text("100\n")
    (directory / "cpu.max").write_text("max 200000\n")
    group.update(LinuxResources(memory=LinuxMemory(swap=300), cpu=LinuxCPU(quota=1000)))
    assert (directory / "memory.swap.max").read_text() == "200"
    assert (directory / "cpu.max").read_text() == "1000 200000"
    group.update(LinuxResources(memory=LinuxMemory(limit=100, swap=-1)))
    assert (directory / "memory.swap.max").read_text() == "max"


@pytest.mark.parametrize(
    ("present", "limit", "swap", "first"),
    [
        ("100", 200, 400, "memory.memsw.limit_in_bytes"),  # grows: memsw makes room
        ("1000", 200, 400, "memory.limit_in_bytes"),
        ("100", 200, -1, "memory.memsw.limit_in_bytes"),
    ],
)
def test_memory_and_swap_never_cross(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, present: str, limit: int, swap: int, first: str
) -> None:
    names = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
    group = v1_group(tmp_path, memory=names)
    (tmp_path / "memory/docker/x/memory.memsw.limit_in_bytes").write_text(present)
    order: list[str] = []
    monkeypatch.setattr(cgroup, "_write", lambda path, _text: order.append(Path(path).name))
    group.update(LinuxResources(memory=LinuxMemory(limit=limit, swap=swap)))
    assert order[0] == first
    assert sorted(order) == sorted(names)


def test_period_that_the_present_quota_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = v1_group(tmp_path, cpu=("cpu.cfs_period_us", "cpu.cfs_quota_us"))
    order: list[str] = []

    def write(path: str, text: str) -> None:
        name = Path(path).name
        if name == "cpu.cfs_period_us" and "cpu.cfs_quota_us" not in " ".join(order):
            order.append("refused")
            raise OSError(errno.EINVAL, "no", path)
        order.append(f"{name}={text}")

    monkeypatch.setattr(cgroup, "_write", write)
    group.update(LinuxResources(cpu=LinuxCPU(quota=2000, period=1000)))
    assert order == ["refused", "cpu.cfs_quota_us=2000", "cpu.cfs_period_us=1000"]


def test_controller_that_is_not_there(tmp_path: Path) -> None:
    group = v1_group(tmp_path, memory=())
    with pytest.raises(FileNotFoundError, match="no cgroup controller pids"):
        group.update(LinuxResources(pids=LinuxPids(5)))


def test_processes_of_all_levels(tmp_path: Path) -> None:
    group = v1_group(tmp_path, memory=("cgroup.procs",))
    (tmp_path / "memory/docker/x/inner").mkdir()
    (tmp_path / "memory/docker/x/inner/cgroup.procs").write_text("7\n0\n")
    (tmp_path / "memory/docker/x/cgroup.procs").write_text("12\n7\n")
    assert group.procs() == [7, 12]


def test_oom_kills(tmp_path: Path) -> None:
    group = v1_group(tmp_path, memory=())
    assert group.oom_kills() == 0
    assert group.oom_file is not None
    Path(group.oom_file).write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    assert group.oom_kills() == 3
    assert Group(Layout(1, ()), "/x").oom_file is None


def test_remove_is_idempotent_and_deep(tmp_path: Path) -> None:
    group = v2_group(tmp_path)
    (Path(group.directories[0]) / "a/b").mkdir(parents=True)
    assert group.exists()
    group.remove()
    assert not group.exists()
    group.remove()
    layout = Layout(2, (Hierarchy(str(tmp_path), 2, frozenset()),))
    assert remove_if_empty(layout, "/docker")
    assert not (tmp_path / "docker").exists()


def test_remove_gives_up(tmp_path: Path) -> None:
    group = v2_group(tmp_path, "a-file-that-keeps-it")
    with pytest.raises(OSError, match="busy") as caught:
        group.remove(timeout_s=0)
    assert caught.value.errno == errno.EBUSY
    assert not remove_if_empty(Layout(2, (Hierarchy(str(tmp_path), 2, frozenset()),)), "/docker")


@pytest.mark.parametrize(("shares", "weight"), [(2, 1), (1024, 39), (262144, 10000), (0, 1), (10**9, 10000)])
def test_weights(shares: int, weight: int) -> None:
    assert weight_of_shares(shares) == weight
