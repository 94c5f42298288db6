"""The account of the disk and prunes beside docker's; backups beside tar; copies where data can be shared.

Five hundred images, three hundred stopped containers and two hundred volumes of every engine: all by the API,
so that the command lines do not count.
"""

import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote

from benchmarks.bench import Bench, Record, now
from benchmarks.engine import Engine
from benchmarks.http import Connection
from support.images import busybox_layer

_DISK: Final = "disk"
_IMAGES, _CONTAINERS, _VOLUMES, _PRUNED = 500, 300, 200, 100
_SIDE_BY_SIDE: Final = 4
_DOOMED: Final = "bench=doomed"
_VOLUME: Final = "bench"
_SIZE: Final = 1 << 30
_FILES: Final = 64


def disk(bench: Bench) -> None:
    """Measure ``system df`` and the prunes of docker and of ours with the same objects."""
    archive = _archive(bench.archive.parent / "many.tar")
    try:
        bench.interleave(_DISK, partial(_fill, archive), 1, warm=0)
        bench.interleave(_DISK, _df, bench.rounds)
        bench.interleave(_DISK, _prune, 1, warm=0)
    finally:
        for engine in bench.engines:
            if engine.takes_part(_DISK) or _DISK in engine.failed:
                engine.call(_empty, engine)


