"""Compressing on the way out."""

import gzip
import random
from collections.abc import Callable

import pytest
import zstandard

from sampan.images.deflate import deflate

DATA = [bytes(1000), b"x" * 70_000, random.Random(1).randbytes(3 << 20), b"", b"end"]  # noqa: S311


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


@pytest.mark.parametrize(("kind", "back"), [("gzip", gzip.decompress), ("zstd", zstd)])
def test_what_comes_out_unpacks_again(kind: str, back: Callable[[bytes], bytes]) -> None:
    assert back(b"".join(deflate(iter(DATA), kind))) == b"".join(DATA)
