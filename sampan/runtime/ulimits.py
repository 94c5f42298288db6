"""``--ulimit``: resource limits of a container's processes."""

import logging
import resource
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from sampan.base.errors import InvalidParameter
from sampan.kernel.host import HostFacts, hard_limit
from sampan.oci.spec import Rlimit
from sampan.wire.containers import Ulimit

_log = logging.getLogger(__name__)
_UNLIMITED: Final = 2**64 - 1
# asm-generic/resource.h
_NUMBERS: Final[Mapping[str, int]] = {
    "cpu": 0,
    "fsize": 1,
    "data": 2,
    "stack": 3,
    "core": 4,
    "rss": 5,
    "nproc": 6,
    "nofile": 7,
    "memlock": 8,
    "as": 9,
    "locks": 10,
    "sigpending": 11,
    "msgqueue": 12,
    "nice": 13,
    "rtprio": 14,
    "rttime": 15,
}
_told: set[str] = set()


def check_ulimits(ulimits: Iterable[Ulimit]) -> None:
    """Raise InvalidParameter for an unknown limit, or one whose soft part is above its hard part."""
    for ulimit in ulimits:
        if ulimit.name.lower() not in _NUMBERS:
            raise InvalidParameter(f"invalid ulimit type: {ulimit.name}")
        if _value(ulimit.soft) > _value(ulimit.hard):
            raise InvalidParameter(
                f"ulimit soft limit must be less than or equal to hard limit: {ulimit.soft} > {ulimit.hard}"
            )


def rlimits(own: Sequence[Ulimit] | None, defaults: Sequence[Ulimit], facts: HostFacts) -> list[Rlimit]:
    """Return the limits of a container: its ``own``, and of the daemon's ``defaults`` those of other names.

    Where the daemon may not raise hard limits (no CAP_SYS_RESOURCE), a limit above its own is lowered to
    that, and the log says so once.
    """
    chosen = {ulimit.name.lower(): ulimit for ulimit in (*defaults, *(own or ()))}
    return [_rlimit(name, ulimit, facts) for name, ulimit in chosen.items()]


def _rlimit(name: str, ulimit: Ulimit, facts: HostFacts) -> Rlimit:
    hard, soft = _value(ulimit.hard), _value(ulimit.soft)
    if not facts.may_raise_limits:
        present = hard_limit(_NUMBERS[name])
        bound = _UNLIMITED if present == resource.RLIM_INFINITY else present
        if hard > bound:
            if name not in _told:
                _told.add(name)
                _log.warning("ulimit lowered to the daemon's own", extra={"ulimit": name, "limit": bound})
            hard, soft = bound, min(soft, bound)
    return Rlimit(f"RLIMIT_{name.upper()}", hard, soft)


def _value(number: int) -> int:
    return _UNLIMITED if number < 0 else number
