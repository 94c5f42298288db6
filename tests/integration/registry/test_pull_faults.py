"""Pull and push against a registry that fails in every way: whole or absent, and the next try goes on."""

import asyncio
import json
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fault_registry import LAYER, LIST, MANIFEST, Asked, FaultRegistry, Reply
from support.image_archives import config, digest, docker_old, layer, tar
from support.pull_lab import PullLab, lines

from sampan.base.errors import EngineError, NotFound, NotImplementedHere, Unauthorized, Unavailable
from sampan.images.service import ImagesService
from sampan.registry.auth import Credentials
from sampan.registry.errors import BadAnswer, ConnectionFailed, Refused
from sampan.registry.settings import RegistrySettings
from sampan.wire.system import Progress

BASE, TOP = layer("etc/base", "bin/sh"), layer("etc/top")
BIG = tar([("big", random.Random(1).randbytes(3 << 20))])  # noqa: S311


@pytest.fixture
def registry() -> Iterator[FaultRegistry]:
    with FaultRegistry() as found:
        yield found


@pytest.fixture
def lab(tmp_path: Path) -> PullLab:
    return PullLab(tmp_path)


def short(text: str) -> str:
    return text[7:19]


def blob_path(path: str, blob: str) -> str:
    return f"/v2/{path}/blobs/{blob}"


def test_a_pull_says_what_docker_says(registry: FaultRegistry, lab: PullLab) -> None:
    image = registry.add_image("a/b", "1", [BASE, TOP], listed=True)
    name = f"{registry.host}/a/b:1"
    base, top = map(short, image.layers)
    said = lab.pull(name)
    assert said[:3] == ["1: Pulling from a/b", f"{base}: Pulling fs layer", f"{top}: Pulling fs layer"]
    for each in (base, top):
        own = [line for line in said if line.startswith(each)]
        assert own == [
            f"{each}: {text}"
            for text in ("Pulling fs layer", "Verifying Checksum", "Download complete", "Pull complete")
        ]
    assert said[-2:] == [f"Digest: {image.manifest}", f"Status: Downloaded newer image for {name}"]
    assert lab.images() == {image.id: ([name], [f"{registry.host}/a/b@{image.manifest}"])}
    assert [snapshot[1] for snapshot in lab.storage.snapshots.values()] == [
        ["etc/base", "bin/sh"],
        ["etc/top"],
    ]
    assert (lab.partials(), lab.leftovers()) == ({}, [])
    before = len(registry.seen("GET", "/blobs/"))
    assert lab.pull(name) == [
        "1: Pulling from a/b",
        f"Digest: {image.manifest}",
        f"Status: Image is up to date for {name}",
    ]
    assert len(registry.seen("GET", "/blobs/")) == before


def test_only_what_is_new_is_fetched(registry: FaultRegistry, lab: PullLab) -> None:
    registry.add_image("a/b", "1", [BASE])
    image = registry.add_image("a/b", "2", [BASE, TOP])
    lab.pull(f"{registry.host}/a/b:1")
    registry.asked.clear()
    said = lab.pull(f"{registry.host}/a/b:2")
    assert f"{short(image.layers[0])}: Already exists" in said
    assert {asked.target.rpartition("/")[2] for asked in registry.seen("GET", "/blobs/")} == {
        image.id,
        image.layers[1],
    }
    assert lab.storage.applied == 2


def test_by_digest_and_all_tags(registry: FaultRegistry, lab: PullLab) -> None:
    one = registry.add_image("a/b", "1", [BASE])
    two = registry.add_image("a/b", "2", [TOP])
    name = f"{registry.host}/a/b@{one.manifest}"
    said = lab.pull(name)
    assert said[0] == f"{one.manifest}: Pulling from a/b"
    assert said[-1] == f"Status: Downloaded newer image for {name}"
    assert lab.images() == {one.id: ([], [name])}
    said = lab.pull(f"{registry.host}/a/b")
    assert said[-1] == f"Status: Downloaded newer image for {registry.host}/a/b"
    assert set(lab.images()) == {one.id, two.id}


