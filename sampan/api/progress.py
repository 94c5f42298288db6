"""Streams of JSON lines about work under way: load, bootstrap, and later pull, push and build."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

import msgspec

from sampan.base.errors import EngineError
from sampan.base.tasks import Tasks
from sampan.wire.system import Progress

_log = logging.getLogger(__name__)
_encode: Final = msgspec.json.Encoder().encode
_BACKLOG: Final = 1024  # lines; beyond it, those that later ones replace are left out


class _Lines:
    """The lines that wait to be sent. ``put`` may be called from any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Progress] = deque()
        self._ended = False
        self.spoken = False
        self._news = asyncio.Event()

    def put(self, line: Progress) -> None:
        if len(self._waiting) > _BACKLOG and line.progress_detail:
            return
        self._waiting.append(line)
        self.spoken = True
        self._loop.call_soon_threadsafe(self._news.set)

    def end(self) -> None:
        self._ended = True
        self._news.set()

    async def take(self) -> list[Progress]:
        """Return the lines that came, at least one; none at the end."""
        while not self._waiting and not self._ended:
            self._news.clear()
            await self._news.wait()
        lines: list[Progress] = []
        while self._waiting:
            lines.append(self._waiting.popleft())
        return lines


async def begun(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Return ``pieces`` once the first is there. Raises what they raise instead of it."""
    first = await anext(pieces, b"")

    async def all_of_them() -> AsyncGenerator[bytes, None]:
        async with aclosing(pieces):
            if first:
                yield first
            async for piece in pieces:
                yield piece

    return all_of_them()


def failure(error: Exception) -> Progress:
    """Return the line that tells of an error; after the head of an answer there is no other way."""
    return Progress(error=str(error), error_detail={"message": str(error)})


async def progress_lines(
    name: str,
    work: Callable[[Callable[[Progress], None]], Awaitable[object]],
    *,
    raises: bool = False,
) -> AsyncGenerator[bytes, None]:
    """Run ``work`` and yield what it reports, at last its error. Closing the generator cancels it.

    ``raises``: an error before anything was reported is raised instead.
    """
    lines = _Lines()
    early: list[EngineError] = []

    async def run() -> None:
        try:
            await work(lines.put)
        except EngineError as error:
            if raises and not lines.spoken:
                early.append(error)
            else:
                lines.put(failure(error))
        except Exception as error:
            _log.exception("unexpected error", extra={"work": name})
            lines.put(failure(error))
        finally:
            lines.end()

    tasks = Tasks(name)
    tasks.spawn(run(), name="work")
    try:
        while batch := await lines.take():
            yield b"".join(_encode(line) + b"\r\n" for line in batch)
        if early:
            raise early[0]
    finally:
        await tasks.close()
