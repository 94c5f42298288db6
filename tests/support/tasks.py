"""Containers without an engine: a runtime service of the test's own, a busybox root, a small spec.

``Yard`` is where they are built: it starts tasks, remembers every exit that was reported, and checks when it
closes that nothing of them is left on the host.
"""

import asyncio
import functools
import json
import shutil
import socket
import struct
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ParamSpec

from sampan.base.ids import new_id
from sampan.kernel.cgroup import find_layout
from sampan.runtime.service import RuntimeService
from sampan.runtime.task import ExecSpec, Exit, LogTarget, Started, Streams, TaskSpec

P = ParamSpec("P")
ALL = Streams(stdin=True, stdout=True, stderr=True)
OUTPUT = Streams(stdin=False, stdout=True, stderr=True)
RUNTIMES = {"crun": "crun", "runc": "runc"}
_ENVIRONMENT = ["PATH=/bin", "TERM=xterm"]
_BUSYBOX = Path("/bin/busybox")
WAIT_S = 30


def on_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an ``async def`` test in an event loop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


def make_rootfs(path: Path) -> Path:
    """Make a root file system of the host's static busybox, with a link for each of its commands."""
    (path / "bin").mkdir(parents=True)
    for name in ("proc", "sys", "dev", "tmp", "etc", "run"):
        (path / name).mkdir()
    (path / "tmp").chmod(0o1777)
    shutil.copy2(_BUSYBOX, path / "bin" / "busybox")
    listed = subprocess.run([_BUSYBOX, "--list"], capture_output=True, text=True, check=True)
    for command in set(listed.stdout.split()) - {"busybox"}:
        (path / "bin" / command).symlink_to("busybox")
    (path / "etc" / "passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
    return path


def process(args: Sequence[str], *, tty: bool = False, **more: object) -> dict[str, object]:
    """Return an OCI process object that runs ``args`` as root."""
    return {
        "terminal": tty,
        "user": {"uid": 0, "gid": 0},
        "args": list(args),
        "env": _ENVIRONMENT,
        "cwd": "/",
        **more,
    }


def spec(rootfs: Path, cgroup: str, process: dict[str, object], *, memory: int | None = None) -> bytes:
    """Return a config.json with the usual namespaces and file systems."""
    resources: dict[str, object] = {"memory": {"limit": memory, "swap": memory}} if memory else {}
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
    ]
    document = {
        "ociVersion": "1.0.2",
        "process": process,
        "root": {"path": str(rootfs)},
        "hostname": "task",
        "mounts": mounts,
        "linux": {
            "cgroupsPath": cgroup,
            "resources": resources,
            "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network")],
        },
    }
    return json.dumps(document).encode()


def frames(data: bytes) -> dict[int, bytes]:
    """Take Docker's multiplexed frames apart: stream number → all its bytes. Fails on half a frame."""
    found = {1: b"", 2: b""}
    while data:
        stream, size = struct.unpack(">BxxxI", data[:8])
        assert len(data) >= 8 + size
        found[stream] += data[8 : 8 + size]
        data = data[8 + size :]
    return found


def log_lines(path: Path) -> list[dict[str, Any]]:
    """Return the records of a json-file log."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]


class Client:
    """The far end of an attachment."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.socket = connection

    async def send(self, data: bytes) -> None:
        """Write to the task's stdin."""
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    def end_input(self) -> None:
        """Half-close: no more stdin."""
        self.socket.shutdown(socket.SHUT_WR)

    async def read(self) -> bytes:
        """Return everything up to the end of the stream."""
        loop = asyncio.get_running_loop()
        data = bytearray()
        async with asyncio.timeout(WAIT_S):
            while chunk := await loop.sock_recv(self.socket, 1 << 16):
                data += chunk
        return bytes(data)

    async def read_until(self, text: bytes) -> bytes:
        """Return what comes, up to the chunk that completes ``text``."""
        loop = asyncio.get_running_loop()
        data = bytearray()
        async with asyncio.timeout(WAIT_S):
            while text not in data:
                chunk = await loop.sock_recv(self.socket, 1 << 16)
                assert chunk, f"ended without {text!r}: {bytes(data)!r}"
                data += chunk
        return bytes(data)

    def close(self) -> None:
        """Hang up."""
        self.socket.close()


