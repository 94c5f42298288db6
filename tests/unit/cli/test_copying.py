"""What ``cp`` copies where, and the archives that it makes and takes."""

import io
import os
import tarfile
from pathlib import Path

import pytest
from support.shared import table

from sampan.cli.copying import (
    Place,
    check_output,
    find_source,
    find_target,
    keep_end,
    local_path,
    plan_target,
    rename_for,
    split_argument,
    split_entry,
)
from sampan.cli.errors import CommandError
from sampan.cli.tarfiles import Pieces, pack, unpack


def test_arguments() -> None:
    for row in table("cp/split"):
        assert split_argument(row["input"]) == (row["container"], row["path"])
    assert split_argument("web:/etc") == ("web", "/etc")
    assert split_argument("web:") == ("web", "")
    assert split_argument("-") == ("", "-")


def test_ends_of_paths() -> None:
    assert keep_end("/a", "a/") == "/a/"
    assert keep_end("/a", "a/.") == "/a/."
    assert local_path("a/../b/", "/here") == "/here/b/"
    assert local_path(".", "/here") == "/here/."
    assert split_entry("/a/b/.") == ("/a/b", ".")
    assert split_entry("/a/b/") == ("/a", "b")
    assert split_entry("/") == ("/", "/")
    assert rename_for("/x/link/.", "/y/real") == ("/y/real/.", "")
    assert rename_for("/x/link", "/y/real") == ("/y/real", "link")


FILE = Place("/src/name", exists=True)
FOLDER = Place("/src/name", exists=True, is_dir=True)


@pytest.mark.parametrize(
    ("source", "target", "plan"),
    [
        (FILE, Place("/d", exists=True, is_dir=True), ("/d", "", "")),
        (FOLDER, Place("/d", exists=True, is_dir=True), ("/d", "", "")),
        (FILE, Place("/d/f", exists=True), ("/d", "name", "f")),
        (FILE, Place("/d/new"), ("/d", "name", "new")),
        (FOLDER, Place("/d/new/"), ("/d", "name", "new")),
        (Place("/src/name/.", exists=True, is_dir=True), Place("/d/new"), ("/d", ".", "new")),
        (Place("/src/x", exists=True, rename="y"), Place("/d/new"), ("/d", "y", "new")),
    ],
)
def test_targets(source: Place, target: Place, plan: tuple[str, str, str]) -> None:
    assert plan_target(source, target) == plan


def test_targets_that_cannot_be() -> None:
    with pytest.raises(CommandError, match=r"^cannot copy directory$"):
        plan_target(FOLDER, Place("/d/f", exists=True))
    with pytest.raises(CommandError, match=r"^no such directory$"):
        plan_target(FILE, Place("/d/new/"))


def test_local_places(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("dir")
    (tmp_path / "dangling").symlink_to("new")
    (tmp_path / "loop").symlink_to("loop")
    found = find_target(f"{tmp_path}/link")
    assert (found.path, found.is_dir) == (f"{tmp_path}/dir", True)
    assert find_target(f"{tmp_path}/dangling").path == f"{tmp_path}/new"
    with pytest.raises(CommandError, match="too many symlinks"):
        find_target(f"{tmp_path}/loop")
    with pytest.raises(CommandError, match="no such file or directory"):
        find_target(f"{tmp_path}/a/b")
    assert not find_source(f"{tmp_path}/link", follow=False).is_dir
    followed = find_source(f"{tmp_path}/link", follow=True)
    assert (followed.path, followed.is_dir, followed.rename) == (f"{tmp_path}/dir", True, "link")
    with pytest.raises(CommandError, match="does not exist"):
        check_output(f"{tmp_path}/a/b")
    with pytest.raises(CommandError, match="got a device"):
        check_output("/dev/null")


def test_there_and_back(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "sub").mkdir(parents=True)
    target.mkdir()
    (source / "a").write_bytes(b"x" * 1000)
    os.link(source / "a", source / "b")
    (source / "l").symlink_to("/etc/passwd")
    os.mkfifo(source / "sub/pipe", 0o600)
    (source / "a").chmod(0o4711)
    counted: list[int] = []
    data = list(pack(find_source(str(source), follow=False), "source", "named"))
    unpack(Pieces(iter(data), counted.append), str(target), "", "")
    named = target / "named"
    assert (named / "a").read_bytes() == b"x" * 1000
    assert (named / "a").stat().st_mode & 0o7777 == 0o4711
    assert (named / "a").stat().st_ino == (named / "b").stat().st_ino
    assert (named / "l").readlink() == Path("/etc/passwd")
    assert (named / "sub/pipe").is_fifo()
    assert sum(counted) == sum(map(len, data))


def test_a_file_counts_as_with_docker(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("small")
    assert len(b"".join(pack(find_source(str(tmp_path / "f"), follow=False), "", ""))) == 2048


def hostile(*infos: tarfile.TarInfo) -> Pieces:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info in infos:
            archive.addfile(info, io.BytesIO(b"x" * info.size))
    return Pieces(iter([buffer.getvalue()]), lambda _: None)


def entry(name: str, *, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    if link:
        info.type, info.linkname = tarfile.SYMTYPE, link
    return info


def test_what_comes_is_not_trusted(tmp_path: Path) -> None:
    target, outside = tmp_path / "target", tmp_path / "outside"
    target.mkdir()
    outside.mkdir()
    with pytest.raises(CommandError, match="is outside of"):
        unpack(hostile(entry("../outside/f", size=1)), str(target), "", "")
    with pytest.raises(CommandError):
        unpack(hostile(entry("l", link=str(outside)), entry("l/f", size=1)), str(target), "", "")
    (target / "d").mkdir()
    with pytest.raises(CommandError, match="cannot overwrite directory"):
        unpack(hostile(entry("d", size=1)), str(target), "", "")
    with pytest.raises(CommandError, match="invalid archive"):
        unpack(Pieces(iter([b"nothing"]), lambda _: None), str(target), "", "")
    assert not list(outside.iterdir())
