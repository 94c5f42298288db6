"""Layers of every kind that registries hold: packed in all ways, foreign, empty, none at all, and bombs."""

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard
from support.fault_registry import CONFIG, LAYER, MANIFEST, FaultRegistry, Reply
from support.image_archives import config, described, digest, docker_old, layer, tar
from support.pull_lab import PullLab

from sampan.base.errors import EngineError
from sampan.images.compression import Limits
from sampan.images.errors import TooLarge

PLAIN = layer("etc/one", "etc/two")
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


@pytest.fixture
def registry() -> Iterator[FaultRegistry]:
    with FaultRegistry() as found:
        yield found


@pytest.fixture
def lab(tmp_path: Path) -> PullLab:
    return PullLab(tmp_path)


def add(registry: FaultRegistry, plain: list[bytes], *layers: dict[str, object]) -> str:
    """Put in the image ``a/b:1`` of such descriptors; return its ID."""
    text = config(plain)
    registry.blobs[digest(text)] = text
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": described(CONFIG, text),
        "layers": list(layers),
    }
    registry.add_manifest("a/b", "1", MANIFEST, document)
    return digest(text)


def estargz(data: bytes) -> bytes:
    """One gzip member for each part, and a last one with nothing but a table's place, as eStargz has it."""
    parts = [data[at : at + 700] for at in range(0, len(data), 700)]
    return b"".join(gzip.compress(part, mtime=0) for part in [*parts, b""])


def zstd_chunked(data: bytes) -> bytes:
    """Frames, and skippable ones with a table, as zstd:chunked has it."""
    frames = [zstandard.compress(data[at : at + 700]) for at in range(0, len(data), 700)]
    table = b"a table of contents"
    skippable = b"\x50\x2a\x4d\x18" + len(table).to_bytes(4, "little") + table
    return b"".join([*frames, skippable, skippable])


@pytest.mark.parametrize(
    ("pack", "kind"),
    [
        (lambda data: data, OCI_LAYER),
        (lambda data: data, LAYER),  # what it is shows in its bytes
        (lambda data: gzip.compress(data), LAYER),
        (estargz, LAYER),
        (estargz, OCI_LAYER + "+gzip"),
        (zstandard.compress, OCI_LAYER + "+zstd"),
        (zstd_chunked, OCI_LAYER + "+zstd"),
    ],
    ids=["plain", "plain as gzip", "gzip", "estargz", "estargz oci", "zstd", "zstd chunked"],
)
def test_packed_in_every_way(
    registry: FaultRegistry, lab: PullLab, pack: Callable[[bytes], bytes], kind: str
) -> None:
    data = pack(PLAIN)
    registry.blobs[digest(data)] = data
    image = add(registry, [PLAIN], described(kind, data, annotations={"io.github.x": "y"}))
    lab.pull(f"{registry.host}/a/b:1")
    assert set(lab.images()) == {image}
    assert [names for _, names in lab.storage.snapshots.values()] == [["etc/one", "etc/two"]]
    lab.run(lambda images: images.tag(f"{registry.host}/a/b:1", f"{registry.host}/a/c", "1"))
    before = registry.manifests["a/b@1"]
    lab.push(f"{registry.host}/a/c", "1")  # byte for byte
    assert registry.manifests["a/c@1"] == before


def test_a_foreign_layer_comes_from_elsewhere(registry: FaultRegistry, lab: PullLab) -> None:
    data = gzip.compress(PLAIN, mtime=0)
    with FaultRegistry() as elsewhere:
        elsewhere.blobs[digest(data)] = data
        url = f"http://{elsewhere.host}/v2/x/blobs/{digest(data)}"
        image = add(registry, [PLAIN], described(FOREIGN, data, urls=[url]))
        lab.pull(f"{registry.host}/a/b:1")
        assert set(lab.images()) == {image}
        lab.remove_all()
        elsewhere.blobs[digest(data)] = data[:-1] + b"x"
        with pytest.raises(EngineError, match="verification failed"):
            lab.pull(f"{registry.host}/a/b:1")
    assert lab.images() == {}


