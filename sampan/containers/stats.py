"""``docker stats``: what containers use, sampled once a second for as long as somebody looks.

However many clients look at a container, one task reads its counters. A client that is slow gets the newest
sample, not all of them.
"""

import asyncio
import dataclasses
import os
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from sampan.base.errors import InvalidParameter
from sampan.base.tasks import Tasks
from sampan.base.threads import blocking
from sampan.base.times import ZERO, format_ns
from sampan.containers.container import Container, Status
from sampan.containers.launch import Launcher
from sampan.kernel.cgroup import Layout, find_layout
from sampan.kernel.usage import Operation, Usage, machine_time_ns, read_interfaces, read_usage
from sampan.wire.stats import (
    BlkioEntry,
    BlkioStats,
    ContainerStats,
    CPUStats,
    CPUUsage,
    MemoryStats,
    NetworkStats,
    PidsStats,
    ThrottlingData,
)

_INTERVAL_S: Final = 1.0


class _Watch:
    """The samples of one container: the newest one, and who waits for the next."""

    def __init__(self) -> None:
        self.clients = 0
        self.task: asyncio.Task[None] | None = None
        self.ended = False
        self.news = asyncio.Condition()
        self.serial = 0
        self.sample: ContainerStats | None = None


class Stats:
    """Samples containers. ``memory``: bytes that the host has, the limit of a container without one."""

    def __init__(
        self, launcher: Launcher, tasks: Tasks, memory: int, find: Callable[[str], Container]
    ) -> None:
        self._launcher = launcher
        self._tasks = tasks
        self._memory = memory
        self._find = find
        self._watches: dict[str, _Watch] = {}
        self._layout: Layout | None = None

    async def open(
        self, container: Container, *, stream: bool, one_shot: bool
    ) -> AsyncGenerator[ContainerStats, None]:
        """Return the samples to send: one or, for a stream, one a second until the container is removed.

        Without ``stream`` a container that does not run gives zeros; ``one_shot`` does not wait for a second
        sample to compare with. Raises InvalidParameter for both together.
        """
        if stream and one_shot:
            raise InvalidParameter("cannot have stream=true and one-shot=true")
        runs = container.state.status in (Status.RUNNING, Status.PAUSED)
        if not stream and (one_shot or not runs):
            return _once(await self._sample(container))
        return self._follow(container, stream=stream)

    async def _follow(self, container: Container, *, stream: bool) -> AsyncGenerator[ContainerStats, None]:
        """Yield samples, each with the processor times of the one before."""
        before, before_read = CPUStats(), ZERO
        seen = 0
        async with self._watching(container) as watch:
            while True:
                async with watch.news:
                    while watch.serial == seen and not watch.ended:
                        await watch.news.wait()
                if watch.serial == seen or watch.sample is None:
                    return
                primed, seen = seen > 0, watch.serial
                sample = msgspec.structs.replace(watch.sample, precpu_stats=before, preread=before_read)
                before, before_read = sample.cpu_stats, sample.read
                if stream or primed:
                    yield sample
                if primed and not stream:
                    return

    @asynccontextmanager
    async def _watching(self, container: Container) -> AsyncGenerator[_Watch, None]:
        watch = self._watches.get(container.id)
        if watch is None:
            watch = self._watches[container.id] = _Watch()
        if watch.task is None:
            watch.task = self._tasks.spawn(self._watch(container, watch), name=f"stats {container.id}")
        watch.clients += 1
        try:
            yield watch
        finally:
            watch.clients -= 1
            if not watch.clients:
                del self._watches[container.id]
                watch.task.cancel()

    async def _watch(self, container: Container, watch: _Watch) -> None:
        """Sample until nobody looks (then this is cancelled) or the container is removed."""
        try:
            while container.state.status not in (Status.REMOVING, Status.DEAD):
                due = asyncio.get_running_loop().time() + _INTERVAL_S
                sample = await self._sample(container)
                async with watch.news:
                    watch.sample = sample
                    watch.serial += 1
                    watch.news.notify_all()
                await asyncio.sleep(due - asyncio.get_running_loop().time())
        finally:
            watch.ended = True
            async with watch.news:
                watch.news.notify_all()

    async def _sample(self, container: Container) -> ContainerStats:
        sample = ContainerStats(name=f"/{container.name}", id=container.id)
        pid = container.state.pid
        if not pid or container.state.status not in (Status.RUNNING, Status.PAUSED):
            return sample
        network = self._network_pid(container)
        return await blocking(self._read, sample, self._launcher.cgroup_path(container), network)

    def _network_pid(self, container: Container) -> int:
        """Return a process in the container's own network namespace, 0 if it has none of its own."""
        mode = container.row.host.network_mode
        while mode.startswith("container:"):
            container = self._find(mode.partition(":")[2])
            mode = container.row.host.network_mode
        return 0 if mode in ("host", "none") else container.state.pid

    def _read(self, sample: ContainerStats, path: str, network_pid: int) -> ContainerStats:
        layout = self._layout = self._layout or find_layout()
        usage = read_usage(layout, path)
        sample.read = format_ns(time.time_ns())
        sample.pids_stats = PidsStats(usage.pids, usage.pids_limit)
        sample.blkio_stats = _block_io(usage, empty=layout.version == 1)
        sample.cpu_stats = _processors(usage, machine_time_ns())
        memory = usage.memory
        sample.memory_stats = MemoryStats(
            usage=memory.usage,
            max_usage=memory.max_usage,
            stats=memory.details,
            failcnt=memory.failures,
            limit=memory.limit if 0 < memory.limit < self._memory else self._memory,
        )
        if network_pid and (interfaces := read_interfaces(network_pid)):
            sample.networks = {
                name: NetworkStats(*dataclasses.astuple(counts)) for name, counts in interfaces.items()
            }
        return sample


async def _once(sample: ContainerStats) -> AsyncGenerator[ContainerStats, None]:
    yield sample


def _processors(usage: Usage, machine_ns: int) -> CPUStats:
    used = usage.processors
    return CPUStats(
        CPUUsage(used.total_ns, used.per_cpu or msgspec.UNSET, used.kernel_ns, used.user_ns),
        machine_ns,
        os.sysconf("SC_NPROCESSORS_ONLN"),
        ThrottlingData(used.periods, used.throttled_periods, used.throttled_ns),
    )


def _block_io(usage: Usage, *, empty: bool) -> BlkioStats:
    """``empty``: what v1 does not count is an empty list; with v2 it is null."""

    def entries(kind: str) -> list[BlkioEntry] | None:
        found: Sequence[Operation] = usage.io.get(kind, ())
        shown = [BlkioEntry(one.major, one.minor, one.kind, one.value) for one in found]
        return shown if shown or empty else None

    return BlkioStats(
        entries("service_bytes"),
        entries("serviced"),
        entries("queued"),
        entries("service_time"),
        entries("wait_time"),
        entries("merged"),
        entries("time"),
        entries("sectors"),
    )
