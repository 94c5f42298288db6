"""Users and groups against moby's tables, and from hostile root file systems."""

import os
from pathlib import Path
from typing import Any

import pytest
from support.shared import table

from sampan.base.errors import InvalidParameter
from sampan.runtime.users import Accounts, Identity, all_groups, find_groups, find_identity, read_accounts


@pytest.mark.parametrize("row", table("engine/user"), ids=lambda row: row["user"] or "-")
def test_users(row: dict[str, Any]) -> None:
    given = row["default"]
    default = (
        Identity(given["uid"], given["gid"], tuple(given["groups"]), given["home"]) if given else Identity()
    )
    accounts = Accounts(row["passwd"], row["group"])
    if row.get("error"):
        with pytest.raises(InvalidParameter):
            find_identity(row["user"], accounts, default)
        return
    result = row["result"]
    found = find_identity(row["user"], accounts, default)
    assert (found.uid, found.gid, list(found.groups), found.home) == (
        result["uid"],
        result["gid"],
        result["groups"],
        result["home"],
    )


@pytest.mark.parametrize("row", table("engine/group_add"), ids=lambda row: ",".join(row["add"]))
def test_groups(row: dict[str, Any]) -> None:
    accounts = Accounts(None, row["group"])
    if row.get("error"):
        with pytest.raises(InvalidParameter):
            find_groups(row["add"], accounts)
    else:
        assert sorted(find_groups(row["add"], accounts)) == row["gids"]


ALPINE = Accounts(
    "root:x:0:0:root:/root:/bin/ash\nnobody:x:65534:65534::/:/x\n", "root:x:0:root\nbin:x:1:root\n"
)


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ("foo", "unable to find user foo: no matching entries in passwd file"),
        ("foo:1", "unable to find user foo: no matching entries in passwd file"),
        ("root:foo", "unable to find group foo: no matching entries in group file"),
        ("-1", "uids and gids must be in range 0-2147483647"),
        ("1:99999999999999999999", "uids and gids must be in range 0-2147483647"),
    ],
)
def test_words_of_errors(user: str, message: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        find_identity(user, ALPINE)
    assert str(caught.value) == message


def test_plain_users() -> None:
    assert find_identity("", ALPINE) == Identity(0, 0, (0, 1), "/root")
    assert find_identity("1000", ALPINE) == Identity(1000, 0, (), "/")
    assert find_identity("", Accounts(None, None)) == Identity(0, 0, (), "/")
    assert find_identity(":5", ALPINE) == Identity(0, 5, (), "/root")


def test_own_group_comes_first_and_none_twice() -> None:
    assert all_groups(Identity(1, 5, (7, 5)), (9, 7)) == (5, 7, 9)


def test_accounts_of_a_root(tmp_path: Path) -> None:
    assert read_accounts(tmp_path) == Accounts(None, None)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_bytes(b"r\xff:x:0:0::/r\xff:\n")
    (tmp_path / "etc/group").write_text("g:x:1:\n")
    found = read_accounts(tmp_path)
    assert found.group == "g:x:1:\n"
    assert find_identity("", found).home.encode() == b"/r\xef\xbf\xbd"


def test_links_stay_in_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (tmp_path / "secret").write_text("outside:x:7:7::/:\n")
    (root / "etc/passwd").symlink_to("../../secret")
    (root / "etc/group").symlink_to("/groups")
    (root / "groups").write_text("inside:x:3:\n")
    assert read_accounts(root) == Accounts(None, "inside:x:3:\n")
    (root / "secret").write_text("inside:x:8:8::/:\n")
    assert read_accounts(root).passwd == "inside:x:8:8::/:\n"


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    os.mkfifo(tmp_path / "etc/passwd")
    (tmp_path / "etc/group").mkdir()
    assert read_accounts(tmp_path) == Accounts(None, None)
    (tmp_path / "etc/group").rmdir()
    (tmp_path / "etc/group").symlink_to("group")
    assert read_accounts(tmp_path) == Accounts(None, None)


def test_a_file_too_large_to_be_accounts(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    with (tmp_path / "etc/passwd").open("wb") as file:
        file.truncate(1 << 40)
    assert read_accounts(tmp_path).passwd is None
