"""Linux capabilities by name: Docker's default set, and what ``--cap-add`` and ``--cap-drop`` make of it."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from sampan.base.errors import InvalidParameter
from sampan.kernel.host import HostFacts
from sampan.wire.containers import HostConfig

_ALL: Final = "ALL"

# linux/capability.h, in the order of their numbers
NAMES: Final[tuple[str, ...]] = tuple(
    f"CAP_{name}"
    for name in (
        "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE "
        "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT "
        "SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE "
        "AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND "
        "AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
    ).split()
)

# moby daemon/pkg/oci/caps/defaults.go
DEFAULT: Final[tuple[str, ...]] = tuple(
    f"CAP_{name}"
    for name in (
        "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE "
        "SYS_CHROOT KILL AUDIT_WRITE"
    ).split()
)


def available(facts: HostFacts) -> tuple[str, ...]:
    """Return the capabilities that this process can give away, in the order of their numbers."""
    return _named(facts.capabilities, facts.last_capability)


@lru_cache(maxsize=1)
def _named(numbers: frozenset[int], last: int) -> tuple[str, ...]:
    return tuple(name for number, name in enumerate(NAMES) if number <= last and number in numbers)


def normalize(names: Iterable[str], facts: HostFacts) -> list[str]:
    """Return ``names`` (``net_admin``, ``CAP_NET_ADMIN``, ``ALL``) in their full form.

    Raises InvalidParameter for a name that does not exist, or that the kernel or this process lacks.
    """
    given = set(available(facts))
    normalized = []
    for name in names:
        full = name.upper()
        if full != _ALL:
            full = full if full.startswith("CAP_") else f"CAP_{full}"
            if full not in NAMES:
                raise InvalidParameter(f'unknown capability: "{full}"')
            if full not in given:
                raise InvalidParameter(
                    "capability not supported by your kernel or not available in the current environment: "
                    f'"{full}"'
                )
        normalized.append(full)
    return normalized


def granted(host: HostConfig, facts: HostFacts) -> tuple[str, ...]:
    """Return the capabilities of a container's processes (moby's TweakCapabilities).

    Those of the default set that this process lacks itself are left out, so that containers start in
    confined environments too. Raises InvalidParameter as ``normalize`` does.
    """
    have = available(facts)
    if host.privileged:
        return have
    basics = [name for name in DEFAULT if name in have]
    if not host.cap_add and not host.cap_drop:
        return tuple(basics)
    drop = normalize(host.cap_drop or (), facts)
    add = normalize(host.cap_add or (), facts)
    if _ALL in add:
        kept = [name for name in have if name not in drop]
    elif _ALL in drop:
        kept = add
    else:
        kept = [name for name in basics if name not in drop] + add
    return tuple(dict.fromkeys(kept))
