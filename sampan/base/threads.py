"""The bridge from asyncio to blocking calls.

A pooled thread must never change process-like state (namespaces, working directory, umask): such work belongs
into the dedicated threads of ``sampan.kernel.threads``.
"""

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")
_BATCH: Final = 1 << 20

_pool = ThreadPoolExecutor(max_workers=max(8, 2 * (os.cpu_count() or 1)), thread_name_prefix="blocking")


async def blocking(call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``call`` in the shared thread pool and return its result.

    A system call cannot be recalled: when the caller is cancelled, the call is waited out before
    ``CancelledError`` goes on, so undo steps never race with it.
    """
    return await waited_out(asyncio.get_running_loop().run_in_executor(_pool, lambda: call(*args, **kwargs)))


async def waited_out(future: asyncio.Future[T]) -> T:
    """Return the result of a call in a thread; a cancellation goes on once the call has ended."""
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if not future.done():
            await asyncio.wait([future])
        raise


async def apart(call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``call`` as ``blocking`` does, but in a thread of its own: for what may wait long for others.

    The shared pool is small; a call that waits there for the network would keep everybody out.
    """
    return await severable(_nothing, call, *args, **kwargs)


async def severable(
    sever: Callable[[], None], call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run ``call`` as ``apart`` does; a caller that is cancelled calls ``sever``, which lets it end early."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(cast("T", result))

    def run() -> None:
        try:
            result = call(*args, **kwargs)
        except BaseException as error:
            loop.call_soon_threadsafe(settle, None, error)
        else:
            loop.call_soon_threadsafe(settle, result, None)

    threading.Thread(target=run, name="apart", daemon=True).start()
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if not future.done():
            sever()
        while not future.done():
            with suppress(asyncio.CancelledError):  # what is severed may tell the caller once more
                await asyncio.wait([future])
        if not future.cancelled():
            future.exception()  # seen: nobody else will ask
        raise


def _nothing() -> None:
    pass


async def in_thread(items: Iterator[T]) -> AsyncGenerator[T, None]:
    """Iterate over a blocking iterator, in the thread pool; closed when the reader goes away.

    The next item is worked out while the reader has this one: both take their time.
    """
    end: Final = object()
    loop = asyncio.get_running_loop()
    coming: asyncio.Future[T | object] = loop.run_in_executor(_pool, next, items, end)
    try:
        while (item := await asyncio.shield(coming)) is not end:
            coming = loop.run_in_executor(_pool, next, items, end)
            yield cast("T", item)
    finally:
        if not coming.done():
            await asyncio.wait([coming])
        coming.exception()  # seen: a reader that has gone away does not ask
        if (close := getattr(items, "close", None)) is not None:
            await blocking(close)


class Pulled:
    """The bytes of an async iterator as a file that one worker thread reads; made on the event loop.

    ``read`` raises what the iterator raises.
    """

    def __init__(self, source: AsyncIterator[bytes]) -> None:
        self._source = source
        self._loop = asyncio.get_running_loop()
        self._rest = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes; b"" at the end. Blocks."""
        if not self._rest:
            self._rest = memoryview(asyncio.run_coroutine_threadsafe(self._next(), self._loop).result())
        piece, self._rest = self._rest[:size], self._rest[size:]
        return bytes(piece)

    async def _next(self) -> bytes:
        """Return pieces worth a change of thread."""
        pieces: list[bytes] = []
        size = 0
        async for piece in self._source:
            pieces.append(piece)
            size += len(piece)
            if size >= _BATCH:
                break
        return b"".join(pieces)
