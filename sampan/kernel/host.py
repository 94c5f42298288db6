"""What this machine and its kernel offer to containers, found out once at start.

``probe`` only reads small files of /proc and /sys, runs nothing and loads nothing. What a request needs and
the facts lack is discarded with a warning or refused by ``runtime.resources``, in Docker's words.
"""

import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from sampan.kernel.cgroup import ROOT, Layout, find_layout

_CAP_SYS_RESOURCE: Final = 24  # linux/capability.h
_GOARCH: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


def boot_id() -> str:
    """Return the name of this run of the kernel, another one after each start of the machine."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


@dataclass(frozen=True, slots=True)
class HostFacts:
    """Facts of the host that do not change while the daemon runs. Sizes in bytes."""

    kernel_version: str
    os_name: str  # PRETTY_NAME of os-release
    os_version: str  # VERSION_ID of os-release
    hostname: str
    architecture: str  # as uname says it: "x86_64"
    ncpu: int
    mem_total: int
    swap_total: int
    cgroup_version: int
    cgroup_hybrid_blocks_crun: bool  # crun 1.8 refuses a v2 tree with controllers beside v1
    cgroup_layout: Layout
    cgroup_controllers: frozenset[str]
    cgroup_namespaces: bool
    memory_limit: bool
    swap_limit: bool
    memory_reservation: bool
    memory_swappiness: bool
    oom_kill_disable: bool
    cpu_shares: bool
    cpu_cfs: bool
    cpu_realtime: bool
    cpuset: bool
    cpuset_cpus: str
    cpuset_mems: str
    pids_limit: bool
    blkio_weight: bool
    blkio_weight_device: bool
    blkio_read_bps: bool
    blkio_write_bps: bool
    blkio_read_iops: bool
    blkio_write_iops: bool
    apparmor: bool
    selinux: bool
    seccomp: bool
    userns: bool
    bridge_nf_iptables: bool
    bridge_nf_ip6tables: bool
    file_systems: frozenset[str]
    capabilities: frozenset[int]  # effective ones of this process, by number
    last_capability: int
    oom_score_adj: int  # of this process

    @property
    def goarch(self) -> str:
        """The architecture as images name it: ``amd64``."""
        return _GOARCH.get(self.architecture, self.architecture)

    @property
    def may_raise_limits(self) -> bool:
        """Whether hard resource limits and OOM protection may be raised (CAP_SYS_RESOURCE)."""
        return _CAP_SYS_RESOURCE in self.capabilities

    @property
    def cgroupns_mode(self) -> str:
        """Whose cgroup namespace a container gets where nobody says it, as with Docker."""
        return "private" if self.cgroup_namespaces and self.cgroup_version == 2 else "host"

    def missing(self) -> list[str]:
        """Return one sentence for each feature that the engine can use and this host lacks."""
        return list(_missing(self))


def probe() -> HostFacts:
    """Find out what this host offers. Takes a few milliseconds; needs no privilege for most of it."""
    system = os.uname()
    release = _os_release()
    status = dict(line.partition(":")[::2] for line in _text("/proc/self/status").splitlines())
    memory = dict(line.partition(":")[::2] for line in _text("/proc/meminfo").splitlines())
    layout = find_layout()
    v2 = layout.version == 2
    has = _v2_files(layout) if v2 else _v1_files(layout)
    cpuset = layout.tree("cpuset")
    suffix = ".effective" if v2 else ""
    file_systems = frozenset(line.split("\t")[-1] for line in _text("/proc/filesystems").splitlines())
    return HostFacts(
        kernel_version=system.release,
        os_name=release.get("PRETTY_NAME", "Linux"),
        os_version=release.get("VERSION_ID", ""),
        hostname=system.nodename,
        architecture=system.machine,
        ncpu=len(os.sched_getaffinity(0)),
        mem_total=_kilobytes(memory.get("MemTotal", "0")),
        swap_total=_kilobytes(memory.get("SwapTotal", "0")),
        cgroup_version=layout.version,
        cgroup_hybrid_blocks_crun=bool(layout.hybrid and _text(f"{ROOT}/unified/cgroup.controllers").strip()),
        cgroup_layout=layout,
        cgroup_controllers=layout.controllers,
        cgroup_namespaces=os.path.exists("/proc/self/ns/cgroup"),
        memory_limit="memory" in layout.controllers,
        swap_limit=has("memory", "memory.memsw.limit_in_bytes", "memory.swap.max"),
        memory_reservation=has("memory", "memory.soft_limit_in_bytes", "memory.low"),
        memory_swappiness=has("memory", "memory.swappiness", None),
        oom_kill_disable=has("memory", "memory.oom_control", None),
        cpu_shares=has("cpu", "cpu.shares", "cpu.weight"),
        cpu_cfs=has("cpu", "cpu.cfs_quota_us", "cpu.max"),
        cpu_realtime=has("cpu", "cpu.rt_period_us", None),
        cpuset=cpuset is not None,
        cpuset_cpus=_text(f"{cpuset}/cpuset.cpus{suffix}").strip() if cpuset else "",
        cpuset_mems=_text(f"{cpuset}/cpuset.mems{suffix}").strip() if cpuset else "",
        pids_limit="pids" in layout.controllers,
        blkio_weight=has("io" if v2 else "blkio", "blkio.weight", "io.weight"),
        blkio_weight_device=has("io" if v2 else "blkio", "blkio.weight_device", "io.weight"),
        blkio_read_bps=has("io" if v2 else "blkio", "blkio.throttle.read_bps_device", "io.max"),
        blkio_write_bps=has("io" if v2 else "blkio", "blkio.throttle.write_bps_device", "io.max"),
        blkio_read_iops=has("io" if v2 else "blkio", "blkio.throttle.read_iops_device", "io.max"),
        blkio_write_iops=has("io" if v2 else "blkio", "blkio.throttle.write_iops_device", "io.max"),
        apparmor=os.access("/sys/kernel/security/apparmor/profiles", os.R_OK),
        selinux=os.path.exists("/sys/fs/selinux/enforce"),
        seccomp="Seccomp" in status,
        userns=_number("/proc/sys/user/max_user_namespaces") > 0,
        bridge_nf_iptables=_number("/proc/sys/net/bridge/bridge-nf-call-iptables") == 1,
        bridge_nf_ip6tables=_number("/proc/sys/net/bridge/bridge-nf-call-ip6tables") == 1,
        file_systems=file_systems,
        capabilities=_bits(int(status.get("CapEff", "0").strip() or "0", 16)),
        last_capability=_number("/proc/sys/kernel/cap_last_cap", 40),
        oom_score_adj=_number("/proc/self/oom_score_adj"),
    )


def ipv4_forwarding() -> bool:
    """Return whether the kernel forwards IPv4 packets at the moment."""
    return _number("/proc/sys/net/ipv4/ip_forward") == 1


def hard_limit(kind: int) -> int:
    """Return this process's hard resource limit ``kind`` (``resource.RLIMIT_…``), RLIM_INFINITY for none."""
    return resource.getrlimit(kind)[1]


