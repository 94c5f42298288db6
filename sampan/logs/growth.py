"""Waiting for a log to grow, to be rotated, or to be complete."""

import asyncio
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from sampan.base.tasks import Tasks
from sampan.kernel.inotify import CREATE, MODIFY, MOVED_TO, OVERFLOW, Inotify

_ROTATION: Final = CREATE | MOVED_TO | OVERFLOW


class Growth:
    """Watches the folder of a log's files. An asynchronous context manager.

    The log is complete when ``ended`` is set, and nothing of it is wanted any more at ``until_ns``. What is
    written after entering is never missed: ``wait`` returns at once if something happened since it returned.
    Entering raises OSError (ENOENT without the folder, EMFILE, ENOSPC).
    """

    def __init__(self, folder: Path, ended: asyncio.Event, until_ns: int | None) -> None:
        self._folder = folder
        self._ended = ended
        self._until_ns = until_ns
        self._wake = asyncio.Event()
        self._rotated = True
        self._tasks = Tasks("logs")
        self._timer: asyncio.TimerHandle | None = None
        self._inotify: Inotify | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._inotify = Inotify()
        try:
            self._inotify.add(self._folder, MODIFY | CREATE | MOVED_TO)
        except OSError:
            self._inotify.close()
            raise
        loop.add_reader(self._inotify.fileno(), self._drain)
        self._tasks.spawn(self._wait_for_end(), name="end of log")
        if self._until_ns is not None:
            rest_s = (self._until_ns - time.time_ns()) / 10**9
            self._timer = loop.call_later(max(rest_s, 0), self._wake.set)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._inotify is not None:
            asyncio.get_running_loop().remove_reader(self._inotify.fileno())
            self._inotify.close()
        if self._timer is not None:
            self._timer.cancel()
        await self._tasks.close()

    @property
    def over(self) -> bool:
        """Whether what is in the files by now is all that is wanted."""
        return self._ended.is_set() or (self._until_ns is not None and time.time_ns() > self._until_ns)

    def take_rotated(self) -> bool:
        """Whether files may have come or been renamed since this was last asked."""
        rotated, self._rotated = self._rotated, False
        return rotated

    async def wait(self) -> None:
        """Wait for the next change."""
        await self._wake.wait()
        self._wake.clear()

    def _drain(self) -> None:
        if self._inotify is not None and any(event.mask & _ROTATION for event in self._inotify.read()):
            self._rotated = True
        self._wake.set()

    async def _wait_for_end(self) -> None:
        await self._ended.wait()
        self._wake.set()
