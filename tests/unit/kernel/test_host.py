"""What the host offers: on this host, and what is said about one that lacks everything."""

import os

from support.facts import facts

from sampan.kernel.host import probe


def test_probe_of_this_host() -> None:
    found = probe()
    assert found.kernel_version == os.uname().release
    assert found.ncpu >= 1
    assert found.mem_total > 0
    assert found.cgroup_version in (1, 2)
    assert found.goarch in ("amd64", "arm64") or found.goarch == found.architecture
    assert found.cgroup_controllers == found.cgroup_layout.controllers
    assert all(sentence[0].isalnum() for sentence in found.missing())


def test_missing_names_what_it_costs() -> None:
    poor = facts(
        file_systems=frozenset(),
        seccomp=False,
        cgroup_controllers=frozenset(),
        swap_limit=False,
        capabilities=frozenset(),
        cgroup_hybrid_blocks_crun=True,
        userns=False,
    )
    text = "\n".join(poor.missing())
    for word in (
        "seccomp",
        "AppArmor",
        "user namespaces",
        "hybrid",
        "--pids-limit",
        "swap",
        "CAP_SYS_RESOURCE",
    ):
        assert word in text
    assert not poor.may_raise_limits
    assert "CAP_SYS_RESOURCE" not in "\n".join(facts().missing())
