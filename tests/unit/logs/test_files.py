"""Log files and their rotated ancestors."""

import gzip
import os
from pathlib import Path

import pytest
from support.logs import json_line, rotate

from sampan.logs.drivers.json_file import JsonFile
from sampan.logs.files import LogFile, close_all, open_log, open_successors

DRIVER = JsonFile()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "c-json.log"


def lines(*names: str) -> bytes:
    return b"".join(json_line(f"{name}\n") for name in names)


def contents(files: list[LogFile]) -> list[bytes]:
    try:
        return [log.read(1 << 20) for log in files]
    finally:
        close_all(files)


def open_all(path: Path, *, tail: int = -1, since_ns: int | None = None) -> list[bytes]:
    return contents(open_log(path, DRIVER, tail=tail, since_ns=since_ns))


def test_nothing(path: Path) -> None:
    assert open_all(path) == []
    assert open_all(path.parent / "no/such/log") == []


def test_oldest_first(path: Path) -> None:
    path.write_bytes(lines("5"))
    path.with_name(f"{path.name}.1").write_bytes(lines("3", "4"))
    with gzip.open(path.with_name(f"{path.name}.2.gz"), "wb") as packed:
        packed.write(lines("1", "2"))
    assert open_all(path) == [lines("1", "2"), lines("3", "4"), lines("5")]
    assert open_all(path, tail=2) == [lines("4"), lines("5")]
    assert open_all(path, tail=4) == [lines("2"), lines("3", "4"), lines("5")]
    assert open_all(path, tail=1) == [lines("5")]
    assert open_all(path, tail=0) == [b""]


def test_plain_beside_compressed(path: Path) -> None:
    path.write_bytes(lines("2"))
    path.with_name(f"{path.name}.1").write_bytes(lines("1"))
    path.with_name(f"{path.name}.1.gz").write_bytes(gzip.compress(lines("1"))[:10])
    assert open_all(path) == [lines("1"), lines("2")]


def test_damaged_archive(path: Path) -> None:
    body = b"".join(json_line(os.urandom(20).hex()) for _ in range(1000))
    path.write_bytes(lines("last"))
    packed = path.with_name(f"{path.name}.1.gz")
    packed.write_bytes(gzip.compress(body)[:-2000])
    first, last = open_all(path)
    assert body.startswith(first)
    assert 1000 < len(first) < len(body)
    assert last == lines("last")
    packed.write_bytes(b"no archive at all")
    assert open_all(path) == [b"", lines("last")]
    packed.write_bytes(gzip.compress(b"a") + gzip.compress(b"b"))
    assert open_all(path)[0] == b"ab"
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name, packed.name]


def test_older_than_wanted(path: Path) -> None:
    path.write_bytes(lines("2"))
    old = path.with_name(f"{path.name}.1")
    old.write_bytes(lines("1"))
    os.utime(old, ns=(5 * 10**9, 5 * 10**9))
    assert open_all(path, since_ns=6 * 10**9) == [lines("2")]
    assert open_all(path, since_ns=5 * 10**9) == [lines("1"), lines("2")]


def test_growing_and_cut_short(path: Path) -> None:
    path.write_bytes(b"abc")
    (log,) = open_log(path, DRIVER, tail=-1, since_ns=None)
    assert (log.read(2), log.read(9), log.read(9)) == (b"ab", b"c", b"")
    with path.open("ab") as file:
        file.write(b"d")
    assert log.read(9) == b"d"
    path.write_bytes(b"x")
    assert log.read(9) == b"x"
    assert log.read_at(0, 9) == b"x"
    log.close()


def test_successors(path: Path) -> None:
    path.write_bytes(lines("1"))
    (log,) = open_log(path, DRIVER, tail=-1, since_ns=None)
    assert open_successors(path, log) == []
    for name in ("2", "3", "4"):
        rotate(path)
        path.write_bytes(lines(name))
    assert contents(open_successors(path, log)) == [lines("2"), lines("3"), lines("4")]
    path.unlink()
    assert open_successors(path, log) == []
    log.close()


def test_successors_of_a_compressed_file(path: Path) -> None:
    path.write_bytes(lines("1"))
    (log,) = open_log(path, DRIVER, tail=-1, since_ns=None)
    rotate(path)
    path.write_bytes(lines("2"))
    plain = path.with_name(f"{path.name}.1")
    status = plain.stat()
    packed = path.with_name(f"{path.name}.1.gz")
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    os.utime(packed, ns=(status.st_atime_ns, status.st_mtime_ns))  # as gzip(1) does
    plain.unlink()
    assert contents(open_successors(path, log)) == [lines("2")]
    assert log.read(1 << 20) == lines("1")
    log.close()