_HasFile = Callable[[str, str, str | None], bool]


def _v1_files(layout: Layout) -> _HasFile:
    """Say whether the root of a v1 controller's tree has a file (moby's sysinfo asks the same way)."""

    def has(controller: str, v1_name: str, _v2_name: str | None) -> bool:
        tree = layout.tree(controller)
        return tree is not None and os.path.exists(f"{tree}/{v1_name}")

    return has


def _v2_files(layout: Layout) -> _HasFile:
    """Say whether v2 groups have a file: the root has no limits, so look into one with the controller."""
    tree = layout.hierarchies[0].mountpoint
    groups = [entry.path for entry in os.scandir(tree) if entry.is_dir()] if os.path.isdir(tree) else []

    def has(controller: str, _v1_name: str, v2_name: str | None) -> bool:
        if v2_name is None or controller not in layout.controllers:
            return False
        for group in groups:
            if controller in _text(f"{group}/cgroup.controllers").split():
                return os.path.exists(f"{group}/{v2_name}")
        return True

    return has


def _missing(facts: HostFacts) -> Iterator[str]:
    if "overlay" not in facts.file_systems and not _option("OVERLAY_FS"):
        yield "overlay is not in this kernel: layers are copied (vfs driver), slow and large"
    if not facts.seccomp:
        yield "seccomp is not in this kernel: containers run without a system call filter"
    if not facts.apparmor:
        yield "AppArmor is not enabled (or securityfs not mounted): its profiles are not applied"
    if not facts.selinux:
        yield "SELinux is not enabled: labels are not applied"
    if not facts.userns:
        yield "user namespaces are not available: userns-remap and rootless cannot be used"
    if facts.cgroup_hybrid_blocks_crun:
        yield (
            "cgroup v2 holds controllers beside v1 (hybrid): crun is started with the v2 tree unmounted "
            "in a mount namespace of its own"
        )
    wanted = {
        "memory": "--memory",
        "cpu": "--cpus and --cpu-shares",
        "cpuset": "--cpuset-cpus",
        "pids": "--pids-limit",
        "io" if facts.cgroup_version == 2 else "blkio": "--blkio-weight and --device-read-bps",
    }
    for controller, flags in wanted.items():
        if controller not in facts.cgroup_controllers:
            yield f"cgroup controller {controller} is not mounted: {flags} cannot be honoured"
    if facts.memory_limit and not facts.swap_limit:
        yield "swap accounting is off: --memory-swap cannot be honoured"
    if not facts.may_raise_limits:
        yield "CAP_SYS_RESOURCE is missing: limits above the daemon's own and negative OOM scores are clamped"
    if not ipv4_forwarding():
        yield "net.ipv4.ip_forward is 0: containers on a bridge cannot reach other hosts"
    optional = {
        "BRIDGE": "bridge networks",
        "VETH": "bridge networks",
        "NF_TABLES": "published ports and masquerading",
        "VXLAN": "overlay networks",
        "MACVLAN": "macvlan networks",
        "IPVLAN": "ipvlan networks",
        "IP_VS": "IPVS load balancing",
        "INET_ESP": "encrypted overlay networks",
        "WIREGUARD": "WireGuard tunnels",
        "BTRFS_FS": "the btrfs storage driver",
    }
    for option, use in optional.items():
        if _option(option) is False:
            yield f"CONFIG_{option} is not set in this kernel: no {use}"


