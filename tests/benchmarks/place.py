"""Where an engine lives: a thread of the harness that has entered the engine's namespaces."""

import ctypes
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")
_CLONE_FS: Final = 0x200  # linux/sched.h
_libc = ctypes.CDLL(None, use_errno=True)


class Place:
    """Runs functions in the namespaces named by ``paths`` (none: where the harness itself is).

    What they start, starts there too. One function runs at a time, so nothing disturbs a measurement.
    """

    def __init__(self, paths: Sequence[Path] = ()) -> None:
        files = [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in paths]
        self._thread = ThreadPoolExecutor(1, initializer=_enter, initargs=(files,))
        self.call(int)  # enter now, or fail now
        for file in files:
            os.close(file)

    def call(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Return what ``function`` returns, called there."""
        return self._thread.submit(function, *args, **kwargs).result()

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()


def of_process(pid: int) -> Place:
    """Return the place of the process ``pid``."""
    return Place([Path(f"/proc/{pid}/ns/net"), Path(f"/proc/{pid}/ns/mnt")])


def _enter(files: Sequence[int]) -> None:
    if files:  # only a thread with a file-system context of its own may change its mount namespace
        _check(_libc.unshare(_CLONE_FS), "unshare")
    for file in files:
        _check(_libc.setns(file, 0), "setns")


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
