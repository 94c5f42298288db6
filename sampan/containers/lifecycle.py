"""From start to removal: the state rules of a container, and what follows an exit.

Everything here takes a container, not its name. Mutations are run to their end by the service's tasks.
"""

import asyncio
import contextlib
import logging
import time
from typing import Final

from sampan.base.errors import Conflict, EngineError, NotFound
from sampan.base.events import EventBus
from sampan.base.signals import parse_signal
from sampan.base.tasks import Tasks
from sampan.containers.container import Container, Status
from sampan.containers.errors import NotRunning
from sampan.containers.execs import Execs
from sampan.containers.health import HealthMonitor
from sampan.containers.launch import Launcher
from sampan.containers.restart import plan_restart, starts_with_daemon
from sampan.containers.store import ContainerStore
from sampan.runtime.service import RuntimeService
from sampan.runtime.task import Exit, RuntimeFailed, Started
from sampan.volumes.service import VolumesService

_log = logging.getLogger(__name__)
_STOP_TIMEOUT_S: Final = 10
_KILL_WAIT_S: Final = 10.0
_RECORD_AGAIN_S: Final = 1.0
_KILL: Final = parse_signal("KILL")


class Lifecycle:
    """Moves containers from state to state."""

    def __init__(
        self,
        *,
        store: ContainerStore,
        events: EventBus,
        tasks: Tasks,
        launcher: Launcher,
        runtime: RuntimeService,
        volumes: VolumesService,
        execs: Execs,
    ) -> None:
        self._store = store
        self._events = events
        self._tasks = tasks
        self._launcher = launcher
        self._runtime = runtime
        self._volumes = volumes
        self._execs = execs
        self._health = HealthMonitor(execs, tasks, self._health_changed)
        self._removals: set[asyncio.Task[None]] = set()
        self.closing = False

    async def start(self, container: Container, *, by_user: bool, again: bool = False) -> bool:
        """Start the container; return False if it was already running.

        ``again``: only if it still waits for its next start, as its restart policy wants it.
        """
        async with container.lock:
            if again and container.state.status is not Status.RESTARTING:
                return False
            if not self._may_start(container, by_user=by_user):
                return False
            if container.row.acquired:
                await self._launcher.tidy(container)
            container.row.acquired = True
            self._store.save(container)
            container.starting = True
            container.log_ended = None
            try:
                started = await self._launcher.launch(container)
            except BaseException as error:
                self._start_failed(container, error)
                raise
            finally:
                container.starting = False
            self._started(container, started, by_user=by_user)
        if container.pending_exit is not None:
            exit_, container.pending_exit = container.pending_exit, None
            self._exited(container, exit_)
        return True

    def _may_start(self, container: Container, *, by_user: bool) -> bool:
        """Return False if the container runs already; raise Conflict if it cannot be started."""
        match container.state.status:
            case Status.RUNNING:
                return False
            case Status.PAUSED:
                raise Conflict("cannot start a paused container, try unpause instead")
            case Status.REMOVING | Status.DEAD:
                raise Conflict("container is marked for removal and cannot be started")
            case Status.RESTARTING if by_user:
                self._cancel_restart(container)
            case _:
                pass
        return True

    def _started(self, container: Container, started: Started, *, by_user: bool) -> None:
        state, row = container.state, container.row
        state.status = Status.RUNNING
        state.pid = started.pid
        state.started_ns = started.started_ns
        state.exit_code = 0
        state.error = ""
        state.oom_killed = False
        row.stopped_by_user = False
        if by_user:
            row.restart_count = 0
            container.restart_wait_s = 0.0
        self._store.record(container)
        self._publish(container, "start")
        self._health.begin(container)

    def _start_failed(self, container: Container, error: BaseException) -> None:
        container.pending_exit = None
        for stream, _ in container.clients:
            stream.close()
        container.clients.clear()
        container.row.acquired = False  # the launcher gave everything back
        state = container.state
        state.error = str(error)
        state.exit_code = error.exit_code if isinstance(error, RuntimeFailed) else 128
        if state.status is Status.RESTARTING:
            state.status = Status.EXITED
        self._store.record(container)
        if container.row.host.auto_remove and not self.closing:
            self._tasks.spawn(self._auto_remove(container), name=f"remove {container.id}")

    def on_exit(self, container_id: str, exit_: Exit) -> None:
        """Take the runtime's word that a container's process ended."""
        container = self._store.get(container_id)
        if container is None:
            return
        if container.starting:
            container.pending_exit = exit_
        else:
            self._exited(container, exit_)

    def on_oom(self, container_id: str) -> None:
        """Take the runtime's word that a container hit its memory limit."""
        if (container := self._store.get(container_id)) is not None:
            self._publish(container, "oom")

    def on_exec_exit(self, container_id: str, exec_id: str, exit_: Exit) -> None:
        """Take the runtime's word that an exec's process ended."""
        self._execs.exited(exec_id, exit_)

    def _exited(self, container: Container, exit_: Exit) -> None:
        state, row = container.state, container.row
        if state.status not in (Status.RUNNING, Status.PAUSED):
            return
        self._health.end(container)
        ran_s = max(0.0, (exit_.finished_ns - state.started_ns) / 1e9)
        state.status = Status.EXITED
        state.pid = 0
        state.exit_code = exit_.code
        state.oom_killed = exit_.oom_killed
        state.finished_ns = exit_.finished_ns
        if container.log_ended is not None:
            container.log_ended.set()
            container.log_ended = None
        again = plan_restart(
            row.host.restart_policy,
            exit_code=exit_.code,
            stopped_by_user=row.stopped_by_user or self.closing,
            restarts=row.restart_count,
            ran_s=ran_s,
            last_wait_s=container.restart_wait_s,
        )
        if again is not None:
            state.status = Status.RESTARTING
            container.restart_wait_s = again.wait_s
        recorded = self._store.record(container)
        self._publish(container, "die", exitCode=str(exit_.code), execDuration=str(int(ran_s)))
        self._answer(container, exit_)
        self._execs.container_exited(container)
        self._tasks.spawn(self._after_exit(container, recorded=recorded), name=f"tidy {container.id}")
        if again is not None:
            work = self._restart_later(container, again.wait_s)
            container.restarting = self._tasks.spawn(work, name=f"restart {container.id}")

    @staticmethod
    def _answer(container: Container, exit_: Exit) -> None:
        for waiter in container.exit_waiters:
            if not waiter.done():
                waiter.set_result(exit_)
        container.exit_waiters.clear()

    async def _after_exit(self, container: Container, *, recorded: bool) -> None:
        """Take down what the run has left, once its end is on record: until then the runtime knows it."""
        while not recorded:
            await asyncio.sleep(_RECORD_AGAIN_S)
            recorded = self._store.get(container.id) is None or self._store.record(container)
        if container.row.host.auto_remove:
            await self._auto_remove(container)
            return
        async with container.lock:
            if container.row.acquired:
                await self._launcher.tidy(container)
                self._store.record(container)

    async def release_ended(self) -> bool:
        """Give back addresses, ports and endpoints of containers that have ended; tell if there were any.

        An exit is answered before that is done, so that whoever needs them next may be too early.
        """
        found = False
        for container in self._store:
            if container.row.acquired and not container.state.pid and not container.starting:
                async with container.lock:
                    await self._release(container)
                found = True  # also if somebody else released it meanwhile
        return found

    async def _release(self, container: Container) -> None:
        """Release unless it is released or started again by now; its lock is held."""
        if container.row.acquired and not container.state.pid:
            await self._launcher.release(container)

    async def _auto_remove(self, container: Container) -> None:
        with contextlib.suppress(NotFound, Conflict):  # somebody was faster
            await self.remove(container, force=True, volumes=True)

    async def _restart_later(self, container: Container, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        if container.state.status is not Status.RESTARTING:
            return
        container.restarting = None
        container.row.restart_count += 1
        work = self.start(container, by_user=False, again=True)
        try:
            await self._tasks.finish(work, name=f"restart {container.id}")
        except EngineError as error:
            _log.warning("restart failed", extra={"container": container.id, "error": str(error)})

    def _cancel_restart(self, container: Container) -> None:
        """Stop waiting for the next restart: the container is exited now."""
        if container.restarting is not None:
            container.restarting.cancel()
            container.restarting = None
        state = container.state
        if state.status is Status.RESTARTING:
            state.status = Status.EXITED
            self._store.record(container)
            self._answer(container, Exit(state.exit_code, state.oom_killed, state.finished_ns))

    async def _mark_stopped(self, container: Container) -> bool:
        """Keep the container from being started again; return True if it only waited for that.

        A restart that is under way is waited for: the container runs then.
        """
        container.row.stopped_by_user = True
        if container.state.status is not Status.RESTARTING:
            return False
        if container.starting:
            async with container.lock:
                container.row.stopped_by_user = True
                return not container.state.running
        self._cancel_restart(container)
        return True

    async def stop(self, container: Container, signal: int | None, timeout: int | None) -> bool:
        """Ask the container's process to end, kill it after ``timeout`` seconds (-1: never).

        Returns False if it was not running.
        """
        if not container.state.running:
            return False
        if await self._mark_stopped(container):
            return True
        config = container.row.config
        if signal is None:
            signal = parse_signal(config.stop_signal or "SIGTERM")
        if timeout is None:
            timeout = config.stop_timeout if config.stop_timeout is not None else _STOP_TIMEOUT_S
        exited = self.next_exit(container)
        await self._signal(container, signal)
        try:
            async with asyncio.timeout(None if timeout < 0 else timeout):
                await asyncio.shield(exited)
        except TimeoutError:
            await self._kill_and_wait(container, exited)
        self._publish(container, "stop")
        return True

    async def _kill_and_wait(self, container: Container, exited: asyncio.Future[Exit]) -> None:
        await self._signal(container, _KILL)
        try:
            async with asyncio.timeout(_KILL_WAIT_S):
                await asyncio.shield(exited)
        except TimeoutError:
            raise EngineError(
                f"cannot stop container: {container.id}: "
                "tried to kill container, but did not receive an exit event"
            ) from None

    async def _signal(self, container: Container, signal: int) -> None:
        """Send ``signal`` to the container's init and thaw it; one that is gone is no error."""
        self._publish(container, "kill", signal=str(signal))
        try:
            await self._runtime.kill(container.id, signal)
            if container.state.status is Status.PAUSED:
                await self._runtime.resume(container.id)
                self._resumed(container)
        except Conflict:
            pass

    def _resumed(self, container: Container) -> None:
        if container.state.status is Status.PAUSED:  # else its end was recorded meanwhile
            container.state.status = Status.RUNNING
            self._store.record(container)

    def next_exit(self, container: Container) -> asyncio.Future[Exit]:
        waiter: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        container.exit_waiters.append(waiter)
        return waiter

    async def restart(self, container: Container, signal: int | None, timeout: int | None) -> None:
        """Stop the container if it runs, then start it."""
        if container.state.status in (Status.REMOVING, Status.DEAD):
            raise Conflict("container is marked for removal and cannot be started")
        await self.stop(container, signal, timeout)
        await self.start(container, by_user=True)
        self._publish(container, "restart")

    async def kill(self, container: Container, signal: int) -> None:
        """Send ``signal`` to the container's process; KILL also waits until it is gone. Raises NotRunning."""
        if not container.state.running:
            raise NotRunning(container.id)
        if await self._mark_stopped(container):
            return
        if signal == _KILL:
            await self._kill_and_wait(container, self.next_exit(container))
        else:
            await self._signal(container, signal)

    async def pause(self, container: Container) -> None:
        """Freeze every process of the container."""
        async with container.lock:
            if container.state.status is Status.PAUSED:
                raise Conflict(f"Container {container.id} is already paused")
            container.require_running("pause")
            await self._runtime.pause(container.id)
            container.require_running("pause")  # it may have ended meanwhile
            container.state.status = Status.PAUSED
            self._store.record(container)
            self._publish(container, "pause")

    async def unpause(self, container: Container) -> None:
        """Thaw the container."""
        async with container.lock:
            if container.state.status is not Status.PAUSED:
                raise Conflict(f"Container {container.id} is not paused")
            await self._runtime.resume(container.id)
            self._resumed(container)
            self._publish(container, "unpause")

    async def freeze(self, container: Container) -> bool:
        """Pause the container for a moment; return False if it does not run. ``thaw`` lets it go on."""
        if container.state.status is not Status.RUNNING:
            return False
        container.row.frozen = True
        self._store.save(container)
        try:
            await self.pause(container)
        except Conflict:  # it has just ended, or somebody paused it
            container.row.frozen = False
            self._store.save(container)
        return container.row.frozen

    async def thaw(self, container: Container) -> None:
        """Let a container that ``freeze`` paused go on; whatever became of it meanwhile is no error."""
        container.row.frozen = False
        self._store.save(container)
        with contextlib.suppress(Conflict):
            await self.unpause(container)

    async def remove(self, container: Container, *, force: bool, volumes: bool, durable: bool = True) -> None:
        """Remove the container; raises Conflict while it runs, unless forced.

        Who removes many says so (not ``durable``) and syncs the store once.
        """
        if container.state.status is Status.REMOVING:
            raise Conflict(f"removal of container {container.name} is already in progress")
        if container.state.running:
            if not force:
                status = container.state.status
                hint = (
                    f"container is {status} and must be unpaused first"
                    if status is Status.PAUSED
                    else f"container is {status}: stop the container before removing or force remove"
                )
                raise Conflict(f'cannot remove container "/{container.name}": {hint}')
            await self._force_stop(container)
        while not await self._take_out(container, durable=durable):
            if self._store.get(container.id) is None:
                return  # somebody was faster
            if not force:
                raise Conflict(f'cannot remove container "/{container.name}": it was started again meanwhile')
            await self._force_stop(container)
        self._begin_clean_up(container)
        await self._drop_volumes(container, volumes=volumes)
        self._publish(container, "destroy")
        for waiter in container.removed_waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _take_out(self, container: Container, *, durable: bool) -> bool:
        """Take the container out of sight, for good; return False if it runs or is gone already."""
        async with container.lock:
            if container.state.running or self._store.get(container.id) is None:
                return False
            before = container.state.status
            container.state.status = Status.REMOVING
            try:
                self._store.save(container)
                if durable:
                    await self._store.sync(container)
                await self._launcher.release(container)
            except BaseException:
                container.state.status = before
                self._store.record(container)
                raise
            self._store.hide(container)
            for stream, _ in container.clients:
                stream.close()
        return True

    def _begin_clean_up(self, container: Container) -> None:
        cleaning = self._tasks.begin(self._clean_up(container), name=f"clean up {container.id}")
        self._removals.add(cleaning)
        cleaning.add_done_callback(self._removals.discard)

    async def _clean_up(self, container: Container) -> None:
        """Give back what a removed container still holds; what fails is tried again at the next start."""
        try:
            async with container.lock:
                if container.row.acquired:
                    await self._launcher.tidy(container)
                await self._launcher.forget(container)
                self._store.erase(container)
        except Exception:
            _log.exception("removed container not cleaned up", extra={"container": container.id})

    async def settle(self) -> None:
        """Wait until nothing of the containers removed so far is left."""
        await asyncio.gather(*self._removals)

    async def _force_stop(self, container: Container) -> None:
        if not await self._mark_stopped(container) and container.state.running:
            await self._kill_and_wait(container, self.next_exit(container))

    async def _drop_volumes(self, container: Container, *, volumes: bool) -> None:
        if not volumes:
            return
        for entry in container.row.mounts:
            if entry.anonymous:
                try:
                    await self._volumes.remove(entry.point.name)
                except EngineError as error:
                    facts = {"container": container.id, "volume": entry.point.name, "error": str(error)}
                    _log.info("anonymous volume stays", extra=facts)

    def _health_changed(self, container: Container) -> None:
        self._store.record(container)
        status = container.row.health.status if container.row.health else ""
        self._publish(container, f"health_status: {status}")

    async def restore(self) -> None:
        """After a daemon's start: find what lives, record what ended meanwhile, finish what was half done."""
        waiting: list[Container] = []
        for container in self._store:
            status = container.state.status
            if status in (Status.RUNNING, Status.PAUSED):
                await self._restore(container)
            elif status is Status.REMOVING:
                self._store.hide(container)
                self._begin_clean_up(container)
            elif status is Status.RESTARTING:
                container.state.status = Status.EXITED
                waiting.append(container)
            else:
                row = container.row
                never = status is Status.CREATED and not container.state.started_ns
                if not never and starts_with_daemon(
                    row.host.restart_policy,
                    stopped_by_user=row.stopped_by_user,
                    exit_code=container.state.exit_code,
                ):
                    waiting.append(container)
                elif row.host.auto_remove and container.state.started_ns:
                    self._tasks.spawn(self._auto_remove(container), name=f"remove {container.id}")
                elif row.acquired:
                    await self._launcher.tidy(container)
                    self._store.record(container)
        for container in waiting:
            self._tasks.spawn(self._start_with_daemon(container), name=f"start {container.id}")

    async def _restore(self, container: Container) -> None:
        found = await self._runtime.restore(container.id)
        if isinstance(found, Started):
            self._health.begin(container, keep=True)
            if container.row.frozen:
                await self.thaw(container)
            return
        lost = Exit(137, oom_killed=False, finished_ns=time.time_ns())
        self._exited(container, found if found is not None else lost)

    async def _start_with_daemon(self, container: Container) -> None:
        try:
            await self.start(container, by_user=False)
        except EngineError as error:
            facts = {"container": container.id, "error": str(error)}
            _log.warning("container not started with the daemon", extra=facts)

    def _publish(self, container: Container, action: str, **more: str) -> None:
        self._events.publish("container", action, container.id, {**container.attributes(), **more})
