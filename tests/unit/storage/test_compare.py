import os
from pathlib import Path

import pytest

from sampan.storage.compare import compare_trees, held_only, shown_only, without
from sampan.storage.driver import ChangeKind, Difference
from sampan.storage.tree import measure, opened, walk
from sampan.storage.unpack import clean


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two equal trees."""
    for name in ("old", "new"):
        (tmp_path / name / "dir/sub").mkdir(parents=True)
        (tmp_path / name / "dir/file").write_text("file")
        (tmp_path / name / "dir/sub/deep").write_text("deep")
        (tmp_path / name / "link").symlink_to("dir")
        (tmp_path / name / "dir.x").write_text("sorts between dir and dir/")
        for path in sorted((tmp_path / name).rglob("*"), reverse=True):
            os.utime(path, ns=(0, 10**18), follow_symlinks=False)
        os.utime(tmp_path / name, ns=(0, 10**18))
    return tmp_path / "old", tmp_path / "new"


def compared(old: Path, new: Path, ready_ns: int = 0) -> list[Difference]:
    with opened(str(old)) as a, opened(str(new)) as b:
        return list(compare_trees(b, a, ready_ns=ready_ns))


def letters(differences: list[Difference]) -> list[str]:
    return [f"{'CAD'[d.kind]} {d.path.decode()}" for d in differences]


def test_equal_trees(pair: tuple[Path, Path]) -> None:
    found = compared(*pair)
    assert shown_only(found) == held_only(found) == []


def test_a_change_names_the_directories_above(pair: tuple[Path, Path]) -> None:
    old, new = pair
    (new / "dir/sub/deep").write_text("deeper")
    assert letters(shown_only(compared(old, new))) == ["C /dir", "C /dir/sub", "C /dir/sub/deep"]


def test_additions_and_deletions(pair: tuple[Path, Path]) -> None:
    old, new = pair
    (new / "dir/sub/deep").unlink()
    (new / "dir/another").write_text("x")
    (new / "link").unlink()
    assert letters(shown_only(compared(old, new))) == [
        "C /dir",
        "A /dir/another",
        "C /dir/sub",
        "D /dir/sub/deep",
        "D /link",
    ]


def test_a_directory_time_is_for_layers_only(pair: tuple[Path, Path]) -> None:
    old, new = pair
    os.utime(new / "dir/sub", ns=(0, 5))
    found = compared(old, new)
    assert shown_only(found) == []
    assert letters(held_only(found)) == ["C /dir", "C /dir/sub"]


@pytest.mark.parametrize("what", ["data", "link", "attribute", "hard link"])
def test_what_attributes_do_not_tell(pair: tuple[Path, Path], what: str) -> None:
    old, new = pair
    path = new / "dir/file"
    if what == "data":
        path.write_text("FILE")
    elif what == "attribute":
        os.setxattr(path, "user.a", b"b")
    elif what == "hard link":
        os.link(path, new / "dir/other")
    else:
        path = new / "link"
        path.unlink()
        path.symlink_to("rid")
    for changed in (path, new / "dir", new):
        os.utime(changed, ns=(0, 10**18), follow_symlinks=False)
    found = compared(old, new)
    name = f"/{path.relative_to(new)}"
    assert f"C {name}" in letters(held_only(found))
    assert f"C {name}" not in letters(shown_only(found))
    # nothing is read that has not been touched since the copy was made
    assert f"C {name}" not in letters(held_only(compared(old, new, ready_ns=10**19)))


def test_additions_of_the_engine_count_only_for_what_is_below() -> None:
    found = [
        Difference(b"/dev", ChangeKind.ADDED),
        Difference(b"/dev/console", ChangeKind.ADDED),
        Difference(b"/etc", ChangeKind.MODIFIED, shown=False, held=False),
        Difference(b"/etc/hosts", ChangeKind.ADDED),
        Difference(b"/etc/mine", ChangeKind.ADDED),
        Difference(b"/proc", ChangeKind.ADDED),
        Difference(b"/proc/x", ChangeKind.ADDED),
    ]
    paths = {b"/dev", b"/dev/console", b"/etc/hosts", b"/proc"}
    assert letters(shown_only(without(found, paths))) == ["C /etc", "A /etc/mine", "A /proc", "A /proc/x"]


def test_a_walk_is_in_order_and_a_measure_counts_links_once(pair: tuple[Path, Path]) -> None:
    old, _ = pair
    os.link(old / "dir/file", old / "dir/same")
    with opened(str(old)) as root:
        assert [p for p, _ in walk(root)] == [
            b"/dir",
            b"/dir/file",
            b"/dir/same",
            b"/dir/sub",
            b"/dir/sub/deep",
            b"/dir.x",
            b"/link",
        ]
        usage = measure(root)
    assert usage.size == 4 + 4 + 26 + 3
    assert usage.inodes == 7


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a/b", "a/b"),
        ("./a/b", "a/b"),
        ("/a//b/", "a/b"),
        (".", ""),
        ("./", ""),
        ("/", ""),
        ("", ""),
        ("..", ""),
        ("../../a", "a"),
        ("a/../../b", "b"),
        ("a/./b/..", "a"),
        (".hidden/.x", ".hidden/.x"),
        ("a..b/c...", "a..b/c..."),
        ("././a", "a"),
    ],
)
def test_names_from_archives(name: str, path: str) -> None:
    assert clean(name.encode()) == path.encode()
