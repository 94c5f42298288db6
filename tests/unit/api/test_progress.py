"""Streams of progress: order, errors in the stream, and an end when the client leaves."""

import asyncio
import threading
from collections.abc import Callable

import msgspec
import pytest

from sampan.api.progress import progress_lines
from sampan.base.errors import Conflict
from sampan.wire.system import Progress

Report = Callable[[Progress], None]


async def collect(work: Callable[[Report], object]) -> list[dict[str, object]]:
    data = b"".join([piece async for piece in progress_lines("test", work)])  # type: ignore[arg-type]
    return [msgspec.json.decode(line) for line in data.split(b"\r\n") if line]


def test_lines_come_in_order_from_any_thread() -> None:
    async def work(report: Report) -> None:
        report(Progress(stream="one\n"))
        await asyncio.get_running_loop().run_in_executor(None, report, Progress(status="two", id="x"))
        report(Progress(stream="three\n"))

    assert asyncio.run(collect(work)) == [
        {"stream": "one\n"},
        {"status": "two", "id": "x"},
        {"stream": "three\n"},
    ]


def test_an_error_is_the_last_line(caplog: pytest.LogCaptureFixture) -> None:
    async def refuse(report: Report) -> None:
        report(Progress(stream="one\n"))
        raise Conflict("no")

    async def break_down(report: Report) -> None:
        raise KeyError("x")

    found = asyncio.run(collect(refuse))
    assert found[-1] == {"error": "no", "errorDetail": {"message": "no"}}
    assert not caplog.records
    assert asyncio.run(collect(break_down)) == [{"error": "'x'", "errorDetail": {"message": "'x'"}}]
    assert "unexpected error" in caplog.text


def test_a_client_that_leaves_stops_the_work() -> None:
    async def scene() -> None:
        cancelled = threading.Event()

        async def work(report: Report) -> None:
            report(Progress(stream="one\n"))
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        pieces = progress_lines("test", work)
        assert await anext(pieces) == b'{"stream":"one\\n"}\r\n'
        await pieces.aclose()
        assert cancelled.is_set()

    asyncio.run(scene())


def test_a_slow_client_misses_only_what_is_superseded() -> None:
    async def work(report: Report) -> None:
        for n in range(5000):
            report(Progress(status="Loading", progress_detail={"current": n}))
        report(Progress(stream="done\n"))

    found = asyncio.run(collect(work))
    assert found[-1] == {"stream": "done\n"}
    assert len(found) < 2000
