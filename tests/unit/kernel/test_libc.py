"""System calls by number, and errors with what was attempted."""

import errno
import os

import pytest

from sampan.kernel.libc import NUMBERS, check, syscall


def test_calls_by_name_and_number() -> None:
    assert syscall("gettid") == os.getpid()
    assert syscall(NUMBERS["gettid"]) == os.getpid()


def test_failures_carry_errno_and_subject() -> None:
    with pytest.raises(FileNotFoundError) as missing:
        check(syscall("umount2", b"/nonexistent\0", 0), "/nonexistent")
    assert (missing.value.errno, missing.value.filename) == (errno.ENOENT, "/nonexistent")
    assert check(3, "fine") == 3


def test_null_pointers_and_buffers() -> None:
    assert syscall("pidfd_open", -1, 0) == -1
    fd = check(syscall("memfd_create", b"x\0", 1), "memfd_create")
    os.close(fd)
    assert syscall("statx", -100, None, 0, 0, None) == -1
