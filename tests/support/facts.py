"""Facts of an imagined host that can do everything, for tests that change one thing."""

from dataclasses import replace
from typing import Any

from sampan.kernel.cgroup import Hierarchy, Layout
from sampan.kernel.host import HostFacts

CONTROLLERS = frozenset({"cpu", "cpuset", "memory", "pids", "blkio", "devices", "freezer"})
V1 = Layout(
    1, tuple(Hierarchy(f"/sys/fs/cgroup/{name}", 1, frozenset({name})) for name in sorted(CONTROLLERS))
)

_ABLE = HostFacts(
    kernel_version="6.1.0-18-amd64",
    os_name="Debian GNU/Linux 12 (bookworm)",
    os_version="12",
    hostname="host",
    architecture="x86_64",
    ncpu=2,
    mem_total=8 << 30,
    swap_total=1 << 30,
    cgroup_version=1,
    cgroup_hybrid_blocks_crun=False,
    cgroup_layout=V1,
    cgroup_controllers=CONTROLLERS,
    cgroup_namespaces=True,
    memory_limit=True,
    swap_limit=True,
    memory_reservation=True,
    memory_swappiness=True,
    oom_kill_disable=True,
    cpu_shares=True,
    cpu_cfs=True,
    cpu_realtime=True,
    cpuset=True,
    cpuset_cpus="0-1",
    cpuset_mems="0",
    pids_limit=True,
    blkio_weight=True,
    blkio_weight_device=True,
    blkio_read_bps=True,
    blkio_write_bps=True,
    blkio_read_iops=True,
    blkio_write_iops=True,
    apparmor=False,
    selinux=False,
    seccomp=True,
    userns=True,
    bridge_nf_iptables=True,
    bridge_nf_ip6tables=True,
    file_systems=frozenset({"overlay", "proc", "tmpfs"}),
    capabilities=frozenset(range(41)),
    last_capability=40,
    oom_score_adj=0,
)


def facts(**changes: Any) -> HostFacts:
    """Return an able host's facts with ``changes``."""
    return replace(_ABLE, **changes)
