"""Places for transfers: so many at a time as the settings say now, first come, first served."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Slots:
    """At most ``limit()`` holders at a time. After the limit has changed, ``wake`` lets in who may go."""

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._busy = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Hold a place while the block runs; wait for one first."""
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        self.wake()
        try:
            await place
            yield
        finally:
            if place.done() and not place.cancelled():
                self._busy -= 1
            elif place in self._waiting:
                self._waiting.remove(place)
            self.wake()

    def wake(self) -> None:
        """Give places to those who wait, as far as there are any."""
        while self._waiting and self._busy < self._limit():
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                self._busy += 1
