"""The log files: every byte, in Docker's formats, rotated, and a full disk that stops nothing."""

import gzip
import json
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.tasks import OpenYard, Yard, frames, log_lines, on_loop, start

from sampan.base.times import parse_ns
from sampan.runtime.task import LogTarget

pytestmark = pytest.mark.root
ODD = (
    b'plain\n"quoted" back\\slash <tag> & more\n\ttab\x00\x01\x1f\x7f\r\n'
    b"\xe2\x82\xac \xf0\x9f\x98\x80 \xe2\x80\xa8 \xe2\x80\xa9\n"
    b"\xff\xfe \xc0\x80 \xed\xa0\x80 \xf4\x90\x80\x80 \xe2\x82\n\n\n"
    + b"".join(  # the text is taken in words of eight bytes: everything at each place in one
        b"x" * before + odd + b"y" * after + b"\n"
        for odd in (
            b'"',
            b"\\",
            b"<&>",
            b"\0",
            b"\x1f",
            b"\x7f",
            b"\x80",
            b"\xe2\x82",
            "\u20ac\u2028".encode(),
        )
        for before in range(9)
        for after in (0, 1, 8)
    )
    + b"no newline at the end"
)


def go_escaped(text: bytes) -> str:
    """Return ``text`` as Go's encoding/json writes it into a string, byte by invalid byte."""
    out = []
    at = 0
    while at < len(text):
        for size in (1, 2, 3, 4):
            try:
                char = text[at : at + size].decode()
            except UnicodeDecodeError:
                continue
            break
        else:
            char, size = "", 1
        at += size
        match char:
            case "":
                out.append("\\ufffd")
            case '"' | "\\":
                out.append("\\" + char)
            case "\n":
                out.append("\\n")
            case "\r":
                out.append("\\r")
            case "<" | ">" | "&" | "\u2028" | "\u2029":
                out.append(f"\\u{ord(char):04x}")
            case _:
                out.append(f"\\u{ord(char):04x}" if char < " " else char)
    return "".join(out)


async def logged(y: Yard, target: LogTarget, data: bytes, *, descriptor: int = 1) -> None:
    """Run a task that writes ``data`` and wait for its end."""
    source = y.rootfs / "tmp" / "data"
    source.write_bytes(data)
    task = y.task("sh", "-c", f"cat /tmp/data >&{descriptor}", log=target)
    await start(y, task)
    assert (await y.exit_of(task.id)).code == 0


@on_loop
async def test_every_byte_as_docker_writes_it(yard: OpenYard, tmp_path: Path) -> None:
    async with yard() as y:
        target = LogTarget("json-file", tmp_path / "log")
        await logged(y, target, ODD, descriptor=2)
        lines = target.path.read_text().splitlines()
        expected = ODD.split(b"\n")
        assert len(lines) == len(expected)
        for line, text in zip(lines, expected, strict=True):
            last = text is expected[-1]
            moment = json.loads(line)["time"]
            body = go_escaped(text if last else text + b"\n")
            assert line == f'{{"log":"{body}","stream":"stderr","time":"{moment}"}}'
            assert parse_ns(moment) > 0


