"""Small image archives of every shape, and a storage that only remembers what was applied to it."""

import hashlib
import io
import json
import tarfile
from collections.abc import AsyncIterator, Generator, Iterable
from dataclasses import dataclass
from typing import Any

from sampan.base.errors import Conflict
from sampan.images.layers import Readable, Snapshots

CREATED = "2024-03-01T12:00:00.5Z"


@dataclass(frozen=True, slots=True)
class FakeApplied:
    size: int

    @property
    def disk(self) -> int:
        return self.size


class FakeStorage(Snapshots):
    """Committed snapshots by chainID, with the names in their layers; ``bases`` are in use elsewhere."""

    name = "fake"

    def __init__(self) -> None:
        self.snapshots: dict[str, tuple[str | None, list[str]]] = {}
        self.sizes: dict[str, int] = {}
        self.bases: set[str] = set()
        self.applied = 0
        self.flushed = 0

    def exists(self, key: str) -> bool:
        return key in self.snapshots

    def apply(self, chain_id: str, parent: str | None, tar: Readable) -> FakeApplied:
        assert parent is None or parent in self.snapshots
        data = b"".join(iter(lambda: tar.read(65536), b""))
        names, size = [], 0
        if data:
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                for member in archive:
                    names.append(member.name)
                    size += member.size
        self.applied += 1
        self.snapshots[chain_id] = (parent, names)
        self.sizes[chain_id] = size
        return FakeApplied(size)

    def rebuild(self, chain_id: str, parent: str | None, tar: Readable) -> FakeApplied:
        return self.apply(chain_id, parent, tar)

    def flush(self) -> None:
        self.flushed += 1

    async def discard(self, key: str) -> None:
        self.snapshots.pop(key, None)

    async def remove(self, key: str) -> None:
        if key in self.bases or any(parent == key for parent, _ in self.snapshots.values()):
            raise Conflict(f"snapshot {key} has children")
        self.snapshots.pop(key, None)

    async def usage(self, key: str) -> FakeApplied:
        return FakeApplied(self.sizes[key])

    def measure(self, keys: Iterable[str]) -> dict[str, FakeApplied]:
        return {key: FakeApplied(self.sizes[key]) for key in keys if key in self.snapshots}

    def graph_data(self, key: str) -> dict[str, str]:
        return {"LowerDir": key}

    def diff(self, key: str, parent: str | None) -> Generator[bytes, None, None]:
        assert self.snapshots[key][0] == parent
        yield layer(*self.snapshots[key][1])


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def tar(files: Iterable[tuple[str, bytes | str]], **options: Any) -> bytes:
    """Return a tar; a text instead of bytes is the target of a symbolic link."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", **options) as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def layer(*names: str) -> bytes:
    return tar((name, name.encode()) for name in names)


def config(layers: Iterable[bytes], **extra: Any) -> bytes:
    """Return a configuration of the uncompressed ``layers``."""
    diff_ids = [digest(data) for data in layers]
    document = {
        "architecture": "amd64",
        "os": "linux",
        "created": CREATED,
        "config": {"Cmd": ["sh"], "Env": ["A=b"], "Labels": {"made": "here"}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created": CREATED, "created_by": f"step {n}"} for n in range(len(diff_ids))],
        **extra,
    }
    return json.dumps(document).encode()


def docker_old(*images: tuple[bytes, list[bytes], list[str]]) -> bytes:
    """Return an archive of Docker before 25: config, uncompressed layers and tags of each image."""
    files: list[tuple[str, bytes | str]] = []
    items = []
    for text, layers, tags in images:
        paths = []
        for data in layers:
            path = f"{digest(data + b'id')[7:]}/layer.tar"
            files.append((path, data))
            paths.append(path)
        name = f"{digest(text)[7:]}.json"
        files.append((name, text))
        items.append({"Config": name, "RepoTags": tags, "Layers": paths})
    return tar([*files, ("manifest.json", json.dumps(items).encode())])


def blob(data: bytes) -> tuple[str, bytes]:
    return "blobs/sha256/" + digest(data)[7:], data


def described(media_type: str, data: bytes, **extra: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(data), "size": len(data), **extra}


def oci_manifest(text: bytes, layers: Iterable[bytes], layer_type: str = "tar") -> bytes:
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": described("application/vnd.oci.image.config.v1+json", text),
            "layers": [
                described(f"application/vnd.oci.image.layer.v1.{layer_type}", data) for data in layers
            ],
        }
    ).encode()


def oci_index(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"schemaVersion": 2, "manifests": list(entries)}).encode()


def oci_layout(index: bytes, *blobs: bytes) -> bytes:
    return tar(
        [
            ("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'),
            ("index.json", index),
            *(blob(data) for data in blobs),
        ]
    )


async def stream(data: bytes, step: int = 1 << 16) -> AsyncIterator[bytes]:
    for at in range(0, len(data), step):
        yield data[at : at + step]
