"""How the figures of networks are measured: starts, name look-ups, throughput, many of everything."""

import contextlib
import json
import shutil
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from benchmarks.bench import Bench, Record, now, say
from benchmarks.engine import BUSYBOX, Engine
from benchmarks.http import Connection, Failed
from benchmarks.place import Place

_NETWORK: Final = "bench-net"
_LOOK_UPS: Final = 1000
_PORTS: Final = 1000
_FIRST_PORT: Final = 20000
_NETWORKS: Final = 500
_CONTAINERS: Final = 1000
_IPERF_PORT: Final = 5201
_IPERF_S: Final = 2
_CLONE_NEWNET: Final = 0x40000000  # linux/sched.h


@contextlib.contextmanager
def _network(api: Connection, name: str = _NETWORK) -> Iterator[None]:
    api.ask("POST", "/networks/create", {"Name": name, "Driver": "bridge"})
    try:
        yield
    finally:
        api.ask("DELETE", f"/networks/{name}")


@contextlib.contextmanager
def _container(
    engine: Engine, api: Connection, *command: str, name: str = "", **host: object
) -> Iterator[tuple[str, float]]:
    """Yield the id of a started container and how long its start took, in ms; it is removed afterwards."""
    body = engine.create_body(*command, **host)
    body["StopSignal"] = "SIGKILL"  # sleep(1) as the first process hears nothing else
    body["ExposedPorts"] = {port: {} for port in dict(host.get("PortBindings") or {})}  # type: ignore[call-overload]
    query = f"?name={name}" if name else ""
    container = api.ask_json("POST", f"/containers/create{query}", body)["Id"]
    try:
        started = now()
        api.ask("POST", f"/containers/{container}/start")
        yield container, (now() - started) * 1000
    finally:
        api.ask("DELETE", f"/containers/{container}?force=1")


def _bindings(*pairs: tuple[int, int]) -> dict[str, list[dict[str, str]]]:
    return {f"{port}/tcp": [{"HostPort": str(host)}] for host, port in pairs}


def _start(bench: Bench) -> None:
    def start(engine: Engine, record: Record) -> None:
        ports = _bindings((18080, 80), (18081, 81))
        with (
            engine.api() as api,
            _network(api),
            _container(engine, api, "sleep", "100", NetworkMode=_NETWORK, PortBindings=ports) as (_, took),
        ):
            record("net start", took)
            record("net start again", took)

    bench.interleave("net-start", start, bench.rounds)


def _life(bench: Bench) -> None:
    def life(engine: Engine, record: Record) -> None:
        with engine.api() as api:
            started = now()
            with _network(api):
                pass
            record("net life", (now() - started) * 1000)

    bench.interleave("net-life", life, bench.rounds)


def _namespace(api: Connection, container: str) -> Path:
    pid = api.ask_json("GET", f"/containers/{container}/json")["State"]["Pid"]
    return Path(f"/proc/{pid}/ns/net")


