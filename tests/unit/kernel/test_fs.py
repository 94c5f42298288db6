import os
from pathlib import Path

import pytest

from sampan.kernel.fs import (
    OPEN_DIR,
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_SYMLINKS,
    copy_data,
    data_segments,
    is_ext4_without_journal,
    list_xattrs,
    openat2,
    remove_tree,
    set_xattr,
    supports_d_type,
)


@pytest.fixture
def folder(tmp_path: Path) -> int:
    return os.open(tmp_path, OPEN_DIR)


def read(fd: int) -> bytes:
    with os.fdopen(fd, "rb") as file:
        return file.read()


def test_a_path_stays_in_its_root(tmp_path: Path, folder: int) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/name").write_text("inside")
    (tmp_path / "link").symlink_to("/etc/name")
    (tmp_path / "up").symlink_to("../../../../../../etc/name")
    for path in ("link", "up", "/etc/name", "etc/../../etc/name", b"link"):
        assert read(openat2(folder, path, os.O_RDONLY, resolve=RESOLVE_IN_ROOT)) == b"inside"
    for path in ("link", "up", "../x", "/etc"):
        with pytest.raises(OSError):  # noqa: PT011 - ELOOP or EXDEV
            openat2(folder, path, os.O_RDONLY, resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
    with pytest.raises(FileNotFoundError) as caught:
        openat2(folder, "none", os.O_RDONLY, resolve=RESOLVE_IN_ROOT)
    assert caught.value.filename == "none"
    os.close(folder)


def test_attributes_of_entries(tmp_path: Path, folder: int) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")
    set_xattr(folder, b"file", "user.one", b"1\0")
    assert list_xattrs(folder, b"file") == {"user.one": b"1\0"}
    assert "user.one" not in list_xattrs(folder, b"link")
    fd = os.open("file", os.O_PATH, dir_fd=folder)
    assert list_xattrs(fd) == {"user.one": b"1\0"}
    os.close(fd)
    os.close(folder)


def test_holes_are_found_and_copied(tmp_path: Path) -> None:
    with (tmp_path / "old").open("wb") as file:
        file.seek(1 << 20)
        file.write(b"x" * 4096)
        file.truncate(3 << 20)
    with (tmp_path / "old").open("rb") as old, (tmp_path / "new").open("wb") as new:
        segments = list(data_segments(old.fileno(), 3 << 20))
        copy_data(old.fileno(), new.fileno(), 3 << 20)
    assert segments == [(1 << 20, 4096)]
    assert (tmp_path / "new").read_bytes() == (tmp_path / "old").read_bytes()
    assert (tmp_path / "new").stat().st_blocks == (tmp_path / "old").stat().st_blocks


def test_types_of_entries_are_told_here(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert supports_d_type(tmp_path)
    with pytest.raises(FileNotFoundError):
        supports_d_type(tmp_path / "none")


def test_a_tree_is_removed_and_nothing_it_points_to(tmp_path: Path) -> None:
    keep = tmp_path / "keep"
    keep.mkdir()
    (keep / "file").write_text("x")
    tree = tmp_path / "tree"
    (tree / "a/b").mkdir(parents=True)
    (tree / "a/link").symlink_to(keep)
    (tree / "a/b/up").symlink_to("../../..")
    (tree / os.fsdecode(b"\xff")).write_text("x")
    os.mkfifo(tree / "fifo")
    remove_tree(tree)
    remove_tree(tree)
    assert [p.name for p in tmp_path.iterdir()] == ["keep"]
    assert (keep / "file").exists()
    (tmp_path / "link").symlink_to(keep)
    remove_tree(tmp_path / "link")
    remove_tree(keep / "file")
    assert list(keep.iterdir()) == []


def test_a_very_deep_tree(tmp_path: Path) -> None:
    fd = os.open(tmp_path, OPEN_DIR)
    for level in range(3000):
        name = f"level{level % 7}"
        os.mkdir(name, dir_fd=fd)
        if level % 300 == 0:
            os.mkdir("side", dir_fd=fd)
        below = os.open(name, OPEN_DIR, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    remove_tree(tmp_path / "level0")
    assert [p.name for p in tmp_path.iterdir()] == ["side"]


def test_relative_names(tmp_path: Path, folder: int) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "c").write_text("")
    remove_tree(b"a", dir_fd=folder)
    remove_tree("c", dir_fd=folder)
    assert list(tmp_path.iterdir()) == []
    os.close(folder)


def test_what_is_not_ext4_is_no_ext4_without_a_journal() -> None:
    assert not is_ext4_without_journal("/proc")
    assert not is_ext4_without_journal("/dev/shm")
