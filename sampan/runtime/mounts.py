"""The mounts that every container has, and what its own mounts and options make of them."""

from collections.abc import Collection, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

from sampan.base.errors import InvalidParameter
from sampan.kernel.mount import MountInfo, mounts
from sampan.oci.spec import OciMount
from sampan.runtime.namespaces import is_host
from sampan.wire.containers import HostConfig

SHM: Final = "/dev/shm"  # noqa: S108 - a place in the container
DEFAULT_SHM_SIZE: Final = 64 << 20
_DEV: Final = "/dev"
_SYS: Final = "/sys"

# moby daemon/pkg/oci/defaults.go
DEFAULT: Final[tuple[OciMount, ...]] = (
    OciMount("/proc", "proc", "proc", ("nosuid", "noexec", "nodev")),
    OciMount(_DEV, "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    OciMount(
        "/dev/pts",
        "devpts",
        "devpts",
        ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
    ),
    OciMount(_SYS, "sysfs", "sysfs", ("nosuid", "noexec", "nodev", "ro")),
    OciMount("/sys/fs/cgroup", "cgroup", "cgroup", ("ro", "nosuid", "noexec", "nodev")),
    OciMount("/dev/mqueue", "mqueue", "mqueue", ("nosuid", "noexec", "nodev")),
    OciMount(SHM, "tmpfs", "shm", ("nosuid", "noexec", "nodev", "mode=1777")),
)
READONLY_PATHS: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_MASKED_PATHS: Final = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)


@lru_cache(maxsize=1)
def masked_paths() -> tuple[str, ...]:
    """Return the paths that a container must not see; those of this host's CPUs included."""
    throttles = sorted(map(str, Path("/sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle")))
    return (*_MASKED_PATHS, *throttles)


def plan_mounts(
    host: HostConfig, own: Sequence[OciMount], *, shm_size: int, writable_cgroups: bool | None = None
) -> list[OciMount]:
    """Return all mounts of a container, in the order in which the runtime makes them.

    ``own`` mounts, sorted so that parents come first, replace defaults at the same place; a mount at /dev
    replaces everything below it too.
    """
    taken = {mount.destination for mount in own}
    planned = []
    for mount in DEFAULT:
        if mount.destination in taken or (_DEV in taken and mount.destination.startswith("/dev/")):
            continue
        if mount.destination == SHM:
            if host.ipc_mode == "none":
                continue
            if is_host(host.ipc_mode):
                planned.append(OciMount(SHM, "bind", SHM, ("rbind", "rprivate")))
                continue
            mount = OciMount(SHM, mount.type, mount.source, (*mount.options, f"size={shm_size}"))
        elif _is_writable(mount, host, writable_cgroups=writable_cgroups):
            options = tuple(option for option in mount.options if option != "ro")
            mount = OciMount(mount.destination, mount.type, mount.source, options)
        planned.append(mount)
    return [*planned, *own]


def _is_writable(mount: OciMount, host: HostConfig, *, writable_cgroups: bool | None) -> bool:
    if mount.type == "cgroup":
        return host.privileged if writable_cgroups is None else writable_cgroups
    return mount.destination == _SYS and host.privileged


def root_propagation(own: Sequence[OciMount]) -> str:
    """Return the propagation that the root file system needs so that mounts can propagate as asked.

    Raises InvalidParameter when the place that a mount comes from does not propagate itself. Reads the mount
    table only if a mount is shared or a slave.
    """
    words = {word for mount in own for word in mount.options}
    if not words & {"shared", "rshared", "slave", "rslave"}:
        return ""
    table = mounts()
    for mount in own:
        if mount.type == "bind":
            _check_propagation(mount.source, mount.options, table)
    return "shared" if words & {"shared", "rshared"} else "rslave"


def _check_propagation(source: str, options: Collection[str], table: Sequence[MountInfo]) -> None:
    shared = "shared" in options or "rshared" in options
    if not shared and "slave" not in options and "rslave" not in options:
        return
    path = Path(source).resolve()
    below = max(
        (info for info in table if path.is_relative_to(info.target)), key=lambda info: len(str(info.target))
    )
    kinds = ("shared:",) if shared else ("shared:", "master:")
    if not any(word.startswith(kinds) for word in below.propagation):
        wanted = "shared" if shared else "shared or slave"
        raise InvalidParameter(f"path {source} is mounted on {below.target} but it is not a {wanted} mount")
