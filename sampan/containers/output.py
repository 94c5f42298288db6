"""A container's output: where its log goes, reading it back, and attaching to what comes live."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from sampan.base.errors import EngineError, NotImplementedHere
from sampan.base.events import EventBus
from sampan.base.times import format_ns
from sampan.containers.attach import Attachment, parse_detach_keys
from sampan.containers.container import Container, Status
from sampan.containers.errors import IsPaused, IsRestarting
from sampan.logs.service import LogQuery, LogRecord, log_file, plan_log, read
from sampan.runtime.service import RuntimeService
from sampan.runtime.task import LogTarget, Streams

_BATCH: Final = 64 << 10
_STREAM_NUMBER: Final = {"stdin": b"\0", "stdout": b"\1", "stderr": b"\2"}


def frame(stream: str, data: bytes) -> bytes:
    """Wrap ``data`` in Docker's multiplexing header: stream number, three zeros, length (big-endian)."""
    return _STREAM_NUMBER[stream] + b"\0\0\0" + len(data).to_bytes(4, "big") + data


def log_target(container: Container, folder: Path) -> LogTarget | None:
    """Return where the container's output is written; None for the driver ``none``."""
    log = container.row.host.log_config
    return plan_log(log.type, log.config or {}, folder, container.row.config, container.id, container.name)


class LogStream:
    """A container's log as bytes for a client: multiplexed frames, or plain when it has a terminal."""

    def __init__(self, records: AsyncIterator[LogRecord], query: LogQuery, *, tty: bool) -> None:
        self.tty = tty
        self._records = records
        self._query = query

    def _render(self, record: LogRecord) -> bytes:
        line = record.line
        if self._query.details:
            line = ",".join(f"{k}={v}" for k, v in sorted(record.attrs.items())).encode() + b" " + line
        if self._query.timestamps:
            stamp = format_ns(record.time_ns)
            whole, dot, fraction = stamp[:-1].partition(".")
            line = f"{whole}{dot or '.'}{fraction:0<9}Z ".encode() + line
        return line if self.tty else frame(record.stream, line)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        batch = bytearray()
        async for record in self._records:
            batch += self._render(record)
            if len(batch) >= _BATCH or record.last:
                yield bytes(batch)
                batch.clear()
        if batch:
            yield bytes(batch)


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
        return LogStream(read(driver, path, query, ended=ended), query, tty=container.row.config.tty)

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
            query = LogQuery(
                stdout=streams.stdout,
                stderr=streams.stderr,
                since_ns=None,
                until_ns=None,
                tail=-1,
                follow=False,
                timestamps=False,
                details=False,
            )
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
