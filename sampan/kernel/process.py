"""Processes: spawning with exact descriptors, sealed copies of programs, reaping, and identity across time.

The standard library has ``os.pidfd_open`` and ``signal.pidfd_send_signal``; what lives here is the rest of
what the engine needs. Nothing here forks: a fork of the daemon would copy its page tables.
"""

import fcntl
import os
import signal
import stat
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from sampan.kernel.libc import check, libc
from sampan.kernel.mount import FsContext

_PR_SET_CHILD_SUBREAPER: Final = 36  # linux/prctl.h
_ALL_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_FIRST_FREE: Final = 3
_NULL: Final = (1, 3)  # Documentation/admin-guide/devices.txt
_PAUSE_S: Final = 0.001


def spawn(
    path: str, argv: Sequence[str], env: Mapping[str, str], fds: Sequence[int] = (), *, null: int
) -> int:
    """Start ``path`` in a session of its own and return its pid; it must be reaped with ``reap``.

    The child has ``null`` as stdin, stdout and stderr, the descriptors ``fds`` as 3, 4, … in that order, and
    no other that is marked close-on-exec (all that Python opens are). Its signals are as at boot. Raises
    OSError (ENOENT, EACCES: the program cannot be run).
    """
    # Done one after the other: a source must not be a number that an earlier step overwrites.
    above = _FIRST_FREE + len(fds)
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, above) if fd < above else fd for fd in fds]
    actions = [(os.POSIX_SPAWN_DUP2, null, stream) for stream in range(_FIRST_FREE)]
    actions += [(os.POSIX_SPAWN_DUP2, fd, _FIRST_FREE + place) for place, fd in enumerate(moved)]
    try:
        return os.posix_spawn(
            path,
            list(argv),
            env,
            file_actions=actions,
            setsid=True,
            setsigmask=[],
            setsigdef=_DEFAULT_SIGNALS,
        )
    finally:
        for fd, original in zip(moved, fds, strict=True):
            if fd != original:
                os.close(fd)


_DEFAULT_SIGNALS: Final = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})


def open_null() -> int:
    """Return a descriptor of a null device that lies in no directory.

    crun hands the standard streams of an exec to the user of its process (fchown): the host's own
    ``/dev/null`` must not come to belong to somebody. Where none can be made it is the host's after all.
    """
    try:
        with FsContext("tmpfs") as context:
            mount = context.mount()
        try:
            os.mknod("null", stat.S_IFCHR | 0o666, os.makedev(*_NULL), dir_fd=mount)
            return os.open("null", os.O_RDWR | os.O_CLOEXEC, dir_fd=mount)
        finally:
            os.close(mount)
    except OSError:
        return os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)


def sealed_copy(path: str) -> int:
    """Return a descriptor of an anonymous copy of the file ``path`` that nobody can change any more.

    A runtime that guards its own binary against the container (CVE-2019-5736) copies itself at each start;
    run from such a copy, as ``/proc/self/fd/N``, it need not. Raises OSError.
    """
    copy = os.memfd_create(os.path.basename(path), os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while os.sendfile(copy, source, None, 1 << 24):
                pass
        finally:
            os.close(source)
        fcntl.fcntl(copy, fcntl.F_ADD_SEALS, _ALL_SEALS)
    except BaseException:
        os.close(copy)
        raise
    return copy


def reap(pid: int) -> bool:
    """Collect child ``pid`` if it has ended; return False while it has not.

    True as well if it is no child of ours (any more): then there is nothing to collect.
    """
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def kill_session(session: int, *, timeout_s: float = 5.0) -> None:
    """Kill every process of ``session`` (the pid of its leader, who may be gone) and wait until all are dead.

    A process that hangs in the kernel is waited for no longer than ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    while victims := [pid for pid in _all_pids() if _lives_in(session, pid)]:
        for pid in victims:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return
        time.sleep(_PAUSE_S)  # the last system call of each is still on its way, and it may have forked


def _all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _lives_in(session: int, pid: int) -> bool:
    fields = _stat(pid)
    return fields is not None and int(fields[3]) == session and fields[0] not in (b"Z", b"X")


def start_time(pid: int) -> int | None:
    """Return when ``pid`` was started, in clock ticks since boot, or None if there is no such process.

    Together with the pid this names a process for good: pids are used again, with another start time.
    Source: proc(5), /proc/pid/stat, field 22.
    """
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def _stat(pid: int) -> list[bytes] | None:
    """Return the fields of /proc/pid/stat from the third on (the second may hold anything)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def become_subreaper() -> None:
    """Make this process the parent of its descendants' orphans, in place of process 1. Raises OSError."""
    check(libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl(PR_SET_CHILD_SUBREAPER)")
