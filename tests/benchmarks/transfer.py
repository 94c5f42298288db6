"""The large image on its way: to a registry on loopback and back, and into an archive.

Every engine has a registry of its own beside it, in its network namespace, empty at the beginning of each
round: nothing can be mounted there from what an earlier round has left.
"""

import contextlib
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks import images, memory
from benchmarks.bench import Bench, Record
from benchmarks.engine import Engine
from benchmarks.http import Failed

_GROUP: Final = "transfer"
_ADDRESS: Final = "127.0.0.1:5077"
_NAME: Final = f"{_ADDRESS}/bench/large:1"
_ALIKE: Final = f"{_ADDRESS}/bench/alike:1"
_MANY: Final = 500


def transfer(bench: Bench) -> None:
    """Measure save, push, pull, and a pull of all but one layer of which is there."""
    if shutil.which("docker-registry") is None:
        bench.results.failures.append("transfer: docker-registry is not installed")
        return
    folder = bench.archive.parent
    alike = images.one_more_layer(bench.archive, folder / "alike.tar", _ALIKE)

    def measure(engine: Engine, record: Record) -> None:
        insecure = ["--tls-verify=false"] if engine.family == "podman" else []
        engine.cli("load", "-i", str(bench.archive))
        try:
            with _registry(folder / f"registry-{engine.name.split()[0]}"):
                engine.cli("tag", bench.image, _NAME)
                _timed(engine, record, "save", "save", "-o", str(folder / "saved.tar"), bench.image)
                (folder / "saved.tar").unlink()
                _timed(engine, record, "push", "push", *insecure, _NAME)
                engine.cli("load", "-i", str(alike))
                engine.cli("push", *insecure, _ALIKE)
                engine.cli("rmi", "-f", _ALIKE, bench.image, _NAME)
                _timed(engine, record, "pull", "pull", *insecure, _NAME)
                _timed(engine, record, "pull shared", "pull", *insecure, _ALIKE)
        finally:
            engine.cli("rmi", "-f", _ALIKE, bench.image, _NAME, check=False)

    bench.interleave(_GROUP, measure, min(3, bench.rounds), warm=0)


def _timed(engine: Engine, record: Record, figure: str, *words: str) -> None:
    """Run a command; record its wall time and, where there is a daemon, the most memory that took."""
    processes = memory.daemon_processes(engine.daemon) if engine.daemon is not None else []
    memory.forget_peaks(processes)
    record(figure, engine.cli(*words).seconds)
    if processes:
        record(f"{figure} peak", memory.peaks(processes))


@contextlib.contextmanager
def _registry(folder: Path) -> Iterator[None]:
    """Run an empty docker-registry where the calling thread is; its files go with it."""
    folder.mkdir()
    (folder / "config.yml").write_text(
        "version: 0.1\nlog: {level: error}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        f'http: {{addr: "{_ADDRESS}"}}\n'
    )
    process = subprocess.Popen(
        ["docker-registry", "serve", str(folder / "config.yml")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _await_answer()
        yield
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _await_answer() -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.URLError, OSError):
            urllib.request.urlopen(f"http://{_ADDRESS}/v2/", timeout=5).close()
            return
        time.sleep(0.02)
    raise Failed("the registry does not answer")


def list_images(bench: Bench) -> None:
    """Measure lists of five hundred images."""
    folder = bench.lines.parent
    archive = images.many(folder / "many.tar", _MANY)

    def prepare(engine: Engine, _: Record) -> None:
        engine.cli("load", "-i", str(archive))

    def look(engine: Engine, record: Record) -> None:
        record("images 500", engine.cli("images").seconds * 1000)
        with engine.api() as api:
            started = time.perf_counter()
            api.ask("GET", "/images/json")
            record("list images 500", (time.perf_counter() - started) * 1000)

    def forget(engine: Engine, _: Record) -> None:
        names = [images.numbered(number) for number in range(_MANY)]
        for first in range(0, _MANY, 100):
            engine.cli("rmi", "-f", *names[first : first + 100], check=False)

    bench.interleave("images", prepare, 1, warm=0)
    try:
        bench.interleave("images", look, bench.rounds)
    finally:
        for engine in bench.engines:
            if engine.groups is None:
                engine.call(forget, engine, lambda figure, value: None)