def _names(bench: Bench) -> None:
    def look_up(engine: Engine, record: Record) -> None:
        with (
            engine.api() as api,
            _network(api),
            _container(engine, api, "sleep", "100", name="bench-web", NetworkMode=_NETWORK) as (web, _),
        ):
            pid = api.ask_json("GET", f"/containers/{web}/json")["State"]["Pid"]
            lines = Path(f"/proc/{pid}/root/etc/resolv.conf").read_text().splitlines()
            server = next(line.split()[1] for line in lines if line.startswith("nameserver"))
            place = Place([_namespace(api, web)])
            try:
                times = sorted(place.call(_ask, server, "bench-web"))
            finally:
                place.close()
        median = times[len(times) // 2]
        record("name", median)
        record("name p99", times[int(len(times) * 0.99)] / median)

    bench.interleave("net-names", look_up, min(5, bench.rounds))


def _ask(server: str, name: str) -> list[float]:
    """Return how long each of many questions took, in µs; asked from where the caller is."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    question = struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"
    times = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect((server, 53))
        for _ in range(_LOOK_UPS):
            started = now()
            client.send(question)
            answer = client.recv(512)
            times.append((now() - started) * 1e6)
            if answer[3] & 15 or answer[6:8] == b"\0\0":
                raise Failed(f"{name} is not known to {server}")
    return times


def _throughput(bench: Bench) -> None:
    iperf = shutil.which("iperf3")
    if iperf is None:
        say("iperf3 is not installed: no throughput")
        return

    def rate(engine: Engine, record: Record) -> None:
        ports = _bindings((15201, _IPERF_PORT))
        with (
            engine.api() as api,
            _network(api),
            _container(engine, api, "sleep", "100", NetworkMode=_NETWORK, PortBindings=ports) as (server, _),
            _container(engine, api, "sleep", "100", NetworkMode=_NETWORK) as (client, _),
        ):
            settings = api.ask_json("GET", f"/containers/{server}/json")["NetworkSettings"]["Networks"]
            address, gateway = settings[_NETWORK]["IPAddress"], settings[_NETWORK]["Gateway"]
            inside = f"--net={_namespace(api, server)}"
            with _serving(["nsenter", inside, iperf, "-s"]):
                record("published rate", _iperf([iperf, "-c", gateway, "-p", "15201"]))
                other = f"--net={_namespace(api, client)}"
                record("neighbour rate", _iperf(["nsenter", other, iperf, "-c", address]))

    bench.interleave("net-rate", rate, min(3, bench.rounds), warm=0)


@contextlib.contextmanager
def _serving(command: list[str]) -> Iterator[None]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            yield
        finally:
            server.terminate()


def _iperf(command: list[str]) -> float:
    """Return Gbit/s; the server may need a moment more."""
    said = ""
    for _ in range(50):
        words = [*command, "-t", str(_IPERF_S), "-J", "--connect-timeout", "2000"]
        done = subprocess.run(words, capture_output=True, check=False, timeout=30)
        with contextlib.suppress(ValueError, KeyError):
            return float(json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"]) / 1e9
        said = done.stdout.decode(errors="replace")[-300:]
    raise Failed(f"iperf3: {said}")


def _ports(bench: Bench) -> None:
    pairs = [(_FIRST_PORT + number, 1 + number) for number in range(_PORTS)]

    def publish(engine: Engine, record: Record) -> None:
        ports = _bindings(*pairs)
        with (
            engine.api() as api,
            _container(engine, api, "sleep", "100", NetworkMode="bridge", PortBindings=ports) as (_, took),
        ):
            record("net ports", took)

    bench.interleave("net-ports", publish, min(3, bench.rounds), warm=0)


def _crowd(bench: Bench) -> None:
    """Measure ours alone: whether a start costs more beside many networks and containers."""
    ours = next(engine for engine in bench.engines if engine.is_ours)

    def measure(figure: str) -> Callable[[Engine, Record], None]:
        def start(engine: Engine, record: Record) -> None:
            times = []
            with engine.api() as api, _network(api):
                for number in range(2 + bench.rounds):
                    with _container(engine, api, "sleep", "100", NetworkMode=_NETWORK) as (_, took):
                        times += [took] if number >= 2 else []
            for took in times:
                record(figure, took)

        return start

    def fill(engine: Engine, _: Record) -> None:
        with engine.api() as api:
            for number in range(_NETWORKS):
                subnet = f"10.{200 + number // 250}.{number % 250}.0/24"
                ipam = {"Config": [{"Subnet": subnet}]}
                api.ask("POST", "/networks/create", {"Name": f"crowd{number}", "IPAM": ipam})
            for number in range(_CONTAINERS):
                body = {"Image": BUSYBOX, "Cmd": ["true"]}
                api.ask("POST", f"/containers/create?name=crowd{number}", body)

    def empty(engine: Engine, _: Record) -> None:
        with engine.api() as api:
            for number in range(_CONTAINERS):
                with contextlib.suppress(Failed):
                    api.ask("DELETE", f"/containers/crowd{number}?force=1")
            for number in range(_NETWORKS):
                with contextlib.suppress(Failed):
                    api.ask("DELETE", f"/networks/crowd{number}")

    bench.attempt("net-crowd", ours, measure("net alone"))
    try:
        bench.attempt("net-crowd", ours, fill, record=False)
        bench.attempt("net-crowd", ours, measure("net crowd"))
    finally:
        bench.attempt("net-crowd", ours, empty, record=False)
    alone, crowd = (bench.results.median(f"net {which}", ours.name) for which in ("alone", "crowd"))
    if alone and crowd:
        bench.results.add("net crowding", ours.name, crowd / alone)


GROUPS: Final[Mapping[str, Callable[[Bench], None]]] = {
    "net-start": _start,
    "net-life": _life,
    "net-names": _names,
    "net-rate": _throughput,
    "net-ports": _ports,
    "net-crowd": _crowd,
}
