"""A thread of our own runs its calls in order, waits cancelled ones out, and ends."""

import asyncio
import threading

import pytest

from sampan.kernel.threads import DedicatedThread


def test_calls_run_in_the_one_thread_in_order() -> None:
    thread = DedicatedThread("test")
    seen: list[int] = []
    thread.submit(lambda: seen.append(1))
    assert thread.run(threading.get_ident) != threading.get_ident()
    assert thread.run(threading.get_ident) == thread.run(threading.get_ident)
    thread.run(seen.append, 2)
    thread.close()
    assert seen == [1, 2]


def test_errors_come_back_and_the_thread_lives_on() -> None:
    thread = DedicatedThread("test")
    with pytest.raises(ZeroDivisionError):
        thread.run(divmod, 1, 0)
    assert thread.run(divmod, 3, 2) == (1, 1)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(thread.call(divmod, 1, 0))
    assert asyncio.run(thread.call(divmod, 3, 2)) == (1, 1)
    thread.close()


def test_a_failing_entry_fails_the_constructor() -> None:
    with pytest.raises(ZeroDivisionError):
        DedicatedThread("test", lambda: divmod(1, 0))


def test_a_closed_thread_takes_no_calls() -> None:
    thread = DedicatedThread("test")
    thread.close()
    thread.close()
    with pytest.raises(RuntimeError, match="thread test is closed"):
        thread.run(int)


def test_a_cancelled_call_is_waited_out() -> None:
    thread = DedicatedThread("test")
    started, release = threading.Event(), threading.Event()
    order: list[str] = []

    def work() -> None:
        started.set()
        release.wait()
        order.append("work")

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(thread.call(work))
            await asyncio.to_thread(started.wait)
            task.cancel()
            await asyncio.sleep(0)
            release.set()
            with pytest.raises(asyncio.CancelledError):
                await task
            order.append("cancelled")

    asyncio.run(main())
    thread.close()
    assert order == ["work", "cancelled"]
