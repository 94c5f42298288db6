"""``config.json`` of an OCI bundle: what a runtime is told about one container.

Only the parts of the runtime-spec that this engine writes or reads back are here. Optional fields that keep
their default are left out of the JSON. Source: OCI runtime-spec v1.0.2, config.md and config-linux.md.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import field

VERSION: Final = "1.0.2"  # the newest that crun 1.8 and runc 1.1 both take


class _Document(msgspec.Struct, rename="camel", omit_defaults=True, frozen=True):
    pass


class OciMount(_Document, frozen=True):
    """One mount inside the container; ``options`` are mount(8) words, the file system's own included."""

    destination: str
    type: str = ""
    source: str = ""
    options: Sequence[str] = ()


class Root(_Document, frozen=True):
    """The root file system; ``path`` is absolute on the host."""

    path: str
    readonly: bool = False


class Box(_Document, frozen=True):
    """Size of a terminal in characters."""

    height: int
    width: int


class User(_Document, frozen=True):
    """Numeric identity of a process inside the container."""

    uid: int
    gid: int
    additional_gids: Sequence[int] = ()


class LinuxCapabilities(_Document, frozen=True):
    """The capability sets of a process, by ``CAP_`` names; an empty one is written too, and means none."""

    bounding: Sequence[str]
    effective: Sequence[str]
    permitted: Sequence[str]
    inheritable: Sequence[str] = ()
    ambient: Sequence[str] = ()


class Rlimit(_Document, frozen=True):
    """A resource limit, ``type`` as in ``RLIMIT_NOFILE``; 2**64 - 1 is "unlimited"."""

    type: str
    hard: int
    soft: int


class Process(_Document, frozen=True):
    """The container's init, or a process that is added to it by exec."""

    args: Sequence[str]
    cwd: str
    user: User
    env: Sequence[str] = ()
    terminal: bool = False
    console_size: Box | None = None
    capabilities: LinuxCapabilities | None = None
    rlimits: Sequence[Rlimit] = ()
    no_new_privileges: bool = False
    oom_score_adj: int | None = None
    apparmor_profile: str = ""
    selinux_label: str = ""


class LinuxNamespace(_Document, frozen=True):
    """A namespace of its own (no path), or the one bound at ``path``."""

    type: str
    path: str = ""


class LinuxDevice(_Document, frozen=True):
    """A device node to make; ``file_mode`` is the permission bits."""

    path: str
    type: str
    major: int
    minor: int
    file_mode: int | None = None
    uid: int | None = None
    gid: int | None = None


class LinuxDeviceCgroup(_Document, frozen=True):
    """A rule of the device cgroup, applied in order; -1 or an absent number is "any"."""

    allow: bool
    type: str = ""
    major: int | None = None
    minor: int | None = None
    access: str = ""


class LinuxMemory(_Document, frozen=True):
    """Bytes; -1 is "unlimited"; ``swap`` is memory and swap together."""

    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None
    swappiness: int | None = None
    disable_oom_killer: bool | None = field(default=None, name="disableOOMKiller")


class LinuxCPU(_Document, frozen=True):
    """Times in µs; ``cpus`` and ``mems`` are lists like ``0-2,4``."""

    shares: int | None = None
    quota: int | None = None
    period: int | None = None
    realtime_runtime: int | None = None
    realtime_period: int | None = None
    cpus: str = ""
    mems: str = ""


class LinuxWeightDevice(_Document, frozen=True):
    major: int
    minor: int
    weight: int


class LinuxThrottleDevice(_Document, frozen=True):
    """``rate`` in bytes or operations a second."""

    major: int
    minor: int
    rate: int


class LinuxBlockIO(_Document, frozen=True):
    """Weight 10 to 1000, and limits of single devices."""

    weight: int | None = None
    weight_device: Sequence[LinuxWeightDevice] = ()
    throttle_read_bps_device: Sequence[LinuxThrottleDevice] = ()
    throttle_write_bps_device: Sequence[LinuxThrottleDevice] = ()
    throttle_read_iops_device: Sequence[LinuxThrottleDevice] = field(
        default=(), name="throttleReadIOPSDevice"
    )
    throttle_write_iops_device: Sequence[LinuxThrottleDevice] = field(
        default=(), name="throttleWriteIOPSDevice"
    )


class LinuxPids(_Document, frozen=True):
    """Largest number of tasks, -1 for no limit."""

    limit: int


class LinuxResources(_Document, frozen=True):
    """What the container's cgroup is limited to; a part that is None is left as it is."""

    devices: Sequence[LinuxDeviceCgroup] = ()
    memory: LinuxMemory | None = None
    cpu: LinuxCPU | None = None
    block_io: LinuxBlockIO | None = field(default=None, name="blockIO")
    pids: LinuxPids | None = None


class LinuxSeccompArg(_Document, frozen=True):
    """A condition on argument ``index``: ``value`` compared by ``op`` (``value_two`` for MASKED_EQ)."""

    index: int
    value: int
    op: str
    value_two: int = 0


class LinuxSyscall(_Document, frozen=True):
    """A rule: ``action`` for the calls of these names when all conditions hold."""

    names: Sequence[str]
    action: str
    errno_ret: int | None = None
    args: Sequence[LinuxSeccompArg] | None = None


class LinuxSeccomp(_Document, frozen=True):
    """A seccomp filter: a default action and the rules that depart from it."""

    default_action: str
    default_errno_ret: int | None = None
    architectures: Sequence[str] = ()
    flags: Sequence[str] = ()
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: Sequence[LinuxSyscall] = ()


class Linux(_Document, frozen=True):
    """The Linux part of a spec."""

    namespaces: Sequence[LinuxNamespace]
    devices: Sequence[LinuxDevice] = ()
    cgroups_path: str = ""
    resources: LinuxResources | None = None
    rootfs_propagation: str = ""
    seccomp: LinuxSeccomp | None = None
    masked_paths: Sequence[str] = ()
    readonly_paths: Sequence[str] = ()
    mount_label: str = ""
    sysctl: dict[str, str] = {}


class Spec(_Document, frozen=True):
    """The whole of ``config.json``."""

    oci_version: str
    process: Process
    root: Root
    linux: Linux
    hostname: str = ""
    mounts: Sequence[OciMount] = ()
    annotations: dict[str, str] = {}