def test_the_platform(registry: FaultRegistry, lab: PullLab) -> None:
    registry.add_image("a/b", "1", [BASE], listed=True)
    single = registry.add_image("a/b", "2", [BASE])
    with pytest.raises(NotFound, match="no matching manifest for linux/arm64 in the manifest list entries"):
        lab.pull(f"{registry.host}/a/b:1", platform="linux/arm64")
    said = lab.pull(f"{registry.host}/a/b:2", platform="linux/arm64")
    assert said[-2] == (
        f"WARNING: image with reference {registry.host}/a/b:2 was found but does not match the specified "
        "platform: wanted linux/arm64, actual: linux/amd64"
    )
    assert single.id in lab.images()


@pytest.mark.parametrize("ranges", [True, False], ids=["resumed", "begun again"])
def test_a_connection_cut_at_any_byte(registry: FaultRegistry, lab: PullLab, ranges: bool) -> None:
    image = registry.add_image("a/b", "1", [TOP])
    registry.ranges = ranges
    size = image.size
    for cut in [*range(0, size, 7), size - 1]:
        registry.asked.clear()
        registry.fault("GET", blob_path("a/b", image.layers[0]), Reply(cut=cut), times=1)
        lab.pull(f"{registry.host}/a/b:1")
        assert set(lab.images()) == {image.id}
        tries = registry.seen("GET", image.layers[0])
        assert len(tries) == 2
        assert tries[1].headers.get("range", "") == (f"bytes={cut}-" if cut else "")
        lab.remove_all()
    assert (lab.blobs(), lab.partials(), lab.leftovers()) == (set(), {}, [])


def test_a_failed_pull_is_gone_on_with(registry: FaultRegistry, lab: PullLab) -> None:
    image = registry.add_image("a/b", "1", [BASE, BIG])
    path = blob_path("a/b", image.layers[1])
    registry.fault("GET", path, Reply(cut=1 << 20), times=1)
    registry.fault("GET", path, Reply(503), times=100)
    with pytest.raises(Unavailable, match="503 Service Unavailable"):
        lab.pull(f"{registry.host}/a/b:1")
    assert lab.images() == {}
    assert lab.storage.snapshots == {}
    left = lab.partials()[image.layers[1]]
    assert left == 1 << 20
    assert len(lab.slept) == 4
    assert any("Retrying in" in line for line in lines(lab.said))
    other = lab.partials().get(image.layers[0], 0)  # on a busy machine it may not have come by then
    registry._faults.clear()
    registry.asked.clear()
    lab.pull(f"{registry.host}/a/b:1")
    assert set(lab.images()) == {image.id}
    assert [asked.headers.get("range") for asked in registry.seen("GET", image.layers[1])] == [
        f"bytes={left}-"
    ]
    whole = other == len(registry.blobs[image.layers[0]])
    assert (registry.seen("GET", image.layers[0]) == []) is whole
    assert (lab.partials(), lab.leftovers()) == ({}, [])


def test_wrong_bytes_are_refused_and_forgotten(registry: FaultRegistry, lab: PullLab) -> None:
    image = registry.add_image("a/b", "1", [BASE, TOP])
    good = registry.blobs[image.layers[1]]
    registry.blobs[image.layers[1]] = good[:-1] + bytes([good[-1] ^ 1])
    with pytest.raises(BadAnswer, match=f"filesystem layer verification failed for digest {image.layers[1]}"):
        lab.pull(f"{registry.host}/a/b:1")
    assert (lab.images(), lab.storage.snapshots) == ({}, {})
    assert image.layers[1] not in lab.partials()
    registry.blobs[image.layers[1]] = good
    lab.pull(f"{registry.host}/a/b:1")
    assert set(lab.images()) == {image.id}


def test_wrong_bytes_in_the_middle_are_forgotten_at_once(registry: FaultRegistry, lab: PullLab) -> None:
    """What cannot be unpacked is not gone on with: the rest of it would never make it right."""
    image = registry.add_image("a/b", "1", [BIG])
    good = registry.blobs[image.layers[0]]
    path = blob_path("a/b", image.layers[0])
    go = threading.Event()
    registry.blobs[image.layers[0]] = good[:20] + bytes(1000) + good[1020:]

    def hang(asked: Asked) -> Reply:
        go.wait(20)
        return Reply(503)

    registry.fault("GET", path, Reply(cut=2 << 20), times=1)
    registry.fault("GET", path, hang)
    with pytest.raises(EngineError, match=r"gzip|tar"):
        lab.pull(f"{registry.host}/a/b:1")
    go.set()
    assert (lab.images(), lab.partials(), lab.leftovers()) == ({}, {}, [])
    registry._faults.clear()
    registry.blobs[image.layers[0]] = good
    lab.pull(f"{registry.host}/a/b:1")
    assert set(lab.images()) == {image.id}


