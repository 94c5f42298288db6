"""Archives put into a directory of a living tree, well-meant and hostile ones."""

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan.base.outflow import in_memory
from sampan.kernel.fs import remove_tree
from sampan.storage.extract import Rules, extract, make_directories, open_inside
from sampan.storage.pack import pack_named
from sampan.storage.tar_header import BadArchive

OWNER = {"uid": os.getuid(), "gid": os.getgid()}


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    folder = tmp_path / "root"
    (folder / "data").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    root = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    yield folder, root
    os.close(root)
    assert not list((tmp_path / "outside").iterdir())


def archive(*entries: tuple[str, bytes, dict[str, Any]]) -> io.BytesIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data, fields in entries:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for field, value in {**OWNER, "mtime": 1000, **fields}.items():
                setattr(info, field, value)
            tar.addfile(info, io.BytesIO(data))
    return io.BytesIO(buffer.getvalue())


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[str, bytes, dict[str, Any]]:
    return name, b"", {"type": kind, "linkname": target}


def folder(name: str, mode: int = 0o755) -> tuple[str, bytes, dict[str, Any]]:
    return name, b"", {"type": tarfile.DIRTYPE, "mode": mode}


def test_files_directories_links(tree: tuple[Path, int]) -> None:
    path, root = tree
    tar = archive(
        folder("d", 0o751),
        ("d/f", b"text", {"mode": 0o640}),
        link("d/s", "/nowhere"),
        link("h", "d/f", tarfile.LNKTYPE),
        ("a/b/c", b"", {}),
    )
    extract(root, b"/data", tar, Rules())
    data = path / "data"
    assert (data / "d/f").read_text() == "text"
    assert (data / "d").stat().st_mode & 0o7777 == 0o751
    assert (data / "d/f").stat().st_mode & 0o7777 == 0o640
    assert (data / "d").stat().st_mtime == (data / "d/f").stat().st_mtime == 1000
    assert (data / "d/s").readlink() == Path("/nowhere")
    assert (data / "h").stat().st_ino == (data / "d/f").stat().st_ino
    assert (data / "a/b/c").exists()


def test_marks_of_deletions_are_names_like_others(tree: tuple[Path, int]) -> None:
    path, root = tree
    (path / "data/x").write_text("")
    extract(root, b"/data", archive((".wh.x", b"", {})), Rules())
    assert sorted(entry.name for entry in (path / "data").iterdir()) == [".wh.x", "x"]


def test_links_lead_nowhere_outside(tree: tuple[Path, int]) -> None:
    path, root = tree
    outside = path.parent / "outside"
    (path / "data/up").symlink_to("../../../../../.." + str(outside))
    (path / "data/abs").symlink_to(outside)
    for name in ("up/f", "abs/f"):
        with pytest.raises(BadArchive):
            extract(root, b"/data", archive((name, b"x", {})), Rules())
    with pytest.raises(BadArchive):
        extract(root, b"/data", archive(link("l", str(outside)), ("l/f", b"x", {})), Rules())
    (path / "etc").mkdir()
    (path / "data/etc").symlink_to("/etc")
    extract(root, b"/data", archive(("etc/f", b"x", {})), Rules())
    assert (path / "etc/f").read_bytes() == b"x"


@pytest.mark.parametrize("name", ["../f", "a/../../f", ".."])
def test_names_above_the_directory_are_refused(tree: tuple[Path, int], name: str) -> None:
    path, root = tree
    with pytest.raises(BadArchive, match="is outside of"):
        extract(root, b"/data", archive((name, b"x", {})), Rules())
    assert list(path.iterdir()) == [path / "data"]


def test_hard_links_outside_are_refused(tree: tuple[Path, int]) -> None:
    path, root = tree
    (path / "secret").write_text("x")
    with pytest.raises(BadArchive):
        extract(root, b"/data", archive(link("h", "../secret", tarfile.LNKTYPE)), Rules())
    with pytest.raises(BadArchive):
        extract(root, b"/data", archive(link("h", "missing", tarfile.LNKTYPE)), Rules())


def test_kinds_are_kept_if_wanted(tree: tuple[Path, int]) -> None:
    path, root = tree
    (path / "data/d").mkdir()
    (path / "data/f").write_text("")
    with pytest.raises(BadArchive, match='cannot overwrite directory "/data/d" with non-directory "/data"'):
        extract(root, b"/data", archive(("d", b"", {})), Rules(keep_kinds=True))
    with pytest.raises(BadArchive, match='cannot overwrite non-directory "/data/f" with directory "/data"'):
        extract(root, b"/data", archive(folder("f")), Rules(keep_kinds=True))
    extract(root, b"/data", archive(("d", b"1", {}), folder("f")), Rules())
    assert (path / "data/d").read_bytes() == b"1"
    assert (path / "data/f").is_dir()


def test_what_breaks_off_is_told(tree: tuple[Path, int]) -> None:
    _, root = tree
    data = archive(("f", b"x" * 5000, {})).getvalue()
    with pytest.raises(BadArchive, match="unexpected end"):
        extract(root, b"/data", io.BytesIO(data[:2000]), Rules())
    with pytest.raises(BadArchive):
        extract(root, b"/data", io.BytesIO(b"no archive at all" * 100), Rules())


def test_directories_are_made_inside(tree: tuple[Path, int]) -> None:
    path, root = tree
    os.close(make_directories(root, b"/x/y/z"))
    os.close(make_directories(root, b"/deep" + b"/d" * 1500))
    remove_tree(path / "deep")
    (path / "into").symlink_to("/x")
    os.close(make_directories(root, b"/into/new"))
    assert (path / "x/new").is_dir()
    assert (path / "x/y/z").is_dir()
    (path / "dangling").symlink_to("/not/there")
    with pytest.raises(FileNotFoundError):
        make_directories(root, b"/dangling")
    os.close(open_inside(root, b"", os.O_PATH))


def packed(root: int, path: bytes, prefix: bytes) -> list[str]:
    data = b"".join(in_memory(pack_named(root, path, lambda entry: prefix + entry[len(path) :])))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [member.name + "/" * member.isdir() for member in tar]


def test_packing_under_another_name(tree: tuple[Path, int]) -> None:
    path, _ = tree
    (path / "data/f").write_text("x")
    root = os.open(path, os.O_RDONLY)
    try:
        assert packed(root, b"", b"new") == ["new/", "new/data/", "new/data/f"]
        data = os.open(path / "data", os.O_RDONLY)
        assert packed(data, b"/f", b"g") == ["g"]
        os.close(data)
    finally:
        os.close(root)
