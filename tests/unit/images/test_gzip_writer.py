"""Packing on several processors: one gzip member, the same bytes every time."""

import random
import threading
import zlib

import pytest

from sampan.images.gzip_writer import GzipWriter

PIECE = 1 << 20
NOISE = random.Random(3).randbytes(PIECE) + b"text " * (1 << 19)  # noqa: S311


def pack(data: bytes, step: int) -> bytes:
    packed: list[bytes] = []
    with GzipWriter(lambda piece: packed.append(bytes(piece))) as writer:
        for at in range(0, len(data), step):
            writer.write(memoryview(data)[at : at + step])
        writer.finish()
    return b"".join(packed)


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, len(NOISE)])
@pytest.mark.parametrize("step", [70_001, PIECE, 1 << 30])
def test_one_member_of_the_same_bytes(size: int, step: int) -> None:
    data = NOISE[:size]
    packed = pack(data, step)
    reader = zlib.decompressobj(31)
    assert reader.decompress(packed) == data
    assert (reader.eof, reader.unused_data) == (True, b"")
    assert packed == pack(data, 300_000)


def test_what_is_broken_off_ends_its_threads() -> None:
    before = threading.active_count()
    writer = GzipWriter(_full)
    writer.write(NOISE[:10])
    with pytest.raises(OSError, match="full"), writer:
        writer.finish()
    assert threading.active_count() == before


def _full(piece: bytes | memoryview) -> None:
    if len(piece) > 10:
        raise OSError("full")
