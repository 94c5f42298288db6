"""The /dev/shm that several containers share (``--ipc shareable`` and ``--ipc container:X``).

A private one is made inside the container by the runtime. One to be shared must outlive any single mount
namespace, so it is a tmpfs of the host in the container's folder, bound into each container. All calls block.
"""

from contextlib import suppress
from pathlib import Path
from typing import Final

from sampan.base.errors import HostFailure
from sampan.kernel.mount import Mount, is_mount_point, mount, umount
from sampan.oci.spec import OciMount
from sampan.runtime.mounts import SHM

_NAME: Final = "shm"


def shared_shm(folder: Path) -> OciMount:
    """Return the mount of a container that shares the /dev/shm of the container with ``folder``."""
    return OciMount(SHM, "bind", str(folder / _NAME), ("rbind", "rprivate"))


def open_shm(folder: Path, size: int) -> OciMount:
    """Make the tmpfs of ``size`` bytes in ``folder`` unless it is there; return the container's mount.

    Raises HostFailure. The way back is ``close_shm``.
    """
    target = folder / _NAME
    try:
        target.mkdir(mode=0o700, exist_ok=True)
        if not is_mount_point(target):
            options = ("nosuid", "noexec", "nodev", "mode=1777", f"size={size}")
            mount(Mount("tmpfs", "shm", str(target), options))
    except OSError as error:
        raise HostFailure(f"mounting shm tmpfs: {error}") from error
    return shared_shm(folder)


def close_shm(folder: Path) -> None:
    """Take the tmpfs in ``folder`` away; idempotent. Containers that still use it keep it."""
    target = folder / _NAME
    if is_mount_point(target):
        umount(target, lazy=True)
    with suppress(FileNotFoundError):
        target.rmdir()
