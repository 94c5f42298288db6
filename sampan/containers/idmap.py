"""``idmap``: mounts on which files have other owners than on the disk.

``idmap`` alone exchanges the owner of the mount's source for the user of the container: what belongs to user
1000 on the host belongs to root in a container of root's, and what root makes there is user 1000's on the
host. ``idmap=uids=0-1000-1#…;gids=…`` says it in detail: from this id on the disk, to this one in the
container, so many of them; ids that are not named belong to nobody. Pure.
"""

from typing import Final

from sampan.base.errors import InvalidParameter
from sampan.kernel.idmap import IdRange, swapped

OWNER: Final = "owner"  # the value that ``idmap`` alone stands for
_MOST: Final = (1 << 32) - 2


def parse_idmap(text: str) -> tuple[list[IdRange], list[IdRange]] | None:
    """Return the ranges of users and groups that ``text`` names, None for ``owner``.

    Raises InvalidParameter.
    """
    if text == OWNER:
        return None
    ranges: dict[str, list[IdRange]] = {"uids": [], "gids": []}
    for part in text.split(";"):
        kind, _, value = part.partition("=")
        if kind not in ranges or ranges[kind] or not value:
            raise InvalidParameter(f"invalid idmap: {text}: expected uids=DISK-CONTAINER-COUNT;gids=…")
        ranges[kind] = [_parse_range(text, word) for word in value.split("#")]
    if not ranges["uids"] or not ranges["gids"]:
        raise InvalidParameter(f"invalid idmap: {text}: both uids and gids are needed")
    return ranges["uids"], ranges["gids"]


def _parse_range(text: str, word: str) -> IdRange:
    numbers = word.split("-")
    if len(numbers) != 3 or not all(n.isascii() and n.isdigit() and len(n) <= 10 for n in numbers):
        raise InvalidParameter(f"invalid idmap: {text}: {word} is not DISK-CONTAINER-COUNT")
    disk, seen, count = map(int, numbers)
    if not count or max(disk, seen) + count - 1 > _MOST:
        raise InvalidParameter(f"invalid idmap: {text}: {word} is out of range")
    return IdRange(disk, seen, count)


def plan_idmap(
    text: str, owner: tuple[int, int], user: tuple[int, int]
) -> tuple[list[IdRange], list[IdRange]]:
    """Return what to map: ``owner`` has the source on the disk, ``user`` is the container's (uid, gid)."""
    ranges = parse_idmap(text)
    if ranges is not None:
        return ranges
    return swapped(owner[0], user[0]), swapped(owner[1], user[1])
