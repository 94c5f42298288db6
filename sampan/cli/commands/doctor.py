"""``doctor``: what this host lacks, and what for.

The daemon knows its host; what is asked here is its ``info``, and which programs are there for what it does
only now and then.
"""

from sampan.base.errors import EngineError
from sampan.base.units import bytes_size
from sampan.cli.errors import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

    from sampan.cli.app import App
    from sampan.cli.parser import Parsed

_PROGRAMS: "Final" = (
    ("busybox", "`sampan image bootstrap busybox` (package busybox-static)"),
    ("mmdebstrap", "`sampan image bootstrap debian` (package mmdebstrap)"),
    ("ssh", "engines on other machines (-H ssh://…; package openssh-client)"),
)


def doctor(app: "App", parsed: "Parsed") -> None:
    """Print the host's facts and what it lacks; fail if there is no daemon to ask."""
    try:
        facts = app.client.info()
    except (EngineError, CommandError) as error:
        raise CommandError(
            f"{error}\nsampan doctor asks the daemon about its host: start it first"
        ) from error
    app.out_lines(_lines(app, facts))


def _lines(app: "App", facts: "dict[str, Any]") -> "Iterator[str]":
    yield f"sampand {facts.get('ServerVersion', '')} answers at {app.client.transport.endpoint.host}"
    machine = f"{facts.get('Architecture', '')}, {facts.get('NCPU', 0)} CPUs"
    memory = bytes_size(facts.get("MemTotal", 0))
    yield f"{facts.get('OperatingSystem', '')}, kernel {facts.get('KernelVersion', '')}, {machine}, {memory}"
    yield (
        f"cgroup v{facts.get('CgroupVersion', '')}, storage {facts.get('Driver', '')}, "
        f"runtimes {', '.join(_runtimes(facts))}"
    )
    yield ""
    missing = [*(facts.get("HostLacks") or ()), *_missing_programs(app)]
    if not missing:
        yield "Nothing that Sampan makes use of is missing."
        return
    yield "Not available here:"
    yield from (f"  - {line}" for line in missing)


def _runtimes(facts: "dict[str, Any]") -> list[str]:
    default = facts.get("DefaultRuntime")
    names = sorted(facts.get("Runtimes") or ())
    return [f"{name} (default)" if name == default else name for name in names]


def _missing_programs(app: "App") -> "Iterator[str]":
    from shutil import which

    path = f"{app.environ.get('PATH', '')}:/usr/sbin:/sbin"
    for name, what in _PROGRAMS:
        if which(name, path=path) is None:
            yield what
