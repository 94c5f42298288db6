"""Who a container's process runs as: ``USER``, ``--user`` and ``--group-add`` looked up in its own files.

The rules, odd ones included, are those of moby's ``user`` package: lines are taken as they come, numbers that
are none count as 0, the first match wins. Only ``read_accounts`` touches the disk.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sampan.base.errors import InvalidParameter
from sampan.kernel.fs import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2

MAX_ID: Final = 2**31 - 1
_OUT_OF_RANGE: Final = f"uids and gids must be in range 0-{MAX_ID}"
_NO_USER: Final = "no matching entries in passwd file"
_NO_GROUP: Final = "no matching entries in group file"
_LARGEST_FILE: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class Accounts:
    """The text of a root file system's /etc/passwd and /etc/group; None where there is no such file."""

    passwd: str | None
    group: str | None


@dataclass(frozen=True, slots=True)
class Identity:
    """Numeric user and group, supplementary groups, and the home directory."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


def read_accounts(rootfs: Path) -> Accounts:
    """Read the account files below ``rootfs``; links in them cannot lead outside. Blocks."""
    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return Accounts(_read(root, "etc/passwd"), _read(root, "etc/group"))
    finally:
        os.close(root)


def _read(root: int, path: str) -> str | None:
    # O_NONBLOCK: an image may have put a FIFO or a device there
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
    try:
        file = openat2(root, path, flags, resolve=RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    except OSError:  # missing, a dangling link, a loop: there is no such file for the container either
        return None
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST_FILE:
            return None
        return os.read(file, status.st_size + 1).decode("utf-8", "replace")
    except OSError:
        return None
    finally:
        os.close(file)


def find_identity(user: str, accounts: Accounts, default: Identity = Identity()) -> Identity:
    """Look up ``user``: ``""``, ``name``, ``uid``, each with ``:group`` or ``:gid``.

    ``default`` holds what neither the request nor the files say. A number is an id, even where a user of
    that name exists. Supplementary groups are those that list the user, unless a group was asked for.
    Raises InvalidParameter ("unable to find user x: no matching entries in passwd file", …).
    """
    name, _, rest = user.partition(":")
    group = rest.partition(":")[0]
    wanted_uid, wanted_gid = _number(name), _number(group)
    uid, gid, groups, home = default.uid, default.gid, default.groups, default.home
    sought = uid if not name else wanted_uid  # None: sought by name
    for fields in _lines(accounts.passwd):
        entry_uid = _field_number(fields, 2)
        if (fields[0] == name) if sought is None else (entry_uid == sought):
            matched = fields[0]
            uid, gid = entry_uid, _field_number(fields, 3)
            home = fields[5] if len(fields) > 5 else ""
            break
    else:
        matched = ""
        if name and wanted_uid is None:
            raise InvalidParameter(f"unable to find user {name}: {_NO_USER}")
        uid = uid if wanted_uid is None else wanted_uid
    if group:
        gid = _find_group(group, wanted_gid, accounts.group)
    elif matched:
        member_of = [
            _field_number(fields, 2)
            for fields in _lines(accounts.group)
            if len(fields) > 3 and matched in fields[3].split(",")
        ]
        groups = tuple(member_of) or groups
    for number in (uid, gid, *groups):
        _in_range(number)
    return Identity(uid, gid, groups, home or "/")


def find_groups(names: Sequence[str], accounts: Accounts) -> list[int]:
    """Return the ids of the groups ``names`` (names or numbers) of ``--group-add``, without doubles.

    Raises InvalidParameter ("unable to find group x: no matching entries in group file", or out of range).
    """
    return list(dict.fromkeys(_find_group(name, _number(name), accounts.group) for name in names))


def _find_group(name: str, number: int | None, text: str | None) -> int:
    if number is not None:
        return number
    for fields in _lines(text):
        if fields[0] == name:
            return _in_range(_field_number(fields, 2))
    raise InvalidParameter(f"unable to find group {name}: {_NO_GROUP}")


def all_groups(identity: Identity, extra: Iterable[int]) -> tuple[int, ...]:
    """Return the supplementary groups of a process: its own group, those of the user, then ``extra``."""
    return tuple(dict.fromkeys((identity.gid, *identity.groups, *extra)))


def _lines(text: str | None) -> Iterator[list[str]]:
    for line in (text or "").split("\n"):
        if stripped := line.strip():
            yield stripped.split(":")


def _number(text: str) -> int | None:
    """Return ``text`` as an id, None if it is a name. Raises InvalidParameter if it is out of range."""
    value = _atoi(text)
    return None if value is None else _in_range(value)


def _field_number(fields: Sequence[str], at: int) -> int:
    return (_atoi(fields[at]) if at < len(fields) else 0) or 0


def _atoi(text: str) -> int | None:
    digits = text[1:] if text[:1] in ("+", "-") else text
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) < 40 else None


def _in_range(number: int) -> int:
    if not 0 <= number <= MAX_ID:
        raise InvalidParameter(_OUT_OF_RANGE)
    return number
