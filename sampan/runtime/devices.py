"""Devices of a container: the nodes to make in its /dev, and the rules of its device cgroup."""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from sampan.base.errors import InvalidParameter
from sampan.oci.spec import LinuxDevice, LinuxDeviceCgroup

_ALL_ACCESS: Final = "rwm"
ANY: Final = -1
_MAX_NUMBER: Final = 2**63 - 1
# Kept out of privileged containers: places of /dev that the container has its own of (containerd pkg/oci)
_OWN_DIRECTORIES: Final = frozenset({"pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"})
_OWN_CONSOLE: Final = "console"


def _character(major: int, minor: int, *, allow: bool = True) -> LinuxDeviceCgroup:
    return LinuxDeviceCgroup(allow, "c", major, minor, _ALL_ACCESS)


# zero, null, urandom, random, tty, console; not fuse (moby daemon/pkg/oci/defaults.go)
DEFAULT_RULES: Final[tuple[LinuxDeviceCgroup, ...]] = (
    LinuxDeviceCgroup(allow=False, access=_ALL_ACCESS),
    _character(1, 5),
    _character(1, 3),
    _character(1, 9),
    _character(1, 8),
    _character(5, 0),
    _character(5, 1),
    _character(10, 229, allow=False),
)
ALLOW_ALL: Final[tuple[LinuxDeviceCgroup, ...]] = (LinuxDeviceCgroup(allow=True, access=_ALL_ACCESS),)


def parse_rule(text: str) -> LinuxDeviceCgroup:
    """Read ``--device-cgroup-rule``: ``TYPE MAJOR:MINOR ACCESS``, numbers may be ``*``.

    Raises InvalidParameter ("invalid device cgroup rule format: '…'").
    """
    wrong = InvalidParameter(f"invalid device cgroup rule format: '{text}'")
    parts = text.split(" ")
    if len(parts) != 3:
        raise wrong
    kind, numbers, access = parts
    major, colon, minor = numbers.partition(":")
    if kind not in ("a", "b", "c") or not colon or not 1 <= len(access) <= 3 or access.strip(_ALL_ACCESS):
        raise wrong
    for number in (major, minor):
        if number != "*" and not (number.isascii() and number.isdigit()):
            raise wrong
    for what, number in (("major", major), ("minor", minor)):
        if number != "*" and (len(number) > 20 or int(number) > _MAX_NUMBER):
            raise InvalidParameter(f"invalid {what} value in device cgroup rule format: '{text}'")
    return LinuxDeviceCgroup(
        True,  # noqa: FBT003 - the field "allow"
        kind,
        ANY if major == "*" else int(major),
        ANY if minor == "*" else int(minor),
        access,
    )


def check_access(access: str) -> None:
    """Raise InvalidParameter unless ``access`` is made of r, w and m."""
    if access.strip(_ALL_ACCESS):
        raise InvalidParameter(f"invalid device cgroup permissions: '{access}'")


def find_devices(
    on_host: str, in_container: str, access: str
) -> tuple[list[LinuxDevice], list[LinuxDeviceCgroup]]:
    """Return nodes and rules for ``--device``: one device, or all those below a directory. Blocks.

    Raises InvalidParameter ("error gathering device information while adding custom device …").
    """
    path = Path(on_host)
    target = os.path.normpath(in_container or on_host)
    reason = "not a device node"
    try:
        path = path.resolve(strict=True) if path.is_symlink() else path
        device = _device(path, target)
        found = [device] if device else list(_below(path, target))
    except OSError as error:
        found, reason = [], (error.strerror or str(error)).lower()
    if not found:
        raise InvalidParameter(
            f'error gathering device information while adding custom device "{on_host}": {reason}'
        )
    rules = [LinuxDeviceCgroup(True, d.type, d.major, d.minor, access or _ALL_ACCESS) for d in found]  # noqa: FBT003
    return found, rules


def host_devices() -> list[LinuxDevice]:
    """Return every device of the host's /dev, for a privileged container. Blocks."""
    return list(_below(Path("/dev"), "/dev", skip=_OWN_DIRECTORIES))


def _below(directory: Path, target: str, skip: frozenset[str] = frozenset()) -> Iterator[LinuxDevice]:
    try:
        entries = sorted(directory.iterdir())
    except OSError:
        return
    for entry in entries:
        name = f"{target}/{entry.name}"
        if entry.is_dir() and not entry.is_symlink():
            if entry.name not in skip:
                yield from _below(entry, name, skip)
        elif not (skip and entry.name == _OWN_CONSOLE):
            try:
                device = _device(entry, name)
            except OSError:
                continue  # it went away meanwhile
            if device is not None:
                yield device


def _device(path: Path, target: str) -> LinuxDevice | None:
    status = path.lstat()
    kind = {stat.S_IFBLK: "b", stat.S_IFCHR: "c"}.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        return None
    return LinuxDevice(
        path=target,
        type=kind,
        major=os.major(status.st_rdev),
        minor=os.minor(status.st_rdev),
        file_mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
    )


def check_rules(rules: Sequence[str]) -> None:
    """Raise InvalidParameter for the first malformed rule."""
    for rule in rules:
        parse_rule(rule)
