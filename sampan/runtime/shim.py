"""The daemon's side of the shim: how one is started, and the control connection to it.

``docs/shim-protocol.md`` is the contract with ``shim/sampan-shim.c``. One connection a container is all that
the daemon keeps: messages come whole (SOCK_SEQPACKET), so there is no buffer and no parser state.
"""

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from sampan.base.errors import HostFailure
from sampan.runtime.task import Exit, NotRunning, Started, Streams, TaskSpec

_log = logging.getLogger(__name__)
_MESSAGE: Final = 16 * 1024
BINARY: Final = Path(__file__).parent.parent / "_bin" / "sampan-shim"
SOCKET: Final = "shim.sock"
EXIT_FILE: Final = "exit"
CONTROL_FD: Final = 3


@dataclass(frozen=True, slots=True)
class Failed:
    """The runtime did not start a process: its exit status and its log, or what it wrote to stderr."""

    status: int
    text: str


class Refused(Exception):
    """The shim did not do what it was asked; ``reason`` is one word (docs/shim-protocol.md)."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Lost(Exception):
    """The connection ended before the shim answered."""


def letters(streams: Streams) -> str:
    """Return ``streams`` as the protocol writes them: any of ``i``, ``o``, ``e``, or ``-``."""
    text = "i" * streams.stdin + "o" * streams.stdout + "e" * streams.stderr
    return text or "-"


def arguments(
    task: TaskSpec,
    *,
    directory: Path,
    root: Path,
    runtime: str,
    name: str,
    memory: str | None,
    hide: str | None,
    from_fd: bool,
    trees: Sequence[str] | None,
    clients: Sequence[Streams],
) -> list[str]:
    """Return the shim's command line for ``task``. The descriptors: control, runtime, view, clients.

    ``memory`` is the directory of the container's memory cgroup, ``hide`` a mount that the runtime must not
    see, ``from_fd`` whether the runtime's program is passed as a descriptor instead of run by its path.
    ``trees`` are the mounts that the runtime sees besides those of the view; None: there is no view.
    """
    view = CONTROL_FD + 1 + from_fd
    first_client = view + (trees is not None)
    words = ["sampan-shim", "--id", task.id, "--dir", str(directory), "--bundle", str(task.bundle)]
    words += ["--root", str(root), "--name", name]
    words += ["--runtime-fd", str(CONTROL_FD + 1)] if from_fd else ["--runtime", runtime]
    words += ["--tty", str(int(task.tty))]
    words += ["--stdin", ("once" if task.stdin_once else "keep") if task.open_stdin else "none"]
    if task.console_size is not None:
        words += ["--rows", str(task.console_size[0]), "--cols", str(task.console_size[1])]
    if memory is not None:
        words += ["--memory", memory]
    if hide is not None:
        words += ["--hide", hide]
    if trees is not None:
        words += ["--view-fd", str(view)]
        for tree in trees:
            words += ["--tree", tree]
    if (log := task.log) is not None:
        words += ["--log-driver", log.driver, "--log-path", str(log.path), "--log-size", str(log.max_size)]
        words += ["--log-files", str(log.max_file), "--log-compress", str(int(log.compress))]
        if log.attrs:
            words += ["--log-attrs", log.attrs.decode()]
    for place, streams in enumerate(clients):
        words += ["--client", f"{first_client + place}:{letters(streams)}"]
    return words


def parse_exit(text: str) -> Exit:
    """Parse ``CODE OOM NANOSECONDS``, as the exit file and the exit message have it. Raises ValueError."""
    code, oom, ns = text.split()
    return Exit(int(code), oom == "1", int(ns))


class Owner(Protocol):
    """Who hears what a shim says; called from the event loop, one call a round of it."""

    def on_started(self, connection: "ShimConnection", answer: Started | Failed) -> None:
        """The start has ended, or: this is how a shim that we connected to greets."""

    def on_exit(self, connection: "ShimConnection", ended: Exit) -> None:
        """The container ended."""

    def on_exec_exit(self, connection: "ShimConnection", exec_id: str, ended: Exit) -> None:
        """An exec ended."""

    def on_oom(self, connection: "ShimConnection") -> None:
        """The container hit its memory limit."""

    def on_end(self, connection: "ShimConnection") -> None:
        """The connection ended, and not by our ``close``. Nothing comes after this."""


class ShimConnection:
    """The control connection to one shim, read from the event loop. Requests are answered in any order.

    ``pid`` is the shim's if it is a child of ours, else 0; ``running`` is the owner's note that the start was
    reported.
    """

    __slots__ = ("_loop", "_next", "_owner", "_replies", "_socket", "container", "pid", "running")

    def __init__(self, container: str, connection: socket.socket, owner: Owner) -> None:
        self.container = container
        self.pid = 0
        self.running = False
        self._owner = owner
        self._socket = connection
        self._next = 1
        self._replies: dict[int, asyncio.Future[int | Failed]] | None = None
        self._loop = asyncio.get_running_loop()
        connection.setblocking(False)  # noqa: FBT003 - its only parameter
        self._loop.add_reader(connection.fileno(), self._ready)

    def peer_pid(self) -> int:
        """Return the pid of the process that listens at the other end of a connection to its socket."""
        size = struct.calcsize("3i")
        raw = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        return int(struct.unpack("3i", raw)[0])

    async def request(self, *words: object, fds: Sequence[int] = ()) -> int | Failed:
        """Send a request and return the answer's number (0 if it has none), or Failed.

        Raises NotRunning, Refused, or Lost.
        """
        number, self._next = self._next, self._next + 1
        if self._replies is None:
            self._replies = {}
        reply: asyncio.Future[int | Failed] = self._loop.create_future()
        text = " ".join((str(number), *map(str, words))).encode()
        try:
            if self._socket.fileno() < 0:
                raise Lost
            self._replies[number] = reply
            try:
                socket.send_fds(self._socket, [text], list(fds)) if fds else self._socket.send(text)
            except BlockingIOError:
                raise HostFailure(f"the shim of container {self.container} does not answer") from None
            except OSError as error:
                raise Lost from error
            return await reply
        finally:
            if self._replies is not None:
                self._replies.pop(number, None)

    def close(self) -> None:
        """Close the connection; the shim goes on. Whoever waits for an answer gets Lost."""
        if self._socket.fileno() < 0:
            return
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        for reply in list((self._replies or {}).values()):
            if not reply.done():
                reply.set_exception(Lost())
        self._replies = None

    def _ready(self) -> None:
        # One message a round of the loop: who waits for the start goes on before the exit is told.
        try:
            message = self._socket.recv(_MESSAGE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            message = b""
        if message:
            self._handle(message.decode(errors="replace"))
        else:
            self.close()
            self._owner.on_end(self)

    def _handle(self, message: str) -> None:
        verb, _, rest = message.partition(" ")
        match verb:
            case "started":
                pid, ns = rest.split()
                self._owner.on_started(self, Started(int(pid), int(ns)))
            case "exit":
                self._owner.on_exit(self, parse_exit(rest))
            case "exec-exit":
                exec_id, code, ns = rest.split()
                self._owner.on_exec_exit(
                    self, exec_id, Exit(int(code), oom_killed=False, finished_ns=int(ns))
                )
            case "ok":
                number, _, value = rest.partition(" ")
                self._settle(int(number), int(value or 0))
            case "refused":
                number, _, reason = rest.partition(" ")
                error = NotRunning(self.container) if reason == "not-running" else Refused(reason)
                self._settle(int(number), error)
            case "failed":
                head, _, text = rest.partition("\n")
                number, status = head.split()
                failed = Failed(int(status), text)
                if int(number) == 0:
                    self._owner.on_started(self, failed)
                else:
                    self._settle(int(number), failed)
            case "oom":
                self._owner.on_oom(self)
            case "log-error":
                _log.warning(
                    "container log cannot be written", extra={"container": self.container, "reason": rest}
                )
            case _:
                _log.warning("unknown shim message", extra={"container": self.container, "verb": verb})

    def _settle(self, number: int, result: int | Failed | Exception) -> None:
        reply = (self._replies or {}).get(number)
        if reply is None or reply.done():
            return
        if isinstance(result, Exception):
            reply.set_exception(result)
        else:
            reply.set_result(result)


def connect(directory: Path) -> socket.socket:
    """Connect to the shim whose run directory is ``directory``.

    Raises OSError: FileNotFoundError (no shim was started there, or it has ended), ConnectionRefusedError (it
    was killed). The path may be of any length, although an address has 108 bytes: a descriptor stands for it.
    """
    with contextlib.ExitStack() as stack:
        handle = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, handle)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # A local connect only ever waits for a full backlog.
        connection.setblocking(False)  # noqa: FBT003 - its only parameter
        try:
            connection.connect(f"/proc/self/fd/{handle}/{SOCKET}")
        except BaseException:
            connection.close()
            raise
        return connection
