"""Reading containers' logs: the end or all of one, by time, as it stands or as it grows.

The shim writes the files; the daemon only reads. Reading is done in pieces: the file is read in a worker
thread, decoded here, and a piece is small enough not to keep the event loop from others for long.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from sampan.base.errors import HostFailure, InvalidParameter, NotImplementedHere
from sampan.base.threads import blocking
from sampan.logs.driver import Line, LogDriver, LogOptions
from sampan.logs.drivers import DRIVERS
from sampan.logs.files import LogFile, close_all, open_log, open_successors
from sampan.logs.growth import Growth
from sampan.logs.options import LogSubject, attributes, check_delivery
from sampan.logs.render import Renderer
from sampan.wire.containers import ContainerConfig

NONE: Final = "none"
P = ParamSpec("P")
T = TypeVar("T")
_PIECE: Final = 128 << 10
_BY_NAME: Final[Mapping[str, LogDriver]] = {driver.name: driver for driver in DRIVERS}


@dataclass(frozen=True, slots=True)
class LogQuery:
    """What of a log is wanted. ``tail`` counts records of both streams, -1 for all; times are Unix ns."""

    stdout: bool
    stderr: bool
    since_ns: int | None = None
    until_ns: int | None = None
    tail: int = -1
    follow: bool = False
    timestamps: bool = False
    details: bool = False


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One record. ``line`` ends with a newline unless it is a part of a longer line; ``last`` says that no
    further record is at hand at the moment."""

    stream: str
    time_ns: int
    line: bytes
    attrs: Mapping[str, str]
    last: bool = False


@dataclass(frozen=True, slots=True)
class LogPlan:
    """Where and how a container's output is to be written; the fields are those of the runtime's target."""

    driver: str
    path: Path
    max_size: int
    max_file: int
    compress: bool
    attrs: bytes


def log_options(driver: str, config: Mapping[str, str]) -> LogOptions:
    """Check a LogConfig. Raises InvalidParameter ("unknown log opt 'x' for json-file log driver", …)."""
    if driver == NONE:
        return LogOptions()
    check_delivery(config)
    return _find(driver).options(config)


def log_file(driver: str, folder: Path, container: str) -> Path:
    """Return the path of a container's present log file in its ``folder``."""
    return folder / _find(driver).file(container)


def plan_log(
    driver: str,
    config: Mapping[str, str],
    folder: Path,
    container: ContainerConfig,
    container_id: str,
    name: str,
    *,
    image_id: str = "",
    command: Sequence[str] = (),
) -> LogPlan | None:
    """Return what the shim is told about a container's log; None for the driver ``none``.

    The folder of the log file may have to be made. Raises InvalidParameter as ``log_options`` does.
    """
    options = log_options(driver, config)
    if driver == NONE:
        return None
    subject = LogSubject(
        id=container_id,
        name=name,
        image=container.image,
        image_id=image_id,
        command=command,
        labels=container.labels or {},
        env=container.env or (),
    )
    return LogPlan(
        driver=driver,
        path=log_file(driver, folder, container_id),
        max_size=options.max_size,
        max_file=options.max_file,
        compress=options.compress,
        attrs=attributes(options, subject),
    )


def _find(driver: str) -> LogDriver:
    found = _BY_NAME.get(driver)
    if found is None:
        raise InvalidParameter(f'error looking up logging plugin {driver}: plugin "{driver}" not found')
    return found


async def read(driver: str, path: Path, query: LogQuery, *, ended: asyncio.Event) -> AsyncIterator[LogRecord]:
    """Yield the records of the log at ``path`` that ``query`` asks for, oldest first.

    With ``follow`` it goes on until ``ended`` is set (the container's output is complete) and all was read,
    or ``until_ns`` is past. Raises NotImplementedHere for a driver that cannot be read, HostFailure when a
    file cannot.
    """
    async with aclosing(_batches(driver, path, query, ended)) as batches:
        async for batch in batches:
            wanted = [line for line in batch if _is_wanted(line, query)]
            for at, line in enumerate(wanted, 1):
                yield LogRecord(line.stream, line.time_ns, line.data, line.attrs or {}, at == len(wanted))


