"""The ``local`` driver: Docker's protobuf records, each between two copies of its length.

The length has 32 bits, big-endian; a record is

    LogEntry { 1 source  2 time_nano  3 line  4 partial  5 PartialLogEntryMetadata { 1 last  … }  6 attrs … }
    LogAttr { 1 key  2 value }

The line has no newline of its own. Source: moby daemon/logger, internal/logdriver/entry.proto and local/.
"""

import struct
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import ClassVar, Final

import msgspec

from sampan.base.times import format_ns
from sampan.logs.driver import Line, LogOptions, ReadAt
from sampan.logs.options import check_names, parse_options

_LENGTH: Final = struct.Struct(">I")
_FRAME: Final = 2 * _LENGTH.size
_LARGEST: Final = 1_000_000  # moby's bound: a longer record is damage
_BLOCK: Final = 256 << 10
_DEFAULTS: Final = LogOptions(max_size=20 << 20, max_file=5, compress=True)
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # protobuf wire types
_STREAMS: Final = {b"\x0a\x06stdout": "stdout", b"\x0a\x06stderr": "stderr"}  # the first field, whole
_STREAM_FIELD: Final = 8
_TIME_KEY: Final = 2 << 3 | _VARINT
_LINE_KEY: Final = 3 << 3 | _BYTES
_TIME_BYTES: Final = 9  # of a varint for the years 1972 to 2262
_CONTINUED: Final = 0x8080808080808080  # a varint's bytes but the last have the high bit


class LocalLine(msgspec.Struct, gc=False):
    """A record; ``moment`` is its time, or the varint of it as it stands in the file."""

    stream: str
    data: bytes
    moment: int | bytes
    attrs: Mapping[str, str] | None = None

    @property
    def time_ns(self) -> int:
        value = self.moment if isinstance(self.moment, int) else _varint(self.moment, 0)[0]
        return value - (1 << 64) if value >> 63 else value

    @property
    def stamp(self) -> str:
        seconds, nanos = divmod(self.time_ns, 10**9)
        return f"{_second(seconds)}.{nanos:09d}Z"


@lru_cache(maxsize=16)
def _second(seconds: int) -> str:
    """Return a whole second as text without its zone; records of the same one follow each other."""
    return format_ns(seconds * 10**9)[:-1]


class Local:
    """Docker's compact log driver."""

    name: ClassVar[str] = "local"

    def file(self, container: str) -> str:
        return "local-logs/container.log"

    def options(self, config: Mapping[str, str]) -> LogOptions:
        check_names(config, f"for log driver {self.name}")
        return parse_options(config, _DEFAULTS, compress_needs_size=False)

    def decode(self, data: bytes, *, final: bool) -> tuple[Sequence[Line], int]:
        lines: list[Line] = []
        offset, size = 0, len(data)
        while offset + _FRAME < size:
            (length,) = _LENGTH.unpack_from(data, offset)
            end = offset + _FRAME + length
            if length > _LARGEST:
                return lines, size  # damaged: where the next record begins cannot be known
            if end > size:
                break
            if data[end - _LENGTH.size : end] != data[offset : offset + _LENGTH.size]:
                return lines, size
            line = _parse_plain(data, offset + _LENGTH.size, end - _LENGTH.size)
            if line is None:
                with suppress(ValueError, IndexError):  # this record alone is damaged
                    line = _parse(data, offset + _LENGTH.size, end - _LENGTH.size)
            if line is not None:
                lines.append(line)
            offset = end
        return lines, size if final else offset

    def find_tail(self, read: ReadAt, size: int, count: int) -> tuple[int, int]:
        offset, found = size, 0
        block, start = b"", size

        def length_at(position: int) -> int | None:
            nonlocal block, start
            if position < 0:
                return None
            if not start <= position <= start + len(block) - _LENGTH.size:
                start = max(0, min(position, position + _LENGTH.size - _BLOCK))
                block = read(start, min(_BLOCK, size - start))
                if position - start + _LENGTH.size > len(block):
                    return None
            return int(_LENGTH.unpack_from(block, position - start)[0])

        while offset > 0 and found < count:
            length = length_at(offset - _LENGTH.size)
            begin = offset - _FRAME - (length or 0)
            if length is None or length > _LARGEST or length_at(begin) != length:
                return _tail_forwards(read, size, count)
            offset = begin
            found += 1
        return offset, found


