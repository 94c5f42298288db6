"""The running side of containers: start, attach, signal, exec, end. What the rest of the engine calls.

Each task has a shim of its own, which goes on without the daemon; this service holds one connection to each
and nothing else. Under ``<exec-root>``: ``shim/<id>/`` belongs to one task (``docs/shim-protocol.md`` draws
it), ``runtime/`` is the state directory of the OCI runtimes, ``cgroups`` lists the groups above containers'.
"""

import asyncio
import errno
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from sampan.base.errors import Conflict, HostFailure
from sampan.base.faults import point
from sampan.base.tasks import Tasks
from sampan.base.threads import blocking
from sampan.kernel import fs
from sampan.kernel.cgroup import Group, Layout, find_layout
from sampan.kernel.process import kill_session, open_null, reap, spawn
from sampan.runtime import failure, shim
from sampan.runtime.parents import Parents
from sampan.runtime.runtimes import SEARCH_PATH, Runtimes
from sampan.runtime.shim import Failed, Lost, Refused, ShimConnection
from sampan.runtime.task import ExecSpec, Exit, NotRunning, Started, Streams, TaskSpec
from sampan.runtime.view import View

_log = logging.getLogger(__name__)
_ENVIRONMENT: Final = {"PATH": SEARCH_PATH}
_STOP_TIMEOUT_S: Final = 10.0
_KILLED: Final = 128 + signal.SIGKILL
_RECORD: Final = "task"
_TAKE_DOWN_TRIES: Final = 5
_FIRST_FREEZE_S: Final = 0.02
_LAST_FREEZE_S: Final = 2.0
_FIRST_REAP_S: Final = 0.001
_LAST_REAP_S: Final = 1.0


class _Record(msgspec.Struct):
    """What a later daemon has to know to clean up after a task: the file ``task`` of its run directory."""

    runtime: str
    cgroup: str
    version: int = 1


class _Process(msgspec.Struct, frozen=True):
    args: list[str] = []


class _Document(msgspec.Struct, frozen=True):
    process: _Process = _Process()


