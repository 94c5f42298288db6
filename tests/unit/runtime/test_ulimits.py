"""Resource limits, on daemons that may raise them and on those that may not."""

import logging
import resource

import pytest
from support.facts import facts

from sampan.base.errors import InvalidParameter
from sampan.oci.spec import Rlimit
from sampan.runtime import ulimits
from sampan.runtime.ulimits import check_ulimits, rlimits
from sampan.wire.containers import Ulimit

UNLIMITED = 2**64 - 1


def test_own_limits_over_the_daemons() -> None:
    own = [Ulimit("nofile", hard=2048, soft=1024)]
    defaults = [Ulimit("NOFILE", hard=1, soft=1), Ulimit("core", hard=-1, soft=0)]
    assert rlimits(own, defaults, facts()) == [
        Rlimit("RLIMIT_NOFILE", 2048, 1024),
        Rlimit("RLIMIT_CORE", UNLIMITED, 0),
    ]
    assert rlimits(None, (), facts()) == []


def test_clamped_and_told_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(ulimits, "_told", set())
    monkeypatch.setattr(ulimits, "hard_limit", lambda _kind: 20000)
    poor = facts(capabilities=frozenset())
    wish = [Ulimit("nofile", hard=-1, soft=50000)]
    for _ in range(2):
        assert rlimits(wish, (), poor) == [Rlimit("RLIMIT_NOFILE", 20000, 20000)]
    assert rlimits([Ulimit("nofile", hard=100, soft=50)], (), poor) == [Rlimit("RLIMIT_NOFILE", 100, 50)]
    assert len(caplog.records) == 1
    monkeypatch.setattr(ulimits, "hard_limit", lambda _kind: resource.RLIM_INFINITY)
    assert rlimits(wish, (), poor) == [Rlimit("RLIMIT_NOFILE", UNLIMITED, 50000)]


def test_checks() -> None:
    check_ulimits([Ulimit("nofile", hard=-1, soft=5), Ulimit("RTPRIO", hard=5, soft=5)])
    with pytest.raises(InvalidParameter, match="invalid ulimit type: nonsense"):
        check_ulimits([Ulimit("nonsense", hard=1, soft=1)])
    for soft, hard in ((5, 4), (-1, 4)):
        with pytest.raises(InvalidParameter, match="ulimit soft limit must be less than or equal to hard"):
            check_ulimits([Ulimit("nofile", hard=hard, soft=soft)])
