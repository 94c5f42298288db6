"""A container engine under measurement: a docker-compatible command line, an API socket, or both."""

import contextlib
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from benchmarks.http import Connection, Failed
from benchmarks.place import Place

_P = ParamSpec("_P")
_T = TypeVar("_T")
BUSYBOX: Final = "localhost/bench-busybox:latest"  # a name that podman does not put "localhost/" before
LARGE: Final = "localhost/bench-large:latest"
_SOME: Final = 50  # so many names on one command line


@dataclass(frozen=True, slots=True)
class Done:
    """A command that ended well: wall time in seconds, and what it wrote."""

    seconds: float
    output: str


@dataclass(eq=False)
class Engine:
    """One engine, or another way to drive it.

    ``groups`` names what is measured of it (None: everything); ``runtime`` is an OCI runtime other than its
    default; ``fresh_rss`` the daemon's resident set in MiB just after its start, if the harness started it.
    """

    name: str
    family: str
    version: str
    place: Place
    command: Sequence[str]
    environment: Mapping[str, str]
    socket: Path | None = None
    daemon: int | None = None
    remove_flags: Sequence[str] = ()
    runtime: str = ""
    groups: frozenset[str] | None = None
    fresh_rss: float | None = None
    failed: set[str] = field(default_factory=set)

    @property
    def is_ours(self) -> bool:
        return self.name == "sampan"

    def takes_part(self, group: str) -> bool:
        """Tell whether ``group`` is measured of this engine."""
        return (self.groups is None or group in self.groups) and group not in self.failed

    def call(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Call ``function`` in the engine's place."""
        return self.place.call(function, *args, **kwargs)

    def cli(self, *words: str, check: bool = True) -> Done:
        """Run the engine's command line. Raises Failed if it fails and ``check`` is set."""
        started = time.perf_counter()
        done = subprocess.run(
            [*self.command, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self.environment,
            check=False,
            timeout=600,
        )
        seconds = time.perf_counter() - started
        output = done.stdout.decode(errors="replace")
        if check and done.returncode:
            text = " ".join(words)[:100]
            raise Failed(f"{self.name} {text}: exit code {done.returncode}: {output.strip()[-300:]}")
        return Done(seconds, output)

    def run(self, *words: str) -> Done:
        """``run`` with the engine's runtime."""
        runtime = ("--runtime", self.runtime) if self.runtime else ()
        return self.cli("run", *runtime, *words)

    def api(self) -> Connection:
        """Return a new connection to the engine's socket."""
        assert self.socket is not None
        return Connection(self.socket)

    def create_body(self, *command: str, **host: object) -> dict[str, object]:
        """Return the body that creates a busybox container."""
        if self.runtime:
            host["Runtime"] = self.runtime
        return {"Image": BUSYBOX, "Cmd": list(command), "HostConfig": host}

    def remove(self, *containers: str) -> None:
        """Remove ``containers``, whatever they do; those that are not there are fine."""
        for first in range(0, len(containers), _SOME):
            some = containers[first : first + _SOME]
            self.cli("rm", "-f", *self.remove_flags, *some, check=False)

    def ensure_image(self, name: str, archive: Path) -> None:
        """Load ``archive`` if the engine does not have the image ``name``."""
        with contextlib.suppress(Failed):
            self.cli("image", "inspect", name)
            return
        self.cli("load", "-i", str(archive))