class RuntimeService:
    """Runs containers. All methods and callbacks belong to the event loop's thread.

    ``runtimes`` maps names to programs (a path, or a name to be found on SEARCH_PATH). ``on_exit`` and
    ``on_exec_exit`` are called exactly once per end, before anything is taken down, and never before the
    start was returned; ``on_oom`` when a container hits its memory limit. With ``hide_unified`` crun does not
    see the cgroup v2 tree beside a v1 one. ``places`` are folders above bundles and root file systems.
    """

    def __init__(
        self,
        exec_root: Path,
        runtimes: Mapping[str, str],
        default: str = "crun",
        *,
        on_exit: Callable[[str, Exit], None],
        on_exec_exit: Callable[[str, str, Exit], None],
        on_oom: Callable[[str], None] | None = None,
        hide_unified: bool = False,
        places: Sequence[Path] = (),
    ) -> None:
        self._shims_directory = exec_root / "shim"
        self._state_directory = exec_root / "runtime"
        for directory in (self._shims_directory, self._state_directory):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._runtimes = Runtimes(runtimes, default, self._state_directory)
        self._on_exit = on_exit
        self._on_exec_exit = on_exec_exit
        self._on_oom = on_oom
        self._cgroups: Layout | None = None
        self._hidden = self._unified_mount() if hide_unified else None
        self._view = View((exec_root, *places), self._hidden)
        self._parents = Parents(exec_root / "cgroups")
        self._shims: dict[str, ShimConnection] = {}  # of tasks that start or run
        self._leaving: set[ShimConnection] = set()  # of tasks that ended; these serve their last clients
        self._starting: dict[str, asyncio.Future[Started | Failed | Exit]] = {}
        self._stopping: dict[str, asyncio.Event] = {}
        self._tasks = Tasks("runtime")
        self._null = open_null()

    # -- start ---------------------------------------------------------------------------------------------

    async def start(self, task: TaskSpec, clients: Sequence[tuple[socket.socket, Streams]] = ()) -> Started:
        """Start ``task`` with ``clients`` attached from its first byte on.

        When it succeeds the clients' sockets belong to the shim (ours are closed); when it fails they are
        still the caller's. Raises InvalidParameter (unknown runtime), Conflict (it runs already), HostFailure
        or RuntimeFailed, in Docker's words; only ``config.json`` in the bundle is left behind then.
        """
        runtime = self._runtimes.find(task.runtime)
        if task.id in self._shims:
            raise Conflict(f"container {task.id} is already running")
        if (self._shims_directory / task.id).exists():  # what an interrupted start or its last run has left
            await self.delete(task.id)
        try:
            answer = await self._launch(task, clients)
            if isinstance(answer, Failed):
                raise failure.explain(
                    answer.text,
                    action=failure.CREATE,
                    runtime=runtime.name,
                    command=_command(msgspec.json.decode(task.spec, type=_Document).process),
                    status=answer.status,
                )
        except BaseException:
            await self._tasks.finish(self.delete(task.id), name=f"clean up {task.id}")
            raise
        for connection, _ in clients:
            connection.close()
        return answer

    async def _launch(
        self, task: TaskSpec, clients: Sequence[tuple[socket.socket, Streams]]
    ) -> Started | Failed:
        view = await self._view.open() if self._runtimes.find(task.runtime).crun else None
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            pid = self._spawn(task, theirs, clients, view)
        except OSError as error:
            ours.close()
            if not shim.BINARY.exists():
                raise HostFailure(
                    f"the container monitor {shim.BINARY} is missing: reinstall where a C compiler is"
                ) from error
            raise HostFailure(f"cannot start container {task.id}: {error}") from error
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        connection = self._adopt(task.id, ours)
        connection.pid = pid
        point("runtime.start.shim")
        try:
            answer = await self._first_word(connection)
        except Lost:
            raise HostFailure(f"the monitor of container {task.id} was killed while it started") from None
        if isinstance(answer, Exit):
            raise HostFailure(f"container {task.id} ended before it started")
        return answer

    def _spawn(
        self,
        task: TaskSpec,
        control: socket.socket,
        clients: Sequence[tuple[socket.socket, Streams]],
        view: int | None,
    ) -> int:
        runtime = self._runtimes.find(task.runtime)
        directory = self._shims_directory / task.id
        directory.mkdir(mode=0o700)
        record = _Record(runtime.name, task.cgroup_path)
        self._parents.note(self._layout(), task.cgroup_path)
        _write(directory / _RECORD, msgspec.json.encode(record))
        task.bundle.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(task.bundle / "config.json", task.spec)
        point("runtime.start.files")
        program = runtime.descriptor()
        trees = self._view.trees(task.spec, task.bundle) if view is not None else None
        fds = [control.fileno()]
        if program is not None:
            fds.append(program)
        if view is not None and trees is not None:
            fds.append(view)
        fds += [connection.fileno() for connection, _ in clients]
        words = shim.arguments(
            task,
            directory=directory,
            root=self._state_directory,
            runtime=runtime.path(),
            name=runtime.name,
            memory=Group(self._layout(), task.cgroup_path).directory("memory"),
            hide=self._hidden if runtime.crun else None,
            from_fd=program is not None,
            trees=trees,
            clients=[streams for _, streams in clients],
        )
        return spawn(str(shim.BINARY), words, _ENVIRONMENT, fds, null=self._null)

    async def _first_word(self, connection: ShimConnection) -> Started | Failed | Exit:
        """Return what a shim says first. Raises Lost if it is gone without a word."""
        waiting: asyncio.Future[Started | Failed | Exit] = asyncio.get_running_loop().create_future()
        self._starting[connection.container] = waiting
        try:
            return await waiting
        finally:
            del self._starting[connection.container]

    # -- a running task ------------------------------------------------------------------------------------

    async def attach(self, id: str, streams: Streams) -> socket.socket:  # noqa: A002 - Docker's word
        """Attach to ``streams`` of a running container and return a non-blocking stream socket.

        It yields Docker's multiplexed frames (raw bytes with a terminal) until the output ends, and takes
        stdin; ``shutdown(SHUT_WR)`` is the end of stdin. A client that holds the container up and reads
        nothing for ten seconds is cut off. Raises NotRunning.
        """
        ours, theirs = socket.socketpair()
        try:
            ours.setblocking(False)  # noqa: FBT003 - its only parameter
            await self._ask(id, "attach", shim.letters(streams), fds=[theirs.fileno()])
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return ours

    async def hand_over(self, id: str, client: socket.socket, streams: Streams) -> None:  # noqa: A002
        """Attach ``client`` itself: its bytes do not pass through the daemon.

        The caller's socket is closed if it succeeds and left alone if it fails. Raises NotRunning.
        """
        await self._ask(id, "attach", shim.letters(streams), fds=[client.fileno()])
        client.close()

    async def kill(self, id: str, signal: int, *, all: bool = False) -> None:  # noqa: A002
        """Send ``signal`` to the container's init, or to all its processes. Raises NotRunning."""
        if not all:
            await self._ask(id, "kill", signal)
            return
        self._find(id)
        for pid in await self.pids(id):
            with suppress(ProcessLookupError):
                os.kill(pid, signal)

    async def resize(self, id: str, rows: int, cols: int) -> None:  # noqa: A002
        """Set the size of the container's terminal; nothing happens without one. Raises NotRunning."""
        await self._ask(id, "resize", rows, cols)

    async def pause(self, id: str) -> None:  # noqa: A002
        """Freeze every process of the container. Raises NotRunning, HostFailure."""
        await self._set_frozen(id, frozen=True)

    async def resume(self, id: str) -> None:  # noqa: A002
        """Let a frozen container go on. Raises NotRunning, HostFailure."""
        await self._set_frozen(id, frozen=False)

    async def _set_frozen(self, container: str, *, frozen: bool) -> None:
        self._find(container)
        record = self._record(container)
        if record is None:
            raise NotRunning(container)
        runtime = self._runtimes.find_or_none(record.runtime)
        group = Group(self._layout(), record.cgroup)
        try:
            if runtime is not None and not runtime.plain:
                await blocking(runtime.run, "pause" if frozen else "resume", container)
            else:
                await blocking(_freeze if frozen else Group.thaw, group)
        except OSError as error:
            word = "pause" if frozen else "unpause"
            raise HostFailure(f"cannot {word} container {container}: {error}") from error

    async def pids(self, id: str) -> list[int]:  # noqa: A002
        """Return the host's pids of the container's processes, ascending; empty if none is left."""
        record = self._record(id)
        return [] if record is None else await blocking(Group(self._layout(), record.cgroup).procs)

    # -- execs ---------------------------------------------------------------------------------------------

    async def exec_start(
        self,
        id: str,  # noqa: A002
        spec: ExecSpec,
        client: tuple[socket.socket, Streams] | None,
    ) -> int:
        """Start a process in a running container and return its pid.

        ``client``'s socket belongs to the shim if this succeeds (ours is closed) and to the caller if not.
        Without one the process has no stdin and its output is lost. Raises NotRunning, RuntimeFailed.
        """
        record = self._record(id)
        rows, cols = spec.console_size or (0, 0)
        streams = client[1] if client else Streams(stdin=False, stdout=False, stderr=False)
        letters = shim.letters(streams if spec.open_stdin else streams.without_stdin())
        document = os.memfd_create("process", os.MFD_CLOEXEC)
        try:
            os.write(document, spec.process)
            fds = [document, client[0].fileno()] if client else [document]
            flags = "t" if spec.tty else "-"
            answer = await self._ask(id, "exec", spec.id, flags, letters, rows, cols, fds=fds)
        finally:
            os.close(document)
        if isinstance(answer, Failed):
            raise failure.explain(
                answer.text,
                action=failure.EXEC,
                runtime=record.runtime if record else "",
                command=_command(msgspec.json.decode(spec.process, type=_Process)),
                status=answer.status,
            )
        if client:
            client[0].close()
        return answer

    async def exec_resize(self, id: str, exec_id: str, rows: int, cols: int) -> None:  # noqa: A002
        """Set the size of an exec's terminal. Raises NotRunning."""
        await self._ask(id, "exec-resize", exec_id, rows, cols)

    # -- the end -------------------------------------------------------------------------------------------

    async def delete(self, id: str) -> None:  # noqa: A002
        """Take a task down: its processes are killed, its cgroups, runtime state and run directory removed.

        Idempotent. ``on_exit`` is called first if it ran. Raises HostFailure if something stays.
        """
        for left in reversed(range(_TAKE_DOWN_TRIES)):
            connection = self._shims.get(id) or self._reconnect(id)
            if connection is not None:
                await self._stop(connection)
            if not (self._shims_directory / id).exists():
                return
            try:
                await blocking(self._take_down, id, self._record(id))
            except OSError as error:
                # Not empty: a shim that was being started when its daemon was killed has only now come up.
                if error.errno != errno.ENOTEMPTY or not left:
                    raise HostFailure(f"cannot take down container {id}: {error}") from error
            else:
                return

    async def _stop(self, connection: ShimConnection) -> None:
        """Kill the task and wait until its shim has said so; a shim that does not is killed itself."""
        ended = self._stopping.setdefault(connection.container, asyncio.Event())
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                with suppress(Lost, Refused, NotRunning):
                    await connection.request("stop")
                if (
                    record := self._record(connection.container)
                ) is not None:  # a frozen process does not die
                    await blocking(Group(self._layout(), record.cgroup).thaw)
                await ended.wait()
        except TimeoutError:
            _log.warning("shim does not end its task", extra={"container": connection.container})
            with suppress(ProcessLookupError):
                os.kill(connection.pid or connection.peer_pid(), signal.SIGKILL)
            await ended.wait()
        finally:
            self._stopping.pop(connection.container, None)

    def _take_down(self, container: str, record: _Record | None) -> None:
        state = self._state_directory / container
        if record is not None:
            runtime = self._runtimes.find_or_none(record.runtime)
            group = Group(self._layout(), record.cgroup)
            if runtime is not None and not runtime.plain and state.exists():
                runtime.run("delete", "--force", container)
            try:
                group.remove()
            except OSError:
                if runtime is None:
                    raise
                runtime.run("delete", "--force", container)
                group.remove()
        for directory in (state, self._shims_directory / container):
            with suppress(FileNotFoundError):
                fs.remove_tree(directory)

    async def close(self) -> None:
        """Let go of every shim; containers and shims go on."""
        for connection in (*self._shims.values(), *self._leaving):
            connection.close()
        self._shims.clear()
        self._leaving.clear()
        await self._tasks.close()
        self._runtimes.close()
        self._view.close()
        os.close(self._null)
        with suppress(OSError):
            self._parents.remove(self._layout())

    # -- across daemons ------------------------------------------------------------------------------------

    async def restore(self, id: str) -> Started | Exit | None:  # noqa: A002
        """Find out, after a restart of the daemon, what became of a task.

        Started: it runs, and its end will be reported as ever. Exit: it ended meanwhile (``on_exit`` is not
        called for that one; 137 if its shim was killed, its processes are killed then too). None: unknown
        here, because it was never started or the host was. Execs that ended meanwhile are reported through
        ``on_exec_exit``.
        """
        if id in self._shims or not (self._shims_directory / id).is_dir():
            return None
        found: Started | Failed | Exit | None = None
        if (connection := self._reconnect(id)) is not None:
            with suppress(Lost):
                found = await self._first_word(connection)
        self._report_execs(id)
        return found if isinstance(found, Started | Exit) else await self._bury(id)

    def check(self, runtime: str) -> None:
        """Raise InvalidParameter if no ``runtime`` of that name is known; it may be missing all the same."""
        self._runtimes.find(runtime)

    def available(self) -> Mapping[str, str]:
        """Return the runtimes that are installed: name to path."""
        return self._runtimes.available()

    # -- what shims say ------------------------------------------------------------------------------------

    def _adopt(self, container: str, connection: socket.socket) -> ShimConnection:
        found = self._shims[container] = ShimConnection(container, connection, self)
        return found

    def on_started(self, connection: ShimConnection, answer: Started | Failed) -> None:
        """Hear the end of a start, or the greeting of a shim that was there before us."""
        waiting = self._starting.get(connection.container)
        if waiting is not None and not waiting.done():
            connection.running = isinstance(answer, Started)
            waiting.set_result(answer)
        if isinstance(answer, Failed):
            self._settle(connection)

    def on_exit(self, connection: ShimConnection, ended: Exit) -> None:
        """Hear that the container ended."""
        waiting = self._starting.get(connection.container)
        if connection.running:
            self._on_exit(connection.container, ended)
        elif waiting is not None and not waiting.done():  # it ended between our connecting and its greeting
            waiting.set_result(ended)
        self._settle(connection)

    def on_exec_exit(self, connection: ShimConnection, exec_id: str, ended: Exit) -> None:
        """Hear that an exec ended."""
        self._on_exec_exit(connection.container, exec_id, ended)

    def on_oom(self, connection: ShimConnection) -> None:
        """Hear that the memory limit was hit."""
        if self._on_oom is not None:
            self._on_oom(connection.container)

    def on_end(self, connection: ShimConnection) -> None:
        """Hear the end of the connection: the shim has ended, or it was killed."""
        if connection in self._leaving:
            self._leaving.discard(connection)
            self._tasks.spawn(_reap(connection.pid), name=f"reap {connection.pid}")
        else:
            self._tasks.spawn(self._lost(connection), name=f"lost {connection.container}")

    def _settle(self, connection: ShimConnection) -> None:
        """The task is over: its shim only serves its last clients, until it ends the connection."""
        if self._shims.get(connection.container) is connection:
            del self._shims[connection.container]
            self._leaving.add(connection)
        if (stopping := self._stopping.get(connection.container)) is not None:
            stopping.set()

    async def _lost(self, connection: ShimConnection) -> None:
        """The connection ended without a word: the shim was killed, or dropped a daemon that did not read."""
        container = connection.container
        self._shims.pop(container, None)
        if connection.running and (again := self._reconnect(container)) is not None:
            again.pid, again.running = connection.pid, True
            self._report_execs(container)
            return
        _log.error("shim was killed", extra={"container": container, "pid": connection.pid})
        if connection.pid:
            await blocking(kill_session, connection.pid)  # a runtime command that is still at work
            await _reap(connection.pid)
        ended = await self._bury(container)
        if connection.running:
            self._on_exit(container, ended)
        if (waiting := self._starting.get(container)) is not None and not waiting.done():
            waiting.set_exception(Lost())
        if (stopping := self._stopping.get(container)) is not None:
            stopping.set()

    async def _bury(self, container: str) -> Exit:
        """Return how a task without a shim ended; if nothing says so, kill what is left of it."""
        if (ended := _read_exit(self._shims_directory / container)) is not None:
            return ended
        if (record := self._record(container)) is not None:
            await blocking(Group(self._layout(), record.cgroup).kill)
        return Exit(_KILLED, oom_killed=False, finished_ns=time.time_ns())

    # -- inside --------------------------------------------------------------------------------------------

    def _reconnect(self, container: str) -> ShimConnection | None:
        try:
            connection = shim.connect(self._shims_directory / container)
        except OSError:
            return None
        return self._adopt(container, connection)

    def _find(self, container: str) -> ShimConnection:
        if (found := self._shims.get(container)) is None:
            raise NotRunning(container)
        return found

    async def _ask(self, container: str, *words: object, fds: Sequence[int] = ()) -> int | Failed:
        try:
            return await self._find(container).request(*words, fds=fds)
        except Lost:
            raise NotRunning(container) from None
        except Refused as refusal:
            raise HostFailure(f"container {container}: {words[0]} failed: {refusal}") from refusal

    def _report_execs(self, container: str) -> None:
        """Report the execs that ended while no daemon listened: ``exec-<id>.exit`` in the run directory."""
        for path in sorted((self._shims_directory / container).glob("exec-*.exit")):
            code, ns = path.read_text().split()
            path.unlink()
            exec_id = path.name.removeprefix("exec-").removesuffix(".exit")
            self._on_exec_exit(container, exec_id, Exit(int(code), oom_killed=False, finished_ns=int(ns)))

    def _record(self, container: str) -> _Record | None:
        try:
            text = (self._shims_directory / container / _RECORD).read_bytes()
            return msgspec.json.decode(text, type=_Record)
        except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
            return None

    def _layout(self) -> Layout:
        if self._cgroups is None:
            self._cgroups = find_layout()
        return self._cgroups

    def _unified_mount(self) -> str | None:
        """Return where cgroup v2 is mounted beside v1, if that must be hidden."""
        layout = self._layout()
        if not layout.hybrid:
            return None
        return next(tree.mountpoint for tree in layout.hierarchies if tree.version == 2)


async def _reap(pid: int) -> None:
    """Collect shim ``pid``, which is about to end, if it is a child of ours."""
    pause_s = _FIRST_REAP_S
    while pid and not reap(pid):
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _LAST_REAP_S)


def _freeze(group: Group) -> None:
    """Freeze ``group``, in several tries: the v1 freezer misses a task now and then, until it is thawed."""
    timeout_s = _FIRST_FREEZE_S
    while True:
        try:
            group.freeze(timeout_s=timeout_s)
        except OSError as error:
            if error.errno != errno.EBUSY or timeout_s > _LAST_FREEZE_S:
                raise
            timeout_s *= 2
        else:
            return


def _read_exit(directory: Path) -> Exit | None:
    try:
        return shim.parse_exit((directory / shim.EXIT_FILE).read_text())
    except (FileNotFoundError, ValueError):
        return None


def _write(path: Path, data: bytes) -> None:
    """Write a small file for root's eyes only: an environment may hold secrets."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(handle, data)
    finally:
        os.close(handle)


def _command(process: _Process) -> str:
    return process.args[0] if process.args else ""
