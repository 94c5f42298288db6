"""The header blocks of tar archives, decoded and encoded: bytes and values only, no input or output.

Formats understood: v7, ustar and pax (POSIX.1-1988 and -2001), GNU (long names, base-256 numbers, old sparse
maps), star's prefix. Written: ustar, with a pax header where ustar cannot say it.
Source: pax(1) "ustar Interchange Format" and "pax Header Block"; tar(5) of libarchive; GNU tar's manual,
"Basic Tar Format" and "Storing Sparse Files".
"""

import binascii
import functools
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from sampan.base.errors import InvalidParameter

BLOCK: Final = 512
SPECIAL_LIMIT: Final = 1 << 20
"""Bytes that a long name or a pax header may take (Go's archive/tar has the same limit)."""

FILE: Final = b"0"
HARD_LINK: Final = b"1"
SYMBOLIC_LINK: Final = b"2"
CHARACTER_DEVICE: Final = b"3"
BLOCK_DEVICE: Final = b"4"
DIRECTORY: Final = b"5"
FIFO: Final = b"6"
CONTIGUOUS: Final = b"7"
GNU_LONG_NAME: Final = b"L"
GNU_LONG_LINK: Final = b"K"
GNU_SPARSE: Final = b"S"
PAX_HEADER: Final = b"x"
PAX_GLOBAL: Final = b"g"

WITHOUT_DATA: Final = frozenset({HARD_LINK, SYMBOLIC_LINK, CHARACTER_DEVICE, BLOCK_DEVICE, DIRECTORY, FIFO})
"""Types whose size field does not count: no data follows their header."""

_ZERO: Final = bytes(BLOCK)
_ADLER: Final = 65521
_MAX_OCTAL: Final = 8**11 - 1
_MAX_SHORT: Final = 8**7 - 1


class BadArchive(InvalidParameter):
    """The tar stream is not one, or breaks off; the message names the entry where that is known."""


@dataclass(slots=True)
class Entry:
    """A member of an archive. ``type`` is one of the constants above, after sparse files became ``FILE``.

    ``size`` counts the bytes of data that follow in the stream, ``length`` those of the file. ``sparse`` maps
    the data to the file as (offset, length) pairs in order; None: it is one piece at offset 0.
    """

    name: bytes
    type: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    link: bytes = b""
    device: tuple[int, int] = (0, 0)
    length: int = 0
    sparse: list[tuple[int, int]] | None = None
    xattrs: dict[str, bytes] = field(default_factory=dict)


def is_end(block: bytes) -> bool:
    """Return whether ``block`` is a block of zeros, two of which end an archive."""
    return block == _ZERO


def decode_header(block: bytes) -> Entry:
    """Decode the header ``block`` of 512 bytes. Raises BadArchive if it is not one."""
    _verify(block)
    name = block[:100].partition(b"\0")[0]
    magic = block[257:263]
    if magic == b"ustar\0" and block[345]:
        # star keeps two times in the last 24 bytes of the prefix
        prefix = block[345:476] if block[508:512] == b"tar\0" else block[345:500]
        name = prefix.split(b"\0", 1)[0] + b"/" + name
    kind = block[156:157]
    if kind == b"\0":
        kind = FILE
    if kind == FILE and name[-1:] == b"/":
        kind = DIRECTORY  # v7 had no other way to say so
    entry = Entry(
        name,
        kind,
        _number(block, 100, 108, "mode", name) & 0o7777,
        _number(block, 108, 116, "owner", name),
        _number(block, 116, 124, "group", name),
        _number(block, 124, 136, "size", name),
        _number(block, 136, 148, "time", name) * 1_000_000_000,
    )
    if kind != FILE and kind in WITHOUT_DATA:
        entry.size = 0
        if kind in (HARD_LINK, SYMBOLIC_LINK):
            entry.link = block[157:257].split(b"\0", 1)[0]
        elif kind in (CHARACTER_DEVICE, BLOCK_DEVICE):
            major = _number(block, 329, 337, "device", name)
            entry.device = (major, _number(block, 337, 345, "device", name))
    elif entry.size < 0:
        raise BadArchive(f"{shown(name)}: negative size")
    entry.length = entry.size
    return entry


