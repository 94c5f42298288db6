"""Capabilities by name, added and dropped."""

import pytest
from support.facts import facts
from support.shared import shared

from sampan.base.errors import InvalidParameter
from sampan.runtime.capabilities import DEFAULT, NAMES, available, granted, normalize
from sampan.wire.containers import HostConfig

ABLE = facts()


def test_default_set() -> None:
    import json

    known = json.loads(shared("data/seccomp/defaults.json").read_text())
    assert list(DEFAULT) == known["capabilities"]
    mask = sum(1 << NAMES.index(name) for name in DEFAULT)
    assert f"{mask:016x}" == known["capability_mask"]
    assert granted(HostConfig(), ABLE) == DEFAULT


def test_names_are_read_generously() -> None:
    assert normalize(["net_admin", "CAP_SYS_time", "all"], ABLE) == ["CAP_NET_ADMIN", "CAP_SYS_TIME", "ALL"]


def test_unknown_and_unavailable() -> None:
    with pytest.raises(InvalidParameter, match='unknown capability: "CAP_NONSENSE"'):
        normalize(["nonsense"], ABLE)
    poor = facts(capabilities=frozenset(range(41)) - {24})
    with pytest.raises(InvalidParameter) as caught:
        normalize(["SYS_RESOURCE"], poor)
    assert str(caught.value) == (
        "capability not supported by your kernel or not available in the current environment: "
        '"CAP_SYS_RESOURCE"'
    )
    assert "CAP_SYS_RESOURCE" not in available(poor)
    assert "CAP_CHECKPOINT_RESTORE" not in available(facts(last_capability=39))


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (HostConfig(cap_add=["NET_ADMIN"]), (*DEFAULT, "CAP_NET_ADMIN")),
        (HostConfig(cap_add=["CHOWN"]), DEFAULT),
        (HostConfig(cap_drop=["CHOWN"]), DEFAULT[1:]),
        (HostConfig(cap_drop=["ALL"]), ()),
        (HostConfig(cap_drop=["ALL"], cap_add=["KILL", "chown"]), ("CAP_KILL", "CAP_CHOWN")),
        (HostConfig(cap_add=["ALL"]), NAMES),
        (HostConfig(cap_add=["ALL"], cap_drop=["BPF"]), tuple(name for name in NAMES if name != "CAP_BPF")),
        (HostConfig(privileged=True, cap_drop=["ALL"]), NAMES),
    ],
)
def test_granted(host: HostConfig, expected: tuple[str, ...]) -> None:
    assert granted(host, ABLE) == expected


def test_defaults_that_the_daemon_lacks_are_left_out() -> None:
    without_mknod = facts(capabilities=frozenset(range(41)) - {27})
    assert granted(HostConfig(), without_mknod) == tuple(name for name in DEFAULT if name != "CAP_MKNOD")
