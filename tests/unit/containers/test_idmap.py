"""Mounts with mapped owners: what is asked for, and the ranges that come of it."""

import pytest

from sampan.base.errors import InvalidParameter
from sampan.containers.idmap import parse_idmap, plan_idmap
from sampan.containers.mounts import parse_bind
from sampan.kernel.idmap import IdRange, swapped


def test_the_owner_is_exchanged_for_the_user() -> None:
    users, groups = plan_idmap("owner", (1000, 0), (0, 0))
    assert users == [
        IdRange(0, 1000, 1),
        IdRange(1, 1, 999),
        IdRange(1000, 0, 1),
        IdRange(1001, 1001, (1 << 32) - 1002),
    ]
    assert groups == [IdRange(0, 0, (1 << 32) - 1)]


@pytest.mark.parametrize(("disk", "seen"), [(0, 1), (1, 0), (5, 6), (33, 1000), (0, (1 << 32) - 2)])
def test_every_id_is_mapped_once(disk: int, seen: int) -> None:
    ranges = swapped(disk, seen)
    for side in ("disk", "seen"):
        at = 0
        for entry in sorted(ranges, key=lambda entry: getattr(entry, side)):
            assert getattr(entry, side) == at
            at += entry.count
        assert at == (1 << 32) - 1


def test_ranges() -> None:
    assert parse_idmap("uids=0-1000-1#5-6-7;gids=0-1-2") == (
        [IdRange(0, 1000, 1), IdRange(5, 6, 7)],
        [IdRange(0, 1, 2)],
    )
    for bad in (
        "",
        "x",
        "uids=0-1-1",
        "uids=0-1-0;gids=0-1-1",
        "uids=a-1-1;gids=0-1-1",
        "gids=0-1-1;gids=0-1-1",
    ):
        with pytest.raises(InvalidParameter, match="invalid idmap: "):
            parse_idmap(bad)
    with pytest.raises(InvalidParameter, match="out of range"):
        parse_idmap("uids=0-4294967295-1;gids=0-1-1")


def test_binds() -> None:
    mount, mode = parse_bind("/src:/dst:ro,idmap")
    assert (mount.idmap, mount.read_only, mode) == ("owner", True, "ro,idmap")
    assert parse_bind("vol:/dst:idmap=uids=0-1-1;gids=0-1-1")[0].idmap == "uids=0-1-1;gids=0-1-1"
    for bad in ("/src:/dst:idmap,idmap", "/src:/dst:idmap=x", "/src:/dst:idmaps"):
        with pytest.raises(InvalidParameter):
            parse_bind(bad)