@pytest.mark.parametrize("extra", [-1, 1])
def test_a_blob_of_the_wrong_size(registry: FaultRegistry, lab: PullLab, extra: int) -> None:
    image = registry.add_image("a/b", "1", [TOP])
    data = registry.blobs[image.layers[0]]
    registry.blobs[image.layers[0]] = data[:-1] if extra < 0 else data + b"x"
    with pytest.raises(BadAnswer, match=f"expected {len(data)} bytes"):
        lab.pull(f"{registry.host}/a/b:1")
    registry.fault(
        "GET",
        blob_path("a/b", image.layers[0]),
        Reply(raw=b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + registry.blobs[image.layers[0]]),
    )
    with pytest.raises((BadAnswer, ConnectionFailed), match=r"is longer than|unexpected EOF"):
        lab.pull(f"{registry.host}/a/b:1")
    assert (lab.images(), lab.storage.snapshots) == ({}, {})


@pytest.mark.parametrize(
    ("status", "body", "kind", "text"),
    [
        (401, b"", Refused, "unauthorized: authentication required"),
        (403, b'{"errors":[{"code":"DENIED","message":"no"}]}', NotFound, "pull access denied for"),
        (404, b"", NotFound, "not found: manifest unknown: manifest unknown"),
        (
            429,
            b'{"errors":[{"code":"TOOMANYREQUESTS","message":"slow"}]}',
            Unavailable,
            "toomanyrequests: slow",
        ),
        (500, b"<html>", Unavailable, "received unexpected HTTP status: 500 Internal Server Error"),
    ],
)
def test_refused_manifests(
    registry: FaultRegistry, lab: PullLab, status: int, body: bytes, kind: type[EngineError], text: str
) -> None:
    registry.fault("GET", "/v2/a/b/manifests/1", Reply(status, body=body))
    with pytest.raises(kind, match=text):
        lab.pull(f"{registry.host}/a/b:1")
    assert lab.said == []


def test_a_busy_registry_is_asked_again_when_it_says(registry: FaultRegistry, lab: PullLab) -> None:
    image = registry.add_image("a/b", "1", [TOP])
    registry.fault("GET", "/v2/a/b/manifests/1", Reply(429, {"Retry-After": "17"}), times=1)
    registry.fault("GET", "/v2/a/b/manifests/1", Reply(503), times=1)
    lab.pull(f"{registry.host}/a/b:1")
    assert set(lab.images()) == {image.id}
    assert lab.slept == [17.0, 2.0]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_another_host_is_shown_no_credentials(registry: FaultRegistry, lab: PullLab, status: int) -> None:
    image = registry.add_image("a/b", "1", [TOP])
    with FaultRegistry() as other:
        other.blobs = registry.blobs

        def guard(asked: Asked) -> Reply:
            if "authorization" in asked.headers:
                return Reply()
            return Reply(401, {"WWW-Authenticate": 'Basic realm="x"'})

        for path in ("/v2/", "/v2/a/b/manifests/1", blob_path("a/b", image.id)):
            registry.fault("GET", path, guard)
        target = f"http://{other.host}/v2/elsewhere/blobs/{image.layers[0]}"

        def send_away(asked: Asked) -> Reply:
            return Reply(status, {"Location": target}) if "authorization" in asked.headers else guard(asked)

        registry.fault("GET", blob_path("a/b", image.layers[0]), send_away)
        lab.pull(f"{registry.host}/a/b:1", credentials=Credentials("alice", "s3cret"))
        assert set(lab.images()) == {image.id}
        (asked,) = other.asked
        assert "authorization" not in asked.headers


def test_redirects_in_a_circle(registry: FaultRegistry, lab: PullLab) -> None:
    path = "/v2/a/b/manifests/1"
    registry.fault("GET", path, Reply(302, {"Location": path}))
    with pytest.raises(BadAnswer, match="stopped after 10 redirects"):
        lab.pull(f"{registry.host}/a/b:1")
    registry.fault("GET", "/v2/a/c/manifests/1", Reply(302, {"Location": "file:///etc/passwd"}))
    with pytest.raises(BadAnswer, match="unsupported protocol scheme"):
        lab.pull(f"{registry.host}/a/c:1")


