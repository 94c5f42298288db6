"""Which other engines the machine has, and those that somebody else started for us.

The environment variable SAMPAN_PEERS may name a JSON file: a list of peers that run already, each with
``name``, ``cli``, ``sock``, and some of ``netns``, ``pidfile``, ``env``, ``run_flags`` (a runtime),
``rm_flags`` and ``groups`` (a variant of another peer). Beside it, ``run/holder.pid`` names a process in the
peers' mount namespace, and what lies in ``work/`` they all see.
"""

import contextlib
import json
import os
import shlex
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import private
from benchmarks.engine import Engine
from benchmarks.http import Connection, Failed
from benchmarks.place import Place


def given() -> Path | None:
    """Return the file with the peers that run already."""
    name = os.environ.get("SAMPAN_PEERS")
    return Path(name).resolve() if name else None


@contextlib.contextmanager
def peers(folder: Path, wanted: Sequence[str]) -> Iterator[list[Engine]]:
    """Yield the peers named by ``wanted``: by default the newest of docker and of podman, for "none" nobody.

    ``none`` names none. Raises Failed when a wanted one is not there.
    """
    if list(wanted) == ["none"]:
        yield []
        return
    with contextlib.ExitStack() as stack:
        if list(wanted) == ["none"]:
            yield []
            return
        found = _running(stack) if given() else _started(stack, folder)
        names = {engine.name for engine in found}
        if unknown := [name for name in wanted if name not in names]:
            raise Failed(
                f"no such peer: {', '.join(unknown)}; there are: {', '.join(sorted(names)) or 'none'}"
            )
        yield [engine for engine in found if engine.name in wanted] if wanted else _newest(found)


def _started(stack: contextlib.ExitStack, folder: Path) -> list[Engine]:
    found: list[Engine] = []
    if shutil.which("dockerd") and shutil.which("docker"):
        found += stack.enter_context(private.docker(folder / "docker"))
    if shutil.which("podman"):
        found += stack.enter_context(private.podman(folder / "podman"))
    return found


def _running(stack: contextlib.ExitStack) -> list[Engine]:
    file = given()
    assert file is not None
    holder = file.parent / "run" / "holder.pid"
    mounts = [Path(f"/proc/{holder.read_text().strip()}/ns/mnt")] if holder.exists() else []
    found = []
    for peer in json.loads(file.read_text()):
        if peer.get("sock") and set(peer.get("groups") or ("run",)) & {"run", "api"}:
            engine = _one(peer, mounts)
            stack.callback(engine.place.close)
            found.append(engine)
    return found


def _one(peer: dict[str, Any], mounts: list[Path]) -> Engine:
    socket = Path(peer["sock"])
    with Connection(socket) as connection:
        document = connection.ask_json("GET", "/version")
    family = "podman" if "odman" in document["Components"][0]["Name"] else "docker"
    command = shlex.split(peer["cli"])
    runtime = peer.get("run_flags", "").removeprefix("--runtime=")
    if "--runtime" in command:  # podman's is an option of the whole command line
        at = command.index("--runtime")
        runtime = command[at + 1]
        del command[at : at + 2]
    pid_file = Path(peer["pidfile"]) if peer.get("pidfile") else None
    networks = [Path("/run/netns", peer["netns"])] if peer.get("netns") else []
    variant = bool(peer.get("groups"))
    return Engine(
        peer["name"],
        family,
        document["Version"],
        Place([*networks, *mounts]),
        command,
        {**os.environ, **peer.get("env", {})},
        socket,
        int(pid_file.read_text()) if pid_file else None,
        remove_flags=shlex.split(peer.get("rm_flags", "")),
        runtime=runtime,
        groups=frozenset(("api", "run", "exec")) if variant else None,
    )


def _newest(engines: Sequence[Engine]) -> list[Engine]:
    newest = {
        family: max((_order(engine) for engine in engines if engine.family == family), default=())
        for family in ("docker", "podman")
    }
    return [engine for engine in engines if _order(engine) == newest[engine.family]]


def _order(engine: Engine) -> tuple[int, ...]:
    return tuple(int(part) for part in engine.version.partition("+")[0].split(".") if part.isdigit())
