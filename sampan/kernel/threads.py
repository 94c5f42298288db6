"""Threads of our own, for what must not happen in a pooled thread.

``setns`` and ``unshare`` change the thread that calls them. A ``DedicatedThread`` is kept for one purpose,
runs the calls that it is given one after another, and ends with ``close``.
"""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

from sampan.base.threads import waited_out
from sampan.kernel import namespaces

P = ParamSpec("P")
T = TypeVar("T")


class DedicatedThread:
    """A thread that runs calls in order; ``enter`` is the first one, and its failure is the constructor's."""

    def __init__(self, name: str, enter: Callable[[], object] | None = None) -> None:
        self._queue: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()
        if enter is not None:
            try:
                self.run(enter)
            except BaseException:
                self.close()
                raise

    def run(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``call`` in the thread, wait for it, return its result or raise what it raised."""
        ready = threading.Event()
        outcome: list[Any] = [None, None]

        def work() -> None:
            try:
                outcome[0] = call(*args, **kwargs)
            except BaseException as error:
                outcome[1] = error
            finally:
                ready.set()

        self._put(work)
        ready.wait()
        if outcome[1] is not None:
            raise outcome[1]
        result: T = outcome[0]
        return result

    async def call(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``call`` in the thread and return its result to the event loop.

        Cancelling the caller waits the call out: a system call cannot be recalled, and undo steps must not
        race with it.
        """
        return await waited_out(self.begin(call, *args, **kwargs))

    def begin(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Give ``call`` to the thread now, and return the future of its result to the event loop.

        It runs behind what was given before and ahead of what is given later.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def work() -> None:
            try:
                result = call(*args, **kwargs)
            except BaseException as error:
                loop.call_soon_threadsafe(_fail, future, error)
            else:
                loop.call_soon_threadsafe(_succeed, future, result)

        self._put(work)
        return future

    def submit(self, call: Callable[[], object]) -> None:
        """Run ``call`` in the thread some time; it must deal with its own errors."""
        self._put(call)

    def close(self) -> None:
        """End the thread after the calls that it already has."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            self._thread.join()

    def _put(self, work: Callable[[], object]) -> None:
        if self._closed:
            raise RuntimeError(f"thread {self._thread.name} is closed")
        self._queue.put(work)

    def _work(self) -> None:
        while (work := self._queue.get()) is not None:
            work()
            del work  # a finished call must not keep its objects alive until the next one


class NamespaceThread(DedicatedThread):
    """A thread that has entered the network namespace bound at ``path`` and stays in it.

    Sockets made in it belong to that namespace for life and may be used from anywhere.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(f"netns {path.name}", lambda: namespaces.enter_network(path))


def _succeed(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[T], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
