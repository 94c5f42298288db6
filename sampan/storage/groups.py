"""Where on the disk a layer's files go: not where many were removed a moment ago.

ext4 without a journal does not use an inode again for some minutes after its removal (fs/ext4/ialloc.c,
``recently_deleted``), and for every new file it looks at each of them from the beginning of the group: a pull
after the removal of an image took five seconds instead of one. The group of a new directory, which is that of
its files, is the emptiest one, so it is often just this. Hence a layer's directory is tried out, and made
again, which puts it elsewhere.
"""

import os
import threading
import time
from typing import Final

_REGION: Final = 17  # bits of an inode's number: 16 groups of 8192 inodes, which ext4 fills together
_RECENT_S: Final = 360.0  # RECENTCY_MIN and RECENTCY_DIRTY
_TRIES: Final = 64
_FILES: Final = 16
_SLOW_NS: Final = 75_000 * _FILES  # of CPU: usual are 15 µs for a file, in a bad group hundreds


class Groups:
    """Makes directories for many files; ``freed`` tells of those that were removed. For any thread.

    ``choosy``: whether it matters where they are; see ``kernel.fs.is_ext4_without_journal``.
    """

    def __init__(self, *, choosy: bool) -> None:
        self._choosy = choosy
        self._freed: dict[int, float] = {}
        self._lock = threading.Lock()

    def freed(self, inode: int) -> None:
        """Take note that the directory with this inode, and many files below it, are being removed."""
        with self._lock:
            self._freed[inode - 1 >> _REGION] = time.monotonic()

    def make(self, path: str) -> None:
        """Make the directory ``path``, where making files in it is fast if that can be. Raises OSError."""
        if not self._choosy:
            os.mkdir(path, 0o700)
            return
        aside: list[tuple[int, str]] = []
        try:
            for number in range(_TRIES):
                os.mkdir(path, 0o700)
                cost = self._cost(path)
                if cost <= _SLOW_NS:
                    return
                aside.append((cost, f"{path}-{number}"))
                os.rename(path, aside[-1][1])
            best = min(aside)
            os.rename(best[1], path)
            aside.remove(best)
        finally:
            for _, other in aside:
                os.rmdir(other)

    def _cost(self, path: str) -> int:
        """Return the time, in ns, that some files in the directory took; many where it need not be tried."""
        region = os.stat(path).st_ino - 1 >> _REGION
        with self._lock:
            when = self._freed.get(region)
            if when is not None:
                if time.monotonic() - when < _RECENT_S:
                    return 1000 * _SLOW_NS
                del self._freed[region]
        names = [os.path.join(path, str(number)) for number in range(_FILES)]
        begun = time.thread_time_ns()
        for name in names:
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        cost = time.thread_time_ns() - begun
        for name in names:
            os.unlink(name)
        return cost
