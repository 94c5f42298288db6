"""How much memory processes hold, and which processes serve an engine or one of its containers."""

import contextlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

_PER_CONTAINER: Final = ("shim", "conmon", "docker-proxy", "rootlessport")  # these serve one container each


def pss(pid: int) -> float:
    """Return the proportional set size of ``pid`` in MiB: shared pages count by share; 0 if it has ended."""
    return _rollup(pid, "Pss:")


def rss(pid: int) -> float:
    """Return the resident set size of ``pid`` in MiB; 0 if it has ended."""
    return _rollup(pid, "Rss:")


def daemon_processes(pid: int) -> list[int]:
    """Return ``pid`` and its long-lived helpers (containerd), without what serves one container only."""
    children: dict[int, list[int]] = {}
    for process, stat in _each("stat"):
        parent = int(stat.rpartition(")")[2].split()[1])
        children.setdefault(parent, []).append(process)
    found, waiting = [], [pid]
    while waiting:
        process = waiting.pop()
        if not any(word in _read(process, "comm") for word in _PER_CONTAINER):
            found.append(process)
            waiting += children.get(process, ())
    return found


def daemon_rss(pid: int) -> float:
    """Return the resident set size in MiB of the daemon ``pid`` and its long-lived helpers."""
    return sum(rss(process) for process in daemon_processes(pid))


def forget_peaks(processes: Collection[int]) -> None:
    """Let the peaks of ``processes`` begin again at what they hold now."""
    for pid in processes:
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # proc(5)


def peaks(processes: Collection[int]) -> float:
    """Return the sum of the largest resident set sizes in MiB that ``processes`` have had."""
    found = 0.0
    for pid in processes:
        for line in _read(pid, "status").splitlines():
            if line.startswith("VmHWM:"):
                found += int(line.split()[1]) / 1024
    return found


def helpers_of(containers: Collection[str]) -> list[int]:
    """Return the processes that name one of the ``containers`` (full ids) on their command line."""
    known = frozenset(containers)
    found = []
    for process, line in _each("cmdline"):
        words = line.replace("/", "\0").split("\0")
        if not known.isdisjoint(words):
            found.append(process)
    return found


def processes_naming(text: str) -> list[int]:
    """Return the processes with ``text`` on their command line."""
    return [process for process, line in _each("cmdline") if text in line]


def _rollup(pid: int, field: str) -> float:
    for line in _read(pid, "smaps_rollup").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    return 0.0


def _each(file: str) -> Iterator[tuple[int, str]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (text := _read(int(folder.name), file)):
            yield int(folder.name), text


def _read(pid: int, file: str) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/{file}").read_text(errors="replace")
    return ""