@pytest.mark.parametrize(
    "raw",
    [
        b"garbage",
        b"\x15\x03\x01\x00\x02\x02\x16",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"",
    ],
    ids=["words", "tls", "short", "endless", "chunks", "nothing"],
)
def test_garbage_for_a_manifest(registry: FaultRegistry, lab: PullLab, raw: bytes) -> None:
    registry.fault("GET", "/v2/a/b/manifests/1", Reply(raw=raw))
    with pytest.raises((BadAnswer, ConnectionFailed)):
        lab.pull(f"{registry.host}/a/b:1")
    assert (lab.images(), lab.blobs()) == ({}, set())


def nested(registry: FaultRegistry) -> object:
    document: dict[str, object] = {"schemaVersion": 2, "mediaType": LIST, "manifests": []}
    found = registry.add_manifest("a/b", "", LIST, document)
    for _ in range(8):
        size = len(registry.manifests[f"a/b@{found}"][1])
        entry = {"mediaType": LIST, "digest": found, "size": size}
        document = {"schemaVersion": 2, "mediaType": LIST, "manifests": [entry]}
        found = registry.add_manifest("a/b", "", LIST, document)
    return document


def with_layers(registry: FaultRegistry, layers: list[dict[str, object]]) -> object:
    text = config([TOP])
    registry.blobs[digest(text)] = text
    kind = "application/vnd.docker.container.image.v1+json"
    described = {"mediaType": kind, "digest": digest(text), "size": len(text)}
    return {"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": layers}


SOME = {"mediaType": LAYER, "digest": digest(b"x"), "size": 1}


@pytest.mark.parametrize(
    ("kind", "make", "text"),
    [
        (MANIFEST, lambda r: b"garbage", "cannot be read"),
        (MANIFEST, lambda r: b"{}", "invalid image manifest"),
        (MANIFEST, lambda r: b'{"a":' + b"[" * 200_000, "cannot be read"),
        (MANIFEST, lambda r: b" " * (5 << 20), "answers with more than"),
        (MANIFEST, lambda r: with_layers(r, [SOME] * 501), "501 layers are more than 500"),
        (MANIFEST, lambda r: with_layers(r, [SOME] * 2), "layers length mismatch: expected 2, got 1"),
        (MANIFEST, lambda r: with_layers(r, [{**SOME, "digest": "sha256:../../x"}]), "invalid"),
        (MANIFEST, lambda r: with_layers(r, [{**SOME, "size": -1}]), "invalid image manifest"),
        (MANIFEST, lambda r: with_layers(r, [{**SOME, "mediaType": LAYER + "+encrypted"}]), "is encrypted"),
        (MANIFEST, lambda r: with_layers(r, [{**SOME, "mediaType": "text/x"}]), "text/x is no layer"),
        (LIST, nested, "nested too deeply"),
        (
            LIST,
            lambda r: {"schemaVersion": 2, "mediaType": MANIFEST, "manifests": []},
            "mediaType in manifest",
        ),
        ("application/vnd.docker.distribution.manifest.v1+prettyjws", lambda r: b"{}", "schema 1"),
    ],
)
def test_documents_that_are_refused(
    registry: FaultRegistry, lab: PullLab, kind: str, make: object, text: str
) -> None:
    registry.add_manifest("a/b", "1", kind, make(registry))  # type: ignore[operator]
    with pytest.raises(EngineError, match=text):
        lab.pull(f"{registry.host}/a/b:1")
    assert (lab.images(), lab.blobs(), lab.storage.snapshots, lab.leftovers()) == ({}, set(), {}, [])


def test_a_manifest_of_another_digest(registry: FaultRegistry, lab: PullLab) -> None:
    image = registry.add_image("a/b", "1", [TOP])
    other = registry.add_image("a/b", "2", [BASE])
    registry.manifests[f"a/b@{image.manifest}"] = registry.manifests[f"a/b@{other.manifest}"]
    with pytest.raises(BadAnswer, match="manifest verification failed for digest"):
        lab.pull(f"{registry.host}/a/b@{image.manifest}")


