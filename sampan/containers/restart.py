"""Restart policies: pure rules of when a container is started again, and after what wait."""

from dataclasses import dataclass
from typing import Final

from sampan.base.errors import InvalidParameter
from sampan.wire.containers import RestartPolicy

_FIRST_WAIT_S: Final = 0.1
_LONGEST_WAIT_S: Final = 60.0
_LONG_RUN_S: Final = 10.0
_POLICIES: Final = ("no", "always", "on-failure", "unless-stopped")


def check_policy(policy: RestartPolicy) -> None:
    """Raise InvalidParameter, in Docker's words, unless ``policy`` makes sense."""
    name, retries = policy.name, policy.maximum_retry_count
    if name == "":
        return
    if name not in _POLICIES:
        raise InvalidParameter(
            f"invalid restart policy: unknown policy '{name}'; "
            "use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )
    if name == "on-failure":
        if retries < 0:
            raise InvalidParameter("invalid restart policy: maximum retry count cannot be negative")
    elif retries != 0:
        text = "invalid restart policy: maximum retry count can only be used with 'on-failure'"
        raise InvalidParameter(text + (" and cannot be negative" if retries < 0 else ""))


@dataclass(frozen=True, slots=True)
class Restart:
    """Start again after ``wait_s`` seconds."""

    wait_s: float


def plan_restart(
    policy: RestartPolicy,
    *,
    exit_code: int,
    stopped_by_user: bool,
    restarts: int,
    ran_s: float,
    last_wait_s: float,
) -> Restart | None:
    """Decide what follows an exit: a Restart, or None.

    The wait begins at 0.1 s, doubles up to a minute, and begins anew after a run of ten seconds or more.
    ``restarts`` counts those since the last start by hand; ``last_wait_s`` is 0 before the first.
    """
    if stopped_by_user or policy.name in ("", "no"):
        return None
    used_up = policy.maximum_retry_count and restarts >= policy.maximum_retry_count
    if policy.name == "on-failure" and (exit_code == 0 or used_up):
        return None
    if last_wait_s == 0 or ran_s >= _LONG_RUN_S:
        return Restart(_FIRST_WAIT_S)
    return Restart(min(last_wait_s * 2, _LONGEST_WAIT_S))


def starts_with_daemon(policy: RestartPolicy, *, stopped_by_user: bool, exit_code: int) -> bool:
    """Tell whether a container that does not run is started when the daemon starts."""
    if policy.name == "always":
        return True
    if policy.name == "on-failure":
        return exit_code != 0 and not stopped_by_user
    return policy.name == "unless-stopped" and not stopped_by_user
