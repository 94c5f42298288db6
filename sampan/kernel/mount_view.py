"""A mount namespace with only some of the host's mounts, for programs that copy all that they see.

A process that makes a mount namespace copies every mount of its own. Where mounts pile up, as those of
containers do, that is most of what such a process costs; started from a *view*, which is this namespace, it
copies a few. A view is private: nothing propagates into it or out of it.
"""

import errno
import os
from collections.abc import Collection, Sequence
from pathlib import PurePath
from typing import Final

from sampan.kernel.libc import check, syscall
from sampan.kernel.mount import Mount, MountInfo, mount, mounts, umount
from sampan.kernel.threads import DedicatedThread

_CLONE_FS: Final = 0x200  # linux/sched.h
_CLONE_NEWNS: Final = 0x20000
_SYSTEM: Final = ("/proc", "/sys", "/dev")


def plan_view(table: Sequence[MountInfo], needed: Collection[str], hidden: str | None = None) -> list[str]:
    """Return the mount points of ``table`` that a view leaves out, in the order in which they are detached.

    It keeps what the paths ``needed`` (absolute, without symbolic links) are on, and ``/proc``, ``/sys`` and
    ``/dev`` with what is below, but not ``hidden``. What goes away with a mount above it is not named.
    """
    planned: list[str] = []
    held = holders(table, needed)
    for info in table:
        target = PurePath(info.target)
        kept = info.target in held or any(target.is_relative_to(place) for place in _SYSTEM)
        if kept and info.target != hidden:
            continue
        if not any(place != info.target and target.is_relative_to(place) for place in planned):
            planned.append(info.target)
    return planned


def holders(table: Sequence[MountInfo], needed: Collection[str]) -> dict[str, int]:
    """Return the mounts of ``table`` that the paths ``needed`` are on or below: mount point → id."""
    paths = [PurePath(path) for path in needed]
    return {info.target: info.id for info in table if any(path.is_relative_to(info.target) for path in paths)}


def open_view(needed: Collection[str], hidden: str | None = None) -> int:
    """Make a view as ``plan_view`` says and return a descriptor, which is all that holds it. Blocks.

    Raises OSError.
    """
    thread = DedicatedThread("mount view")  # unshare changes the thread that calls it, for good
    try:
        return thread.run(_make, needed, hidden)
    finally:
        thread.close()


def _make(needed: Collection[str], hidden: str | None) -> int:
    check(syscall("unshare", _CLONE_FS | _CLONE_NEWNS), "unshare the mount namespace")
    mount(Mount("", "none", "/", ("rprivate",)))  # before anything is detached, or the host would follow
    for target in plan_view(mounts(thread=True), needed, hidden):
        try:
            umount(target, lazy=True)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOENT):  # another mount lies over it
                raise
    return os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
