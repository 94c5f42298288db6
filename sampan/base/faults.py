"""Named points at which tests make the engine fail.

``point("containers.start.network")`` is a no-op unless that name is armed, by ``arm`` in process or by the
environment variable ``SAMPAN_FAULTS`` (comma-separated ``name`` or ``name=kill``) when the daemon starts.
"""

import os
import signal
from typing import Final

from sampan.base.errors import HostFailure

KILL: Final = "kill"
_armed: dict[str, str] = {}


class InjectedFault(HostFailure):
    """Raised at an armed point."""

    def __init__(self, name: str) -> None:
        super().__init__(f"injected fault at {name}")


def arm(name: str, action: str = "") -> None:
    """Make ``point(name)`` raise InjectedFault, or kill the process when ``action`` is ``kill``."""
    _armed[name] = action


def disarm(name: str) -> None:
    """Make ``point(name)`` a no-op again."""
    _armed.pop(name, None)


def arm_from_environment() -> None:
    """Arm the points named in ``SAMPAN_FAULTS``."""
    for entry in os.environ.get("SAMPAN_FAULTS", "").split(","):
        name, _, action = entry.strip().partition("=")
        if name:
            arm(name, action)


def point(name: str) -> None:
    """Fail here if the point ``name`` is armed."""
    if _armed and name in _armed:
        if _armed[name] == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        raise InjectedFault(name)
