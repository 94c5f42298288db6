"""How the figures are measured. Rounds are interleaved: the first of every engine, then the second, …"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from benchmarks import memory, networks
from benchmarks.bench import Bench, Record, now
from benchmarks.disk import disk, volumes
from benchmarks.engine import BUSYBOX, Engine
from benchmarks.figures import NETWORKS, PHASES
from benchmarks.http import Failed, rate
from benchmarks.registries import registry
from benchmarks.scale import scale
from benchmarks.storage import storage
from benchmarks.transfer import list_images, transfer

_LOG_REPEAT: Final = 8  # so often the file of lines is written out


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
        processes = memory.daemon_processes(engine.daemon) if engine.daemon is not None else []
        memory.forget_peaks(processes)
        record("load", engine.cli("load", "-i", str(bench.archive)).seconds)
        if engine.daemon is not None:
            record("load peak", memory.peaks(processes))
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


GROUPS: Final[Mapping[str, Callable[[Bench], None]]] = {
    "api": _api,
    "run": _run,
    "exec": _exec,
    "ps": _ps,
    "ping": _ping,
    "log": _log,
    "scale": scale,
    "load": _load,
    "registry": registry,
    **networks.GROUPS,
    "disk": disk,
    "volumes": volumes,
    "transfer": transfer,
    "images": list_images,
    "storage": storage,
}
