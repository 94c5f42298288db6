"""Mounts on which files have other owners than on the disk (mount_setattr(2), Linux 5.12).

The mapping is that of a user namespace, which only a process can make: a short-lived one does, and what is
kept is a descriptor.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sampan.kernel.mount import MOUNT_ATTR_IDMAP, mount_setattr, move_mount, open_tree


@dataclass(frozen=True, slots=True)
class IdRange:
    """``count`` ids from ``disk`` on are seen as those from ``seen`` on."""

    disk: int
    seen: int
    count: int


def open_mapping(uids: Sequence[IdRange], gids: Sequence[IdRange]) -> int:
    """Return a descriptor of a user namespace with these mappings; blocking, a few ms.

    Raises OSError: EINVAL for ranges that overlap, EPERM or ENOSPC where user namespaces are not allowed.
    """
    import subprocess  # only where owners are mapped

    # it tells when it is in the namespace, and ends when its input does
    script = "echo; read end"
    with subprocess.Popen(
        ["unshare", "--user", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        if process.stdout is None or not process.stdout.readline():
            raise OSError(os.EX_OSERR, "user namespaces are not available")
        folder = Path(f"/proc/{process.pid}")
        _write_map(folder / "uid_map", uids)
        _write_map(folder / "gid_map", gids)
        return os.open(folder / "ns/user", os.O_RDONLY | os.O_CLOEXEC)


def _write_map(path: Path, ranges: Sequence[IdRange]) -> None:
    path.write_text("".join(f"{entry.disk} {entry.seen} {entry.count}\n" for entry in ranges))


def bind_mapped(source: str, target: str, mapping: int) -> None:
    """Make ``source``, with all mounts below it, visible at ``target`` with the owners that ``mapping`` says.

    Raises OSError: EINVAL if the file system of one of them cannot do it, or has such a mapping already.
    """
    tree = open_tree(source, clone=True, recursive=True)
    try:
        mount_setattr(tree, set_=MOUNT_ATTR_IDMAP, userns_fd=mapping, recursive=True)
        move_mount(tree, target)
    finally:
        os.close(tree)


def swapped(disk: int, seen: int) -> list[IdRange]:
    """Return the mapping that exchanges two ids and leaves all others as they are."""
    if disk == seen:
        return [IdRange(0, 0, _ALL)]
    low, high = sorted((disk, seen))
    ranges = [
        IdRange(0, 0, low),
        IdRange(low, high, 1),
        IdRange(low + 1, low + 1, high - low - 1),
        IdRange(high, low, 1),
        IdRange(high + 1, high + 1, _ALL - high - 1),
    ]
    return [entry for entry in ranges if entry.count > 0]


_ALL = (1 << 32) - 1  # every id but the last, which means "none"
