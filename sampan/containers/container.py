"""One container: the row that survives a restart, and what lives only as long as the daemon."""

import asyncio
import socket
from collections.abc import Callable
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import field

from sampan.base.times import ZERO, format_ns
from sampan.containers.errors import IsPaused, IsRestarting, NotRunning
from sampan.runtime.task import Exit, Streams
from sampan.wire.containers import (
    ContainerConfig,
    ContainerSummary,
    EndpointSettings,
    Health,
    HostConfig,
    MountPoint,
    NetworkSettings,
)

ROW_VERSION = 1

Listed = dict[Callable[[ContainerSummary], bytes], tuple[tuple[object, ...], bytes]]
"""What lists showed of a container, by who rendered it: of which objects it was made, and the text."""


class Status(StrEnum):
    """Docker's container states, as ``State.Status`` and the ``status`` filter write them."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"


UP: Final = frozenset({Status.RUNNING, Status.PAUSED})  # a process lives; looking members up takes its time
_RUNNING: Final = UP | {Status.RESTARTING}


class State(msgspec.Struct):
    """Where a container stands. Times are nanoseconds since 1970, 0 for never."""

    status: Status = Status.CREATED
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started_ns: int = 0
    finished_ns: int = 0
    started_once: bool = False

    @property
    def running(self) -> bool:
        """True while Docker says ``Running``: a process lives, or one will be started again in a moment."""
        return self.status in _RUNNING


class Row(msgspec.Struct):
    """A container as it stands in ``state.db``.

    ``endpoints`` are the networks that it shall be on, by name; ``detached``: it was taken off all of them.
    ``acquired`` is written before a start takes anything of the host, and reset after all was given back:
    whoever finds it set while nothing runs has to tidy up. ``frozen`` is written before the engine pauses the
    container for a moment by itself: whoever finds it set has to let it go on.
    """

    id: str
    name: str
    created_ns: int
    image_id: str
    chain_id: str | None
    path: str
    args: list[str]
    config: ContainerConfig
    host: HostConfig
    endpoints: dict[str, EndpointSettings]
    mounts: list["Mounted"]
    storage_driver: str
    platform: str = "linux"
    state: State = field(default_factory=State)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    restart_count: int = 0
    stopped_by_user: bool = False
    log_path: str = ""
    acquired: bool = False
    frozen: bool = False
    health: Health | None = None
    detached: bool = False
    version: int = ROW_VERSION


class Mounted(msgspec.Struct):
    """One mount of a container: what inspect shows, and how it is made at start.

    ``options`` are those of the OCI mount; ``create_source`` makes a missing bind source (``-v``, not
    ``--mount``); ``copy_up`` fills an empty volume with the image's content at that place. ``labels`` and
    ``driver_options`` are for a volume that has to be made, ``idmap`` see ``idmap.parse_idmap``. A mount of
    an image knows its ID and the chainID of its top layer, and names the view that shows them.
    """

    point: MountPoint
    options: list[str]
    create_source: bool = False
    copy_up: bool = False
    subpath: str = ""
    anonymous: bool = False
    populated: bool = False
    labels: dict[str, str] | None = None
    driver_options: dict[str, str] | None = None
    idmap: str = ""
    image: str = ""
    chain: str | None = None
    view: str = ""

    @property
    def alone(self) -> bool:
        """True for a bind without what is mounted below its source."""
        return self.point.type == "bind" and "rbind" not in self.options


class Container:
    """A container that the daemon knows: its row, its lock, and whoever waits for it.

    ``lock`` orders everything that changes it. An exit is recorded without the lock, at once; the teardown
    that it leaves to be done (``row.acquired``) is done by the next holder of the lock.
    """

    __slots__ = (
        "clients",
        "exit_waiters",
        "listed",
        "lock",
        "log_ended",
        "pending_exit",
        "removed_waiters",
        "restart_wait_s",
        "restarting",
        "row",
        "starting",
    )

    def __init__(self, row: Row) -> None:
        self.row = row
        self.lock = asyncio.Lock()
        self.exit_waiters: list[asyncio.Future[Exit]] = []
        self.removed_waiters: list[asyncio.Future[None]] = []
        self.clients: list[tuple[socket.socket, Streams]] = []  # attached before the start
        self.starting = False
        self.pending_exit: Exit | None = None  # came while start was still at work
        self.restarting: asyncio.Task[None] | None = None
        self.restart_wait_s = 0.0
        self.log_ended: asyncio.Event | None = None
        self.listed: Listed = {}

    @property
    def id(self) -> str:
        return self.row.id

    @property
    def name(self) -> str:
        return self.row.name

    @property
    def state(self) -> State:
        return self.row.state

    def require_running(self, purpose: str) -> None:
        """Raise NotRunning, IsPaused or IsRestarting unless a process lives that can serve ``purpose``."""
        status = self.state.status
        if status is Status.PAUSED:
            raise IsPaused(self.name, purpose)
        if status is Status.RESTARTING:
            raise IsRestarting(self.id)
        if status is not Status.RUNNING:
            raise NotRunning(self.id)

    def attributes(self) -> dict[str, str]:
        """Return what every event of this container carries: labels, image and name."""
        return {**(self.row.config.labels or {}), "image": self.row.config.image, "name": self.name}


def moment(time_ns: int) -> str:
    """Render ``time_ns`` as the API does; 0 is Go's zero time."""
    return format_ns(time_ns) if time_ns else ZERO
