"""Archives of whole trees: holes stay holes, names that mean something in layers are names."""

import io
import os
import subprocess
from pathlib import Path

from sampan.base.outflow import in_memory
from sampan.storage.extract import Rules, extract
from sampan.storage.pack import pack_backup
from sampan.storage.tree import opened


def packed(folder: Path) -> bytes:
    with opened(str(folder)) as root:
        return b"".join(in_memory(pack_backup(root)))


def test_holes_are_kept(tmp_path: Path) -> None:
    source, target, other = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    for folder in (source, target, other):
        folder.mkdir()
    layouts = {
        "start": [(0, b"x" * 5000)],
        "end": [((8 << 20) - 3, b"end")],
        "middle": [(1 << 20, b"m" * 9)],
        "none": [],
    }
    for name, pieces in layouts.items():
        with (source / name).open("wb") as file:
            for at, data in pieces:
                os.pwrite(file.fileno(), data, at)
            file.truncate(8 << 20)
    (source / "empty").touch()
    archive = packed(source)
    assert len(archive) < 100_000
    with opened(str(target)) as root:
        extract(root, b"", io.BytesIO(archive), Rules(root=True))
    subprocess.run(["tar", "x", "-C", other], input=archive, check=True)
    for name in (*layouts, "empty"):
        for folder in (target, other):
            assert (folder / name).read_bytes() == (source / name).read_bytes()
            assert (folder / name).stat().st_blocks <= (source / name).stat().st_blocks


def test_the_root_itself(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a").chmod(0o1711)
    os.utime(tmp_path / "a", ns=(5, 7_000_000_009))
    archive = packed(tmp_path / "a")
    for rules, mode in ((Rules(), 0o755), (Rules(root=True), 0o1711)):
        (tmp_path / "b").chmod(0o755)
        with opened(str(tmp_path / "b")) as root:
            extract(root, b"", io.BytesIO(archive), rules)
        assert (tmp_path / "b").stat().st_mode & 0o7777 == mode
    assert (tmp_path / "b").stat().st_mtime_ns == 7_000_000_009


def test_equal_trees_give_equal_archives(tmp_path: Path) -> None:
    (tmp_path / ".wh.f").write_text("x")
    os.utime(tmp_path / ".wh.f", ns=(1, 1))
    assert packed(tmp_path) == packed(tmp_path)
    assert b".wh.f" in packed(tmp_path)
