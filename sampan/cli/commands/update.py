"""``update``: other limits or another restart policy for containers that exist."""

from sampan.base.errors import EngineError
from sampan.cli.errors import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from sampan.cli.app import App
    from sampan.cli.parser import Flags, Parsed

_FIELDS: "Final" = {
    "blkio-weight": "BlkioWeight",
    "cpu-period": "CpuPeriod",
    "cpu-quota": "CpuQuota",
    "cpu-rt-period": "CpuRealtimePeriod",
    "cpu-rt-runtime": "CpuRealtimeRuntime",
    "cpu-shares": "CpuShares",
    "cpus": "NanoCpus",
    "cpuset-cpus": "CpusetCpus",
    "cpuset-mems": "CpusetMems",
    "kernel-memory": "KernelMemory",
    "memory": "Memory",
    "memory-reservation": "MemoryReservation",
    "memory-swap": "MemorySwap",
    "pids-limit": "PidsLimit",
}


def update(app: "App", parsed: "Parsed") -> None:
    """Change containers and print their names; what the daemon warns of follows."""
    body = _body(parsed.flags)
    warnings: list[str] = []
    failures = []
    for name in parsed.args:
        try:
            warnings += app.client.update(name, body)
        except EngineError as error:
            failures.append(str(error))
        else:
            app.out(name)
    if warnings:
        app.out("\n".join(warnings))
    if failures:
        raise CommandError("\n".join(failures))


def _body(flags: "Flags") -> "dict[str, Any]":
    if not any(True for _ in flags):
        raise CommandError("you must provide one or more flags when using this command")
    body: dict[str, Any] = {field: flags[flag] for flag, field in _FIELDS.items() if flag in flags}
    if "restart" in flags:
        from sampan.cli.options.resources import parse_restart_policy

        try:
            body["RestartPolicy"] = parse_restart_policy(flags["restart"])
        except ValueError as error:
            raise CommandError(str(error)) from error
    return body
