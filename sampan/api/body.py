"""The body of a request as it arrives: a stream with back-pressure."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final

from sampan.base.errors import InvalidParameter

MAX_DOCUMENT: Final = 16 << 20  # bytes of a JSON body; the largest real ones carry long environments
_HIGH: Final = 1 << 18
_READ_TIMEOUT_S: Final = 300.0


class BodyTooLarge(InvalidParameter):
    """The body is longer than the route takes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"request body is larger than {limit >> 20} MiB")


class BodyTruncated(InvalidParameter):
    """The client went away, fell silent or broke the framing before the end of the body."""


class Body:
    """The bytes of one request's body, in pieces as they come.

    The connection calls ``feed``, ``end`` and ``fail``; the route reads. ``wanted`` is called whenever the
    reader is about to wait: it lets the connection send ``100 Continue`` and take up reading again.
    """

    __slots__ = ("_error", "_pieces", "_size", "_waiter", "_wanted", "ended")

    def __init__(self, wanted: Callable[[], None] | None = None) -> None:
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None
        self._error: BodyTruncated | None = None
        self._wanted = wanted
        self.ended = wanted is None

    async def read(self) -> bytes:
        """Return the next piece, or ``b""`` after the last. Raises BodyTruncated."""
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self.ended or self._wanted is None:
                return b""
            self._wanted()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(_READ_TIMEOUT_S):
                    await self._waiter
            except TimeoutError:
                raise BodyTruncated("timed out waiting for the request body") from None
            finally:
                self._waiter = None
        piece = self._pieces.popleft()
        self._size -= len(piece)
        if self._size <= _HIGH and self._wanted is not None and not self.ended:
            self._wanted()
        return piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self.read():
            yield piece

    async def document(self, limit: int = MAX_DOCUMENT) -> bytes:
        """Return the whole body. Raises BodyTooLarge when it is longer than ``limit`` bytes."""
        pieces: list[bytes] = []
        size = 0
        while piece := await self.read():
            size += len(piece)
            if size > limit:
                raise BodyTooLarge(limit)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def feed(self, piece: bytes) -> bool:
        """Append ``piece`` (not empty); return False when enough is waiting and reading should pause."""
        self._pieces.append(piece)
        self._size += len(piece)
        self._wake()
        return self._size <= _HIGH

    def end(self) -> None:
        """Mark the body as complete."""
        self.ended = True
        self._wake()

    def fail(self, message: str) -> None:
        """Make the reader fail once it has read what is there; no-op on a complete body."""
        if not self.ended:
            self._error = BodyTruncated(message)
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


EMPTY: Final = Body()  # of every request that has none
