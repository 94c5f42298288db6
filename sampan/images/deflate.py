"""Compressing a stream on its way out. The libraries release the GIL while they work."""

import os
from collections.abc import Iterator
from importlib import import_module
from typing import Any, Final

_GZIP: Final = 31  # zlib.h: the largest window, and a gzip header
_LEVEL: Final = 1
_ZSTD_LEVEL: Final = 3  # that of zstd(1)
# What a thread takes at once, and how far it looks back at what comes before: an eighth of the window. With
# the library's own 8 MiB a backup takes 60 MiB of memory more, and is not smaller by a thousandth.
_JOBS: Final = {"job_size": 1 << 20, "overlap_log": 6}


def deflate(pieces: Iterator[bytes], compression: str) -> Iterator[bytes]:
    """Yield ``pieces`` compressed as ``gzip`` or ``zstd``."""
    packer = _gzip() if compression == "gzip" else _zstd()
    for piece in pieces:
        if data := packer.compress(piece):
            yield data
    yield packer.flush()


def _gzip() -> Any:
    library: Any
    try:
        library = import_module("isal.isal_zlib")
    except ImportError:
        library = import_module("zlib")
    return library.compressobj(_LEVEL, library.DEFLATED, _GZIP)


def _zstd() -> Any:
    import zstandard

    workers = min(4, os.cpu_count() or 1)
    parameters = zstandard.ZstdCompressionParameters.from_level(_ZSTD_LEVEL, threads=workers, **_JOBS)
    return zstandard.ZstdCompressor(compression_params=parameters).compressobj()