def _tail_forwards(read: ReadAt, size: int, count: int) -> tuple[int, int]:
    """Find the last records of a file whose end is damaged, by walking it from the start."""
    offsets: deque[int] = deque(maxlen=count)
    offset = 0
    while offset + _FRAME < size:
        head = read(offset, _LENGTH.size)
        if len(head) < _LENGTH.size:
            break
        (length,) = _LENGTH.unpack(head)
        end = offset + _FRAME + length
        if length > _LARGEST or end > size or read(end - _LENGTH.size, _LENGTH.size) != head:
            break
        offsets.append(offset)
        offset = end
    return (offsets[0], len(offsets)) if offsets else (0, 0)


def _parse_plain(data: bytes, offset: int, end: int) -> LocalLine | None:
    """Read a record as nearly all are: stream, a time of our days, and a whole line; None for any other."""
    stream = _STREAMS.get(data[offset : offset + _STREAM_FIELD])
    moment = offset + _STREAM_FIELD
    line = moment + _TIME_BYTES + 2  # behind the keys of both fields
    if (
        stream is None
        or line >= end
        or data[line - 1] != _LINE_KEY
        or data[line - 2] & 0x80
        or int.from_bytes(data[moment + 1 : line - 2], "little") & _CONTINUED != _CONTINUED
        or data[moment] != _TIME_KEY
    ):
        return None
    length, line = _varint(data, line)
    if line + length != end:
        return None
    return LocalLine(stream, data[line:end] + b"\n", data[moment + 1 : moment + 1 + _TIME_BYTES])


def _parse(data: bytes, offset: int, end: int) -> LocalLine:
    stream, time_ns, line, partial, last = "", 0, b"", False, False
    attrs: dict[str, str] | None = None
    for field, value in _fields(data, offset, end):
        if isinstance(value, int):
            if field == 2:
                time_ns = value
            elif field == 4:
                partial = bool(value)
        elif field == 1:
            stream = value.decode("utf-8", "replace")
        elif field == 3:
            line = value
        elif field == 5:
            last = any(number == 1 and inner for number, inner in _fields(value, 0, len(value)))
        elif field == 6:
            pair = {
                number: inner for number, inner in _fields(value, 0, len(value)) if isinstance(inner, bytes)
            }
            attrs = attrs if attrs is not None else {}
            attrs[pair.get(1, b"").decode("utf-8", "replace")] = pair.get(2, b"").decode("utf-8", "replace")
    return LocalLine(stream, line if partial and not last else line + b"\n", time_ns, attrs)


def _fields(data: bytes, offset: int, end: int) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of each protobuf field. Raises ValueError, IndexError for what is none."""
    while offset < end:
        key, offset = _varint(data, offset)
        field, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, offset = _varint(data, offset)
            yield field, value
        elif kind == _BYTES:
            length, offset = _varint(data, offset)
            if offset + length > end:
                raise ValueError("field is longer than its record")
            yield field, data[offset : offset + length]
            offset += length
        elif kind in (_FIXED32, _FIXED64):
            offset += 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"unknown wire type {kind}")


def _varint(data: bytes, offset: int) -> tuple[int, int]:
    byte = data[offset]
    offset += 1
    if byte < 0x80:
        return byte, offset
    value, shift = byte & 0x7F, 7
    while True:
        byte = data[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, offset
        shift += 7
        if shift > 63:
            raise ValueError("varint is too long")
