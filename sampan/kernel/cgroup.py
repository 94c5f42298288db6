"""Control groups of versions 1 and 2, and both at once ("hybrid"): where they are, and what is done with one.

A group is a path (``/docker/<id>``) that exists in every mounted hierarchy. The OCI runtime makes it and puts
the first process into it; everything after that is done here. All calls block, the longest for the time-out
that they name. Errors are OSError with the file's path.

Sources: Documentation/admin-guide/cgroup-v1/*.rst and cgroup-v2.rst of the kernel.
"""

import errno
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from sampan.oci.spec import LinuxBlockIO, LinuxCPU, LinuxMemory, LinuxResources

ROOT: Final = "/sys/fs/cgroup"
UNLIMITED: Final = -1
_WITH_PROCESSES: Final = ("pids", "memory", "freezer", "devices", "cpu")
_FIRST_PAUSE_S: Final = 0.0005
_LONGEST_PAUSE_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted tree. ``controllers`` holds a v1 tree's ``name=…`` as well as real controllers."""

    mountpoint: str
    version: int
    controllers: frozenset[str]


@dataclass(frozen=True, slots=True)
class Layout:
    """All trees, v1 first. ``version`` is that of the tree which has the limits: 2 only if all is v2."""

    version: int
    hierarchies: tuple[Hierarchy, ...]

    @property
    def controllers(self) -> frozenset[str]:
        """Controllers that can limit a container on this host."""
        found = (h.controllers for h in self.hierarchies if h.version == self.version)
        return frozenset(name for names in found for name in names if not name.startswith("name="))

    @property
    def hybrid(self) -> bool:
        """Whether a v2 tree is mounted beside v1 controllers."""
        return self.version == 1 and any(h.version == 2 for h in self.hierarchies)

    def tree(self, controller: str) -> str | None:
        """Return the mount point of the tree that has ``controller``."""
        for hierarchy in self.hierarchies:
            if hierarchy.version == self.version and controller in hierarchy.controllers:
                return hierarchy.mountpoint
        return None


def find_layout(mountinfo: str = "/proc/self/mountinfo", controllers: str = "/proc/cgroups") -> Layout:
    """Read from the mount table of this process which trees are mounted; about 0.2 ms."""
    known = {line.split("\t", 1)[0] for line in _read(controllers).splitlines()[1:]}
    old: dict[frozenset[str], Hierarchy] = {}
    new: list[Hierarchy] = []
    unified = False
    for line in _read(mountinfo).splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.partition(" ")
        if not left or kind not in ("cgroup", "cgroup2", "tmpfs"):
            continue
        mountpoint = left.split(" ")[4].replace("\\040", " ").replace("\\134", "\\")
        if mountpoint == ROOT:
            unified = kind == "cgroup2"
        if kind == "cgroup2":
            names = frozenset(read_or_nothing(f"{mountpoint}/cgroup.controllers").split())
            new.insert(0 if mountpoint == ROOT else len(new), Hierarchy(mountpoint, 2, names))
        elif kind == "cgroup":
            words = options.rpartition(" ")[2].split(",")
            names = frozenset(word for word in words if word in known or word.startswith("name="))
            old.setdefault(names, Hierarchy(mountpoint, 1, names))
    if unified or not old:
        return Layout(2, tuple(new[:1]) or (Hierarchy(ROOT, 2, frozenset()),))
    return Layout(1, (*old.values(), *new[:1]))


