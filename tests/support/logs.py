"""Log files as the shim writes them."""

import json
import struct
from pathlib import Path
from typing import Any

from sampan.base.times import format_ns


def json_line(
    text: str, *, stream: str = "stdout", time_ns: int = 10**18, attrs: dict[str, str] | None = None
) -> bytes:
    """Return one json-file record."""
    document: dict[str, Any] = {"log": text, "stream": stream}
    if attrs:
        document["attrs"] = attrs
    document["time"] = format_ns(time_ns)
    return json.dumps(document).encode() + b"\n"


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _text(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def local_record(
    line: bytes,
    *,
    stream: str = "stdout",
    time_ns: int = 10**18,
    attrs: dict[str, str] | None = None,
    partial: bool | None = None,
) -> bytes:
    """Return one record of the ``local`` driver; ``partial`` tells whether more of the line follows."""
    message = _text(1, stream.encode()) + _varint(2 << 3) + _varint(time_ns) + _text(3, line)
    if partial is not None:
        last = b"" if partial else b"\x08\x01"
        message += _varint(4 << 3) + b"\x01" + _text(5, last + _text(2, b"some-id") + b"\x18\x01")
    for key, value in (attrs or {}).items():
        message += _text(6, _text(1, key.encode()) + _text(2, value.encode()))
    length = struct.pack(">I", len(message))
    return length + message + length


def rotate(path: Path) -> None:
    """Do what the shim does when a log is full: ``path`` becomes ``path.1`` and so on; a new one begins."""
    older = sorted(path.parent.glob(f"{path.name}.*"), reverse=True)
    for file in older:
        number, *suffix = file.name.removeprefix(f"{path.name}.").split(".")
        file.rename(path.with_name(".".join([path.name, str(int(number) + 1), *suffix])))
    path.rename(path.with_name(f"{path.name}.1"))
    path.touch()