_kernel_config: dict[str, bool] = {}


def _option(name: str) -> bool | None:
    """Return whether the kernel was built with ``CONFIG_<name>``, None if nothing tells."""
    if not _kernel_config:
        text = ""
        with suppress(OSError):
            if os.path.exists("/proc/config.gz"):
                import gzip

                with gzip.open("/proc/config.gz", "rt") as compressed:
                    text = compressed.read()
            else:
                text = _text(f"/boot/config-{os.uname().release}")
        for line in text.splitlines():
            key, equals, value = line.partition("=")
            if equals and value in ("y", "m"):
                _kernel_config[key.removeprefix("CONFIG_")] = True
    return _kernel_config.get(name, False) if _kernel_config else None


def _os_release() -> dict[str, str]:
    text = _text("/etc/os-release") or _text("/usr/lib/os-release")
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip().strip("\"'") for key, _, value in pairs}


def _kilobytes(text: str) -> int:
    return int(text.split()[0]) * 1024


def _bits(mask: int) -> frozenset[int]:
    return frozenset(bit for bit in range(64) if mask >> bit & 1)


def _number(path: str, default: int = 0) -> int:
    try:
        return int(_text(path))
    except ValueError:
        return default


def _text(path: str) -> str:
    """Return a small file's text, empty where it is not there or may not be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError as error:
        if error.errno in (
            errno.ENOENT,
            errno.EACCES,
            errno.EPERM,
            errno.ENOTDIR,
            errno.EINVAL,
            errno.ENODEV,
        ):
            return ""
        raise
