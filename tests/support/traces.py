"""What the engine could leave behind on a host, as one comparable value."""

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from support.daemon import PATIENCE, Daemon

_SETTLE_S = 5.0 * PATIENCE  # a dropped network namespace takes its veth along a moment later


@dataclass(frozen=True)
class Traces:
    """Mount points, links, rules, cgroups and processes of the namespace that the tests run in."""

    mounts: frozenset[str]
    links: frozenset[str]
    rules: str
    cgroups: frozenset[str]
    shims: frozenset[str]


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _mounts() -> frozenset[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return frozenset(line.split()[4] for line in lines)


def _cgroups(parent: str) -> frozenset[str]:
    trees = [
        Path(line.split()[4])
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
        if " - cgroup" in line
    ]
    return frozenset(
        str(place) for tree in trees for place in tree.glob(f"{parent.lstrip('/')}/*") if place.is_dir()
    )


def _shims(marker: str) -> frozenset[str]:
    found = set()
    for entry in (path.name for path in Path("/proc").iterdir()):
        if entry.isdigit():
            try:
                words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[0].endswith(b"sampan-shim") and any(marker.encode() in word for word in words):
                found.add(f"{entry}: {b' '.join(words).decode(errors='replace')}")
    return frozenset(found)


def _links() -> frozenset[str]:
    return frozenset(line.split()[0].split("@")[0] for line in _output("ip", "-br", "link").splitlines())


def look(daemon: Daemon) -> Traces:
    """Look at the host: the namespace's mounts, links and rules, and the daemon's cgroups and shims."""
    return Traces(
        _mounts(),
        _links(),
        _output("nft", "list", "ruleset"),
        _cgroups(daemon.cgroup_parent),
        _shims(str(daemon.exec_root)),
    )


def assert_none_left(before: Traces, daemon: Daemon) -> None:
    """Fail unless the host is as ``before``; what goes away by itself in a moment is waited for."""
    deadline = time.monotonic() + _SETTLE_S
    while (after := look(daemon)) != before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert after.mounts == before.mounts
    assert after.links == before.links
    assert after.rules == before.rules
    assert after.cgroups == before.cgroups
    assert after.shims == before.shims