def test_an_artifact_is_no_image(registry: FaultRegistry, lab: PullLab) -> None:
    document = json.loads(json.dumps(with_layers(registry, [SOME])))
    document["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json"
    registry.add_manifest("a/b", "1", MANIFEST, document)
    with pytest.raises(NotImplementedHere, match="is no image but an artifact of type"):
        lab.pull(f"{registry.host}/a/b:1")


def test_a_layer_that_is_not_the_configurations(registry: FaultRegistry, lab: PullLab) -> None:
    registry.add_image("a/b", "1", [BASE], rootfs={"type": "layers", "diff_ids": [digest(b"other")]})
    with pytest.raises(EngineError, match="invalid diffID for layer"):
        lab.pull(f"{registry.host}/a/b:1")
    assert (lab.images(), lab.storage.snapshots, lab.leftovers()) == ({}, {}, [])


def test_two_pulls_fetch_a_layer_once(registry: FaultRegistry, lab: PullLab) -> None:
    one = registry.add_image("a/b", "1", [BIG])
    two = registry.add_image("a/c", "1", [BIG, TOP])
    go = threading.Event()

    def slow(asked: Asked) -> Reply:
        assert go.wait(20)
        return Reply()

    registry.fault("GET", blob_path("a/b", one.layers[0]), slow)
    registry.fault("GET", blob_path("a/c", one.layers[0]), slow)

    async def both(images: ImagesService) -> None:
        saw = asyncio.Event()
        said: list[Progress] = []

        def second(line: Progress) -> None:
            said.append(line)
            if line.status == "Download complete":
                saw.set()

        async with asyncio.TaskGroup() as group:
            group.create_task(images.pull(f"{registry.host}/a/b:1", lambda line: None))
            group.create_task(images.pull(f"{registry.host}/a/c:1", second))
            await saw.wait()  # the small layer of the second: both have joined the big one
            go.set()

    lab.run(both)
    assert set(lab.images()) == {one.id, two.id}
    assert len(registry.seen("GET", f"/blobs/{one.layers[0]}")) == 1
    assert lab.storage.applied == 2


def test_a_pull_that_is_stopped_leaves_only_what_came(registry: FaultRegistry, lab: PullLab) -> None:
    image = registry.add_image("a/b", "1", [BIG])
    go = threading.Event()
    path = blob_path("a/b", image.layers[0])
    registry.fault("GET", path, Reply(cut=1 << 20), times=1)

    def hang(asked: Asked) -> Reply:
        go.wait(20)
        return Reply(503)

    registry.fault("GET", path, hang)

    async def stopped(images: ImagesService) -> None:
        asked_again = asyncio.Event()

        def watch(line: Progress) -> None:
            if line.status.startswith("Retrying"):
                asked_again.set()

        task = asyncio.get_running_loop().create_task(images.pull(f"{registry.host}/a/b:1", watch))
        await asked_again.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    lab.run(stopped)
    go.set()
    assert (lab.images(), lab.storage.snapshots, lab.leftovers()) == ({}, {}, [])
    assert lab.partials() == {image.layers[0]: 1 << 20}
    registry._faults.clear()
    lab.pull(f"{registry.host}/a/b:1")
    assert set(lab.images()) == {image.id}


def test_a_mirror_is_asked_first_and_shown_nothing(registry: FaultRegistry, tmp_path: Path) -> None:
    image = registry.add_image("library/alpine", "latest", [TOP])
    with FaultRegistry() as broken:
        broken.fault("GET", "/v2/library/alpine/manifests/latest", Reply(404))
        settings = RegistrySettings.parse(mirrors=[f"http://{broken.host}", f"http://{registry.host}"])
        lab = PullLab(tmp_path, settings)
        said = lab.pull("alpine:latest", credentials=Credentials("alice", "s3cret"))
        assert said[0] == "latest: Pulling from library/alpine"
        assert lab.images() == {image.id: (["alpine:latest"], [f"alpine@{image.manifest}"])}
        asked = [*broken.asked, *registry.asked]
        assert not any("authorization" in each.headers for each in asked)


# --- push


def two_layers(lab: PullLab, *names: str) -> str:
    text = config([BASE, BIG])
    lab.load(docker_old((text, [BASE, BIG], list(names))))
    return digest(text)


def test_a_push_says_what_docker_says(registry: FaultRegistry, lab: PullLab) -> None:
    image = two_layers(lab, f"{registry.host}/a/b:1", f"{registry.host}/a/c:1")
    base, big = short(digest(BASE)), short(digest(BIG))
    said = lab.push(f"{registry.host}/a/b", "1")
    kind, data = registry.manifests["a/b@1"]
    assert said[:3] == [
        f"The push refers to repository [{registry.host}/a/b]",
        f"{big}: Preparing",
        f"{base}: Preparing",
    ]
    assert sorted(said[3:5]) == sorted([f"{base}: Pushed", f"{big}: Pushed"])
    assert said[5:] == [f"1: digest: {digest(data)} size: {len(data)}"]
    assert lab.said[-1].aux == {"Tag": "1", "Digest": digest(data), "Size": len(data)}
    assert kind == MANIFEST
    assert lab.images()[image][1] == [f"{registry.host}/a/b@{digest(data)}"]
    assert f"{base}: Layer already exists" in lab.push(f"{registry.host}/a/b", "1")
    other = PullLab(lab.root / "other")
    other.root.mkdir()
    other.pull(f"{registry.host}/a/b:1")
    assert set(other.images()) == {image}
    assert lab.leftovers() == []


def test_what_cannot_be_pushed(registry: FaultRegistry, lab: PullLab) -> None:
    with pytest.raises(NotFound, match="An image does not exist locally with the tag: "):
        lab.push(f"{registry.host}/a/b", "1")
    two_layers(lab, f"{registry.host}/a/b:1")
    with pytest.raises(NotFound, match=f"tag does not exist: {registry.host}/a/b:2"):
        lab.push(f"{registry.host}/a/b", "2")
    registry.fault("GET", "/v2/", Reply(401, {"WWW-Authenticate": 'Basic realm="x"'}))
    with pytest.raises(Unauthorized) as caught:
        lab.push(f"{registry.host}/a/b", "1")
    assert str(caught.value) == "no basic auth credentials"


def test_an_upload_goes_on_after_a_break(registry: FaultRegistry, lab: PullLab) -> None:
    image = two_layers(lab, f"{registry.host}/a/b:1")
    cut = 1 << 20

    def take_some(asked: Asked) -> Reply:
        registry.uploads[asked.target] += asked.body[:cut]
        return Reply(raw=b"")

    for number in range(4):
        registry.fault("PATCH", f"/v2/a/b/blobs/uploads/{number}", take_some, times=1)
    lab.push(f"{registry.host}/a/b", "1")
    ranges = [asked.headers["content-range"] for asked in registry.seen("PATCH", "/uploads/")]
    assert [text.partition("-")[0] for text in ranges] == ["0", str(cut)]
    other = PullLab(lab.root / "other")
    other.root.mkdir()
    other.pull(f"{registry.host}/a/b:1")
    assert set(other.images()) == {image}


def test_a_registry_that_takes_no_large_requests(registry: FaultRegistry, lab: PullLab) -> None:
    huge = tar([("huge", random.Random(2).randbytes(20 << 20))])  # noqa: S311
    lab.load(docker_old((config([huge]), [huge], [f"{registry.host}/a/b:1"])))

    def limited(asked: Asked) -> Reply:
        return Reply(413) if len(asked.body) > 8 << 20 else Reply()

    for number in range(4):
        registry.fault("PATCH", f"/v2/a/b/blobs/uploads/{number}", limited)
    lab.push(f"{registry.host}/a/b", "1")
    assert len(registry.seen("PATCH", "/uploads/")) == 4


def test_a_busy_registry_gets_it_later(registry: FaultRegistry, lab: PullLab) -> None:
    two_layers(lab, f"{registry.host}/a/b:1")
    registry.fault("PUT", "/v2/a/b/blobs/uploads/0", Reply(503), times=1)
    registry.fault("PUT", "/v2/a/b/manifests/1", Reply(503), times=1)
    lab.push(f"{registry.host}/a/b", "1")
    assert "a/b@1" in registry.manifests
    assert len(lab.slept) == 2


def test_a_push_that_is_denied(registry: FaultRegistry, lab: PullLab) -> None:
    two_layers(lab, f"{registry.host}/a/b:1")
    body = b'{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}'
    registry.fault("POST", "/v2/a/b/blobs/uploads/", Reply(403, body=body))
    with pytest.raises(EngineError, match=r"^denied: requested access to the resource is denied$"):
        lab.push(f"{registry.host}/a/b", "1")
    assert lab.leftovers() == []