def test_empty_layers(registry: FaultRegistry, lab: PullLab) -> None:
    nothing = tar([])
    data = gzip.compress(nothing, mtime=0)
    registry.blobs[digest(data)] = data
    two = [described(LAYER, data), described(LAYER, data)]
    image = add(registry, [nothing, nothing], *two)
    lab.pull(f"{registry.host}/a/b:1")
    assert set(lab.images()) == {image}
    assert len(registry.seen("GET", digest(data))) == 1


def test_no_layer_at_all(registry: FaultRegistry, lab: PullLab) -> None:
    text = config([])
    lab.load(docker_old((text, [], [f"{registry.host}/a/b:1"])))
    lab.push(f"{registry.host}/a/b", "1")
    kind, data = registry.manifests["a/b@1"]
    assert (kind, json.loads(data)["layers"]) == (MANIFEST, [])
    lab.remove_all()
    lab.pull(f"{registry.host}/a/b:1")
    assert set(lab.images()) == {digest(text)}


@pytest.mark.parametrize("pack", [lambda data: gzip.compress(data), zstandard.compress], ids=["gzip", "zstd"])
def test_a_bomb_is_defused(registry: FaultRegistry, lab: PullLab, pack: Callable[[bytes], bytes]) -> None:
    bomb = tar([("zeros", bytes(32 << 20))])
    data = pack(bomb)
    registry.blobs[digest(data)] = data
    add(registry, [bomb], described(LAYER, data))
    lab.limits = Limits(floor=1 << 20, ratio=250)
    with pytest.raises(TooLarge, match="over 250 times their size"):
        lab.pull(f"{registry.host}/a/b:1")
    assert (lab.images(), lab.storage.snapshots, lab.leftovers()) == ({}, {}, [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{}", "no RootFS key"),
        (b"garbage", "invalid image JSON|invalid image config"),
        (b'{"a":' + b"[" * 200_000, "invalid"),
        (b'{"rootfs":{"type":"layers","diff_ids":["../../x"]}}', "invalid"),
        (config([PLAIN] * 501), "501 layers are more than 500"),
        (config([PLAIN], os="windows"), 'operating system "windows" cannot be used'),
        (b'{"x":"' + b"y" * (5 << 20) + b'"}', "is too large|more than"),
    ],
    ids=["empty", "words", "deep", "path", "many", "system", "large"],
)
def test_configurations_that_are_refused(
    registry: FaultRegistry, lab: PullLab, text: bytes, message: str
) -> None:
    data = gzip.compress(PLAIN, mtime=0)
    for blob in (data, text):
        registry.blobs[digest(blob)] = blob
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": described(CONFIG, text),
        "layers": [described(LAYER, data)],
    }
    registry.add_manifest("a/b", "1", MANIFEST, document)
    with pytest.raises(EngineError, match=message):
        lab.pull(f"{registry.host}/a/b:1")
    assert (lab.images(), lab.blobs(), lab.storage.snapshots, lab.leftovers()) == ({}, set(), {}, [])


def test_a_token_that_ends_in_the_middle_is_renewed(registry: FaultRegistry, lab: PullLab) -> None:
    image = registry.add_image("a/b", "1", [PLAIN, layer("x")])
    given: list[str] = []
    realm = f"http://{registry.host}/token"

    def token(asked: object) -> Reply:
        given.append(f"token{len(given)}")
        return Reply(200, body=json.dumps({"token": given[-1], "expires_in": 300}).encode())

    def guard(asked: object) -> Reply:
        shown = asked.headers.get("authorization", "")  # type: ignore[attr-defined]
        if given and shown == f"Bearer {given[-1]}":
            return Reply()
        challenge = f'Bearer realm="{realm}",service="s",scope="repository:a/b:pull"'
        return Reply(401, {"WWW-Authenticate": challenge})

    def ended(asked: object) -> Reply:
        given.append("another")  # what was given is worth nothing any more
        return guard(asked)

    registry.fault("GET", "/token", token)
    registry.fault("GET", f"/v2/a/b/blobs/{image.layers[1]}", ended, times=1)
    for path in (
        "/v2/",
        "/v2/a/b/manifests/1",
        *(f"/v2/a/b/blobs/{each}" for each in (image.id, *image.layers)),
    ):
        registry.fault("GET", path, guard)
    lab.pull(f"{registry.host}/a/b:1")
    assert set(lab.images()) == {image.id}
    assert len(registry.seen("GET", "/token")) == 2
