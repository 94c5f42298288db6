import random
import tarfile

import pytest

from sampan.storage.tar_header import (
    BLOCK,
    DIRECTORY,
    FILE,
    BadArchive,
    Entry,
    apply_pax,
    decode_header,
    decode_pax,
    encode,
    parse_time,
    render_time,
)


def header(**fields: object) -> bytearray:
    info = tarfile.TarInfo("name")
    for key, value in fields.items():
        setattr(info, key, value)
    return bytearray(info.tobuf(tarfile.USTAR_FORMAT))


def signed(block: bytearray) -> bytes:
    """Put the right checksum in."""
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def test_a_plain_header() -> None:
    entry = decode_header(bytes(header(size=5, mode=0o4755, uid=7, gid=8, mtime=9)))
    assert (entry.name, entry.type, entry.size, entry.length) == (b"name", FILE, 5, 5)
    assert (entry.mode, entry.uid, entry.gid, entry.mtime_ns) == (0o4755, 7, 8, 9_000_000_000)


def test_a_wrong_checksum_is_no_header() -> None:
    block = header()
    block[0] ^= 1
    with pytest.raises(BadArchive, match="invalid tar header"):
        decode_header(bytes(block))
    with pytest.raises(BadArchive):
        decode_header(random.Random(1).randbytes(512))  # noqa: S311 - any bytes will do


def test_a_checksum_over_signed_bytes_is_accepted() -> None:
    block = header(name="é" * 40)
    block[148:156] = b" " * 8
    total = sum(b - 256 if b > 127 else b for b in block)
    block[148:156] = b"%06o\0 " % total
    assert decode_header(bytes(block)).name == ("é" * 40).encode()


@pytest.mark.parametrize("filling", [0x61, 0xFF])
def test_checksums_beyond_the_modulus(filling: int) -> None:
    block = header()
    block[0:100] = block[157:257] = bytes([filling]) * 100
    block[345:500] = bytes([filling]) * 155
    assert decode_header(signed(block)).name.endswith(bytes([filling]) * 100)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"0000005\0", 5),
        (b"     5 \0", 5),
        (b"00000005", 5),  # no terminator: all eight are digits
        (b"5\0garbag", 5),
        (bytes(8), 0),
        (b"\x80\0\0\0\0\0\0\x05", 5),
        (b"\x80\0\0\0\x01\0\0\0", 1 << 24),
    ],
)
def test_forms_of_numbers(field: bytes, value: int) -> None:
    block = header()
    block[108:116] = field
    assert decode_header(signed(block)).uid == value


@pytest.mark.parametrize("field", [b"0000009\0", b"xyz", b"\xff" + b"\x80" + b"\0" * 6 + b"\0" * 4])
def test_numbers_that_are_none(field: bytes) -> None:
    block = header()
    block[124:136] = field.ljust(12, b"\0")
    with pytest.raises(BadArchive, match="name"):
        decode_header(signed(block))


def test_a_negative_size_is_refused_and_a_negative_time_is_not() -> None:
    block = header()
    block[124:136] = b"\xff" * 12
    with pytest.raises(BadArchive, match="negative size"):
        decode_header(signed(block))
    block = header()
    block[136:148] = b"\xff" * 12
    assert decode_header(signed(block)).mtime_ns == -1_000_000_000


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_types_without_data_have_no_size(kind: bytes) -> None:
    assert decode_header(bytes(header(type=kind, size=1000))).size == 0


def test_an_old_directory_is_a_name_with_a_slash() -> None:
    block = header(name="dir/")
    block[156] = 0
    assert decode_header(signed(block)).type == DIRECTORY


def test_the_prefix_belongs_to_the_name_in_ustar_only() -> None:
    name = "/".join(["x" * 50] * 4)
    assert decode_header(bytes(header(name=name))).name == name.encode()
    gnu = header()
    gnu[257:265] = b"ustar  \0"
    gnu[345:357] = b"00000000001\0"  # GNU keeps times there
    assert decode_header(signed(gnu)).name == b"name"


def test_pax_records() -> None:
    assert decode_pax(b"12 path=abc\n19 comment=a=b\n\nc=\n") == [
        (b"path", b"abc"),
        (b"comment", b"a=b\n\nc="),
    ]
    assert decode_pax(b"12 path=abc\n" + bytes(20)) == [(b"path", b"abc")]
    for text in (
        b"11 path=abc\n",
        b"99 path=abc\n",
        b"x path=abc\n",
        b"0 =\n",
        b"12 path=abc",
        b"5 abc\n",
        b"-1 a=b\n",
    ):
        with pytest.raises(BadArchive, match="pax"):
            decode_pax(text)


