"""Extra processes in running containers: ``docker exec``."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable
from typing import Final

from sampan.base.errors import Conflict, EngineError, InvalidParameter
from sampan.base.events import EventBus
from sampan.base.ids import new_id
from sampan.base.tasks import Tasks
from sampan.containers.attach import (
    Attachment,
    Deframer,
    Framing,
    Hijacked,
    frame,
    parse_detach_keys,
)
from sampan.containers.container import Container
from sampan.containers.errors import ExecNotFound
from sampan.runtime.service import RuntimeService
from sampan.runtime.spec import ExecRequest, SpecBuilder
from sampan.runtime.task import ExecSpec, Exit, Streams
from sampan.storage.service import StorageService
from sampan.wire.containers import ExecConfig, ExecProcess, InspectedExec, StartExec

_NOT_STARTED: Final = 126  # whatever kept the process from starting, a command not found too
_KEPT_AFTER_EXIT: Final = 256  # ended execs that can still be inspected, over all containers


class Exec:
    """One exec: made, then started once, then ended."""

    __slots__ = ("config", "container", "exit_code", "id", "pid", "running", "started")

    def __init__(self, container: Container, config: ExecConfig) -> None:
        self.id = new_id()
        self.container = container
        self.config = config
        self.started = False
        self.running = False
        self.exit_code: int | None = None
        self.pid = 0

    @property
    def command(self) -> str:
        """Return the command line as events show it."""
        return " ".join(self.config.cmd or [])


class ExecAttachment:
    """Serves the client of an exec whose process is started by ``run``.

    The client has the head of the answer by then: some lose what comes in the same piece as the head.
    """

    def __init__(self, execs: "Execs", found: Exec, body: StartExec) -> None:
        self.tty = body.tty
        self._execs = execs
        self._found = found
        self._body = body

    async def run(self, client: Hijacked) -> None:
        """Start the process and serve ``client``; a failure is told in the stream, as Docker does."""
        await self._execs.serve(self._found, self._body, client)


class Execs:
    """The execs of all containers. They live as long as the daemon; their processes as long as they run."""

    def __init__(
        self,
        runtime: RuntimeService,
        spec: SpecBuilder,
        storage: StorageService,
        events: EventBus,
        tasks: Tasks,
    ) -> None:
        self._tasks = tasks
        self._runtime = runtime
        self._spec = spec
        self._storage = storage
        self._events = events
        self._execs: dict[str, Exec] = {}
        self._watchers: dict[str, Callable[[Exit], None]] = {}

    def find(self, exec_id: str) -> Exec:
        """Return the exec. Raises ExecNotFound."""
        if (found := self._execs.get(exec_id)) is None:
            raise ExecNotFound(exec_id)
        return found

    def of(self, container: Container) -> list[str]:
        """Return the ids of the container's execs that run or wait to be started."""
        return [e.id for e in self._execs.values() if e.container is container and e.exit_code is None]

    def create(self, container: Container, config: ExecConfig) -> Exec:
        """Prepare an exec in a running container. Raises Conflict or InvalidParameter."""
        if not config.cmd:
            raise InvalidParameter("No exec command specified")
        container.require_running("exec")
        parse_detach_keys(config.detach_keys)
        created = Exec(container, config)
        self._execs[created.id] = created
        self._publish(created, f"exec_create: {created.command}")
        return created

    async def start(self, exec_id: str, body: StartExec) -> "ExecAttachment | None":
        """Start the exec and return None if it is detached; else return what will start it for its client.

        Raises Conflict if it ran already or the container stopped, RuntimeFailed if a detached one cannot
        be run.
        """
        found = self.find(exec_id)
        if found.started:
            if found.exit_code is not None:
                raise Conflict(f"exec command {exec_id} has already run")
            raise Conflict(f"Error: Exec command {exec_id} is already running")
        found.container.require_running("exec")
        found.started = True
        if not body.detach:
            return ExecAttachment(self, found, body)
        await self._tasks.finish(self.launch(found, body), name=f"exec {exec_id}")
        return None

    async def serve(self, found: Exec, body: StartExec, client: Hijacked) -> None:
        """Start the exec's process and move bytes between it and ``client`` to its end."""
        try:
            stream = await self._tasks.finish(self.launch(found, body), name=f"exec {found.id}")
        except EngineError as error:
            text = f"{error}\r\n".encode()
            with contextlib.suppress(ConnectionError):
                await client.write(text if body.tty else frame(text))
            client.close()
            return
        config = found.config
        attachment = Attachment(
            tty=body.tty,
            stream=stream,
            stdin=config.attach_stdin,
            framing=Framing.between(process_tty=config.tty, client_tty=body.tty),
            detach_keys=parse_detach_keys(config.detach_keys) if config.tty and config.attach_stdin else None,
            on_detach=lambda: self._publish(found, "exec_detach"),
        )
        await attachment.run(client)

    async def probe(self, container: Container, config: ExecConfig, limit: int) -> tuple[int, bytes]:
        """Run a health check to its end; return its exit code and at most ``limit`` bytes of output.

        A cancelled probe kills its process.
        """
        created = self.create(container, config)
        ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()

        def done(exit_: Exit) -> None:
            if not ended.done():
                ended.set_result(exit_)

        self._watchers[created.id] = done
        output = bytearray()
        stream = await self.launch(created, StartExec())
        try:
            loop = asyncio.get_running_loop()
            while stream is not None and (data := await loop.sock_recv(stream, limit)):
                output += data[: limit - len(output)]
            return (await ended).code, Deframer().feed(bytes(output))
        except asyncio.CancelledError:
            if created.running and created.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(created.pid, signal.SIGKILL)
            raise
        finally:
            if stream is not None:
                stream.close()
            self._watchers.pop(created.id, None)

    async def launch(self, found: Exec, body: StartExec) -> socket.socket | None:
        """Start the process; return our end of its streams, None when nothing is attached."""
        config = found.config
        attached = not body.detach and (config.attach_stdin or config.attach_stdout or config.attach_stderr)
        ours: socket.socket | None = None
        client = None
        if attached:
            ours, theirs = socket.socketpair()
            ours.setblocking(False)  # noqa: FBT003 - the socket module's signature
            client = (theirs, Streams(config.attach_stdin, config.attach_stdout, config.attach_stderr))
        found.started = found.running = True
        self._publish(found, f"exec_start: {found.command}")
        try:
            await self._run(found, body, client)
        except BaseException:
            if ours is not None:
                ours.close()
            found.running = False
            found.exit_code = _NOT_STARTED
            raise
        finally:
            if client is not None:
                client[0].close()
        return ours

    async def _run(self, found: Exec, body: StartExec, client: tuple[socket.socket, Streams] | None) -> None:
        config, row = found.config, found.container.row
        rootfs = await self._storage.mount(found.container.id)
        size = body.console_size or config.console_size
        document = self._spec.exec_process(
            ExecRequest(exec=config, config=row.config, host=row.host, rootfs=rootfs)
        )
        found.pid = await self._runtime.exec_start(
            found.container.id,
            ExecSpec(
                id=found.id,
                process=document,
                tty=config.tty,
                open_stdin=config.attach_stdin and client is not None,
                console_size=(size[0], size[1]) if size and len(size) == 2 else None,
            ),
            client,
        )

    async def wait(self, exec_id: str) -> int:
        """Wait for the end of the exec's process; return its exit code."""
        found = self.find(exec_id)
        if found.exit_code is None:
            ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
            self._watchers[exec_id] = lambda exit_: None if ended.done() else ended.set_result(exit_)
            await ended
        return found.exit_code if found.exit_code is not None else _NOT_STARTED

    async def resize(self, exec_id: str, rows: int, cols: int) -> None:
        """Set the size of the exec's terminal."""
        found = self.find(exec_id)
        if not found.running:
            raise Conflict(f"exec {exec_id} is not running")
        await self._runtime.exec_resize(found.container.id, exec_id, rows, cols)

    def inspect(self, exec_id: str) -> InspectedExec:
        """Return the exec as the API shows it."""
        found = self.find(exec_id)
        config = found.config
        command = config.cmd or []
        return InspectedExec(
            id=found.id,
            running=found.running,
            exit_code=found.exit_code,
            process_config=ExecProcess(
                tty=config.tty,
                entrypoint=command[0] if command else "",
                arguments=command[1:],
                privileged=config.privileged,
                user=config.user,
            ),
            open_stdin=config.attach_stdin,
            open_stderr=config.attach_stderr,
            open_stdout=config.attach_stdout,
            can_remove=found.exit_code is not None,
            container_id=found.container.id,
            detach_keys=config.detach_keys,
            pid=found.pid,
        )

    def exited(self, exec_id: str, exit_: Exit) -> None:
        """Record the end of an exec's process."""
        if (found := self._execs.get(exec_id)) is None:
            return
        found.running = False
        found.exit_code = exit_.code
        self._publish(found, "exec_die", exitCode=str(exit_.code))
        if (done := self._watchers.pop(exec_id, None)) is not None:
            done(exit_)
        ended = [e.id for e in self._execs.values() if e.exit_code is not None]
        for old in ended[:-_KEPT_AFTER_EXIT]:
            del self._execs[old]

    def container_exited(self, container: Container) -> None:
        """End the execs of a container whose init is gone."""
        for found in list(self._execs.values()):
            if found.container is container and found.exit_code is None:
                if found.started:
                    self.exited(found.id, Exit(137, oom_killed=False, finished_ns=0))
                else:
                    del self._execs[found.id]

    def _publish(self, found: Exec, action: str, **more: str) -> None:
        attributes = {**found.container.attributes(), "execID": found.id, **more}
        self._events.publish("container", action, found.container.id, attributes)
