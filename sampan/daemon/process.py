"""The daemon as a process among others: pid file, lock of the data root, word to systemd, limits, stacks."""

import asyncio
import fcntl
import logging
import os
import resource
import socket
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Final

from sampan.base.errors import HostFailure

_log = logging.getLogger(__name__)
_OPEN_FILES: Final = 65536


class PidFile:
    """The file that says which process the daemon is. Raises HostFailure if it names one that lives."""

    def __init__(self, path: Path) -> None:
        self._path = path
        other = _read_pid(path)
        if other and other != os.getpid() and Path(f"/proc/{other}").exists():
            raise HostFailure(
                f"failed to start daemon, ensure sampand is not running or delete {path}: "
                f"process with PID {other} is still running"
            )
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            path.write_text(str(os.getpid()))
        except OSError as error:
            raise HostFailure(f"failed to start daemon: {path}: {error.strerror}") from error

    def remove(self) -> None:
        """Remove the file, unless it is another's by now."""
        if _read_pid(self._path) == os.getpid():
            with suppress(OSError):
                self._path.unlink()


def _read_pid(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def lock_data_root(root: Path) -> int:
    """Make ``root`` this daemon's own; return the descriptor that holds the lock, for the life of the
    process.

    Raises HostFailure if another daemon works on it.
    """
    try:
        root.mkdir(mode=0o711, parents=True, exist_ok=True)
        lock = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise HostFailure(f"cannot use the data root {root}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(lock, 32, 0).decode(errors="replace").strip()
        os.close(lock)
        raise HostFailure(f"the data root {root} is in use by another daemon (PID {holder})") from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def raise_limits() -> None:
    """Take enough open files for a thousand containers, as far as the host allows.

    Containers without limits of their own inherit it, so it stays a number that programs can loop over.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class ServiceManager:
    """Who started the daemon, if it wants to know how it is doing (sd_notify(3)).

    Its address is taken out of the environment: runtimes would pass it on to containers.
    """

    def __init__(self) -> None:
        address = os.environ.pop("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address

    def tell(self, state: str) -> None:
        """Send ``state``, ``READY=1`` for example."""
        if self._address:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, suppress(OSError):
                manager.connect(self._address)
                manager.sendall(state.encode())


def dump_stacks(folder: Path) -> Path:
    """Write what every thread and task is doing to a file in ``folder``; return its path."""
    path = folder / f"stacks-{time.strftime('%Y-%m-%dT%H%M%SZ', time.gmtime())}.log"
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    with path.open("w", encoding="utf-8") as out:
        for ident, frame in sys._current_frames().items():
            out.write(f"thread {names.get(ident, ident)}:\n{''.join(traceback.format_stack(frame))}\n")
        for task in asyncio.all_tasks():
            out.write(f"task {task.get_name()}:\n")
            task.print_stack(file=out)
            out.write("\n")
    _log.info("stacks written", extra={"path": str(path)})
    return path
