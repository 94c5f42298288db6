"""The images that every engine gets, as archives in the form of ``docker save``."""

import hashlib
import io
import json
import random
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import IO, Final

from benchmarks import machine
from benchmarks.engine import BUSYBOX, LARGE
from support.images import busybox_archive

LARGE_SIZE: Final = 228 << 20
_LINE: Final = b"some text as in a man page, a header file or a table of names, line %07d of this file\n"
_DATE: Final = 1_700_000_000
_LEFT_OUT: Final = ("dev/", "var/cache/apt/archives/", "var/lib/apt/lists/")


def busybox(folder: Path) -> Path:
    """Write the archive of a small image into ``folder``; return its path."""
    path = folder / "busybox.tar"
    path.write_bytes(busybox_archive(BUSYBOX))
    return path


def lines(folder: Path, size: int) -> Path:
    """Write a file of ``size`` bytes with lines of a hundred bytes into ``folder``; return its path."""
    path = folder / "lines"
    line = (
        "".join(chr(33 + i % 90) for i in range(99)).encode().replace(b"\\", b"/").replace(b'"', b"'") + b"\n"
    )
    path.write_bytes(line * (size // len(line)))
    return path


def large(folder: Path, cache: Path) -> Path:
    """Write the archive of an image of about 228 MiB in four layers; return its path.

    Its base is Debian, if mmdebstrap can make one (kept in ``cache``), else generated files; the rest is
    generated: half of it does not compress, as in real layers.
    """
    root = cache / "debian-root.tar"
    if not root.exists():
        _bootstrap(root)
    layers = []
    if root.exists():
        layers.append(_without_devices(root, folder / "layer0"))
    else:
        layers.append(_generated(0, 9000, 16384, folder / "layer0"))
    for number, (files, size) in enumerate(((2000, 8192), (20, 1 << 20), (3000, 1024)), 1):
        layers.append(_generated(number, files, size, folder / f"layer{number}"))
    missing = LARGE_SIZE - sum(layer.stat().st_size for layer in layers)
    if missing > 0:
        layers.append(_generated(9, max(1, missing // 66000), 65536, folder / "layer9"))
    return archive(layers, folder / "large.tar")


def one_more_layer(archive: Path, path: Path, name: str) -> Path:
    """Write a copy of the image ``archive`` with a small layer more, called ``name``; return its path."""
    top = _generated(77, 10, 4096, path.with_suffix(".layer"))
    with tarfile.open(archive) as source, tarfile.open(path, "w") as target:
        (entry,) = json.load(_member(source, "manifest.json"))
        document = json.load(_member(source, entry["Config"]))
        data = top.read_bytes()
        document["rootfs"]["diff_ids"].append(f"sha256:{hashlib.sha256(data).hexdigest()}")
        document.setdefault("history", []).append({"created": document["created"], "created_by": "one more"})
        config = json.dumps(document).encode()
        manifest = {"Config": "alike.json", "RepoTags": [name], "Layers": [*entry["Layers"], "alike.tar"]}
        for layer in entry["Layers"]:
            target.addfile(source.getmember(layer), _member(source, layer))
        _add(target, "alike.tar", data)
        _add(target, "alike.json", config)
        _add(target, "manifest.json", json.dumps([manifest]).encode())
    top.unlink()
    return path


def numbered(number: int) -> str:
    """Return the name of one of ``many`` images."""
    return f"localhost/bench-many:{number}"


def many(path: Path, count: int) -> Path:
    """Write an archive of ``count`` images that differ in their configurations only; return its path."""
    layer = _generated(1, 3, 2048, path.with_suffix(".layer"))
    data = layer.read_bytes()
    entries = []
    with tarfile.open(path, "w") as target:
        _add(target, "layer.tar", data)
        for number in range(count):
            document = _document([hashlib.sha256(data).hexdigest()], number)
            _add(target, f"{number}.json", json.dumps(document).encode())
            entry = {"Config": f"{number}.json", "RepoTags": [numbered(number)], "Layers": ["layer.tar"]}
            entries.append(entry)
        _add(target, "manifest.json", json.dumps(entries).encode())
    layer.unlink()
    return path


def _member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    found = archive.extractfile(name)
    assert found is not None
    return found


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mtime = len(data), _DATE
    archive.addfile(info, io.BytesIO(data))


def _document(digests: list[str], number: int = 0) -> dict[str, object]:
    """Return the configuration of an image; ``number`` tells it from others of the same layers."""
    return {
        "architecture": "amd64",
        "os": "linux",
        "created": f"2024-01-01T00:{number // 60 % 60:02}:{number % 60:02}Z",
        "config": {"Cmd": ["sh"], "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", f"NUMBER={number}"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "a benchmark"} for _ in digests],
    }


def _bootstrap(root: Path) -> None:
    if shutil.which("mmdebstrap") is None:
        return
    root.parent.mkdir(parents=True, exist_ok=True)
    fresh = root.with_suffix(".new.tar")
    command = [
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        "--include=python3-minimal",
        machine.codename(),  # its keys are here
        str(fresh),
    ]
    if subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0:
        fresh.rename(root)
    else:  # no package mirror
        fresh.unlink(missing_ok=True)


def _without_devices(root: Path, path: Path) -> Path:
    """An engine may refuse device nodes, and nobody ships a package index."""
    with tarfile.open(root) as source, tarfile.open(path, "w") as target:
        for member in source:
            if not member.name.removeprefix("./").startswith(_LEFT_OUT):
                target.addfile(member, source.extractfile(member) if member.isreg() else None)
    return path


def _generated(seed: int, files: int, size: int, path: Path) -> Path:
    generator = random.Random(seed)  # noqa: S311 - the same bytes on every machine
    text = b"".join(_LINE % number for number in range(size // 2 // len(_LINE) + 1))[: size // 2]
    with tarfile.open(path, "w") as archive:
        for number in range(files):
            info = tarfile.TarInfo(f"opt/layer{seed}/folder{number // 100}/file{number:05}")
            data = generator.randbytes(size - len(text)) + text
            info.size, info.mtime = len(data), _DATE
            archive.addfile(info, io.BytesIO(data))
    return path


def archive(layers: list[Path], path: Path, name: str = LARGE) -> Path:
    """Put ``layers`` into the archive of an image ``name`` at ``path``, and remove them."""
    digests = []
    for layer in layers:
        with layer.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    document = _document(digests)
    config = json.dumps(document).encode()
    image = hashlib.sha256(config).hexdigest()
    names = [f"{digest}/layer.tar" for digest in digests]
    manifest = [{"Config": f"{image}.json", "RepoTags": [name], "Layers": names}]
    with tarfile.open(path, "w") as tar:
        for place, layer in zip(names, layers, strict=True):
            tar.add(layer, place)
            layer.unlink()
        _add(tar, f"{image}.json", config)
        _add(tar, "manifest.json", json.dumps(manifest).encode())
    return path