@pytest.mark.parametrize("size", [0, 1, 16383, 16384, 16385, 32768, 40000])
@pytest.mark.parametrize("end", [b"", b"\n", b"\nmore\n"])
@on_loop
async def test_long_lines_come_in_pieces(yard: OpenYard, tmp_path: Path, size: int, end: bytes) -> None:
    async with yard() as y:
        target = LogTarget("json-file", tmp_path / "log")
        await logged(y, target, b"x" * size + end)
        texts = [line["log"] for line in log_lines(target.path)]
        assert "".join(texts).encode() == b"x" * size + end
        whole = [16384] * (size // 16384)
        rest = size % 16384 + len(end[:1])
        more = [5] if len(end) > 1 else []
        assert [len(text) for text in texts] == whole + ([rest] if rest else []) + more
        times = {line["time"] for line in log_lines(target.path)[: len(whole) + 1]}
        assert len(times) == 1 or not whole


@on_loop
async def test_attributes(yard: OpenYard, tmp_path: Path) -> None:
    async with yard() as y:
        target = LogTarget("json-file", tmp_path / "log", attrs=b'{"tag":"\\u003cx","env":"y"}')
        await logged(y, target, b"text\n")
        (line,) = target.path.read_text().splitlines()
        assert line.startswith(
            '{"log":"text\\n","stream":"stdout","attrs":{"tag":"\\u003cx","env":"y"},"time":"'
        )


@on_loop
async def test_a_terminals_output_is_stdout(yard: OpenYard, tmp_path: Path) -> None:
    async with yard() as y:
        target = LogTarget("json-file", tmp_path / "log")
        ended, _ = await y.run(y.task("sh", "-c", "echo out; echo err >&2", tty=True, log=target))
        assert ended.code == 0
        assert [(line["log"], line["stream"]) for line in log_lines(target.path)] == [
            ("out\r\n", "stdout"),
            ("err\r\n", "stdout"),
        ]


@on_loop
async def test_a_second_run_appends(yard: OpenYard, tmp_path: Path) -> None:
    async with yard() as y:
        target = LogTarget("json-file", tmp_path / "log")
        await logged(y, target, b"first\n")
        await logged(y, target, b"second\n")
        assert [line["log"] for line in log_lines(target.path)] == ["first\n", "second\n"]
        assert target.path.stat().st_mode & 0o777 == 0o640


@on_loop
async def test_nothing_is_lost_of_much_output(yard: OpenYard, tmp_path: Path) -> None:
    async with yard() as y:
        target = LogTarget("json-file", tmp_path / "log")
        client, end = y.client()
        task = y.task("sh", "-c", "seq 1 300000; seq 1 1000 >&2", log=target)
        await y.service.start(task, [end])
        got = frames(await client.read())
        await y.exit_of(task.id)
        lines = log_lines(target.path)
        for number, name in ((1, "stdout"), (2, "stderr")):
            text = "".join(line["log"] for line in lines if line["stream"] == name).encode()
            assert text == got[number]
        assert got[1].count(b"\n") == 300_000


def rotated(path: Path) -> list[Path]:
    """Return the files of a log, oldest first."""
    older = path.parent.glob(f"{path.name}.*")
    return [*sorted(older, key=lambda file: file.name.split(".")[1], reverse=True), path]


@on_loop
async def test_rotation(yard: OpenYard, tmp_path: Path) -> None:
    async with yard() as y:
        target = LogTarget("json-file", tmp_path / "log", max_size=20_000, max_file=3)
        await logged(y, target, b"".join(b"line %d\n" % n for n in range(3000)))
        files = rotated(target.path)
        assert [file.name for file in files] == ["log.2", "log.1", "log"]
        numbers = [int(line["log"].split()[1]) for file in files for line in log_lines(file)]
        assert numbers == list(range(numbers[0], 3000))
        for file in files[:-1]:
            assert 20_000 <= file.stat().st_size < 20_200


@on_loop
async def test_a_single_file_is_begun_anew(yard: OpenYard, tmp_path: Path) -> None:
    async with yard() as y:
        target = LogTarget("json-file", tmp_path / "log", max_size=20_000, max_file=1)
        await logged(y, target, b"".join(b"line %d\n" % n for n in range(3000)))
        assert [file.name for file in rotated(target.path)] == ["log"]
        assert target.path.stat().st_size < 20_200
        assert log_lines(target.path)[-1]["log"] == "line 2999\n"


@on_loop
async def test_compressed_rotation(yard: OpenYard, tmp_path: Path) -> None:
    async with yard() as y:
        target = LogTarget("json-file", tmp_path / "log", max_size=20_000, max_file=4, compress=True)
        for part in range(3):  # a rotation waits for the compression of the last one
            await logged(y, target, b"".join(b"line %d\n" % n for n in range(part * 300, part * 300 + 300)))
            await y.wait_until(lambda: not y.shims())
        names = {file.name for file in tmp_path.glob("log*")}
        assert {"log", "log.1.gz"} <= names
        assert "log.1" not in names
        data = b""
        for file in rotated(target.path):
            data += gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        assert [json.loads(line)["log"] for line in data.splitlines()] == [f"line {n}\n" for n in range(900)]


def entries(data: bytes) -> list[dict[str, Any]]:
    """Decode the records of the ``local`` driver: size, protobuf LogEntry, size."""
    found = []
    while data:
        (size,) = struct.unpack(">I", data[:4])
        assert data[4 + size : 8 + size] == data[:4]
        found.append(
            message(data[4 : 4 + size], {1: "source", 2: "time", 3: "line", 4: "partial", 5: "meta"})
        )
        if "meta" in found[-1]:
            found[-1]["meta"] = message(found[-1]["meta"], {1: "last", 2: "id", 3: "ordinal"})
        data = data[8 + size :]
    return found


def message(data: bytes, names: dict[int, str]) -> dict[str, Any]:
    """Decode a protobuf message of varints and byte strings."""
    found: dict[str, Any] = {}
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = varint()
        value: int | bytes = varint()
        if key & 7 == 2:
            value, at = data[at : at + int(value)], at + int(value)
        found[names[key >> 3]] = value
    return found


@on_loop
async def test_local_format(yard: OpenYard, tmp_path: Path) -> None:
    async with yard() as y:
        target = LogTarget("local", tmp_path / "log")
        await logged(y, target, b"one\n\n" + b"y" * 20_000 + b"\n\xff\xfe\nend")
        found = entries(target.path.read_bytes())
        assert [entry.get("line", b"") for entry in found] == [
            b"one", b"", b"y" * 16384, b"y" * 3616, b"\xff\xfe", b"end",
        ]  # fmt: skip
        assert {entry["source"] for entry in found} == {b"stdout"}
        assert [entry.get("partial", 0) for entry in found] == [0, 0, 1, 1, 0, 1]
        first, second, last = (found[n]["meta"] for n in (2, 3, 5))
        assert (first["ordinal"], first.get("last", 0)) == (1, 0)
        assert (second["ordinal"], second["last"]) == (2, 1)
        assert first["id"] == second["id"] != last["id"]
        assert len(first["id"]) == 64


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


@on_loop
async def test_a_full_disk_does_not_stop_the_container(
    yard: OpenYard, small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with yard() as y:
        target = LogTarget("json-file", small_disk / "log")
        ended, output = await y.run(y.task("sh", "-c", "seq 1 100000", log=target))
        assert ended.code == 0
        assert frames(output)[1].endswith(b"\n100000\n")
        assert caplog.text.count("container log cannot be written") == 1
        numbers = [int(line["log"]) for line in log_lines(target.path)]  # whole records only
        assert numbers == sorted(numbers)


@on_loop
async def test_no_log_at_all(yard: OpenYard) -> None:
    async with yard() as y:
        ended, output = await y.run(y.task("echo", "hello"))
        assert ended.code == 0
        assert frames(output)[1] == b"hello\n"
