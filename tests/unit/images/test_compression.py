"""Every compression, fed in pieces of every size, whole, cut off, corrupt and explosive."""

import bz2
import gzip
import io
import lzma
import random

import pytest
import zstandard

from sampan.images.compression import PIECE, Compression, Decompressor, Inflated, Limits, detect
from sampan.images.errors import InvalidArchive, TooLarge

NOISE = random.Random(7)  # noqa: S311 - the same bytes at every run
PLAIN = NOISE.randbytes(70_000) + b"x" * 300_000 + NOISE.randbytes(10)
PACKED = {
    Compression.NONE: PLAIN,
    Compression.GZIP: gzip.compress(PLAIN),
    Compression.ZSTD: zstandard.ZstdCompressor(write_checksum=True).compress(PLAIN),
    Compression.XZ: lzma.compress(PLAIN),
    Compression.BZIP2: bz2.compress(PLAIN),
}
SEVERAL = [kind for kind in Compression if kind is not Compression.NONE]


def unpack(kind: Compression, data: bytes, step: int = 1 << 30, limits: Limits | None = None) -> bytes:
    pieces: list[bytes] = []
    decompressor = Decompressor(kind, lambda piece: pieces.append(bytes(piece)), "layer x", limits)
    for at in range(0, len(data), step):
        decompressor.feed(memoryview(data)[at : at + step])
    decompressor.finish()
    assert decompressor.bytes_in == len(data)
    assert max(map(len, pieces), default=0) <= max(PIECE, step)
    return b"".join(pieces)


@pytest.mark.parametrize("kind", Compression)
def test_detect(kind: Compression) -> None:
    assert detect(PACKED[kind][:6]) is kind
    assert detect(b"") is Compression.NONE
    assert detect(b"\x5a\x2a\x4d\x18\0\0") is Compression.ZSTD


@pytest.mark.parametrize("kind", Compression)
@pytest.mark.parametrize("step", [1, 7, 511, 65536, 1 << 30])
def test_whole(kind: Compression, step: int) -> None:
    data = PACKED[kind] if step > 1 else PACKED[kind][:2000] if kind is Compression.NONE else PACKED[kind]
    assert unpack(kind, data, step) == PLAIN[: len(data) if kind is Compression.NONE else None]


@pytest.mark.parametrize("kind", SEVERAL)
@pytest.mark.parametrize("step", [1000, 1 << 30])
def test_concatenated(kind: Compression, step: int) -> None:
    assert unpack(kind, PACKED[kind] * 3, step) == PLAIN * 3


@pytest.mark.parametrize("kind", [Compression.GZIP, Compression.XZ])
def test_padded(kind: Compression) -> None:
    assert unpack(kind, PACKED[kind] + bytes(4096)) == PLAIN
    assert unpack(kind, PACKED[kind] + bytes(4096), 100) == PLAIN


@pytest.mark.parametrize("kind", [Compression.GZIP, Compression.XZ, Compression.BZIP2])
@pytest.mark.parametrize("keep", [0, 1, 20, -1, -9])
def test_cut_off(kind: Compression, keep: int) -> None:
    with pytest.raises(InvalidArchive, match=rf"layer x: {kind.value}: unexpected EOF"):
        unpack(kind, PACKED[kind][:keep])


@pytest.mark.parametrize("kind", SEVERAL)
def test_corrupt(kind: Compression) -> None:
    broken = bytearray(PACKED[kind])
    broken[1000:1100] = bytes(100)
    with pytest.raises(InvalidArchive, match=rf"layer x: {kind.value}: "):
        unpack(kind, bytes(broken))
    with pytest.raises(InvalidArchive):
        unpack(kind, PACKED[kind] + b"garbage follows here")


@pytest.mark.parametrize("kind", [Compression.GZIP, Compression.ZSTD])
def test_bomb(kind: Compression) -> None:
    zeros = bytes(20 << 20)
    bomb = gzip.compress(zeros) if kind is Compression.GZIP else zstandard.compress(zeros)
    with pytest.raises(TooLarge, match="over 100 times their size"):
        unpack(kind, bomb, limits=Limits(floor=1 << 20, ratio=100))
    assert unpack(kind, bomb, limits=Limits(floor=21 << 20, ratio=100)) == zeros
    assert unpack(kind, PACKED[kind], limits=Limits(floor=0, ratio=10)) == PLAIN


class Trickle:
    """A source that gives a few bytes at a time and fails in the end, if ``error`` says so."""

    def __init__(self, data: bytes, step: int = 1 << 20, error: Exception | None = None) -> None:
        self._file = io.BytesIO(data)
        self._step = step
        self._error = error

    def read(self, size: int, /) -> bytes:
        piece = self._file.read(min(size, self._step))
        if not piece and self._error is not None:
            raise self._error
        return piece


def inflate(source: Trickle, limits: Limits | None = None) -> bytes:
    inflated = Inflated(source, "the archive", limits)
    return b"".join(iter(lambda: inflated.read(10_000), b""))


@pytest.mark.parametrize("kind", Compression)
@pytest.mark.parametrize("step", [5, 65536])
def test_read_as_a_file(kind: Compression, step: int) -> None:
    times = 1 if kind is Compression.NONE else 2
    assert inflate(Trickle(PACKED[kind] * times, step)) == PLAIN * times


def test_a_zstd_archive_as_a_file() -> None:
    packed = PACKED[Compression.ZSTD]
    skipped = b"\x50\x2a\x4d\x18\x04\0\0\0none"
    assert inflate(Trickle(skipped + packed + skipped + packed)) == PLAIN * 2
    with pytest.raises(InvalidArchive, match="the archive: zstd: "):
        inflate(Trickle(packed + b"garbage"))
    with pytest.raises(InvalidArchive, match="the archive: zstd: "):
        inflate(Trickle(packed[:1000] + bytes(100) + packed[1100:]))
    with pytest.raises(KeyError):
        inflate(Trickle(packed[:-100], error=KeyError()))
    bomb = zstandard.compress(bytes(20 << 20))
    with pytest.raises(TooLarge, match="over 100 times their size"):
        inflate(Trickle(bomb), Limits(floor=1 << 20, ratio=100))
    assert len(inflate(Trickle(bomb), Limits(floor=21 << 20, ratio=100))) == 20 << 20


def test_sinks_errors_go_through() -> None:
    def full(piece: bytes | memoryview) -> None:
        raise OSError(28, "No space left on device")

    for kind in Compression:
        with pytest.raises(OSError, match="No space left"):
            Decompressor(kind, full, "x").feed(PACKED[kind])
