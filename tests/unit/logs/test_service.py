"""Reading whole logs: windows of time, rotation, and following what grows."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from support.logs import json_line, local_record, rotate

from sampan.base.errors import NotImplementedHere
from sampan.logs import service
from sampan.logs.service import LogQuery, LogRecord, read, stream

SECOND = 10**9
ALL = LogQuery(stdout=True, stderr=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "c-json.log"


def numbered(first: int, last: int) -> bytes:
    """Return records from ``first`` to ``last``, one a second, the odd ones on stderr."""
    return b"".join(
        json_line(f"{n}\n", stream="stderr" if n % 2 else "stdout", time_ns=n * SECOND)
        for n in range(first, last + 1)
    )


def numbers(path: Path, **query: Any) -> list[int]:
    """Return the numbers of all records that a query without follow finds."""

    async def collect() -> list[int]:
        asked = LogQuery(**{"stdout": True, "stderr": True, **query})
        return [int(record.line) async for record in read("json-file", path, asked, ended=asyncio.Event())]

    return asyncio.run(collect())


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, range(1, 11)),
        ({"stderr": False}, range(2, 11, 2)),
        ({"stdout": False}, range(1, 11, 2)),
        ({"tail": 3}, range(8, 11)),
        ({"tail": 3, "stdout": False}, [9]),
        ({"tail": 0}, []),
        ({"tail": 99}, range(1, 11)),
        ({"since_ns": 8 * SECOND}, range(8, 11)),
        ({"until_ns": 3 * SECOND}, range(1, 4)),
        ({"since_ns": 3 * SECOND + 1, "until_ns": 6 * SECOND - 1}, [4, 5]),
        ({"since_ns": 99 * SECOND}, []),
        ({"tail": 4, "until_ns": 8 * SECOND}, [7, 8]),
    ],
)
def test_windows(path: Path, query: dict[str, Any], found: Any) -> None:
    path.write_bytes(numbered(1, 10))
    assert numbers(path, **query) == list(found)


def test_windows_over_rotated_files(path: Path) -> None:
    for first in (1, 4, 7):
        if first > 1:
            rotate(path)
        path.write_bytes(numbered(first, first + 2))
    assert numbers(path) == list(range(1, 10))
    assert numbers(path, tail=5) == [5, 6, 7, 8, 9]


def test_clock_that_steps_back(path: Path) -> None:
    path.write_bytes(numbered(5, 6) + numbered(2, 3))
    assert numbers(path, since_ns=5 * SECOND) == [5, 6, 2, 3]


def test_small_pieces(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_PIECE", 7)
    path.write_bytes(numbered(1, 20) + b'{"log":"tor')
    assert numbers(path) == list(range(1, 21))


def test_no_log_no_driver(path: Path) -> None:
    assert numbers(path) == []
    assert numbers(path.parent / "gone" / "x", follow=True) == []

    async def ask(driver: str) -> None:
        await anext(read(driver, path, ALL, ended=asyncio.Event()))

    with pytest.raises(NotImplementedHere, match="configured logging driver does not support reading"):
        asyncio.run(ask("none"))


def test_record(path: Path) -> None:
    path.write_bytes(json_line("a", attrs={"k": "v"}) + json_line("b\n", stream="stderr", time_ns=5))

    async def collect() -> list[LogRecord]:
        return [record async for record in read("json-file", path, ALL, ended=asyncio.Event())]

    assert asyncio.run(collect()) == [
        LogRecord("stdout", 10**18, b"a", {"k": "v"}, last=False),
        LogRecord("stderr", 5, b"b\n", {}, last=True),
    ]


def test_stream_is_what_clients_get(path: Path) -> None:
    path.write_bytes(numbered(1, 2))

    async def collect() -> bytes:
        pieces = stream("json-file", path, ALL, ended=asyncio.Event(), multiplexed=True)
        return b"".join([piece async for piece in pieces])

    assert asyncio.run(collect()) == b"\2\0\0\0\0\0\0\x021\n\1\0\0\0\0\0\0\x022\n"


def test_local_driver(path: Path) -> None:
    path.write_bytes(local_record(b"one") + local_record(b"two", stream="stderr"))

    async def collect() -> list[bytes]:
        asked = LogQuery(stdout=True, stderr=True, tail=1)
        return [record.line async for record in read("local", path, asked, ended=asyncio.Event())]

    assert asyncio.run(collect()) == [b"two\n"]


Follow = Callable[[AsyncIterator[LogRecord], asyncio.Event], Awaitable[None]]


def follow(path: Path, steps: Follow, **query: Any) -> None:
    """Run ``steps`` beside a reader that follows; every wait in it is bounded."""

    async def main() -> None:
        ended = asyncio.Event()
        asked = LogQuery(**{"stdout": True, "stderr": True, "follow": True, **query})
        async with asyncio.timeout(20), aclosing(read("json-file", path, asked, ended=ended)) as records:  # type: ignore[type-var]  # the generator is one
            await steps(records, ended)

    asyncio.run(main())


async def expect(records: AsyncIterator[LogRecord], *found: int) -> None:
    for number in found:
        assert int((await anext(records)).line) == number


async def expect_end(records: AsyncIterator[LogRecord]) -> None:
    with pytest.raises(StopAsyncIteration):
        await anext(records)


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_follow(path: Path) -> None:
    path.write_bytes(numbered(1, 3))

    async def steps(records: AsyncIterator[LogRecord], ended: asyncio.Event) -> None:
        await expect(records, 2, 3)
        append(path, numbered(4, 4))
        await expect(records, 4)
        data = numbered(5, 6)
        append(path, data[:-20])
        await expect(records, 5)
        append(path, data[-20:])
        await expect(records, 6)
        append(path, numbered(7, 7))
        ended.set()
        await expect(records, 7)
        await expect_end(records)

    follow(path, steps, tail=2)


def test_follow_what_is_yet_to_come(path: Path) -> None:
    async def steps(records: AsyncIterator[LogRecord], ended: asyncio.Event) -> None:
        waiting = asyncio.gather(anext(records))
        last = 0
        while not waiting.done():  # what comes before the reader has found the end is not yet to come
            last += 1
            append(path, numbered(last, last))
            await asyncio.wait([waiting], timeout=0.05)
        (record,) = await waiting
        await expect(records, *range(int(record.line) + 1, last + 1))
        ended.set()
        await expect_end(records)

    follow(path, steps, tail=0)


def test_follow_over_rotations(path: Path) -> None:
    path.write_bytes(numbered(1, 1))

    async def steps(records: AsyncIterator[LogRecord], ended: asyncio.Event) -> None:
        await expect(records, 1)
        append(path, numbered(2, 2))  # written just before the file is rotated away
        for number in (3, 4, 5):
            rotate(path)
            append(path, numbered(number, number))
        await expect(records, 2, 3, 4, 5)
        rotate(path)
        ended.set()
        await expect_end(records)

    follow(path, steps)


def test_follow_a_log_cut_short(path: Path) -> None:
    path.write_bytes(numbered(10, 12))

    async def steps(records: AsyncIterator[LogRecord], ended: asyncio.Event) -> None:
        await expect(records, 10, 11, 12)
        path.write_bytes(numbered(1, 1))
        await expect(records, 1)
        ended.set()
        await expect_end(records)

    follow(path, steps)


def test_follow_one_that_ended_before(path: Path) -> None:
    path.write_bytes(numbered(1, 2) + b'{"log":"3\\n","stream":"stdout"}')

    async def steps(records: AsyncIterator[LogRecord], ended: asyncio.Event) -> None:
        ended.set()
        await expect(records, 1, 2, 3)
        await expect_end(records)

    follow(path, steps)


def test_follow_until(path: Path) -> None:
    path.write_bytes(numbered(1, 3))

    async def past(records: AsyncIterator[LogRecord], _ended: asyncio.Event) -> None:
        await expect(records, 1, 2)
        await expect_end(records)

    follow(path, past, until_ns=2 * SECOND)

    async def reached(records: AsyncIterator[LogRecord], _ended: asyncio.Event) -> None:
        await expect(records, 1, 2, 3)
        await expect_end(records)

    import time

    follow(path, reached, until_ns=time.time_ns() + SECOND // 20)


def test_a_reader_that_leaves(path: Path) -> None:
    path.write_bytes(numbered(1, 3))
    before = len(list(Path("/proc/self/fd").iterdir()))

    async def steps(records: AsyncIterator[LogRecord], _ended: asyncio.Event) -> None:
        await expect(records, 1)

    follow(path, steps)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
