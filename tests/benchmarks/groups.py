"""How the figures are measured. Rounds are interleaved: the first of every engine, then the second, …"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote

from benchmarks import memory
from benchmarks.engine import BUSYBOX, Engine
from benchmarks.figures import NETWORKS, PHASES
from benchmarks.http import Connection, Failed, rate
from benchmarks.results import Results

_ERRORS: Final = (Failed, OSError, ValueError, KeyError, subprocess.SubprocessError)
_LOG_REPEAT: Final = 8  # so often the file of lines is written out
_MANY: Final = 100
Record = Callable[[str, float], None]
now = time.perf_counter


@dataclass
class Bench:
    """A run of the harness; ``archive`` is the large image, ``image`` its name, ``lines`` a file for logs."""

    engines: Sequence[Engine]
    results: Results
    rounds: int
    archive: Path
    image: str
    lines: Path

    def measure(self, name: str) -> None:
        """Measure the group ``name`` of every engine that takes part in it."""
        say(f"group {name}")
        GROUPS[name](self)

    def interleave(
        self, group: str, measure: Callable[[Engine, Record], None], rounds: int, *, warm: int = 1
    ) -> None:
        """Call ``measure`` for each engine, round by round; the first ``warm`` rounds are not recorded."""
        for number in range(warm + rounds):
            for engine in self.engines:
                if engine.takes_part(group):
                    self.attempt(group, engine, measure, record=number >= warm)

    def attempt(
        self, group: str, engine: Engine, measure: Callable[[Engine, Record], None], *, record: bool = True
    ) -> None:
        """Call ``measure`` in the engine's place; if it fails, the engine is out of the group."""

        def keep(figure: str, value: float) -> None:
            if record:
                self.results.add(figure, engine.name, value)

        try:
            engine.call(measure, engine, keep)
        except _ERRORS as error:
            engine.failed.add(group)
            self.results.failures.append(f"{group}, {engine.name}: {error}")
            say(f"FAILED {self.results.failures[-1]}")


def say(text: str) -> None:
    """Tell the person who waits."""
    print(time.strftime("[%H:%M:%S]"), text, file=sys.stderr, flush=True)


def _api(bench: Bench) -> None:
    for network in NETWORKS:

        def life(engine: Engine, record: Record, network: str = network) -> None:
            with engine.api() as api:
                times = [now()]
                body = engine.create_body("true", NetworkMode=network)
                container = api.ask_json("POST", "/containers/create", body)["Id"]
                times.append(now())
                api.ask("POST", f"/containers/{container}/start")
                times.append(now())
                api.ask("POST", f"/containers/{container}/wait")
                times.append(now())
                api.ask("DELETE", f"/containers/{container}?force=1")
                times.append(now())
            for phase, start, end in zip(PHASES, times, times[1:], strict=False):
                record(f"api {network} {phase}", (end - start) * 1000)
            record(f"api {network}", (times[-1] - times[0]) * 1000)

        bench.interleave("api", life, bench.rounds)


def _run(bench: Bench) -> None:
    def run(engine: Engine, record: Record) -> None:
        record("run bridge", engine.run("--rm", BUSYBOX, "true").seconds * 1000)
        record("run none", engine.run("--rm", "--network", "none", BUSYBOX, "true").seconds * 1000)

    bench.interleave("run", run, bench.rounds)


def _exec(bench: Bench) -> None:
    containers: dict[str, str] = {}

    def prepare(engine: Engine, _: Record) -> None:
        containers[engine.name] = engine.run("-d", BUSYBOX, "sleep", "1000").output.split()[-1]

    def execute(engine: Engine, record: Record) -> None:
        record("exec", engine.cli("exec", containers[engine.name], "true").seconds * 1000)

    bench.interleave("exec", prepare, 1, warm=0)
    try:
        bench.interleave("exec", execute, bench.rounds)
    finally:
        for engine in bench.engines:
            if engine.name in containers:
                engine.call(engine.remove, containers[engine.name])


def _ps(bench: Bench) -> None:
    def ps(engine: Engine, record: Record) -> None:
        record("ps 0", engine.cli("ps").seconds * 1000)

    bench.interleave("ps", ps, bench.rounds)


def _ping(bench: Bench) -> None:
    def latency(engine: Engine, record: Record) -> None:
        with engine.api() as api:
            for _ in range(200):
                started = now()
                api.ask("GET", "/_ping")
                record("ping", (now() - started) * 1e6)

    def pings(engine: Engine, record: Record) -> None:
        assert engine.socket is not None
        record("ping rate 1", rate(engine.socket, "/_ping", 2000, 1))
        record("ping rate 16", rate(engine.socket, "/_ping", 6000, 16))

    bench.interleave("ping", latency, 3)
    bench.interleave("ping", pings, 3)


