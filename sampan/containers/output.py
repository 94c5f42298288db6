"""A container's output: where its log goes, reading it back, and attaching to what comes live."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from sampan.base.errors import EngineError, NotImplementedHere
from sampan.base.events import EventBus
from sampan.containers.attach import Attachment, parse_detach_keys
from sampan.containers.container import Container, Status
from sampan.containers.errors import IsPaused, IsRestarting
from sampan.logs.service import LogQuery, log_file, plan_log
from sampan.logs.service import stream as read_log
from sampan.runtime.service import RuntimeService
from sampan.runtime.task import LogTarget, Streams


def log_target(container: Container, folder: Path) -> LogTarget | None:
    """Return where the container's output is written; None for the driver ``none``."""
    row = container.row
    plan = plan_log(
        row.host.log_config.type,
        row.host.log_config.config or {},
        folder,
        row.config,
        container.id,
        container.name,
        image_id=row.image_id,
        command=[row.path, *row.args],
    )
    if plan is None:
        return None
    return LogTarget(plan.driver, plan.path, plan.max_size, plan.max_file, plan.compress, plan.attrs)


class LogStream:
    """A container's log as bytes for a client: multiplexed frames, or plain when it has a terminal."""

    def __init__(self, chunks: AsyncIterator[bytes], *, tty: bool) -> None:
        self.tty = tty
        self._chunks = chunks

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks


class Output:
    """Serves ``logs`` and ``attach``. ``root`` holds the containers' folders."""

    def __init__(self, root: Path, runtime: RuntimeService, events: EventBus) -> None:
        self._root = root
        self._runtime = runtime
        self._events = events

    def logs(self, container: Container, query: LogQuery) -> LogStream:
        """Return the log of ``container``. Raises NotImplementedHere for a driver that keeps none."""
        driver = container.row.host.log_config.type
        if driver == "none":
            raise NotImplementedHere("configured logging driver does not support reading")
        ended = container.log_ended
        if ended is None:
            ended = asyncio.Event()
            if container.state.running:
                container.log_ended = ended
            else:
                ended.set()
        path = log_file(driver, self._root / container.id, container.id)
        tty = container.row.config.tty
        return LogStream(read_log(driver, path, query, ended=ended, multiplexed=not tty), tty=tty)

    async def attach(
        self, container: Container, *, logs: bool, stream: bool, streams: Streams, detach_keys: str
    ) -> Attachment:
        """Attach to ``container``, which may be about to start. Raises Conflict while it cannot be."""
        keys = parse_detach_keys(detach_keys)
        status = container.state.status
        if status is Status.PAUSED:
            raise IsPaused(container.id, "attach")
        if status is Status.RESTARTING:
            raise IsRestarting(container.id)
        config = container.row.config
        wanted = Streams(streams.stdin and config.open_stdin, streams.stdout, streams.stderr)
        history = None
        if logs:
            query = LogQuery(stdout=streams.stdout, stderr=streams.stderr)
            history = aiter(self.logs(container, query))
        live = await self._connect(container, wanted) if stream else None
        self._events.publish("container", "attach", container.id, container.attributes())
        return Attachment(
            tty=config.tty,
            stream=live,
            stdin=wanted.stdin,
            history=history,
            detach_keys=keys if config.tty and wanted.stdin else None,
            on_detach=lambda: self._events.publish(
                "container", "detach", container.id, container.attributes()
            ),
        )

    async def _connect(self, container: Container, streams: Streams) -> socket.socket:
        if container.state.status is Status.RUNNING:
            try:
                return await self._runtime.attach(container.id, streams)
            except EngineError:
                if container.state.running:
                    raise
        ours, theirs = socket.socketpair()
        container.clients.append((theirs, streams))
        return ours
