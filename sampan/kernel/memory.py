"""What the C library keeps of freed memory: a daemon that is small most of the time should look small."""

import ctypes
from typing import Final

from sampan.kernel.libc import libc

_M_ARENA_MAX: Final = -8  # malloc.h


def limit_arenas(count: int) -> None:
    """Let all threads allocate from ``count`` arenas: each further one keeps what was freed in it."""
    _call("mallopt", _M_ARENA_MAX, count)


def trim() -> None:
    """Give freed memory back to the kernel (malloc_trim(3)); some milliseconds."""
    _call("malloc_trim", 0)


def _call(name: str, *arguments: int) -> None:
    function = getattr(libc, name, None)  # glibc has them, musl has not
    if function is not None:
        function(*(ctypes.c_int(argument) for argument in arguments))