def _load(bench: Bench) -> None:
    def load(engine: Engine, record: Record) -> None:
        engine.cli("rmi", "-f", bench.image, check=False)
        record("load", engine.cli("load", "-i", str(bench.archive)).seconds)
        if engine.daemon is not None:
            record("load rss", memory.daemon_rss(engine.daemon))

    bench.interleave("load", load, min(3, bench.rounds), warm=0)
    for engine in bench.engines:
        if engine.takes_part("load"):
            engine.call(engine.cli, "rmi", "-f", bench.image, check=False)


def _log(bench: Bench) -> None:
    size = bench.lines.stat().st_size * _LOG_REPEAT

    def write(engine: Engine, record: Record) -> None:
        words = ["cat", *["/lines"] * _LOG_REPEAT]
        body = engine.create_body(*words, NetworkMode="none", Binds=[f"{bench.lines}:/lines"])
        with engine.api() as api:
            container = api.ask_json("POST", "/containers/create", body)["Id"]
            try:
                api.ask("POST", f"/containers/{container}/start")
                status = json.loads(api.ask("POST", f"/containers/{container}/wait"))["StatusCode"]
                state = api.ask_json("GET", f"/containers/{container}/json")["State"]
            finally:
                api.ask("DELETE", f"/containers/{container}?force=1")
        if status:
            raise Failed(f"cat in a container ended with {status}")
        times = [datetime.fromisoformat(state[key]) for key in ("StartedAt", "FinishedAt")]
        record("log", size / 1e6 / (times[1] - times[0]).total_seconds())

    bench.interleave("log", write, min(4, bench.rounds))


def _scale(bench: Bench) -> None:
    """One engine after the other: 300 containers of one are load enough."""
    for engine in bench.engines:
        if not engine.takes_part("scale"):
            continue
        if engine.fresh_rss is not None:
            bench.results.add("rss fresh", engine.name, engine.fresh_rss)
        say(f"scale {engine.name}")
        names = [f"bench-{number}" for number in range(3 * _MANY)]
        try:
            bench.attempt("scale", engine, partial(_grow, names))
        finally:
            started = now()
            engine.call(engine.remove, *names)
            if engine.takes_part("scale"):
                bench.results.add("remove", engine.name, now() - started)


def _grow(names: Sequence[str], engine: Engine, record: Record) -> None:
    before = _rss(engine, record, "rss idle")
    started = now()
    for name in names[:_MANY]:
        engine.run("-d", "--name", name, BUSYBOX, "sleep", "100000")
    record("start 100", now() - started)
    with engine.api() as api:
        ids = [container["Id"] for container in api.ask_json("GET", "/containers/json")]
        helpers = sum(memory.pss(pid) for pid in memory.helpers_of(ids)) / len(ids)
        growth = (_rss(engine) - before) / len(ids)
        record("memory helper", helpers)
        record("memory growth", growth)
        record("memory container", helpers + growth)
        started = now()
        _start(engine, api, names[_MANY : 2 * _MANY])
        record("start 100 api", now() - started)
        running = len(api.ask_json("GET", "/containers/json"))
        if running != 2 * _MANY:
            raise Failed(f"{running} containers run, not {2 * _MANY}")
        for _ in range(11):
            started = now()
            api.ask("GET", "/containers/json")
            record("list 200", (now() - started) * 1000)
        for _ in range(7):
            record("ps 200", engine.cli("ps").seconds * 1000)
        _start(engine, api, names[2 * _MANY :])
    time.sleep(1)  # late work of the last starts belongs to the measurement
    _rss(engine, record, "rss 300")


def _start(engine: Engine, api: Connection, names: Sequence[str]) -> None:
    for name in names:
        body = engine.create_body("sleep", "100000")
        container = api.ask_json("POST", f"/containers/create?name={quote(name)}", body)["Id"]
        api.ask("POST", f"/containers/{container}/start")


def _rss(engine: Engine, record: Record | None = None, figure: str = "") -> float:
    if engine.daemon is None:
        return 0.0
    size = memory.daemon_rss(engine.daemon)
    if record is not None:
        record(figure, size)
    return size


GROUPS: Final[Mapping[str, Callable[[Bench], None]]] = {
    "api": _api,
    "run": _run,
    "exec": _exec,
    "ps": _ps,
    "ping": _ping,
    "log": _log,
    "scale": _scale,
    "load": _load,
}
