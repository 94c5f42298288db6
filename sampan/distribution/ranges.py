"""Ranges of bytes: which part of a blob a client wants, and which part of an upload it sends. Pure."""

import re
from typing import Final

from sampan.distribution.errors import RangeInvalid, UploadInvalid

_WANTED: Final = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_CHUNK: Final = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")


def wanted_range(header: str, size: int) -> tuple[int, int] | None:
    """Return where the range begins and how many bytes it has, None: the whole is to be sent.

    Whatever is no single range of bytes counts as no header at all, which RFC 9110 (14.2) allows. Raises
    RangeInvalid if there is no such range in ``size`` bytes.
    """
    found = _WANTED.fullmatch(header.replace(" ", ""))
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        count = min(int(found[2]), size)
        start = size - count
    else:
        start = int(found[1])
        last = int(found[2]) if found[2] else size - 1
        if found[2] and last < start:
            return None
        count = min(last, size - 1) - start + 1
    if count <= 0:
        raise RangeInvalid(headers={"Content-Range": f"bytes */{size}"})
    return start, count


def chunk_range(header: str) -> tuple[int, int]:
    """Return where a chunk (``Content-Range: 0-99``) begins and its size in bytes. Raises UploadInvalid."""
    found = _CHUNK.fullmatch(header)
    if found is None or int(found[2]) < int(found[1]):
        raise UploadInvalid(f"bad Content-Range {header[:80]!r}: it must be like 0-99")
    return int(found[1]), int(found[2]) - int(found[1]) + 1


def upload_range(size: int) -> str:
    """Return what of an upload is here, as the ``Range`` header of an answer; ``0-0`` also for nothing."""
    return f"0-{max(size - 1, 0)}"
