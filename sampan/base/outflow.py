"""What a blocking iterator makes and a client takes: bytes, and parts of files that the kernel may send."""

import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from sampan.base.threads import blocking, in_thread, severable

_READ: Final = 1 << 18
_ZEROS: Final = bytes(_READ)


@dataclass(frozen=True, slots=True)
class FilePart:
    """``count`` bytes of the open file ``fd`` from ``offset``; what it has lost meanwhile is zeros.

    Good until the next piece is asked for.
    """

    fd: int
    offset: int
    count: int

    def read(self) -> Iterator[bytes]:
        """Yield the bytes in pieces. Raises OSError."""
        at, end = self.offset, self.offset + self.count
        while at < end and (piece := os.pread(self.fd, min(end - at, _READ), at)):
            yield piece
            at += len(piece)
        yield from zeros(end - at)


Piece = bytes | FilePart


def zeros(count: int) -> Iterator[bytes]:
    """Yield ``count`` zeros in pieces."""
    while count > 0:
        yield _ZEROS[:count]
        count -= _READ


def in_memory(pieces: Iterator[Piece]) -> Generator[bytes, None, None]:
    """Yield the bytes of ``pieces``."""
    for piece in pieces:
        if isinstance(piece, FilePart):
            yield from piece.read()
        else:
            yield piece


class Sink(Protocol):
    """Where a thread puts what it has made. ``write``, ``send`` and ``finish`` block and raise OSError."""

    def write(self, data: bytes) -> None:
        """Put ``data``, which is not empty, there."""

    def send(self, part: FilePart) -> None:
        """Put a part of a file there, its whole length."""

    def finish(self) -> None:
        """Say that this was all."""

    def cut(self) -> None:
        """Let a call that waits in the thread fail; from any other thread."""


class Outflow:
    """What ``opened`` yields, a blocking iterator, for one taker and one time.

    The context is entered when the first piece is wanted, and left without an error only when all have been
    taken. ``async for`` takes bytes, the next of which are worked out meanwhile; ``pour`` takes all of it in
    one thread, without a change of threads for each piece.
    """

    def __init__(self, opened: Callable[[], AbstractAsyncContextManager[Iterator[Piece]]]) -> None:
        self._opened = opened

    @classmethod
    def of(cls, pieces: Iterator[Piece]) -> "Outflow":
        """Take ``pieces``, a generator, which is closed in the end."""

        @asynccontextmanager
        async def opened() -> AsyncIterator[Iterator[Piece]]:
            yield pieces

        return cls(opened)

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        async with self._opened() as pieces:
            try:
                async with aclosing(in_thread(in_memory(pieces))) as ready:
                    async for piece in ready:
                        yield piece
            finally:
                await blocking(_close, pieces)

    async def pour(self, sink: Sink) -> None:
        """Put everything into ``sink``; a caller that is cancelled cuts it and waits for the thread."""
        async with self._opened() as pieces:
            await severable(sink.cut, _pour, pieces, sink)


def _pour(pieces: Iterator[Piece], sink: Sink) -> None:
    try:
        for piece in pieces:
            if isinstance(piece, FilePart):
                sink.send(piece)
            elif piece:
                sink.write(piece)
        sink.finish()
    finally:
        _close(pieces)


def _close(pieces: Iterator[Piece]) -> None:
    if (close := getattr(pieces, "close", None)) is not None:
        close()