class Yard:
    """One runtime service and the tasks that a test starts in it."""

    def __init__(self, root: Path, rootfs: Path, group: str | None = None) -> None:
        self.root = root
        self.rootfs = rootfs
        self.group = group or f"/sampan-test-{uuid.uuid4().hex[:12]}"
        self.exits: dict[str, list[Exit]] = {}
        self.exec_exits: dict[str, list[Exit]] = {}
        self.ooms: list[str] = []
        self.clients: list[Client] = []
        self._changed = asyncio.Event()
        self.service = self.new_service()

    def new_service(self) -> RuntimeService:
        """Return a service over the same directories, as a daemon that was started anew would have."""
        return RuntimeService(
            self.root / "exec",
            RUNTIMES,
            on_exit=self._on_exit,
            on_exec_exit=self._on_exec_exit,
            on_oom=self.ooms.append,
            hide_unified=find_layout().hybrid,
            places=(self.root, self.rootfs),
        )

    def task(
        self,
        *args: str,
        runtime: str = "",
        tty: bool = False,
        stdin: bool = False,
        once: bool = True,
        log: LogTarget | None = None,
        size: tuple[int, int] | None = None,
        memory: int | None = None,
        **more: object,
    ) -> TaskSpec:
        """Return a task that runs ``args``; ``more`` goes into its OCI process object."""
        container = new_id()
        cgroup = f"{self.group}/{container}"
        document = spec(self.rootfs, cgroup, process(args, tty=tty, **more), memory=memory)
        bundle = self.root / "bundles" / container
        return TaskSpec(container, bundle, document, runtime, tty, stdin, once, log, size, cgroup)

    def client(self, streams: Streams = ALL) -> tuple[Client, tuple[socket.socket, Streams]]:
        """Return a client, and the other end as ``start`` and ``exec_start`` want it."""
        ours, theirs = socket.socketpair()
        self.clients.append(client := Client(ours))
        return client, (theirs, streams)

    async def attach(self, container: str, streams: Streams = ALL) -> Client:
        """Attach to a running task."""
        self.clients.append(client := Client(await self.service.attach(container, streams)))
        return client

    async def run(self, task: TaskSpec, streams: Streams = OUTPUT) -> tuple[Exit, bytes]:
        """Start ``task`` with a client, and return its end and all that the client got."""
        client, end = self.client(streams)
        await self.service.start(task, [end])
        output = await client.read()
        return await self.exit_of(task.id), output

    async def exec(
        self, container: str, *args: str, tty: bool = False, stdin: bool = False
    ) -> tuple[str, Client]:
        """Start an exec with a client; return its id and the client."""
        client, end = self.client(ALL)
        exec_id = new_id()
        document = json.dumps(process(args, tty=tty)).encode()
        try:
            await self.service.exec_start(container, ExecSpec(exec_id, document, tty, stdin), end)
        except BaseException:
            end[0].close()  # still ours
            raise
        return exec_id, client

    async def detached_exec(self, container: str, *args: str, tty: bool = False) -> str:
        """Start an exec with no client; return its id."""
        exec_id = new_id()
        document = json.dumps(process(args, tty=tty)).encode()
        await self.service.exec_start(container, ExecSpec(exec_id, document, tty, open_stdin=False), None)
        return exec_id

    def without_namespace(self, task: TaskSpec, kind: str) -> TaskSpec:
        """Return ``task`` in the host's namespace of that kind."""
        document = json.loads(task.spec)
        spaces = document["linux"]["namespaces"]
        document["linux"]["namespaces"] = [space for space in spaces if space["type"] != kind]
        return replace(task, spec=json.dumps(document).encode())

    async def exit_of(self, container: str) -> Exit:
        """Wait until the end of a task was reported; fails if it was reported twice."""
        return await self._wait_for(self.exits, container)

    async def exec_exit_of(self, exec_id: str) -> Exit:
        """Wait until the end of an exec was reported."""
        return await self._wait_for(self.exec_exits, exec_id)

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until ``condition`` holds; it is looked at often."""
        async with asyncio.timeout(WAIT_S):
            while not condition():  # noqa: ASYNC110 - the kernel sets no asyncio.Event
                await asyncio.sleep(0.005)

    async def _wait_for(self, exits: dict[str, list[Exit]], key: str) -> Exit:
        async with asyncio.timeout(WAIT_S):
            while key not in exits:
                self._changed.clear()
                await self._changed.wait()
        assert len(exits[key]) == 1
        return exits[key][0]

    def _on_exit(self, container: str, ended: Exit) -> None:
        self.exits.setdefault(container, []).append(ended)
        self._changed.set()

    def _on_exec_exit(self, container: str, exec_id: str, ended: Exit) -> None:
        self.exec_exits.setdefault(exec_id, []).append(ended)
        self._changed.set()

    def shims(self) -> list[int]:
        """Return the pids of the shims of this yard that are alive (or not yet reaped)."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                if words[0] == b"sampan-shim" and str(self.root).encode() in b" ".join(words):
                    found.append(int(entry.name))
        return found

    def cgroups(self) -> list[str]:
        """Return the cgroups of this yard that exist."""
        return [
            path for tree in find_layout().hierarchies if Path(path := tree.mountpoint + self.group).exists()
        ]

    def left(self) -> list[str]:
        """Return what is in the directories of the service."""
        return [str(path) for part in ("shim", "runtime") for path in (self.root / "exec" / part).iterdir()]


OpenYard = Callable[[], AbstractAsyncContextManager[Yard]]


@asynccontextmanager
async def open_yard(root: Path, rootfs: Path) -> AsyncIterator[Yard]:
    """Open a yard; when it closes, every task is taken down and the host must be clean."""
    descriptors = _descriptors()
    yard = Yard(root, rootfs)
    try:
        yield yard
    finally:
        for path in (root / "exec" / "shim").iterdir():
            await yard.service.delete(path.name)
        for client in yard.clients:
            client.close()
        await yard.wait_until(lambda: not yard.shims())
        await yard.service.close()
    assert yard.left() == []
    assert yard.cgroups() == []
    assert _descriptors() == descriptors


def _descriptors() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


async def start(yard: Yard, task: TaskSpec) -> Started:
    """Start ``task`` with nobody attached."""
    return await yard.service.start(task)
