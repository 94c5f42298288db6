"""Limits on directories by project quotas: one project for each limited snapshot, undone with it."""

import errno
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from sampan.base.errors import InvalidParameter
from sampan.kernel.quota import enforced, limit_project, project_limit, project_of, set_project

_FIRST: Final = 1 << 20
"""Lower numbers are what administrators give by hand."""


class Projects:
    """The projects of one driver, below ``home``; ``used`` are the numbers that its snapshots have."""

    def __init__(self, home: str, used: Iterable[int], refusal: str) -> None:
        """``refusal`` says what is missing where there are no project quotas."""
        self._home = home
        self._refusal = refusal
        self._next = max([_FIRST - 1, *used]) + 1
        self._lock = threading.Lock()
        self._enforced: bool | None = None

    def check(self) -> None:
        """Raise InvalidParameter if the file system does not hold projects to their limits."""
        if self._enforced is None:
            self._enforced = enforced(self._home)
        if not self._enforced:
            raise InvalidParameter(self._refusal)

    def limit(self, directory: str, size: int) -> int:
        """Let the empty ``directory`` hold at most ``size`` bytes; return the project that it belongs to."""
        self.check()
        project = self._fresh()
        limit_project(directory, project, size)
        try:
            set_project(directory, project)
        except BaseException:
            self.release(project)
            raise
        return project

    def release(self, project: int) -> None:
        """Take the limit of ``project`` away, if it is one of ours."""
        if project >= _FIRST:
            with suppress(OSError):
                limit_project(self._home, project, 0)

    def release_of(self, directory: str) -> None:
        """Take the limit of the project that ``directory`` belongs to away; none is no error."""
        with suppress(OSError):
            self.release(project_of(directory))

    def _fresh(self) -> int:
        """Return a number that nobody has limited and that holds nothing."""
        with self._lock:
            while True:
                number = self._next
                self._next += 1
                try:
                    if project_limit(self._home, number) == (0, 0):
                        return number
                except OSError as error:
                    if error.errno != errno.ENOENT:  # xfs: nothing is known of it
                        raise
                    return number
