import io
import os
import tarfile
from pathlib import Path

import pytest
from support.layers import Layer, Trickle

from sampan.storage.tar_header import SPECIAL_LIMIT, BadArchive, Entry, encode, padding
from sampan.storage.tar_reader import TarReader

FORMATS = {"pax": tarfile.PAX_FORMAT, "gnu": tarfile.GNU_FORMAT, "ustar": tarfile.USTAR_FORMAT}


def read(data: bytes, step: int = 1 << 20) -> list[tuple[Entry, bytes]]:
    reader = TarReader(Trickle(data, step))
    return [(entry, b"".join(bytes(c) for c in reader.chunks())) for entry in reader]


def content(data: bytes, folder: Path) -> bytes:
    """Return the only file in the archive, as it is on disk after ``copy_to``."""
    reader = TarReader(io.BytesIO(data))
    entry = reader.next()
    assert entry is not None
    path = folder / "file"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        reader.copy_to(fd, entry)
    finally:
        os.close(fd)
    assert reader.next() is None
    return path.read_bytes()


@pytest.mark.parametrize("step", [1, 7, 512, 1 << 20])
@pytest.mark.parametrize("format_", FORMATS.values(), ids=FORMATS)
def test_entries_come_out_however_small_the_pieces(format_: int, step: int) -> None:
    layer = (
        Layer(format_=format_)
        .dir("dir")
        .add("dir/file", b"x" * 700)
        .link("link", "dir/file")
        .add("last", b"")
    )
    found = [(e.name, e.type, data) for e, data in read(layer.bytes(), step)]
    assert found == [
        (b"dir/", b"5", b""),
        (b"dir/file", b"0", b"x" * 700),
        (b"link", b"2", b""),
        (b"last", b"0", b""),
    ]


@pytest.mark.parametrize("format_", ["pax", "gnu"])
def test_long_names(format_: str) -> None:
    name, target = "/".join(["é" * 90] * 4), "t" * 500
    [(entry, _), (second, data)] = read(
        Layer(format_=FORMATS[format_]).link(name, target).add("x", b"y").bytes()
    )
    assert (entry.name.decode(), entry.link.decode()) == (name, target)
    assert (second.name, second.link, data) == (b"x", b"", b"y")


def test_global_headers_are_read_and_not_applied() -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", pax_headers={"comment": "deadbeef", "uid": "77"}) as tar:
        tar.addfile(tarfile.TarInfo("file"))
    [(entry, _)] = read(file.getvalue())
    assert (entry.name, entry.uid) == (b"file", 0)


def test_data_that_is_not_taken_is_skipped() -> None:
    reader = TarReader(io.BytesIO(Layer().add("a", b"a" * 3_000_000).add("b", b"b").bytes()))
    assert [entry.name for entry in reader] == [b"a", b"b"]


@pytest.mark.parametrize("tail", [b"", bytes(512), bytes(1024), bytes(1024) + b"anything at all"])
def test_ends_of_archives(tail: bytes) -> None:
    data = encode(Entry(b"file", b"0", 0o644, 0, 0, 3, 0)) + b"abc" + padding(3)
    source = io.BytesIO(data + tail)
    reader = TarReader(source)
    assert [entry.name for entry in reader] == [b"file"]
    assert reader.next() is None
    reader.drain()
    assert source.read() == b""


def test_an_empty_stream_is_an_empty_archive() -> None:
    assert read(b"") == []


@pytest.mark.parametrize("cut", [1, 511, 513, 1023, 1024 + 512 + 1])
def test_a_stream_that_breaks_off(cut: int) -> None:
    data = Layer().add("first", b"x" * 600).add("second").bytes()
    assert len(read(data)) == 2
    with pytest.raises(BadArchive, match="unexpected end of the archive"):
        read(data[:cut])


def test_the_entry_that_breaks_off_is_named() -> None:
    with pytest.raises(BadArchive, match="in some/file"):
        read(Layer().add("some/file", b"x" * 5000).bytes()[:2000])


def test_one_block_of_zeros_in_the_middle_is_no_end() -> None:
    block = encode(Entry(b"file", b"0", 0o644, 0, 0, 0, 0))
    with pytest.raises(BadArchive, match="invalid tar header"):
        read(block + bytes(512) + block)


def test_rubbish() -> None:
    with pytest.raises(BadArchive, match="invalid tar header"):
        read(b"This is not a tar archive at all. " * 100)


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
def test_extended_headers_are_not_endless(kind: bytes) -> None:
    with pytest.raises(BadArchive, match="too long"):
        read(encode(Entry(b"h", kind, 0, 0, 0, SPECIAL_LIMIT + 1, 0)))
    header = encode(Entry(b"h", kind, 0, 0, 0, 12, 0)) + b"12 path=abc\n" + padding(12)
    if kind != b"g":
        with pytest.raises(BadArchive, match="after an extended header"):
            read(header)


