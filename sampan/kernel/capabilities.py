"""Capabilities of the calling thread (capabilities(7)); each thread has its own."""

import ctypes
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sampan.kernel.libc import check, syscall

CAP_SYS_RESOURCE: Final = 24  # linux/capability.h
_HEADER: Final = struct.pack("=Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
_sets = struct.Struct("=6I")  # effective, permitted, inheritable: the low 32, then the high


@contextmanager
def without_capability(number: int) -> Iterator[None]:
    """Let the block run in this thread without the capability ``number`` in effect. Raises OSError."""
    buffer = ctypes.create_string_buffer(_sets.size)
    check(syscall("capget", _HEADER, buffer), "capget")
    before = _sets.unpack(buffer.raw)
    place, bit = (0, 1 << number) if number < 32 else (3, 1 << (number - 32))
    if not before[place] & bit:
        yield
        return
    after = [*before]
    after[place] &= ~bit
    check(syscall("capset", _HEADER, _sets.pack(*after)), "capset")
    try:
        yield
    finally:
        check(syscall("capset", _HEADER, _sets.pack(*before)), "capset")
