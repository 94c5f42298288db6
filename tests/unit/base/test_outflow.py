"""What a thread makes and a client takes: in order, whole, and given back however it ends."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from sampan.base.outflow import FilePart, Outflow, Piece, in_memory


class Notes:
    """A sink that notes what it gets; ``stuck`` waits in ``write`` until it is cut."""

    def __init__(self, *, stuck: bool = False) -> None:
        self.got: list[bytes] = []
        self.waiting = threading.Event()
        self._cut = threading.Event()
        self._stuck = stuck

    def write(self, data: bytes) -> None:
        self.got.append(data)
        if self._stuck:
            self.waiting.set()
            self._cut.wait()
            raise ConnectionResetError

    def send(self, part: FilePart) -> None:
        self.got += part.read()

    def finish(self) -> None:
        self.got.append(b"END")

    def cut(self) -> None:
        self._cut.set()


class Source:
    """Two pieces of bytes with a part of a file between them; notes that it was entered, closed and left."""

    def __init__(self, path: Path) -> None:
        self.steps: list[str] = []
        self._path = path
        path.write_bytes(b"0123456789")

    def outflow(self) -> Outflow:
        return Outflow(self._opened)

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Iterator[Piece]]:
        self.steps.append("entered")
        try:
            yield self._pieces()
        except BaseException:
            self.steps.append("failed")
            raise
        self.steps.append("whole")

    def _pieces(self) -> Iterator[Piece]:
        try:
            with self._path.open("rb") as file:
                yield b"<"
                yield FilePart(file.fileno(), 8, 5)  # three bytes more than there are
                yield b""
                yield b">"
        finally:
            self.steps.append("closed")


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path / "file")


def test_poured_into_a_sink(source: Source) -> None:
    notes = Notes()
    asyncio.run(source.outflow().pour(notes))
    assert b"".join(notes.got) == b"<89\0\0\0>END"
    assert source.steps == ["entered", "closed", "whole"]


def test_taken_as_bytes(source: Source) -> None:
    async def take() -> bytes:
        return b"".join([piece async for piece in source.outflow()])

    assert asyncio.run(take()) == b"<89\0\0\0>"
    assert source.steps == ["entered", "closed", "whole"]


def test_left_in_the_middle(source: Source) -> None:
    async def leave() -> None:
        async with aclosing(aiter(source.outflow())) as pieces:
            assert await anext(pieces) == b"<"

    asyncio.run(leave())
    assert source.steps == ["entered", "closed", "failed"]


def test_a_cancelled_pour_cuts_the_sink_and_waits_for_the_thread(source: Source) -> None:
    async def cancel() -> None:
        notes = Notes(stuck=True)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(source.outflow().pour(notes))
            await asyncio.to_thread(notes.waiting.wait)
            task.cancel()
        assert notes.got == [b"<"]
        assert source.steps == ["entered", "closed", "failed"]

    asyncio.run(cancel())


def test_a_long_part_is_read_in_pieces(tmp_path: Path) -> None:
    data = bytes(range(256)) * 3000
    (tmp_path / "f").write_bytes(data)
    with (tmp_path / "f").open("rb") as file:
        pieces = list(in_memory(iter([FilePart(file.fileno(), 1, len(data) + 300_000)])))
    assert b"".join(pieces) == data[1:] + bytes(300_001)
    assert max(map(len, pieces)) < len(data)