def decode_old_sparse(block: bytes, name: bytes) -> tuple[list[tuple[int, int]], int, bool]:
    """Return map, length of the file, and whether map blocks follow, from a header of type ``GNU_SPARSE``."""
    return _sparse_pairs(block, 386, 4, name), _number(block, 483, 495, "size", name), bool(block[482])


def decode_sparse_block(block: bytes, name: bytes) -> tuple[list[tuple[int, int]], bool]:
    """Return the pairs in a map block that follows an old sparse header, and whether one more follows."""
    return _sparse_pairs(block, 0, 21, name), bool(block[504])


def decode_pax(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return the records of a pax header in order, with repetitions; raises BadArchive if it is malformed."""
    records = []
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 20)
        if space < 0:
            if not data[at:].strip(b"\0"):
                break  # padding that its size should not count; bsdtar and Go accept it too
            raise BadArchive("malformed pax header")
        digits = data[at:space]
        end = at + (int(digits) if digits.isdigit() else 0)
        equals = data.find(b"=", space, end)
        if end > len(data) or equals < 0 or data[end - 1 : end] != b"\n":
            raise BadArchive("malformed pax header")
        records.append((data[space + 1 : equals], data[equals + 1 : end - 1]))
        at = end
    return records


def apply_pax(entry: Entry, records: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Let the pax ``records`` override what the header block said; return the GNU sparse ones among them.

    Other times, names of owners and unknown keys are left out. An empty value takes a record back.
    """
    sparse: dict[bytes, bytes] = {}
    pieces: list[bytes] = []
    try:
        for key, value in records:
            if key == b"path":
                entry.name = value or entry.name
            elif key == b"linkpath":
                entry.link = value or entry.link
            elif key == b"mtime":
                entry.mtime_ns = parse_time(value) if value else entry.mtime_ns
            elif key == b"size" and value:
                if entry.type not in WITHOUT_DATA:
                    entry.size = entry.length = _natural(value)
            elif key == b"uid" and value:
                entry.uid = _natural(value)
            elif key == b"gid" and value:
                entry.gid = _natural(value)
            elif key.startswith(b"SCHILY.xattr."):
                entry.xattrs[os.fsdecode(key[13:])] = value
            elif key.startswith(b"LIBARCHIVE.xattr."):
                # star's raw value wins over libarchive's, which is base64
                entry.xattrs.setdefault(_percent_decoded(key[17:]), _base64(value))
            elif key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
                pieces.append(value)
            elif key.startswith(b"GNU.sparse."):
                sparse[key[11:]] = value
    except ValueError as error:
        raise BadArchive(f"{shown(entry.name)}: bad value in its pax header: {error}") from error
    if pieces:
        sparse[b"map"] = b",".join(pieces)
    return sparse


def sparse_map(numbers: Sequence[bytes], entry: Entry) -> list[tuple[int, int]]:
    """Return the pairs that ``numbers`` (offset, length, offset, …) say, checked as by ``check_sparse``."""
    try:
        values = [_natural(n) for n in numbers]
    except ValueError as error:
        raise BadArchive(f"{shown(entry.name)}: bad sparse map") from error
    if len(values) % 2:
        raise BadArchive(f"{shown(entry.name)}: bad sparse map")
    return check_sparse(list(zip(values[::2], values[1::2], strict=True)), entry)


def check_sparse(pairs: list[tuple[int, int]], entry: Entry) -> list[tuple[int, int]]:
    """Return ``pairs`` if they are in order, fit the length of ``entry`` and take just the data it has."""
    end = total = 0
    for offset, count in pairs:
        if offset < end or count < 0:
            break
        end = offset + count
        total += count
    else:
        if end <= entry.length and total == entry.size:
            return pairs
    raise BadArchive(f"{shown(entry.name)}: bad sparse map")


def parse_time(text: bytes) -> int:
    """Return the nanoseconds of a pax time (decimal seconds, possibly negative, any number of digits)."""
    negative = text.startswith(b"-")
    whole, _, fraction = text.lstrip(b"-").partition(b".")
    if not (whole or fraction).isdigit() or (fraction and not fraction.isdigit()):
        raise ValueError(f"time {shown(text)}")
    value = int(whole or b"0") * 1_000_000_000 + int(fraction[:9].ljust(9, b"0"))
    return -value if negative else value


# --- encoding ---


def encode(entry: Entry) -> bytes:
    """Return the header of ``entry``: one block, with a pax header before it where needed.

    Equal entries give equal bytes. Sub-second times, long or odd names, big numbers and extended attributes
    go into pax records, and so does a sparse map (GNU's format 1.0: ``sparse_head`` is its data's beginning),
    which layers "SHOULD NOT" have (image-spec, layer.md).
    """
    records: dict[bytes, bytes] = {}
    name, size = entry.name, entry.size
    if entry.sparse is not None:
        records |= {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.name": name}
        records[b"GNU.sparse.realsize"] = b"%d" % entry.length
        name = b"GNUSparseFile.0/" + name[-64:].lstrip(b"/")
    short, prefix = _split_name(name)
    if short is None:
        records[b"path"] = name
        short = name[:100]
    link = entry.link
    if len(link) > 100 or not link.isascii():
        records[b"linkpath"] = link
        link = link[:100]
    seconds, rest = divmod(entry.mtime_ns, 1_000_000_000)
    if rest or not 0 <= seconds <= _MAX_OCTAL:
        records[b"mtime"] = render_time(entry.mtime_ns)
        seconds = min(max(seconds, 0), _MAX_OCTAL)
    for key, number in ((b"uid", entry.uid), (b"gid", entry.gid)):
        if number > _MAX_SHORT:
            records[key] = b"%d" % number
    if size > _MAX_OCTAL:
        records[b"size"] = b"%d" % size
    records |= {b"SCHILY.xattr." + os.fsencode(key): value for key, value in entry.xattrs.items()}
    block = _block(
        short, entry.type, entry.mode, entry.uid, entry.gid, size, seconds, link, prefix, entry.device
    )
    if not records:
        return block
    data = b"".join(_record(key, records[key]) for key in sorted(records))
    # its own name is only seen by programs that know no pax headers
    head = _block(
        b"PaxHeaders.0/" + short[-80:], PAX_HEADER, 0o644, 0, 0, len(data), seconds, b"", b"", (0, 0)
    )
    return head + data + padding(len(data)) + block


def sparse_head(pairs: Sequence[tuple[int, int]]) -> bytes:
    """Return the map that begins a sparse file's data, in whole blocks: count, then offset and length."""
    numbers = [len(pairs), *(number for pair in pairs for number in pair)]
    text = b"".join(b"%d\n" % number for number in numbers)
    return text + padding(len(text))


def padding(size: int) -> bytes:
    """Return the zeros that fill ``size`` bytes up to whole blocks."""
    return bytes(-size % BLOCK)


def render_time(nanoseconds: int) -> bytes:
    """Return a pax time: decimal seconds without trailing zeros."""
    sign, value = (b"-", -nanoseconds) if nanoseconds < 0 else (b"", nanoseconds)
    whole, rest = divmod(value, 1_000_000_000)
    return sign + (b"%d.%09d" % (whole, rest)).rstrip(b"0").rstrip(b".")


# --- details ---


def _verify(block: bytes) -> None:
    """Raise BadArchive unless the checksum is right: the sum of all bytes, its own eight taken as blanks."""
    field = block[148:156]
    try:
        wanted = int(field.strip(b" \0"), 8)
    except ValueError:
        raise BadArchive("invalid tar header") from None
    # Adler-32 is quick, and its lower half is the sum of the bytes plus one, modulo 65521.
    blanked = wanted + sum(field) - 256
    if (zlib.adler32(block) & 0xFFFF) == (blanked + 1) % _ADLER and blanked < _ADLER:
        return
    body = block[:148] + b" " * 8 + block[156:]
    unsigned = sum(body)
    # some old writers added signed bytes
    if wanted not in (unsigned, unsigned - 256 * sum(b > 127 for b in body)):
        raise BadArchive("invalid tar header")


def _number(block: bytes, start: int, end: int, what: str, name: bytes) -> int:
    try:
        return _decode_number(block[start:end])
    except ValueError as error:
        raise BadArchive(f"{shown(name)}: invalid {what} in its tar header") from error


@functools.lru_cache(maxsize=1024)  # owners, modes and times repeat
def _decode_number(text: bytes) -> int:
    """Decode a number: octal digits between blanks and NULs, or base-256 (GNU) if the top bit is set."""
    if text[0] & 0x80:
        value = int.from_bytes(text, "big") & ((1 << (8 * len(text) - 1)) - 1)
        if text[0] & 0x40:
            value -= 1 << (8 * len(text) - 1)
        if not -(1 << 63) <= value < 1 << 63:
            raise ValueError("out of range")
        return value
    digits = text.strip(b" \0").partition(b"\0")[0]
    return int(digits, 8) if digits else 0


def _natural(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19 or (value := int(text)) >= 1 << 63:
        raise ValueError(f"number {shown(text)}")
    return value


def _sparse_pairs(block: bytes, at: int, count: int, name: bytes) -> list[tuple[int, int]]:
    pairs = []
    for start in range(at, at + 24 * count, 24):
        if not block[start]:
            break
        offset = _number(block, start, start + 12, "sparse map", name)
        pairs.append((offset, _number(block, start + 12, start + 24, "sparse map", name)))
    return pairs


def _percent_decoded(text: bytes) -> str:
    first, *rest = text.split(b"%")
    return (first + b"".join(bytes.fromhex(p[:2].decode()) + p[2:] for p in rest)).decode()


def _base64(text: bytes) -> bytes:
    return binascii.a2b_base64(text + b"=" * (-len(text) % 4))


def _split_name(name: bytes) -> tuple[bytes | None, bytes]:
    """Return name and prefix for a ustar header, or None and b"" if it does not fit or is not plain ASCII."""
    if not name.isascii():
        return None, b""
    if len(name) <= 100:
        return name, b""
    for cut in _slashes(name):
        if cut <= 155 and 0 < len(name) - cut - 1 <= 100:
            return name[cut + 1 :], name[:cut]
    return None, b""


def _slashes(name: bytes) -> Iterator[int]:
    at = name.find(b"/")
    while at >= 0:
        if at:
            yield at
        at = name.find(b"/", at + 1)


def _record(key: bytes, value: bytes) -> bytes:
    """Render one pax record: its length in decimal, which counts its own digits, then ``key=value``."""
    body = b" %s=%s\n" % (key, value)
    length = len(body)
    while length != len(body) + len(b"%d" % length):
        length = len(body) + len(b"%d" % length)
    return b"%d" % length + body


def _block(
    name: bytes,
    kind: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    seconds: int,
    link: bytes,
    prefix: bytes,
    device: tuple[int, int],
) -> bytes:
    major, minor = device
    block = b"%s%07o\0%07o\0%07o\0%011o\0%011o\0        %s%sustar\x0000%s%07o\0%07o\0%s" % (
        name.ljust(100, b"\0"),
        mode,
        min(uid, _MAX_SHORT),
        min(gid, _MAX_SHORT),
        min(size, _MAX_OCTAL),
        seconds,
        kind,
        link.ljust(100, b"\0"),
        bytes(64),
        min(major, _MAX_SHORT),
        min(minor, _MAX_SHORT),
        prefix.ljust(167, b"\0"),
    )
    # Adler-32's lower half is the sum plus one, as long as the sum is below its modulus: 512 × 127 is
    total = (zlib.adler32(block) & 0xFFFF) - 1 if block.isascii() else sum(block)
    return block[:148] + b"%06o\0 " % total + block[156:]


def shown(text: bytes) -> str:
    """Return ``text``, a name from an archive, for an error message."""
    return text.decode(errors="backslashreplace") or "an entry without a name"
