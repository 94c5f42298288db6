"""What the rest of the engine calls to work with containers: their whole life cycle.

The order of steps, the state rules and the undo are here; what each step does is in the layers below. An exit
is answered first (state, event, every ``wait``); unmounting and network teardown follow off the path.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any, Final

from sampan.base.errors import Conflict, EngineError, InvalidParameter, NotFound, prefixed
from sampan.base.events import EventBus
from sampan.base.outflow import Outflow
from sampan.base.signals import parse_signal
from sampan.base.state import StateDB
from sampan.base.tasks import Tasks
from sampan.base.threads import blocking
from sampan.base.times import parse_moment_ns
from sampan.containers import inspect, listing
from sampan.containers.archive import Archives
from sampan.containers.attach import Attachment
from sampan.containers.container import Container, Status
from sampan.containers.create import (
    Defaults,
    merge_config,
    update_host_config,
)
from sampan.containers.creation import Creation
from sampan.containers.errors import NotRunning
from sampan.containers.execs import ExecAttachment, Execs
from sampan.containers.launch import OWN_PATHS, Launcher
from sampan.containers.lifecycle import Lifecycle
from sampan.containers.links import split_link
from sampan.containers.names import check_name
from sampan.containers.networking import Networking
from sampan.containers.output import LogStream, Output
from sampan.containers.restart import check_policy
from sampan.containers.stats import Stats
from sampan.containers.store import ContainerStore
from sampan.containers.top import check_ps_args, read_ps
from sampan.images.changes import apply_changes
from sampan.images.making import Commit
from sampan.images.service import ImagesService
from sampan.kernel.cgroup import find_layout
from sampan.kernel.host import HostFacts
from sampan.logs.service import LogQuery
from sampan.networks.service import NetworksService
from sampan.runtime.resources import check_resources, update_limits
from sampan.runtime.service import RuntimeService
from sampan.runtime.spec import SpecBuilder
from sampan.runtime.task import Exit, Streams
from sampan.storage.driver import Change
from sampan.storage.service import StorageService
from sampan.volumes.service import VolumesService
from sampan.wire.archive import PathStat
from sampan.wire.containers import (
    ContainerConfig,
    ContainerSummary,
    CreateContainer,
    CreatedContainer,
    EndpointSettings,
    ExecConfig,
    InspectedContainer,
    InspectedExec,
    PortMap,
    StartExec,
    TopResult,
    UpdateContainer,
    WaitResult,
)
from sampan.wire.disk import Prunable
from sampan.wire.stats import ContainerStats

_log = logging.getLogger(__name__)
_STOP_TIMEOUT_S: Final = 10
_KILL_WAIT_S: Final = 10.0
_CONDITIONS: Final = ("", "not-running", "next-exit", "removed")
_PRUNE_FILTERS: Final = frozenset({"until", "label", "label!"})


class ContainersService:
    """The containers of this engine. ``root`` is the data root; ``facts`` say what the host can do."""

    def __init__(
        self,
        root: Path,
        *,
        state: StateDB,
        events: EventBus,
        images: ImagesService,
        storage: StorageService,
        networks: NetworksService,
        volumes: VolumesService,
        runtime: RuntimeService,
        spec: SpecBuilder,
        facts: HostFacts,
        defaults: Defaults,
    ) -> None:
        self._events = events
        self._images = images
        self._storage = storage
        self._networks = networks
        self._runtime = runtime
        self._facts = facts
        self._store = ContainerStore(state)
        self._tasks = Tasks("containers")
        self._launcher = Launcher(
            root / "containers",
            storage=storage,
            networks=networks,
            volumes=volumes,
            runtime=runtime,
            spec=spec,
            defaults=defaults,
            find=self._store.find,
        )
        self._networking = Networking(self._store, networks, self._launcher)
        self._archives = Archives(storage, self._launcher, volumes.staging, events)
        self._stats = Stats(self._launcher, self._tasks, facts.mem_total, self._store.find)
        self._output = Output(root / "containers", runtime, events)
        self._execs = Execs(runtime, spec, storage, events, self._tasks)
        self._creation = Creation(
            store=self._store,
            events=events,
            images=images,
            networks=networks,
            volumes=volumes,
            launcher=self._launcher,
            storage=storage,
            facts=facts,
            defaults=defaults,
        )
        self._lifecycle = Lifecycle(
            store=self._store,
            events=events,
            tasks=self._tasks,
            launcher=self._launcher,
            runtime=runtime,
            volumes=volumes,
            execs=self._execs,
        )
        self.on_exit = self._lifecycle.on_exit
        self.on_exec_exit = self._lifecycle.on_exec_exit
        self.on_oom = self._lifecycle.on_oom
        self.release_ended = self._launcher.release_ended = self._lifecycle.release_ended
        self.restore = self._lifecycle.restore
        self.settle = self._lifecycle.settle

    async def create(
        self, body: CreateContainer, *, name: str | None, platform: str | None = None
    ) -> CreatedContainer:
        """Make a container: metadata only, nothing is mounted or run.

        Raises ImageNotFound, NameInUse, or InvalidParameter naming what is wrong with the request.
        """
        return await self._tasks.finish(self._creation.create(body, name, platform), name="create")

    async def start(self, name: str) -> bool:
        """Start the container ``name``; return False if it was already running.

        Raises ContainerNotFound, Conflict while it is paused or being removed, RuntimeFailed and whatever a
        layer below could not do; the host is then as it was.
        """
        container = self._store.find(name)
        return await self._tasks.finish(self._lifecycle.start(container, by_user=True), name=f"start {name}")

    async def stop(self, name: str, *, signal: str | None = None, timeout: int | None = None) -> bool:
        """Ask the container's process to end, kill it after ``timeout`` seconds (-1: never).

        Returns False if it was not running. Raises ContainerNotFound, InvalidParameter for a bad signal.
        """
        container = self._store.find(name)
        try:
            number = parse_signal(signal) if signal else None
        except InvalidParameter as error:
            raise prefixed(f"cannot stop container: {name}", error) from error
        work = self._lifecycle.stop(container, number, timeout)
        return await self._tasks.finish(work, name=f"stop {name}")

    async def restart(self, name: str, *, signal: str | None = None, timeout: int | None = None) -> None:
        """Stop the container if it runs, then start it."""
        container = self._store.find(name)
        work = self._lifecycle.restart(container, parse_signal(signal) if signal else None, timeout)
        await self._tasks.finish(work, name=f"restart {name}")

    async def kill(self, name: str, signal: str = "KILL") -> None:
        """Send a signal to the container's process; KILL also waits until it is gone.

        Raises Conflict if it does not run, InvalidParameter for a bad signal.
        """
        try:
            container = self._store.find(name)
            work = self._lifecycle.kill(container, parse_signal(signal or "KILL"))
            await self._tasks.finish(work, name=f"kill {name}")
        except EngineError as error:
            raise prefixed(f"cannot kill container: {name}", error) from error

    async def pause(self, name: str) -> None:
        """Freeze every process of the container."""
        await self._tasks.finish(self._lifecycle.pause(self._store.find(name)), name=f"pause {name}")

    async def unpause(self, name: str) -> None:
        """Thaw the container."""
        await self._tasks.finish(self._lifecycle.unpause(self._store.find(name)), name=f"unpause {name}")

    async def rename(self, name: str, new: str) -> None:
        """Give the container another name. Raises NameInUse, InvalidParameter."""
        container = self._store.find(name)
        if not new:
            raise InvalidParameter("Neither old nor new names may be empty")
        if new.removeprefix("/") == container.name:
            raise InvalidParameter("Renaming a container with the same name as its current name")
        async with container.lock:
            old = container.name
            try:
                chosen = check_name(new if new.startswith("/") else f"/{new}")
                self._store.reserve(chosen, container.id)
            except EngineError as error:
                raise prefixed("Error when allocating new name", error) from error
            container.row.name = chosen
            try:
                self._store.save(container, durable=True)
            except EngineError:
                container.row.name = old
                self._store.release(chosen, container.id)
                raise
            self._store.release(old, container.id)
            self._networking.rename(container)
        attributes = {**container.attributes(), "oldName": f"/{old}"}
        self._events.publish("container", "rename", container.id, attributes)

    async def remove(
        self, name: str, *, force: bool = False, volumes: bool = False, link: bool = False
    ) -> None:
        """Remove the container, its layer and its files; ``volumes`` takes its anonymous volumes along.

        Raises Conflict while it runs, unless forced.
        """
        if link:
            self._remove_link(name)
            return
        work = self._lifecycle.remove(self._store.find(name), force=force, volumes=volumes)
        await self._tasks.finish(work, name=f"remove {name}")

    def _remove_link(self, name: str) -> None:
        parent, _, alias = name.removeprefix("/").rpartition("/")
        if not parent:
            raise Conflict("Conflict, cannot remove the default link name of the container")
        container = self._store.find(parent)
        kept = [link for link in container.row.host.links or () if split_link(link)[1] != alias]
        if len(kept) == len(container.row.host.links or ()):
            raise NotFound(f"Cannot get parent {parent} for link name {name}")
        container.row.host.links = kept
        self._store.save(container, durable=True)

    async def connect(self, name: str, network: str, settings: EndpointSettings | None = None) -> None:
        """Attach the container to a network, running or not.

        Raises ContainerNotFound, NotFound, InvalidParameter, Forbidden if it is attached already.
        """
        work = self._networking.connect(self._store.find(name), network, settings)
        await self._tasks.finish(work, name=f"connect {name}")

    def identify(self, name: str) -> tuple[str, str]:
        """Return the id and the name of the container that ``name`` means. Raises ContainerNotFound."""
        container = self._store.find(name)
        return container.id, container.name

    async def change_ports(self, name: str, add: PortMap, remove: PortMap) -> PortMap:
        """Publish more ports of a container, or fewer, while it runs or for its next start; return them all.

        Raises NotFound, InvalidParameter, PortTaken with the holder's name.
        """
        work = self._networking.change_ports(self._store.find(name), add, remove)
        return await self._tasks.finish(work, name=f"change ports of {name}")

    async def disconnect(self, name: str, network: str, *, force: bool = False) -> None:
        """Detach the container from a network, running or not.

        Raises ContainerNotFound (with ``force`` in other words), NotFound, Forbidden if it is not attached.
        """
        try:
            container = self._store.find(name)
        except NotFound as error:
            if force:  # endpoints are derived from containers: none can be left of one that is gone
                raise NotFound(f"endpoint {name} not found") from error
            raise
        await self._tasks.finish(self._networking.disconnect(container, network), name=f"disconnect {name}")

    async def prune(self, filters: listing.Filters) -> tuple[list[str], int]:
        """Remove the containers that do not run and pass ``filters``; return their ids and bytes freed."""
        planned = await self.plan_prune(filters)
        kept = await self.remove_planned(planned)
        removed = [item for item in planned if item.id not in kept]
        freed = sum(item.size for item in removed)
        self._events.publish("container", "prune", "", {"reclaimed": str(freed)})
        return [item.id for item in removed], freed

    async def remove_planned(self, items: Sequence[Prunable]) -> dict[str, str]:
        """Remove what a plan named, and nothing else; return why some of it is kept, by id."""
        return await self._tasks.finish(self._remove_planned(items), name="remove what was planned")

    async def _remove_planned(self, items: Sequence[Prunable]) -> dict[str, str]:
        kept: dict[str, str] = {}
        for item in items:
            container = self._store.get(item.id)
            try:
                if container is None:
                    raise NotFound("it is gone")
                await self._lifecycle.remove(container, force=False, volumes=False, durable=False)
            except EngineError as error:  # it was started, or somebody was faster
                kept[item.id] = str(error)
        await self._store.sync_all()
        return kept

    async def plan_prune(self, filters: listing.Filters) -> list[Prunable]:
        """Return what ``prune`` takes. Raises InvalidParameter for a bad filter."""
        for key in filters:
            if key not in _PRUNE_FILTERS:
                raise InvalidParameter(f"invalid filter '{key}'")
        until = [parse_moment_ns(text) for text in filters.get("until", ())]
        chosen = [
            container
            for container in self._store
            if not container.state.running
            and all(container.row.created_ns <= moment for moment in until)
            and listing.passes_labels(container.row.config.labels or {}, filters)
        ]
        sizes = await blocking(self._storage.measure, [container.id for container in chosen])
        now_ns = time.time_ns()
        return [
            Prunable(
                "container",
                container.id,
                container.name,
                sizes[container.id].size if container.id in sizes else 0,
                listing.status_text(container, now_ns) or "it does not run",
            )
            for container in chosen
        ]

    async def update(self, name: str, body: UpdateContainer) -> list[str]:
        """Change limits and restart policy of a container, running or not; zero leaves a value as it is."""
        container = self._store.find(name)
        policy = body.restart_policy
        host = update_host_config(container.row.host, body)
        if policy.name:
            check_policy(policy)
            if container.row.host.auto_remove and policy.name != "no":
                raise InvalidParameter(
                    "Restart policy cannot be updated because AutoRemove is enabled for the container"
                )
            host.restart_policy = policy
        if container.state.status in (Status.REMOVING, Status.DEAD):
            raise Conflict(
                f"Cannot update container {container.id}: Container is marked for removal "
                'and cannot be "update".'
            )
        warnings = check_resources(host, self._facts, update=True)
        async with container.lock:
            if container.state.status in (Status.RUNNING, Status.PAUSED):
                await blocking(update_limits, find_layout(), self._launcher.cgroup_path(container), host)
            container.row.host = host
            self._store.save(container, durable=True)
        self._events.publish("container", "update", container.id, container.attributes())
        return warnings

    async def wait(self, name: str, condition: str = "") -> Awaitable[WaitResult]:
        """Return what to await for the container's exit code; the request itself is checked now.

        Conditions: ``not-running`` (the default), ``next-exit``, ``removed``.
        """
        if condition not in _CONDITIONS:
            raise InvalidParameter(f'invalid condition: "{condition}"')
        container = self._store.find(name)
        state = container.state
        exited: asyncio.Future[Exit] | None = None
        removed: asyncio.Future[None] | None = None
        if condition == "next-exit" or state.running:
            exited = self._lifecycle.next_exit(container)
        if condition != "not-running":
            removed = asyncio.get_running_loop().create_future()
            container.removed_waiters.append(removed)

        async def result() -> WaitResult:
            try:
                if condition == "removed" and removed is not None:
                    await removed
                    return WaitResult(container.state.exit_code)
                if exited is not None:
                    waiting: list[asyncio.Future[Any]] = [exited]
                    if removed is not None:
                        waiting.append(removed)
                    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                    if exited.done():
                        return WaitResult(exited.result().code)
                return WaitResult(container.state.exit_code)
            finally:
                if exited in container.exit_waiters:
                    container.exit_waiters.remove(exited)
                if removed in container.removed_waiters:
                    container.removed_waiters.remove(removed)

        return result()

    async def list_containers(
        self,
        *,
        all: bool = False,  # noqa: A002 - Docker's word
        limit: int = 0,
        size: bool = False,
        filters: listing.Filters | None = None,
    ) -> list[ContainerSummary]:
        """Return the containers that pass ``filters``, newest first; without ``all`` only those that run."""
        now_ns = time.time_ns()
        chosen = self._choose(all=all, limit=limit, filters=filters)
        summaries = [listing.summarize(container, now_ns) for container in chosen]
        if size:
            for container, summary in zip(chosen, summaries, strict=True):
                summary.size_rw, summary.size_root_fs = await self._sizes(container)
        return summaries

    def list_entries(
        self,
        render: Callable[[ContainerSummary], bytes],
        *,
        all: bool = False,  # noqa: A002 - Docker's word
        limit: int = 0,
        filters: listing.Filters | None = None,
    ) -> list[tuple[bytes, str, str]]:
        """Return the same containers as ``render`` shows them, each with its state and its status.

        ``render`` shows neither of those two, since what it makes is kept (see ``listing.entry``).
        """
        now_ns = time.time_ns()
        return [
            (listing.entry(c, render), c.state.status.value, listing.status_text(c, now_ns))
            for c in self._choose(all=all, limit=limit, filters=filters)
        ]

    def _choose(
        self,
        *,
        all: bool,  # noqa: A002 - Docker's word
        limit: int,
        filters: listing.Filters | None,
    ) -> list[Container]:
        return listing.select(
            list(self._store),
            filters or {},
            everything=all,
            limit=limit,
            find=self._store.find,
            is_ancestor=self._is_ancestor,
        )

    def _is_ancestor(self, image: str, container: Container) -> bool:
        try:
            found = self._images.find(image)
        except EngineError:
            return False
        chain = container.row.chain_id
        return found.id == container.row.image_id or (found.chain_id is not None and found.chain_id == chain)

    async def _sizes(self, container: Container) -> tuple[int, int]:
        own = (await self._storage.usage(container.id)).size if self._storage.exists(container.id) else 0
        return own, own + self.image_size(container.row.image_id)

    def image_size(self, image_id: str) -> int:
        """Return the bytes of files in a container's image; 0 for one that is gone."""
        try:
            return self._images.find(image_id).size
        except NotFound:
            return 0

    async def inspect(self, name: str, *, size: bool = False) -> InspectedContainer:
        """Return everything about the container; ``size`` adds its sizes in bytes."""
        container = self._store.find(name)
        size_rw, size_root_fs = await self._sizes(container) if size else (None, None)
        return inspect.show(
            container,
            folder=str(self._launcher.folder(container.id)),
            graph=self._storage.graph_data(container.id),
            exec_ids=self._execs.of(container),
            size_rw=size_rw,
            size_root_fs=size_root_fs,
        )

    async def logs(self, name: str, query: LogQuery) -> LogStream:
        """Return the container's log. Raises InvalidParameter if neither stream is asked for."""
        container = self._store.find(name)
        if not (query.stdout or query.stderr):
            raise InvalidParameter("Bad parameters: you must choose at least one stream")
        return self._output.logs(container, query)

    async def attach(
        self, name: str, *, logs: bool, stream: bool, streams: Streams, detach_keys: str = ""
    ) -> Attachment:
        """Attach to the container's process, or to the one that a start will bring."""
        container = self._store.find(name)
        return await self._output.attach(
            container, logs=logs, stream=stream, streams=streams, detach_keys=detach_keys
        )

    async def resize(self, name: str, rows: int, cols: int) -> None:
        """Set the size of the container's terminal."""
        container = self._store.find(name)
        if container.state.status is not Status.RUNNING:
            raise NotRunning(container.id)
        await self._runtime.resize(container.id, rows, cols)
        more = {"height": str(rows), "width": str(cols)}
        self._events.publish("container", "resize", container.id, {**container.attributes(), **more})

    async def top(self, name: str, ps_args: str = "-ef") -> TopResult:
        """Return the rows of the host's ``ps`` for the container's processes."""
        container = self._store.find(name)
        check_ps_args(ps_args)
        container.require_running("top")
        result = await read_ps(ps_args or "-ef", await self._runtime.pids(container.id))
        self._events.publish("container", "top", container.id, container.attributes())
        return result

    async def stats(
        self, name: str, *, stream: bool, one_shot: bool = False
    ) -> AsyncGenerator[ContainerStats, None]:
        """Return what the container uses: one sample, or a stream of them; see ``Stats.open``."""
        return await self._stats.open(self._store.find(name), stream=stream, one_shot=one_shot)

    async def changes(self, name: str) -> list[Change]:
        """Return what the container changed in its file system."""
        container = self._store.find(name)
        if not self._storage.exists(container.id):
            return []
        return await self._storage.changes(container.id, ignore=self._not_changed(container))

    async def commit(
        self,
        name: str,
        *,
        repo: str = "",
        tag: str = "",
        author: str = "",
        comment: str = "",
        changes: Sequence[str] = (),
        config: ContainerConfig | None = None,
        pause: bool = True,
    ) -> str:
        """Make an image of what the container changed; return its ID.

        ``config`` replaces the container's own where it says something, ``changes`` are instructions on top.
        Raises InvalidParameter, InvalidReference, Conflict while the container is being removed.
        """
        container = self._store.find(name)
        state = container.state.status
        if state in (Status.DEAD, Status.REMOVING):
            what = "Dead" if state is Status.DEAD else "being removed"
            raise Conflict(f"You cannot commit container {container.id} which is {what}")
        own = container.row.config
        base = own if config is None or config == ContainerConfig() else config
        run = merge_config(apply_changes(base, changes), own)
        made = Commit(run, container.id, own, author, comment)
        work = self._commit(container, made, repo=repo, tag=tag, pause=pause and state is Status.RUNNING)
        return await self._tasks.finish(work, name=f"commit {name}")

    async def _commit(self, container: Container, made: Commit, *, repo: str, tag: str, pause: bool) -> str:
        await self._launcher.prepare_locked(container)
        row = container.row
        layer = self._storage.diff(container.id, row.chain_id, ignore=self._not_changed(container))
        reading = self._paused(container) if pause else None
        with closing(layer):
            image_id = await self._images.commit(
                row.image_id, layer, made, repo=repo, tag=tag, reading=reading
            )
        reference = f"{repo}:{tag or 'latest'}" if repo else ""
        more = {"comment": made.comment, "imageID": image_id, "imageRef": reference}
        self._events.publish("container", "commit", container.id, {**container.attributes(), **more})
        return image_id

    @asynccontextmanager
    async def _paused(self, container: Container) -> AsyncIterator[None]:
        """Keep the container frozen for the block; if it has ended meanwhile, that is as good."""
        frozen = False
        with suppress(Conflict):
            await self._lifecycle.pause(container)
            frozen = True
        try:
            yield
        finally:
            if frozen:
                with suppress(Conflict):
                    await self._lifecycle.unpause(container)

    @staticmethod
    def _not_changed(container: Container) -> frozenset[str]:
        """Return paths that the engine makes in a container's layer: they are no changes."""
        mounted = {entry.point.destination for entry in container.row.mounts}
        return OWN_PATHS | mounted | set(container.row.host.tmpfs or {})

    async def export(self, name: str) -> Outflow:
        """Return the container's file system as a tar stream."""
        container = self._store.find(name)
        await self._launcher.prepare_locked(container)
        self._events.publish("container", "export", container.id, container.attributes())
        return Outflow.of(self._storage.export(container.id))

    async def stat_path(self, name: str, path: str) -> PathStat:
        """Describe a path in the container. Raises PathNotFound."""
        return await self._archives.stat(self._store.find(name), name, path)

    async def read_archive(self, name: str, path: str) -> tuple[PathStat, Outflow]:
        """Return the status of a path in the container, and a tar of it. Raises PathNotFound."""
        return await self._archives.read(self._store.find(name), name, path)

    async def write_archive(
        self, name: str, path: str, source: AsyncIterator[bytes], *, keep_kinds: bool, own: bool
    ) -> None:
        """Put a tar into a directory of the container; see ``Archives.write``."""
        container = self._store.find(name)
        work = self._archives.write(container, name, path, source, keep_kinds=keep_kinds, own=own)
        await self._tasks.finish(work, name=f"copy into {name}")

    async def exec_create(self, name: str, body: ExecConfig) -> str:
        """Prepare an extra process in a running container; return its id."""
        return self._execs.create(self._store.find(name), body).id

    async def exec_start(self, exec_id: str, body: StartExec) -> ExecAttachment | None:
        """Run it; return what serves its client, None when detached."""
        return await self._execs.start(exec_id, body)

    async def exec_resize(self, exec_id: str, rows: int, cols: int) -> None:
        """Set the size of its terminal."""
        await self._execs.resize(exec_id, rows, cols)

    async def exec_wait(self, exec_id: str) -> int:
        """Wait for its end; return its exit code."""
        return await self._execs.wait(exec_id)

    def exec_inspect(self, exec_id: str) -> InspectedExec:
        """Return its state."""
        return self._execs.inspect(exec_id)

    def containers_of(self, image_id: str) -> list[tuple[str, bool]]:
        """Return (id, running) of the containers made of an image, or mounting it (ImageUsers)."""
        return [
            (c.id, c.state.running)
            for c in self._store
            if c.row.image_id == image_id or any(entry.image == image_id for entry in c.row.mounts)
        ]

    def users_of_images(self, ignoring: Collection[str] = ()) -> dict[str, int]:
        """Return how many containers are made of each image, or mount it (ImageUsers)."""
        users: dict[str, int] = {}
        for container in self._store:
            if container.id not in ignoring:
                row = container.row
                for image in {row.image_id, *(entry.image for entry in row.mounts if entry.image)}:
                    users[image] = users.get(image, 0) + 1
        return users

    def users_by_volume(self) -> dict[str, list[str]]:
        """Return the names of the containers that mount each volume."""
        users: dict[str, list[str]] = {}
        for container in self._store:
            for name in {entry.point.name for entry in container.row.mounts if not entry.image}:
                users.setdefault(name, []).append(container.name)
        return users

    def everybody(self) -> list[Container]:
        """Return all containers, for whoever accounts for what they have."""
        return list(self._store)

    def folder(self, container_id: str) -> Path:
        """Return the directory of the container's bundle, logs and files."""
        return self._launcher.folder(container_id)

    def containers_using(self, volume: str) -> list[str]:
        """Return the ids of the containers that mount a volume (VolumeUsers)."""
        return [
            c.id
            for c in self._store
            if any(entry.point.name == volume and not entry.image for entry in c.row.mounts)
        ]

    @asynccontextmanager
    async def frozen(self, volume: str) -> AsyncIterator[None]:
        """Keep the running containers that mount a volume frozen while the block runs (VolumeUsers)."""
        async with AsyncExitStack() as stack:
            for name in self.containers_using(volume):
                container = self._store.find(name)
                if await self._lifecycle.freeze(container):
                    stack.push_async_callback(self._lifecycle.thaw, container)
            yield

    def volumes_held(self) -> dict[str, set[str]]:
        """Return which volumes containers may have mounted since before the daemon's start."""
        held: dict[str, set[str]] = {}
        for container in self._store:
            for entry in container.row.mounts if container.row.acquired else ():
                if entry.point.type == "volume":
                    held.setdefault(entry.point.name, set()).add(container.id)
        return held

    def counts(self) -> tuple[int, int, int]:
        """Return how many containers run, are paused, and are neither."""
        statuses = [container.state.status for container in self._store]
        paused = statuses.count(Status.PAUSED)
        running = statuses.count(Status.RUNNING) + statuses.count(Status.RESTARTING)
        return running, paused, len(statuses) - running - paused

    def ids(self) -> set[str]:
        """Return the ids of all containers."""
        return {container.id for container in self._store}

    def snapshots(self) -> set[str]:
        """Return the keys of the snapshots that storage must keep: layers, and views of mounted images."""
        views = {entry.view for c in self._store if c.row.acquired for entry in c.row.mounts if entry.view}
        return self.ids() | views

    def running_ids(self) -> set[str]:
        """Return the ids of those whose process may have outlived the daemon."""
        return {c.id for c in self._store if c.state.status in (Status.RUNNING, Status.PAUSED)}

    async def close(self) -> None:
        """Stop watching; containers live on."""
        self._lifecycle.closing = True
        await self._tasks.close()
