"""What the engine could leave behind on a host, as one comparable value."""

import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

_SETTLE_S = 5.0  # a dropped network namespace takes its veth along a moment later


@dataclass(frozen=True)
class Traces:
    """Mount points, links, rules, cgroups and processes of the namespace that the tests run in."""

    mounts: frozenset[str]
    links: frozenset[str]
    rules: str
    cgroups: frozenset[str]
    shims: frozenset[str]
    extra: frozenset[str] = field(default_factory=frozenset)


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _mounts() -> frozenset[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return frozenset(line.split()[4] for line in lines)


def _cgroups() -> frozenset[str]:
    found = set()
    for parent in ("docker",):
        for place in Path("/sys/fs/cgroup").glob(f"**/{parent}/*"):
            if place.is_dir() and len(place.name) == 64:
                found.add(str(place))
    return frozenset(found)


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


def look(marker: str) -> Traces:
    """Look at the host; ``marker`` is a text in the command line of the shims that count."""
    return Traces(_mounts(), _links(), _output("nft", "list", "ruleset"), _cgroups(), _shims(marker))


def assert_none_left(before: Traces, marker: str) -> None:
    """Fail unless the host is as ``before``; what goes away by itself in a moment is waited for."""
    deadline = time.monotonic() + _SETTLE_S
    while (after := look(marker)) != before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert after.mounts == before.mounts
    assert after.links == before.links
    assert after.rules == before.rules
    assert after.cgroups == before.cgroups
    assert after.shims == before.shims