async def stream(
    driver: str, path: Path, query: LogQuery, *, ended: asyncio.Event, multiplexed: bool
) -> AsyncIterator[bytes]:
    """Yield the same as ``read`` in the form that clients get, in pieces: much faster than record by record.

    ``multiplexed`` puts Docker's stream header before each record; time stamps and details are in front of
    the line if the query asks for them.
    """
    renderer = Renderer(
        stdout=query.stdout,
        stderr=query.stderr,
        timestamps=query.timestamps,
        details=query.details,
        multiplexed=multiplexed,
    )
    async with aclosing(_batches(driver, path, query, ended)) as batches:
        async for batch in batches:
            if data := renderer.render(batch):
                yield data


def _is_wanted(line: Line, query: LogQuery) -> bool:
    return query.stdout if line.stream == "stdout" else query.stderr and line.stream == "stderr"


class _Window:
    """The part of time that is asked for, in moby's reading of it: clocks may step back.

    Everything after the first record at or past ``since`` is wanted, until one that is past ``until``.
    """

    def __init__(self, query: LogQuery) -> None:
        self._since_ns = query.since_ns
        self._until_ns = query.until_ns
        self.over = False

    def cut(self, lines: Sequence[Line]) -> Sequence[Line]:
        """Return those of ``lines`` that are in the window."""
        if self._since_ns is not None:
            since_ns = self._since_ns
            start = next((at for at, line in enumerate(lines) if line.time_ns >= since_ns), None)
            if start is None:
                return ()
            lines = lines[start:]
            self._since_ns = None
        if self._until_ns is not None:
            until_ns = self._until_ns
            end = next((at for at, line in enumerate(lines) if line.time_ns > until_ns), None)
            if end is not None:
                self.over = True
                return lines[:end]
        return lines


async def _batches(
    name: str, path: Path, query: LogQuery, ended: asyncio.Event
) -> AsyncGenerator[Sequence[Line], None]:
    if name == NONE:
        raise NotImplementedHere("configured logging driver does not support reading")
    driver = _find(name)
    async with AsyncExitStack() as stack:
        growth = None
        if query.follow:
            # Watching begins before anything is read, so that nothing written in between can be missed
            with suppress(FileNotFoundError):
                growth = await stack.enter_async_context(Growth(path.parent, ended, query.until_ns))
        files = await _blocking(open_log, path, driver, tail=query.tail, since_ns=query.since_ns)
        stack.callback(close_all, files)
        window = _Window(query)
        batches = await stack.enter_async_context(aclosing(_lines(driver, path, files, growth)))
        async for lines in batches:
            if wanted := window.cut(lines):
                yield wanted
            if window.over:
                return


async def _lines(
    driver: LogDriver, path: Path, files: list[LogFile], growth: Growth | None
) -> AsyncGenerator[Sequence[Line], None]:
    """Read ``files`` one after the other, then what ``growth`` tells of; files are closed as they end."""
    carry = b""
    last_look = growth is None
    while True:
        while files:
            data = await _blocking(files[0].read, _PIECE)
            if data:
                lines, used = driver.decode(carry + data, final=False)
                carry = (carry + data)[used:]
            elif len(files) > 1:
                lines, _ = driver.decode(carry, final=True)
                carry = b""
                files.pop(0).close()
            else:
                break  # the present file, which may grow
            if lines:
                yield lines
        if growth is not None and (growth.take_rotated() or last_look):
            if files:
                newer = await _blocking(open_successors, path, files[0])
            else:
                newer = await _blocking(open_log, path, driver, tail=-1, since_ns=None)
            if newer:
                files += newer
                continue  # the one before may have got its last records just as it was rotated
        if growth is None or last_look:
            if carry and (lines := driver.decode(carry, final=True)[0]):
                yield lines
            return
        if growth.over:
            last_look = True  # what came before the end may have come after the last look
        else:
            await growth.wait()


async def _blocking(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return await blocking(call, *args, **kwargs)
    except OSError as error:
        raise HostFailure(f"cannot read log {error.filename or ''}: {error.strerror}") from error
