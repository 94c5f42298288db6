"""The OCI runtimes of this host: where they are, and what may be done without them.

Any runtime with runc's command line will do. Of those known here it is known what they leave behind, so the
engine takes a container down by itself; and crun is run from a sealed copy of its program.
"""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from sampan.base.errors import HostFailure, InvalidParameter
from sampan.kernel.process import sealed_copy

_log = logging.getLogger(__name__)
SEARCH_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TIMEOUT_S: Final = 30


class Runtime:
    """One runtime: ``name`` as users say it, ``program`` a path or a name on SEARCH_PATH."""

    def __init__(self, name: str, program: str, state: Path) -> None:
        self.name = name
        self._program = program
        self._state = state
        kind = Path(program).name
        self.crun = kind.startswith("crun")
        self.plain = self.crun or kind.startswith("runc")
        """Whether all that it leaves of a container are cgroups, a directory of state, and processes."""
        self._copy: int | None = None
        self._copied: tuple[int, ...] = ()

    def find(self) -> str | None:
        """Return the path of the program, or None if it is not installed."""
        if "/" in self._program:
            return self._program if os.access(self._program, os.X_OK) else None
        for directory in SEARCH_PATH.split(":"):
            if os.access(path := f"{directory}/{self._program}", os.X_OK):
                return path
        return None

    def path(self) -> str:
        """Return the path of the program. Raises HostFailure if it is not installed."""
        if (found := self.find()) is None:
            raise HostFailure(f'OCI runtime "{self.name}" is not installed: there is no {self._program}')
        return found

    def descriptor(self) -> int | None:
        """Return a descriptor to run the program from, or None if it is to be run by its path (a script is).

        crun then need not copy itself at each start (about 1.5 ms). The copy follows an upgrade of crun.
        """
        if not self.crun:
            return None
        path = self.path()
        status = Path(path).stat()
        identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if identity != self._copied:
            self.close()
            try:
                self._copy = sealed_copy(path) if _is_binary(path) else None
            except OSError as error:
                _log.warning("no sealed copy of the runtime", extra={"path": path, "reason": str(error)})
            self._copied = identity
        return self._copy

    def run(self, *words: str) -> None:
        """Run a command of the runtime to its end; blocking. Raises HostFailure with what it said."""
        import subprocess  # only the rare paths need it

        command = [self.path(), "--root", str(self._state), *words]
        try:
            done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=False, text=True)
        except subprocess.TimeoutExpired as error:
            raise HostFailure(f"{self.name} {words[0]} did not end in {_TIMEOUT_S} s") from error
        if done.returncode:
            raise HostFailure(f"{self.name} {words[0]} failed: {done.stderr.strip()}")

    def close(self) -> None:
        """Drop the copy of the program; shims keep theirs."""
        if self._copy is not None:
            os.close(self._copy)
            self._copy = None


def _is_binary(path: str) -> bool:
    with Path(path).open("rb") as file:
        return file.read(4) == b"\x7fELF"


class Runtimes:
    """The runtimes by name. ``state`` is the directory in which they keep theirs (``--root``)."""

    def __init__(self, programs: Mapping[str, str], default: str, state: Path) -> None:
        self._all = {name: Runtime(name, program or name, state) for name, program in programs.items()}
        if default not in self._all:
            self._all[default] = Runtime(default, default, state)
        self._default = default

    def find(self, name: str) -> Runtime:
        """Return the runtime ``name``, the default one if that is empty. Raises InvalidParameter."""
        if (found := self.find_or_none(name or self._default)) is None:
            raise InvalidParameter(f"unknown or invalid runtime name: {name}")
        return found

    def find_or_none(self, name: str) -> Runtime | None:
        """Return the runtime ``name``, or None if there is no such name."""
        return self._all.get(name)

    def available(self) -> Mapping[str, str]:
        """Return name → path of those that are installed."""
        return {name: path for name, runtime in self._all.items() if (path := runtime.find()) is not None}

    def close(self) -> None:
        """Drop what is kept open."""
        for runtime in self._all.values():
            runtime.close()