@pytest.mark.parametrize("record", ["GNU.sparse.major", "GNU.sparse.map"])
def test_names_with_a_nul_and_impossible_owners(record: str) -> None:
    for pax, message in (
        ({"path": "a\0b"}, "NUL"),
        ({"linkpath": "a\0b"}, "NUL"),
        ({"uid": "4294967295"}, "owner"),
        ({"gid": "4294967296"}, "owner"),
        ({record: "7"}, "sparse"),
    ):
        with pytest.raises(BadArchive, match=message):
            read(Layer().add("f", pax=pax).bytes())


VERSION_1 = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "20000"}
HOLED = b"one" + bytes(9997) + b"two" + bytes(9997)


@pytest.mark.parametrize(
    ("pax", "data"),
    [
        (
            {"GNU.sparse.size": "20000", "GNU.sparse.numblocks": "2", "GNU.sparse.map": "0,3,10000,3"},
            b"onetwo",
        ),
        (
            {
                "GNU.sparse.major": "1",
                "GNU.sparse.minor": "0",
                "GNU.sparse.realsize": "20000",
                "GNU.sparse.name": "f",
            },
            b"3\n0\n3\n10000\n3\n20000\n0\n".ljust(512, b"\0") + b"onetwo",
        ),
    ],
    ids=["0.1", "1.0"],
)
def test_sparse_files(pax: dict[str, str], data: bytes, tmp_path: Path) -> None:
    archive = Layer().add("GNUSparseFile.0/f" if "GNU.sparse.name" in pax else "f", data, pax=pax).bytes()
    assert content(archive, tmp_path) == HOLED
    [(entry, _)] = read(archive, 1)
    assert (entry.name, entry.size, entry.length) == (b"f", 6, 20000)


def test_sparse_format_0_0_repeats_its_keys(tmp_path: Path) -> None:
    pairs = ["size=20000", "numblocks=2", "offset=0", "numbytes=3", "offset=10000", "numbytes=3"]
    records = b"".join(
        b"%d%s" % (len(r) + len(str(len(r) + 2)), r)
        for r in (b" GNU.sparse.%s\n" % p.encode() for p in pairs)
    )
    header = encode(Entry(b"p", b"x", 0, 0, 0, len(records), 0)) + records + padding(len(records))
    file = encode(Entry(b"f", b"0", 0o644, 0, 0, 6, 0)) + b"onetwo" + padding(6)
    assert content(header + file, tmp_path) == HOLED


def test_old_gnu_sparse_files_with_more_blocks(tmp_path: Path) -> None:
    pairs = [(n * 1000, 1) for n in range(30)]
    block = bytearray(encode(Entry(b"f", b"S", 0o644, 0, 0, 30, 0)))
    block[257:265] = b"ustar  \0"

    def put(into: bytearray, at: int, some: list[tuple[int, int]]) -> None:
        for offset, count in some:
            into[at : at + 24] = b"%011o\0%011o\0" % (offset, count)
            at += 24

    put(block, 386, pairs[:4])
    block[482] = 1
    block[483:495] = b"%011o\0" % 40000
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    more = [bytearray(512), bytearray(512)]
    put(more[0], 0, pairs[4:25])
    more[0][504] = 1
    put(more[1], 0, pairs[25:])
    archive = bytes(block) + bytes(more[0]) + bytes(more[1]) + b"x" * 30 + padding(30)
    want = bytearray(40000)
    for offset, _ in pairs:
        want[offset] = ord("x")
    assert content(archive, tmp_path) == bytes(want)
    with pytest.raises(BadArchive, match="unexpected end"):
        read(archive[:700])


@pytest.mark.parametrize(
    "text",
    ["0,3,2,3", "0,3", "0,3,10000,4", "0,3,19999,3", "-1,3,5,3", "0,3,x,3", "0,3,5", "0,9999999999999999999"],
)
def test_sparse_maps_that_cannot_be(text: str) -> None:
    pax = {"GNU.sparse.size": "20000", "GNU.sparse.map": text}
    with pytest.raises(BadArchive, match="f: bad sparse map"):
        read(Layer().add("f", b"onetwo", pax=pax).bytes())


@pytest.mark.parametrize("data", [b"", b"5\n", b"x\n0\n", b"9999999999\n", b"1\n0\n9\n"])
def test_sparse_maps_in_the_data_that_cannot_be(data: bytes) -> None:
    with pytest.raises(BadArchive, match="f: bad sparse map"):
        read(Layer().add("f", data.ljust(512, b"\0") if data else b"", pax=VERSION_1).bytes())


def test_long_zeros_become_holes_and_the_rest_is_untouched(tmp_path: Path) -> None:
    data = b"\0" * 70_000 + b"a" + b"\0" * 300_000 + b"b" * 3_000_000 + b"\0" * 100_001
    assert content(Layer().add("f", data).bytes(), tmp_path) == data
    assert content(Layer().add("f", bytes(1_000_000)).bytes(), tmp_path) == bytes(1_000_000)
    assert (tmp_path / "file").stat().st_blocks == 0
