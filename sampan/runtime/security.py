"""``--security-opt``: what confines a container beside its capabilities."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from sampan.base.errors import InvalidParameter
from sampan.base.units import parse_bool


@dataclass(frozen=True, slots=True)
class SecurityOptions:
    """``seccomp`` is a profile's JSON text, ``unconfined`` or ``builtin``; empty strings mean the default."""

    no_new_privileges: bool = False
    seccomp: str = ""
    apparmor: str = ""
    writable_cgroups: bool | None = None


def parse_security_options(options: Iterable[str], *, no_new_privileges: bool = False) -> SecurityOptions:
    """Read HostConfig.SecurityOpt; ``no_new_privileges`` is the daemon's default.

    ``label`` options are taken and have no effect, as with a Docker daemon that was not started with SELinux
    support. Raises InvalidParameter ("invalid --security-opt 1: …", Docker's words).
    """
    parsed = SecurityOptions(no_new_privileges)
    for option in options:
        if option == "no-new-privileges":
            parsed = replace(parsed, no_new_privileges=True)
        elif option == "writable-cgroups":
            parsed = replace(parsed, writable_cgroups=True)
        elif option != "disable":
            parsed = _with_value(parsed, option)
    return parsed


def _with_value(parsed: SecurityOptions, option: str) -> SecurityOptions:
    separator = "=" if "=" in option else ":"  # ":" is the old form
    key, found, value = option.partition(separator)
    if not found:
        raise InvalidParameter(f'invalid --security-opt 1: "{option}"')
    if key == "label":
        return parsed
    if key == "apparmor":
        return replace(parsed, apparmor=value)
    if key == "seccomp":
        return replace(parsed, seccomp=value)
    try:
        if key == "no-new-privileges":
            return replace(parsed, no_new_privileges=parse_bool(value))
        if key == "writable-cgroups":
            return replace(parsed, writable_cgroups=parse_bool(value))
    except ValueError as error:
        raise InvalidParameter(f'invalid --security-opt 2: "{option}"') from error
    raise InvalidParameter(f'invalid --security-opt 2: "{option}"')
