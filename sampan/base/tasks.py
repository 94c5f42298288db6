"""Ownership of asyncio tasks: every task belongs to a service that ends it."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Tasks:
    """The background tasks of one service.

    ``finish`` runs a mutation to its end even when the caller is cancelled (a client that hangs up does not
    stop a change half-way); ``spawn`` starts a task that lives until it ends or ``close`` cancels it.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._background: set[asyncio.Task[Any]] = set()
        self._mutations: set[asyncio.Task[Any]] = set()

    async def finish(self, work: Coroutine[Any, Any, T], *, name: str) -> T:
        """Run ``work`` as its own task and return its result; cancelling the caller does not cancel it."""
        return await asyncio.shield(self.begin(work, name=name))

    def begin(self, work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Start a mutation that the caller does not wait for; ``close`` does."""
        task = asyncio.create_task(  # noqa: TID251 - this is the owner
            work, name=f"{self._owner}: {name}"
        )
        self._mutations.add(task)
        task.add_done_callback(self._mutation_done)
        return task

    def spawn(self, work: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
        """Start ``work`` in the background; an exception that ends it is logged."""
        task = asyncio.create_task(  # noqa: TID251 - this is the owner
            work, name=f"{self._owner}: {name}"
        )
        self._background.add(task)
        task.add_done_callback(self._background_done)
        return task

    async def close(self) -> None:
        """Cancel the background tasks, wait for them, then for the mutations that still run."""
        background = list(self._background)
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        while self._mutations:
            await asyncio.gather(*self._mutations, return_exceptions=True)

    def _mutation_done(self, task: asyncio.Task[Any]) -> None:
        self._mutations.discard(task)
        if not task.cancelled():
            task.exception()  # the caller may be gone: mark it as seen

    def _background_done(self, task: asyncio.Task[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("background task failed", exc_info=error, extra={"task": task.get_name()})
