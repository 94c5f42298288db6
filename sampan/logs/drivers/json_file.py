"""The ``json-file`` driver: one JSON object a line, ``{"log": "…\\n", "stream": "stdout", "time": "…"}``."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import ClassVar, Final

import msgspec

from sampan.base.times import parse_ns
from sampan.logs.driver import Line, LogOptions, ReadAt
from sampan.logs.options import check_names, parse_options

_BLOCK: Final = 64 << 10
# Docker lets the log of who does not ask for limits grow until the disk is full. Here it is rotated; a
# container's configuration stays as it was given, so that inspect shows what Docker's users expect.
_UNASKED: Final = LogOptions(max_size=10_000_000, max_file=5)
_UNLIMITED: Final = "-1"
_FRACTION: Final = len("2024-05-01T10:11:12")
_STAMP: Final = len("2024-05-01T10:11:12.000000000Z")


class JsonLine(msgspec.Struct, gc=False):
    """A record as it stands in the file; the daemon may read many millions of them."""

    log: str = ""
    stream: str = ""
    time: str = ""
    attrs: dict[str, str] | None = None

    @property
    def data(self) -> bytes:
        return self.log.encode("utf-8", "replace")

    @property
    def time_ns(self) -> int:
        time = self.time
        try:
            if not time.endswith("Z"):
                return parse_ns(time)
            return _second_ns(time[:_FRACTION]) + int(f"{time[_FRACTION + 1 : -1]:0<9}")
        except ValueError:
            return 0

    @property
    def stamp(self) -> str:
        time = self.time
        if len(time) == _STAMP:
            return time
        whole, fraction = time[:_FRACTION], time[_FRACTION:].strip("Z.")
        return f"{whole}.{fraction:0<9}Z"


@lru_cache(maxsize=16)
def _second_ns(text: str) -> int:
    """Return a whole second as Unix ns; lines of the same one follow each other."""
    return parse_ns(f"{text}Z")


_decoder: Final = msgspec.json.Decoder(JsonLine)


class JsonFile:
    """Docker's default log driver."""

    name: ClassVar[str] = "json-file"

    def file(self, container: str) -> str:
        return f"{container}-json.log"

    def options(self, config: Mapping[str, str]) -> LogOptions:
        check_names(config, f"for {self.name} log driver")
        asked = dict(config)
        if config.get("max-size") == _UNLIMITED:
            del asked["max-size"]
        elif "max-size" not in config and "compress" not in config:
            return parse_options(asked, _UNASKED, compress_needs_size=True)
        return parse_options(asked, LogOptions(), compress_needs_size=True)

    def decode(self, data: bytes, *, final: bool) -> tuple[Sequence[Line], int]:
        end = len(data) if final else data.rfind(b"\n") + 1
        complete = data if end == len(data) else data[:end]
        try:
            return _decoder.decode_lines(complete), end
        except (msgspec.MsgspecError, UnicodeError):
            return _decode_each(complete), end

    def find_tail(self, read: ReadAt, size: int, count: int) -> tuple[int, int]:
        end = _last_newline(read, size) + 1
        if end == 0:
            return 0, 0
        found = 0
        position = end - 1  # where a search for the newline before the record begins
        while position > 0:
            start = max(0, position - _BLOCK)
            block = read(start, position - start)
            newlines = block.count(b"\n")
            if found + newlines < count:
                found += newlines
                position = start
                continue
            at = len(block)
            while found < count:
                at = block.rfind(b"\n", 0, at)
                found += 1
            return start + at + 1, count
        return 0, found + 1


def _last_newline(read: ReadAt, size: int) -> int:
    """Return the offset of the last newline, -1 if there is none."""
    while size > 0:
        start = max(0, size - _BLOCK)
        at = read(start, size - start).rfind(b"\n")
        if at >= 0:
            return start + at
        size = start
    return -1


def _decode_each(data: bytes) -> list[JsonLine]:
    lines = []
    for text in data.split(b"\n"):
        text = text.strip(b"\0\r ")  # a power cut may leave zeros
        if not text:
            continue
        try:
            lines.append(_decoder.decode(text))
        except (msgspec.MsgspecError, UnicodeError):
            try:
                lines.append(_decoder.decode(text.decode("utf-8", "replace")))
            except msgspec.MsgspecError:
                continue
    return lines
