"""Packing a layer with gzip on all processors: what somebody waits for in the first push of an image.

The stream is cut into pieces of the same size that are packed side by side, each ending on a byte's boundary,
and put together as one gzip member (RFC 1952), which every reader takes. The same bytes in give the same
bytes out, on any machine with the same library.
"""

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Final, Self

from sampan.images.compression import Sink, gzip_library

_PIECE: Final = 1 << 20
_RAW: Final = -15  # zlib.h: the largest window, no head and no end
_LEVEL: Final = 1  # the fastest: at isal's higher ones little is won
_HEAD: Final = bytes((0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 4, 255))  # no time, no name, fastest, system unknown
_LAST: Final = b"\x03\x00"  # an empty final block


class GzipWriter:
    """Packs a stream into ``sink``; ``finish`` ends it. Leaving the block without that drops the rest."""

    def __init__(self, sink: Sink) -> None:
        self._library, _ = gzip_library()
        self._sink = sink
        self._workers = min(4, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="gzip")
        self._packed: deque[Future[bytes]] = deque()
        self._waiting: list[bytes | memoryview] = []
        self._size = 0
        self._all = 0
        self._check = 0
        sink(_HEAD)

    def write(self, data: bytes | memoryview) -> None:
        """Pack ``data``."""
        self._check = self._library.crc32(data, self._check)
        self._all += len(data)
        view = memoryview(data)
        while view:
            part = view[: _PIECE - self._size]
            view = view[len(part) :]
            self._waiting.append(part)
            self._size += len(part)
            if self._size == _PIECE:
                self._submit()

    def _submit(self) -> None:
        data = self._waiting[0] if len(self._waiting) == 1 else b"".join(self._waiting)
        self._waiting, self._size = [], 0
        self._packed.append(self._pool.submit(self._pack, data))
        if len(self._packed) > self._workers + 1:
            self._sink(self._packed.popleft().result())

    def _pack(self, data: bytes | memoryview) -> bytes:
        packer = self._library.compressobj(_LEVEL, self._library.DEFLATED, _RAW)
        packed: bytes = packer.compress(data) + packer.flush(self._library.Z_SYNC_FLUSH)
        return packed

    def finish(self) -> None:
        """Write what is left."""
        if self._waiting:
            self._submit()
        while self._packed:
            self._sink(self._packed.popleft().result())
        end = self._check.to_bytes(4, "little") + (self._all & 0xFFFFFFFF).to_bytes(4, "little")
        self._sink(_LAST + end)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