class Group:
    """One cgroup in all trees of ``layout``; making the object touches nothing.

    Raises ValueError unless ``path`` names a group below the root: nothing here may be done to the root.
    """

    def __init__(self, layout: Layout, path: str) -> None:
        clean = os.path.normpath("/" + path.strip("/"))
        if clean == "/" or "\0" in path:
            raise ValueError(f"not a cgroup of a container: {path!r}")
        self.path = clean
        self._layout = layout

    @property
    def directories(self) -> list[str]:
        """The group's directory in every tree, whether it is there or not."""
        return [h.mountpoint + self.path for h in self._layout.hierarchies]

    def directory(self, controller: str) -> str | None:
        """Return the group's directory in the tree of ``controller``, or None if no tree has it."""
        tree = self._layout.tree(controller)
        return None if tree is None else tree + self.path

    def exists(self) -> bool:
        """Whether any tree has the group."""
        return any(os.path.isdir(directory) for directory in self.directories)

    def procs(self) -> list[int]:
        """Return the ids of the processes in the group and below it, as our pid namespace sees them."""
        found: set[int] = set()
        for directory in _tree_of(self._processes_directory()):
            for word in read_or_nothing(f"{directory}/cgroup.procs").split():
                found.add(int(word))
        return sorted(found - {0})

    def kill(self) -> None:
        """Send SIGKILL to every process of the group and below; new ones cannot slip away meanwhile."""
        if self._layout.version == 2:
            try:
                _write(f"{self._processes_directory()}/cgroup.kill", "1")
            except FileNotFoundError:
                pass  # before Linux 5.14, or no such group
            else:
                return
        frozen = False
        with suppress(OSError):
            self._set_frozen(frozen=True)
            frozen = True
        try:
            for pid in self.procs():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        finally:
            if frozen:
                with suppress(OSError):
                    self._set_frozen(frozen=False)

    def remove(self, *, timeout_s: float = 5.0) -> None:
        """Remove the group and those below it from every tree; what still runs in it is killed.

        Idempotent. Raises OSError (EBUSY) if it is still in use after ``timeout_s``: a process that hangs
        in the kernel.
        """
        deadline = time.monotonic() + timeout_s
        pause_s = 0.0
        left = self.directories
        while left := [directory for directory in left if not _remove_tree(directory)]:
            if time.monotonic() > deadline:
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), left[0])
            self.kill()
            pause_s = min(max(2 * pause_s, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
            time.sleep(pause_s)

    def freeze(self, *, timeout_s: float = 5.0) -> None:
        """Stop every process of the group and wait until all have stopped.

        Raises OSError: ENOENT without a freezer or group, EBUSY if they did not stop in time (and thaws).
        """
        self._set_frozen(frozen=True)
        deadline = time.monotonic() + timeout_s
        pause_s = _FIRST_PAUSE_S
        while not self.frozen():
            if time.monotonic() > deadline:
                self.thaw()
                raise OSError(errno.EBUSY, "processes did not stop in time", self.path)
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            if self._layout.version == 1:
                self._set_frozen(
                    frozen=True
                )  # a v1 freeze that meets a fork stays half done until asked again

    def thaw(self) -> None:
        """Let the processes run again; nothing happens if they do already or the group is gone."""
        with suppress(FileNotFoundError):
            self._set_frozen(frozen=False)

    def frozen(self) -> bool:
        """Whether every process of the group is stopped by the freezer."""
        if self._layout.version == 2:
            events = read_or_nothing(f"{self._processes_directory()}/cgroup.events")
            return "frozen 1" in events.splitlines()
        directory = self.directory("freezer")
        return directory is not None and read_or_nothing(f"{directory}/freezer.state").strip() == "FROZEN"

    @property
    def oom_file(self) -> str | None:
        """The file that counts OOM kills; None without a memory controller.

        v1 ``memory.oom_control`` (to be named with an eventfd in ``cgroup.event_control``), v2
        ``memory.events`` (changes are seen by inotify).
        """
        directory = self.directory("memory")
        if directory is None:
            return None
        return f"{directory}/{'memory.events' if self._layout.version == 2 else 'memory.oom_control'}"

    def oom_kills(self) -> int:
        """Return how many processes of the group the kernel has killed for lack of memory."""
        path = self.oom_file
        for line in read_or_nothing(path).splitlines() if path else ():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
        return 0

    def update(self, resources: LinuxResources) -> None:
        """Change the limits of a living group; parts and fields that are None stay as they are.

        Device rules are not touched. Raises OSError with the file that refused (EBUSY: memory in use).
        """
        if resources.memory is not None:
            self._update_memory(resources.memory)
        if resources.cpu is not None:
            self._update_cpu(resources.cpu)
        if resources.pids is not None:
            limit = resources.pids.limit
            self._set("pids", "pids.max", "max" if limit <= 0 else str(limit))
        if resources.block_io is not None:
            self._update_block_io(resources.block_io)

    def _update_memory(self, memory: LinuxMemory) -> None:
        if self._layout.version == 2:
            self._update_memory_v2(memory)
            return
        limit, swap = memory.limit, memory.swap
        steps = [("memory.limit_in_bytes", limit), ("memory.memsw.limit_in_bytes", swap)]
        if limit is not None and swap is not None:
            # memsw must never be below the limit: the one that grows goes first
            present = read_or_nothing(f"{self.directory('memory')}/memory.memsw.limit_in_bytes").strip()
            if swap == UNLIMITED or (present and int(present) < limit):
                steps.reverse()
        for name, value in (*steps, ("memory.soft_limit_in_bytes", memory.reservation)):
            if value is not None:
                self._set("memory", name, str(value))
        if memory.swappiness is not None:
            self._set("memory", "memory.swappiness", str(memory.swappiness))
        if memory.disable_oom_killer is not None:
            self._set("memory", "memory.oom_control", str(int(memory.disable_oom_killer)))

    def _update_memory_v2(self, memory: LinuxMemory) -> None:
        if memory.swap is not None:
            limit = memory.limit
            if limit is None:
                present = read_or_nothing(f"{self.directory('memory')}/memory.max").strip()
                limit = int(present) if present.isdigit() else UNLIMITED
            unlimited = memory.swap == UNLIMITED or limit == UNLIMITED
            self._set("memory", "memory.swap.max", "max" if unlimited else str(max(memory.swap - limit, 0)))
        if memory.limit is not None:
            self._set("memory", "memory.max", _max_or(memory.limit))
        if memory.reservation is not None:
            self._set("memory", "memory.low", _max_or(memory.reservation))

    def _update_cpu(self, cpu: LinuxCPU) -> None:
        if self._layout.version == 2:
            if cpu.shares:
                self._set("cpu", "cpu.weight", str(weight_of_shares(cpu.shares)))
            if cpu.quota is not None or cpu.period is not None:
                present = read_or_nothing(f"{self.directory('cpu')}/cpu.max").split() or ["max", "100000"]
                quota = present[0] if cpu.quota is None else _max_or(cpu.quota)
                self._set("cpu", "cpu.max", f"{quota} {cpu.period or present[1]}")
        else:
            if cpu.shares:
                self._set("cpu", "cpu.shares", str(cpu.shares))
            self._update_bandwidth_v1(cpu)
            for name, value in (
                ("cpu.rt_period_us", cpu.realtime_period),
                ("cpu.rt_runtime_us", cpu.realtime_runtime),
            ):
                if value is not None:
                    self._set("cpu", name, str(value))
        for name, text in (("cpuset.cpus", cpu.cpus), ("cpuset.mems", cpu.mems)):
            if text:
                self._set("cpuset", name, text)

    def _update_bandwidth_v1(self, cpu: LinuxCPU) -> None:
        period_late = False
        if cpu.period:
            try:
                self._set("cpu", "cpu.cfs_period_us", str(cpu.period))
            except OSError as error:
                if error.errno != errno.EINVAL or cpu.quota is None:
                    raise
                period_late = True  # the present quota is too large a share of it: the quota goes first
        if cpu.quota is not None:
            self._set("cpu", "cpu.cfs_quota_us", str(cpu.quota if cpu.quota > 0 else UNLIMITED))
        if period_late:
            self._set("cpu", "cpu.cfs_period_us", str(cpu.period))

    def _update_block_io(self, block_io: LinuxBlockIO) -> None:
        v2 = self._layout.version == 2
        controller = "io" if v2 else "blkio"
        if block_io.weight:
            directory = self.directory(controller)
            bfq = f"{controller}.bfq.weight"
            if directory is not None and os.path.exists(f"{directory}/{bfq}"):
                self._set(controller, bfq, str(block_io.weight))
            elif v2:
                # 10..1000 to 1..10000, the conversion of runtime-spec's config-linux.md users
                self._set(controller, "io.weight", str(1 + (block_io.weight - 10) * 9999 // 990))
            else:
                self._set(controller, "blkio.weight", str(block_io.weight))
        for kind, devices in (
            ("rbps", block_io.throttle_read_bps_device),
            ("wbps", block_io.throttle_write_bps_device),
            ("riops", block_io.throttle_read_iops_device),
            ("wiops", block_io.throttle_write_iops_device),
        ):
            v1_name = f"blkio.throttle.{'read' if kind[0] == 'r' else 'write'}_{kind[1:]}_device"
            for device in devices:
                where = f"{device.major}:{device.minor}"
                if v2:
                    self._set(controller, "io.max", f"{where} {kind}={device.rate or 'max'}")
                else:
                    self._set(controller, v1_name, f"{where} {device.rate}")

    def _set(self, controller: str, name: str, value: str) -> None:
        directory = self.directory(controller)
        if directory is None:
            raise FileNotFoundError(errno.ENOENT, f"no cgroup controller {controller}", name)
        _write(f"{directory}/{name}", value)

    def _set_frozen(self, *, frozen: bool) -> None:
        if self._layout.version == 2:
            _write(f"{self._processes_directory()}/cgroup.freeze", str(int(frozen)))
        else:
            self._set("freezer", "freezer.state", "FROZEN" if frozen else "THAWED")

    def _processes_directory(self) -> str:
        """Return the group's directory in a tree that surely has its processes."""
        if self._layout.version == 1:
            for controller in _WITH_PROCESSES:
                if (directory := self.directory(controller)) is not None and os.path.isdir(directory):
                    return directory
        return self.directories[0]


def remove_if_empty(layout: Layout, path: str) -> bool:
    """Remove the group ``path`` where nothing is in it or below it; return whether it is gone everywhere."""
    left = [directory for directory in Group(layout, path).directories if not _remove_directory(directory)]
    return not left


def weight_of_shares(shares: int) -> int:
    """Turn v1 shares (2 to 262144) into a v2 weight (1 to 10000), as crun and runc do."""
    return 1 + (min(max(shares, 2), 262144) - 2) * 9999 // 262142


def _max_or(value: int) -> str:
    return "max" if value <= 0 else str(value)


def _tree_of(directory: str) -> Iterator[str]:
    """Yield ``directory`` and the directories below it, deepest first; nothing if it is not there."""
    try:
        with os.scandir(directory) as entries:
            children = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return
    for child in children:
        yield from _tree_of(child)
    yield directory


def _remove_directory(directory: str) -> bool:
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise
        return False
    return True


def _remove_tree(directory: str) -> bool:
    return _remove_directory(directory) or all(_remove_directory(below) for below in _tree_of(directory))


def _read(path: str) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        chunks = []
        while chunk := os.read(descriptor, 65536):
            chunks.append(chunk)
    finally:
        os.close(descriptor)
    return b"".join(chunks).decode(errors="surrogateescape")


def read_or_nothing(path: str) -> str:
    """Return the text of ``path``, "" if it is not there, or no longer."""
    try:
        return _read(path)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        if error.errno in (errno.ENODEV, errno.ESRCH):  # the group, or process, went away under the open file
            return ""
        raise


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno or 0), path) from error
    finally:
        os.close(descriptor)