def _archive(path: Path) -> Path:
    """Write an archive of many small images that share their base; the first of them are to be pruned."""
    base = busybox_layer()
    blobs: dict[str, bytes] = {_layer_name(base): base}
    manifest = []
    for number in range(_IMAGES):
        top = io.BytesIO()
        with tarfile.open(fileobj=top, mode="w") as tar:
            for part in range(10):
                data = random.Random(number).randbytes(2000)  # noqa: S311 - the same bytes everywhere
                info = tarfile.TarInfo(f"opt/{number}/{part}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        layer = top.getvalue()
        label = dict([_DOOMED.split("=")]) if number < _PRUNED else {}
        document = {
            "architecture": "amd64",
            "os": "linux",
            "created": "2024-01-01T00:00:00Z",
            "config": {"Cmd": ["true"], "Labels": label},
            "rootfs": {
                "type": "layers",
                "diff_ids": [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in (base, layer)],
            },
            "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "a benchmark"}] * 2,
        }
        config = json.dumps(document).encode()
        name = f"{hashlib.sha256(config).hexdigest()}.json"
        blobs |= {name: config, _layer_name(layer): layer}
        layers = [_layer_name(base), _layer_name(layer)]
        manifest.append({"Config": name, "RepoTags": [_image(number)], "Layers": layers})
    blobs["manifest.json"] = json.dumps(manifest).encode()
    with tarfile.open(path, "w") as tar:
        for name, data in blobs.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def _layer_name(layer: bytes) -> str:
    return f"{hashlib.sha256(layer).hexdigest()}/layer.tar"


def _image(number: int) -> str:
    return f"localhost/bench-many:{number}"


def _fill(archive: Path, engine: Engine, _: Record) -> None:
    engine.cli("load", "-q", "-i", str(archive))
    with engine.api() as api:
        for number in range(_VOLUMES):
            api.ask("POST", "/volumes/create", {"Name": f"{_VOLUME}{number}"})

    def run(number: int) -> None:
        body = engine.create_body("sh", "-c", "echo of this container >/file", NetworkMode="none")
        body["Image"] = _image(number % _IMAGES)
        with engine.api() as api:
            container = api.ask_json("POST", f"/containers/create?name=many{number}", body)["Id"]
            api.ask("POST", f"/containers/{container}/start")
            api.ask("POST", f"/containers/{container}/wait")

    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        list(pool.map(run, range(_CONTAINERS)))


def _df(engine: Engine, record: Record) -> None:
    with engine.api() as api:
        started = now()
        usage = api.ask_json("GET", "/system/df")
        record("df", (now() - started) * 1000)
    counts = [len(usage[kind] or ()) for kind in ("Images", "Containers", "Volumes")]
    if [found >= wanted for found, wanted in zip(counts, (_IMAGES, _CONTAINERS, _VOLUMES), strict=True)] != [
        True
    ] * 3:
        raise ValueError(f"{engine.name}: df shows {counts}")


def _prune(engine: Engine, record: Record) -> None:
    with engine.api() as api:
        started = now()
        containers = api.ask_json("POST", "/containers/prune")
        middle = now()
        images = _prune_images(api, {"dangling": ["false"], "label": [_DOOMED]})
        ended = now()
    deleted = [entry for entry in images["ImagesDeleted"] or () if entry.get("Untagged")]
    if len(containers["ContainersDeleted"] or ()) < _CONTAINERS or len(deleted) != _PRUNED:
        raise ValueError(f"{engine.name}: {len(deleted)} images pruned")
    record("prune containers", middle - started)
    record("prune images", ended - middle)
    record("prune", ended - started)


def _prune_images(api: Connection, filters: dict[str, list[str]]) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = api.ask_json(
        "POST", f"/images/prune?filters={quote(json.dumps(filters))}"
    )
    return found


def _empty(engine: Engine) -> None:
    with engine.api() as api:
        api.ask("POST", "/containers/prune")
        for number in range(_VOLUMES):
            engine_has = f"/volumes/{_VOLUME}{number}?force=1"
            api.ask("DELETE", engine_has)
    names = [_image(number) for number in range(_IMAGES)]
    for first in range(0, _IMAGES, 50):
        engine.cli("rmi", "-f", *names[first : first + 50], check=False)


# --- volumes: ours alone, beside what is done by hand


def volumes(bench: Bench) -> None:
    """Measure backups of a gibibyte beside tar, and its copies on a file system that shares data."""
    for engine in bench.engines:
        if engine.is_ours:
            bench.attempt("volumes", engine, partial(_volumes, bench.archive.parent, bench.rounds))


def _volumes(folder: Path, rounds: int, engine: Engine, record: Record) -> None:
    with engine.api() as api:
        place = Path(api.ask_json("POST", "/volumes/create", {"Name": _VOLUME})["Mountpoint"])
        root = place.parents[1]
        api.ask("DELETE", f"/volumes/{_VOLUME}")
        with _sharing(folder / "sharing.img", root):
            api.ask("POST", "/volumes/create", {"Name": _VOLUME})
            _write(place)
            for _ in range(min(3, rounds)):
                for compression in ("none", "gzip", "zstd"):
                    if _beside(compression) is not None:
                        _backup(engine, record, place, compression)
            for number in range(rounds):
                for verb in ("clone", "snapshot"):
                    started = now()
                    api.ask("POST", f"/sampan/volumes/{_VOLUME}/{verb}", {"Name": f"copy{number}"})
                    record(f"volume {verb}", (now() - started) * 1000)
                    api.ask("DELETE", f"/volumes/copy{number}")
            api.ask("DELETE", f"/volumes/{_VOLUME}")


@contextmanager
def _sharing(image: Path, target: Path) -> Iterator[None]:
    """Keep a btrfs mounted on ``target`` while the block runs."""
    with image.open("wb") as file:
        file.truncate(4 * _SIZE)
    try:
        subprocess.run(["mkfs.btrfs", "-q", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, target], check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", target], check=True)
    finally:
        image.unlink()


def _write(place: Path) -> None:
    """Fill a volume with a gibibyte of which half does not shrink."""
    noise = random.Random(1)  # noqa: S311 - the same bytes everywhere
    line = b"what a file of text has in it, over and over, with the number %09d in its line\n"
    for number in range(_FILES):
        half = _SIZE // _FILES // 2
        text = b"".join(line % at for at in range(half // 70))[:half]
        (place / f"file{number}").write_bytes(noise.randbytes(half) + text)
    os.sync()


def _beside(compression: str) -> list[str] | None:
    """Return the program that compresses as ours does, [] for none at all; None if it is not here."""
    if compression == "none":
        return []
    words = {"gzip": ["igzip", "-1"], "zstd": ["zstd", "-q", "-3", "-T0"]}[compression]
    return words if shutil.which(words[0]) else None


def _backup(engine: Engine, record: Record, place: Path, compression: str) -> None:
    """Both into a pipe that somebody empties: how fast a disk writes is no business of theirs."""
    program = " ".join(_beside(compression) or [])
    by_hand = f"tar -cf - -C {place} . {'| ' + program if program else ''}"
    ours = f"{' '.join(engine.command)} volume backup {_VOLUME} --compress {compression}"
    spent = []
    for command in (by_hand, ours):
        started = now()
        subprocess.run(["sh", "-c", f"{command} 2>&1 | cat >/dev/null"], check=True, env=engine.environment)
        spent.append(now() - started)
    record(f"backup {compression} ratio", spent[1] / spent[0])
    record(f"backup {compression}", spent[1])
