"""The C library, and system calls that it has no wrapper for.

Every other module of ``sampan.kernel`` calls the kernel through here. ``errno`` is kept per call by ctypes
(``use_errno``), so ``check`` must follow the call in the same thread.
"""

import ctypes
import os
import platform
from typing import Final

libc: Final = ctypes.CDLL(None, use_errno=True)
"""The process's C library; set ``argtypes`` next to the wrapper that calls a function."""

# asm-generic/unistd.h (aarch64 and every later architecture) and arch/x86/entry/syscalls/syscall_64.tbl.
# Calls from 424 on have the same number everywhere.
_X86_64: Final = {
    "mount": 165,
    "umount2": 166,
    "gettid": 186,
    "unshare": 272,
    "setns": 308,
    "mknodat": 259,
    "fchownat": 260,
    "fchmodat": 268,
    "utimensat": 280,
    "renameat2": 316,
    "seccomp": 317,
    "memfd_create": 319,
    "bpf": 321,
    "copy_file_range": 326,
    "statx": 332,
    "capget": 125,
    "capset": 126,
    "prctl": 157,
    "quotactl": 179,
    "pivot_root": 155,
}
_GENERIC: Final = {
    "mount": 40,
    "umount2": 39,
    "gettid": 178,
    "unshare": 97,
    "setns": 268,
    "mknodat": 33,
    "fchownat": 54,
    "fchmodat": 53,
    "utimensat": 88,
    "renameat2": 276,
    "seccomp": 277,
    "memfd_create": 279,
    "bpf": 280,
    "copy_file_range": 285,
    "statx": 291,
    "capget": 90,
    "capset": 91,
    "prctl": 167,
    "quotactl": 60,
    "pivot_root": 41,
}
_COMMON: Final = {
    "pidfd_send_signal": 424,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_open": 434,
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
    "pidfd_getfd": 438,
    "faccessat2": 439,
    "mount_setattr": 442,
    "quotactl_fd": 443,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
    "fchmodat2": 452,
    "statmount": 457,
    "listmount": 458,
    "setxattrat": 463,
    "getxattrat": 464,
    "listxattrat": 465,
    "removexattrat": 466,
    "open_tree_attr": 467,
}

NUMBERS: Final[dict[str, int]] = {**(_X86_64 if platform.machine() == "x86_64" else _GENERIC), **_COMMON}
"""System call numbers of this machine by name."""

_syscall = libc.syscall
_syscall.restype = ctypes.c_long


def syscall(nr: int | str, *args: object) -> int:
    """Make system call ``nr`` (number or name in ``NUMBERS``), return its result (-1: see errno).

    Integers are passed as longs, ``None`` as a null pointer, ``bytes`` and ctypes objects as usual.
    """
    converted = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    return int(_syscall(ctypes.c_long(NUMBERS[nr] if isinstance(nr, str) else nr), *converted))


def check(result: int, what: str) -> int:
    """Return ``result`` of a libc call, or raise OSError of the present errno if it is negative.

    ``what`` says in the error what was attempted, usually the path: ``OSError(errno, text, what)``.
    """
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result