def test_pax_records_override_the_header() -> None:
    entry = decode_header(bytes(header(size=5)))
    records = [
        (b"path", b"longer"),
        (b"size", b"8589934592"),
        (b"uid", b"4000000000"),
        (b"mtime", b"-1.5"),
        (b"path", b""),
        (b"SCHILY.xattr.user.a", b"\0\xff="),
        (b"LIBARCHIVE.xattr.user.%62", b"Y2Q"),
        (b"LIBARCHIVE.xattr.user.a", b"Y2Q"),
        (b"comment", b"x"),
    ]
    assert apply_pax(entry, records) == {}
    assert (entry.name, entry.size, entry.uid, entry.mtime_ns) == (
        b"longer",
        1 << 33,
        4_000_000_000,
        -1_500_000_000,
    )
    assert entry.xattrs == {"user.a": b"\0\xff=", "user.b": b"cd"}


@pytest.mark.parametrize(
    "record",
    [
        (b"size", b"-1"),
        (b"size", b"1e3"),
        (b"size", b"9" * 19),
        (b"uid", b"x"),
        (b"mtime", b"now"),
        (b"mtime", b"1.x"),
    ],
)
def test_pax_values_that_are_none(record: tuple[bytes, bytes]) -> None:
    entry = decode_header(bytes(header()))
    with pytest.raises(BadArchive, match="name: bad value"):
        apply_pax(entry, [record])


@pytest.mark.parametrize(
    "value", [0, 1, -1, 1_500_000_000, -1_500_000_000, 10**18 + 1, 999_999_999, -999_999_999]
)
def test_times_survive(value: int) -> None:
    assert parse_time(render_time(value)) == value


def test_times_of_other_writers() -> None:
    assert parse_time(b"1.1234567899999") == 1_123_456_789
    assert parse_time(b"1.") == 1_000_000_000
    assert parse_time(b".5") == 500_000_000


@pytest.mark.parametrize(
    "entry",
    [
        Entry(b"plain", FILE, 0o644, 0, 0, 12, 10**18),
        Entry(b"d/" * 60, DIRECTORY, 0o755, 0, 0, 0, 0),
        Entry(b"n" * 101, FILE, 0o644, 0, 0, 0, 0),
        Entry("näme".encode(), FILE, 0o644, 0, 0, 0, 0),
        Entry(b"latin-\xe9", FILE, 0o644, 0, 0, 0, 0),
        Entry(b"times", FILE, 0o644, 0, 0, 0, -1),
        Entry(b"late", FILE, 0o644, 0, 0, 0, 10**20),
        Entry(b"owner", FILE, 0o644, 1 << 31, (1 << 32) - 2, 0, 0),
        Entry(b"big", FILE, 0o644, 0, 0, 1 << 40, 0),
        Entry(b"link", b"2", 0o777, 0, 0, 0, 0, link="ü".encode() * 80),
        Entry(b"tty", b"3", 0o620, 0, 5, 0, 0, device=(4, 64)),
        Entry(b"cap", FILE, 0o755, 0, 0, 0, 0, xattrs={"security.capability": b"\1\0\n=", "user.x": b""}),
    ],
    ids=lambda e: repr(e.name[:10]),
)
def test_what_is_encoded_can_be_decoded_by_us_and_by_others(entry: Entry) -> None:
    data = encode(entry)
    assert len(data) % BLOCK == 0
    assert data == encode(entry)
    decoded = decode_header(data[-BLOCK:])
    if len(data) > BLOCK:
        apply_pax(decoded, decode_pax(data[BLOCK : BLOCK + decode_header(data[:BLOCK]).size]))
    for name in ("name", "type", "mode", "uid", "gid", "size", "mtime_ns", "link", "device", "xattrs"):
        assert getattr(decoded, name) == getattr(entry, name), name
    if len(data) > BLOCK:
        info = tarfile.TarInfo.frombuf(data[:BLOCK], "utf-8", "surrogateescape")
        assert info.type == tarfile.XHDTYPE
    info = tarfile.TarInfo.frombuf(data[-BLOCK:], "utf-8", "surrogateescape")
    assert info.mode == entry.mode


def test_a_short_entry_takes_one_block() -> None:
    assert len(encode(Entry(b"usr/bin/true", FILE, 0o755, 0, 0, 10, 10**18))) == BLOCK
    assert len(encode(Entry(b"p" * 150 + b"/" + b"n" * 100, FILE, 0o755, 0, 0, 10, 10**18))) == BLOCK
