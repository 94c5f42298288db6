"""AppArmor profiles of containers: which one applies, and Docker's default, loaded where it is missing."""

import logging
from pathlib import Path
from typing import Final

from sampan.base.errors import InvalidParameter
from sampan.kernel.host import HostFacts

_log = logging.getLogger(__name__)
DEFAULT: Final = "docker-default"
UNCONFINED: Final = "unconfined"
_PROFILES: Final = Path("/sys/kernel/security/apparmor/profiles")
# What Docker's default profile allows and denies (moby/profiles, apparmor/template.go)
_SIGNALS_FROM: Final = ("unconfined", "runc", "crun", "sampand", "sampan-shim")
_DENIED: Final = (
    "@{PROC}/* w",
    # of /proc, only a process's own directory and /proc/sys may be written
    "@{PROC}/{[^1-9/],[^1-9/][^0-9/],[^1-9s/][^0-9y/][^0-9s/],[^1-9/][^0-9/][^0-9/][^0-9/]*}/** w",
    # of /proc/sys, only kernel/shm*
    "@{PROC}/sys/[^k]** w",
    "@{PROC}/sys/kernel/{?,??,[^s][^h][^m]**} w",
    "@{PROC}/sysrq-trigger rwklx",
    "@{PROC}/kcore rwklx",
    "mount",
    # of /sys, only fs/cgroup
    "/sys/[^f]*/** wklx",
    "/sys/f[^s]*/** wklx",
    "/sys/fs/[^c]*/** wklx",
    "/sys/fs/c[^g]*/** wklx",
    "/sys/fs/cg[^r]*/** wklx",
    "/sys/firmware/** rwklx",
    "/sys/devices/virtual/powercap/** rwklx",
    "/sys/kernel/security/** rwklx",
)
_told: set[str] = set()


def choose_profile(asked: str, facts: HostFacts, *, privileged: bool) -> str:
    """Return the profile of a container's processes; empty where the kernel has no AppArmor. May block.

    Without a wish it is Docker's default (privileged: none). If that cannot be loaded, containers run
    without, and the log says so once. Raises InvalidParameter when the profile ``asked`` is not loaded.
    """
    if not facts.apparmor:
        return ""
    profile = asked or (UNCONFINED if privileged else DEFAULT)
    if profile == UNCONFINED:
        return UNCONFINED
    if is_loaded(profile):
        return profile
    if profile == DEFAULT and load_default():
        return DEFAULT
    if asked and asked != DEFAULT:
        raise InvalidParameter(f"apparmor profile {asked} is not loaded")
    return ""


def is_loaded(profile: str) -> bool:
    """Whether the kernel knows ``profile``."""
    with _PROFILES.open(encoding="utf-8", errors="replace") as lines:
        return any(line.rpartition(" (")[0] == profile for line in lines)


def render_default() -> str:
    """Return the default profile in apparmor.d(5)'s language."""
    rules = ["network", "deny network alg", "capability", "file", "umount"]
    rules += [f"signal (receive) peer={peer}" for peer in _SIGNALS_FROM]
    rules += [f'signal (send,receive) peer="{DEFAULT}"']
    rules += [f"deny {rule}" for rule in _DENIED]
    rules += [f'ptrace (trace,tracedby,read,readby) peer="{DEFAULT}"']
    body = "".join(f"  {rule},\n" for rule in rules)
    return f'@{{PROC}}=/proc/\nprofile "{DEFAULT}" flags=(attach_disconnected,mediate_deleted) {{\n{body}}}\n'


def load_default() -> bool:
    """Load Docker's default profile with the host's apparmor_parser; return whether it is there now."""
    import shutil
    import subprocess

    parser = shutil.which("apparmor_parser", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if parser is None:
        _tell("apparmor_parser is not installed: containers run without an AppArmor profile")
        return False
    done = subprocess.run([parser, "-Kr"], input=render_default().encode(), capture_output=True, check=False)
    if done.returncode != 0:
        _tell(
            f"the default AppArmor profile cannot be loaded: {done.stderr.decode(errors='replace').strip()}"
        )
        return False
    return True


def _tell(sentence: str) -> None:
    if sentence not in _told:
        _told.add(sentence)
        _log.warning(sentence)
