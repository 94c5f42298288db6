"""What is asked of the runtime service and what it answers: plain values, no behaviour.

A *task* is the running side of a container: its init process, the shim behind it, and its execs.
"""

from dataclasses import dataclass
from pathlib import Path

from sampan.base.errors import Conflict, HostFailure, InvalidParameter


@dataclass(frozen=True, slots=True)
class LogTarget:
    """Where and how the shim writes the container's output.

    ``driver`` is ``json-file`` or ``local``; ``max_size`` is in bytes (0: the file is never rotated), and at
    most ``max_file`` files are kept, the present one included (``path``, ``path.1``, …, or ``path.1.gz`` with
    ``compress``). ``attrs`` is the text of a JSON object that each json-file record carries, or empty.
    """

    driver: str
    path: Path
    max_size: int = 0
    max_file: int = 1
    compress: bool = False
    attrs: bytes = b""


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A container to start. ``spec`` is the text of config.json, written into ``bundle``.

    ``runtime`` is a name that the service knows, or empty for its default. ``cgroup_path`` is the path in
    every hierarchy (``/docker/<id>``), the same as in ``spec``. ``console_size`` is (rows, columns).
    """

    id: str
    bundle: Path
    spec: bytes
    runtime: str
    tty: bool
    open_stdin: bool
    stdin_once: bool
    log: LogTarget | None
    console_size: tuple[int, int] | None
    cgroup_path: str


@dataclass(frozen=True, slots=True)
class ExecSpec:
    """A process to start in a running container; ``process`` is the text of an OCI process object.

    ``open_stdin`` asks that the client's input reaches it; without, its stdin is ``/dev/null``.
    """

    id: str
    process: bytes
    tty: bool
    open_stdin: bool
    console_size: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Streams:
    """Which streams a client is attached to."""

    stdin: bool
    stdout: bool
    stderr: bool

    def without_stdin(self) -> "Streams":
        """Return the same streams but for stdin."""
        return Streams(stdin=False, stdout=self.stdout, stderr=self.stderr)


@dataclass(frozen=True, slots=True)
class Started:
    """A container that runs: the pid of its init and when that began, in nanoseconds since 1970."""

    pid: int
    started_ns: int


@dataclass(frozen=True, slots=True)
class Exit:
    """How a container ended: ``code`` is 128 + n after signal n."""

    code: int
    oom_killed: bool
    finished_ns: int


class NotRunning(Conflict):
    """The container (or the exec named) does not run, so it cannot be signalled, attached to or resized."""

    def __init__(self, container: str) -> None:
        super().__init__(f"container {container} is not running")


class RuntimeFailed(HostFailure):
    """The OCI runtime did not start a process. ``exit_code`` is what Docker gives it: 126, 127, or 128."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class CommandNotStarted(InvalidParameter, RuntimeFailed):
    """The request is at fault: its command is missing (127) or cannot be executed (126)."""
