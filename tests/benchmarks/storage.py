"""What storage costs: a start on each driver, one over many layers, the first write to a large file."""

import contextlib
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from benchmarks import images, private
from benchmarks.bench import Bench, Record, now
from benchmarks.engine import BUSYBOX, Engine
from benchmarks.http import Failed
from support.images import busybox_layer

LAYERS: Final = 125  # docker takes no more ("max depth exceeded")
MANY: Final = "localhost/bench-layers:latest"
HUGE: Final = "localhost/bench-huge:latest"
HUGE_SIZE: Final = 1 << 30
_PIECE: Final = 1 << 20
# The program that makes each file system, and the driver whose data root it carries; "": the work folder.
DRIVERS: Final = {
    "overlay2": ("overlay2", ""),
    "btrfs": ("btrfs", "mkfs.btrfs"),
    "vfs with reflinks": ("vfs", "mkfs.xfs"),
    "fuse-overlayfs": ("fuse-overlayfs", ""),
}


def storage(bench: Bench) -> None:
    """Measure all of it; ``bench.folder`` is where file systems and images go."""
    _drivers(bench)
    _layers(bench)
    _copy_up(bench)


def _drivers(bench: Bench) -> None:
    ours = next((engine for engine in bench.engines if engine.is_ours), None)
    if ours is None:
        return
    with contextlib.ExitStack() as stack:
        engines = {}
        for title, (driver, program) in DRIVERS.items():
            folder = bench.folder / f"driver-{driver}"
            data = stack.enter_context(_disk(bench.folder, program)) if program else folder / "data"
            flags = ("--storage-driver", driver)
            programs = Path(ours.command[0]).parent
            started = private.sampan(folder, programs, *flags, data_root=data)
            engines[title] = stack.enter_context(started)[0]
            engines[title].call(engines[title].ensure_image, BUSYBOX, images.busybox(bench.folder))
        for number in range(1 + bench.rounds):
            times = {title: engine.call(_start, engine, BUSYBOX) for title, engine in engines.items()}
            if number:  # the first warms up
                for title, seconds in times.items():
                    bench.results.add(f"start on {title}", ours.name, seconds * 1000)
                    if title != "overlay2":
                        ratio = seconds / times["overlay2"]
                        bench.results.add(f"start on {title}, ratio", ours.name, ratio)


def _layers(bench: Bench) -> None:
    archive = bench.folder / "layers.tar"
    _many_layers(archive)

    def load(engine: Engine, _: Record) -> None:
        engine.ensure_image(MANY, archive)

    def start(engine: Engine, record: Record) -> None:
        record("start layers", _start(engine, MANY) * 1000)

    bench.interleave("storage", load, 1, warm=0)
    bench.interleave("storage", start, bench.rounds)
    _forget(bench, MANY)


def _copy_up(bench: Bench) -> None:
    archive = bench.folder / "huge.tar"
    _huge(archive)

    def load(engine: Engine, _: Record) -> None:
        engine.ensure_image(HUGE, archive)

    def write(engine: Engine, record: Record) -> None:
        body = engine.create_body(
            "sh", "-c", "echo x | dd of=/huge bs=1 count=1 conv=notrunc", NetworkMode="none"
        )
        body["Image"] = HUGE
        with engine.api() as api:
            container = api.ask_json("POST", "/containers/create", body)["Id"]
            try:
                api.ask("POST", f"/containers/{container}/start")
                status = json.loads(api.ask("POST", f"/containers/{container}/wait"))["StatusCode"]
                state = api.ask_json("GET", f"/containers/{container}/json")["State"]
            finally:
                api.ask("DELETE", f"/containers/{container}?force=1")
        if status:
            raise Failed(f"the write in a container ended with {status}")
        times = [datetime.fromisoformat(state[key]) for key in ("StartedAt", "FinishedAt")]
        record("copy-up", (times[1] - times[0]).total_seconds())

    bench.interleave("storage", load, 1, warm=0)
    archive.unlink()
    bench.interleave("storage", write, min(3, bench.rounds))
    _forget(bench, HUGE)


def _start(engine: Engine, image: str) -> float:
    """Return how long it takes to start a container that was just made, in seconds; it is removed."""
    body = engine.create_body("true", NetworkMode="none")
    body["Image"] = image
    with engine.api() as api:
        container = api.ask_json("POST", "/containers/create", body)["Id"]
        try:
            before = now()
            api.ask("POST", f"/containers/{container}/start")
            seconds = now() - before
            api.ask("POST", f"/containers/{container}/wait")
        finally:
            api.ask("DELETE", f"/containers/{container}?force=1")
    return seconds


def _forget(bench: Bench, image: str) -> None:
    for engine in bench.engines:
        if engine.takes_part("storage"):
            engine.call(engine.cli, "rmi", "-f", image, check=False)


@contextlib.contextmanager
def _disk(folder: Path, program: str) -> Iterator[Path]:
    """Yield the root of a fresh file system that ``program`` makes."""
    image, root = folder / f"{program}.img", folder / program
    with image.open("wb") as file:
        file.truncate(4 << 30)
    subprocess.run([program, "-q", str(image)], check=True, capture_output=True)
    root.mkdir()
    subprocess.run(["mount", "-o", "loop", str(image), str(root)], check=True)
    try:
        yield root
    finally:
        subprocess.run(["umount", "-l", str(root)], check=True)
        image.unlink()


def _many_layers(archive: Path) -> None:
    layers = []
    for number in range(LAYERS):
        path = archive.with_name(f"layer{number}")
        if number == 0:
            path.write_bytes(busybox_layer())
        else:
            with tarfile.open(path, "w") as tar:
                data = b"%d\n" % number
                info = tarfile.TarInfo(f"opt/file{number:03}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        layers.append(path)
    images.archive(layers, archive, MANY)


def _huge(archive: Path) -> None:
    base, huge = archive.with_name("base"), archive.with_name("huge")
    base.write_bytes(busybox_layer())
    with huge.open("wb") as file, tarfile.open(fileobj=file, mode="w") as tar:
        info = tarfile.TarInfo("huge")
        info.size, info.mode = HUGE_SIZE, 0o644
        tar.addfile(info, _Pieces(HUGE_SIZE))
    images.archive([base, huge], archive, HUGE)


class _Pieces(io.RawIOBase):
    """``size`` bytes without a hole in them."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._piece = bytes(range(1, 256)) * (_PIECE // 255)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        step = min(self._left, len(self._piece), size if size >= 0 else self._left)
        self._left -= step
        return self._piece[:step]
