"""Health checks: a command in the container, again and again, and what its results say about it."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from sampan.base.errors import EngineError
from sampan.base.tasks import Tasks
from sampan.base.times import format_ns
from sampan.containers.container import Container, Status
from sampan.containers.create import as_list
from sampan.containers.execs import Execs
from sampan.wire.containers import ExecConfig, Health, HealthConfig, HealthLog

_INTERVAL_NS: Final = 30 * 10**9
_TIMEOUT_NS: Final = 30 * 10**9
_START_INTERVAL_NS: Final = 5 * 10**9
_RETRIES: Final = 3
_KEPT_RESULTS: Final = 5
_OUTPUT_LIMIT: Final = 4096

STARTING: Final = "starting"
HEALTHY: Final = "healthy"
UNHEALTHY: Final = "unhealthy"


def command_of(config: HealthConfig | None, shell: list[str] | None) -> list[str] | None:
    """Return the command line of a health check; None without one, and for ``NONE`` or an unknown kind."""
    kind = config.test[0] if config is not None and config.test else "NONE"
    if config is None or kind not in ("CMD", "CMD-SHELL"):
        return None
    words = list((config.test or [])[1:])
    return [*(shell or ["/bin/sh", "-c"]), *words[:1]] if kind == "CMD-SHELL" else words


def judge(health: Health, exit_code: int, *, retries: int, starting: bool) -> str:
    """Count one result into ``health`` and return the status that follows (moby's handleProbeResult).

    A success makes it healthy at once; a failure counts unless it falls into the start period of a container
    that was not healthy yet.
    """
    if exit_code == 0:
        health.failing_streak = 0
        health.status = HEALTHY
    elif not (starting and health.status == STARTING):
        health.failing_streak += 1
        if health.failing_streak >= retries:
            health.status = UNHEALTHY
    return health.status


class HealthMonitor:
    """Probes the containers that have a health check, from their start to their exit."""

    def __init__(self, execs: Execs, tasks: Tasks, on_change: Callable[[Container], None]) -> None:
        self._execs = execs
        self._tasks = tasks
        self._on_change = on_change
        self._probes: dict[str, asyncio.Task[None]] = {}

    def begin(self, container: Container, *, keep: bool = False) -> None:
        """Start probing; ``keep`` goes on from the results known before a restart of the daemon."""
        config = container.row.config.healthcheck
        command = command_of(config, container.row.config.shell)
        if config is None or command is None:
            container.row.health = None
            return
        if not keep or container.row.health is None:
            container.row.health = Health(status=STARTING, log=[])
        self.end(container)
        self._probes[container.id] = self._tasks.spawn(
            self._watch(container, config, command), name=f"health of {container.id}"
        )

    def end(self, container: Container) -> None:
        """Stop probing."""
        if (task := self._probes.pop(container.id, None)) is not None:
            task.cancel()

    async def _watch(self, container: Container, config: HealthConfig, command: list[str]) -> None:
        interval = (config.interval or _INTERVAL_NS) / 1e9
        timeout = (config.timeout or _TIMEOUT_NS) / 1e9
        start_interval = min((config.start_interval or _START_INTERVAL_NS) / 1e9, interval)
        retries = config.retries or _RETRIES
        begun = time.monotonic()
        while True:
            starting = time.monotonic() - begun < config.start_period / 1e9
            health = container.row.health
            early = starting and health is not None and health.status == STARTING
            await asyncio.sleep(start_interval if early else interval)
            if container.state.status is not Status.RUNNING or health is None:
                continue
            result = await self._probe(container, command, timeout)
            before = health.status
            after = judge(health, result.exit_code, retries=retries, starting=starting)
            health.log = [*(health.log or []), result][-_KEPT_RESULTS:]
            if before != after:
                self._on_change(container)

    async def _probe(self, container: Container, command: list[str], timeout: float) -> HealthLog:
        begun = time.time_ns()
        config = ExecConfig(cmd=as_list(command), attach_stdout=True, attach_stderr=True)
        try:
            async with asyncio.timeout(timeout):
                code, output = await self._execs.probe(container, config, _OUTPUT_LIMIT)
            text = output.decode(errors="replace")
        except TimeoutError:
            code, text = -1, f"Health check exceeded timeout ({timeout:g}s)"
        except EngineError as error:
            code, text = -1, str(error)
        return HealthLog(start=format_ns(begun), end=format_ns(time.time_ns()), exit_code=code, output=text)
