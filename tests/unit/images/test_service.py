"""The image service over a storage that only remembers: load of every shape, names, lists, removal."""

import asyncio
import bz2
import gzip
import io
import json
import lzma
import tarfile
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import zstandard
from msgspec import UNSET
from support.image_archives import (
    FakeStorage,
    config,
    described,
    digest,
    docker_old,
    layer,
    oci_index,
    oci_layout,
    oci_manifest,
    stream,
    tar,
)

from sampan.base import faults
from sampan.base.errors import Conflict, EngineError, HostFailure, InvalidParameter, NotFound
from sampan.base.events import EventBus
from sampan.base.faults import InjectedFault
from sampan.base.state import StateDB
from sampan.images.errors import ImageNotFound, InvalidArchive, WrongDigest
from sampan.images.making import Commit
from sampan.images.service import ImagesService
from sampan.oci.config import chain_id
from sampan.wire.containers import ContainerConfig
from sampan.wire.system import Progress

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
BASE, TOP = layer("etc/base", "bin/sh"), layer("etc/top")
TWO = config([BASE, TOP])
ID = digest(TWO)
SHORT = ID[7:19]
CHAIN = chain_id([digest(BASE), digest(TOP)])
ARCHIVE = docker_old((TWO, [BASE, TOP], ["alpine:3", "localhost:5000/a/b:x"]))


class Engine:
    """A service with its surroundings."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.storage = FakeStorage()
        self.events = EventBus()
        self.state = StateDB(root / "state.db")
        self.images = ImagesService(root, self.storage, self.state, self.events)
        self.lines: list[Progress] = []

    def reopen(self) -> None:
        self.state.close()
        self.state = StateDB(self.root / "state.db")
        self.images = ImagesService(self.root, self.storage, self.state, self.events)

    def load(self, data: bytes, **options: Any) -> str:
        self.lines.clear()
        asyncio.run(self.images.load(stream(data), self.lines.append, **options))
        return "".join(line.stream for line in self.lines)

    def remove(self, name: str, *, force: bool = False, prune: bool = True) -> list[tuple[str, str]]:
        steps = asyncio.run(self.images.remove(name, force=force, prune=prune))
        return [("untagged", step.untagged) if step.untagged else ("deleted", step.deleted) for step in steps]

    def tag(self, source: str, repo: str, tag: str = "") -> None:
        asyncio.run(self.images.tag(source, repo, tag))

    def blobs(self) -> set[str]:
        folder = self.root / "content" / "blobs" / "sha256"
        return {f"sha256:{path.name}" for path in folder.iterdir()}

    def nothing_left(self) -> bool:
        temporary = list((self.root / "tmp").iterdir())
        return not temporary and not self.blobs() and not self.storage.snapshots

    def actions(self) -> list[tuple[str, str]]:
        return [(event.action, event.attributes["name"]) for event in self.events.history()]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    found = Engine(tmp_path)
    yield found
    found.state.close()


# --- load ---


def test_load_old_docker_archive(engine: Engine) -> None:
    assert engine.load(ARCHIVE) == "Loaded image: alpine:3\nLoaded image: localhost:5000/a/b:x\n"
    image = engine.images.find("alpine:3")
    assert (image.id, image.architecture, image.os, image.config.cmd) == (ID, "amd64", "linux", ["sh"])
    assert image.size == len(b"etc/basebin/shetc/top")
    assert engine.storage.snapshots[image.chain_id or ""] == (digest(BASE), ["etc/top"])
    assert engine.blobs() == {ID, digest(BASE), digest(TOP)}
    assert engine.actions() == [("load", ID)]
    assert not list((engine.root / "tmp").iterdir())
    assert engine.images.chains_in_use() == set(engine.storage.snapshots)


def test_progress_of_layers(engine: Engine) -> None:
    engine.load(ARCHIVE)
    shown = [line for line in engine.lines if line.status]
    assert [(line.status, line.id) for line in shown] == [
        ("Loading layer", digest(BASE)[7:19]), ("Loading layer", digest(TOP)[7:19]),
    ]  # fmt: skip
    assert shown[0].progress_detail == {"current": len(BASE), "total": len(BASE)}
    assert shown[0].progress.startswith("[" + "=" * 50 + ">] ")


def test_quiet_load_and_load_again(engine: Engine) -> None:
    engine.load(ARCHIVE, quiet=True)
    assert not [line for line in engine.lines if line.status]
    engine.load(ARCHIVE)
    assert not [line for line in engine.lines if line.status]  # the layers were there
    assert engine.storage.applied == 2


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstandard.compress])
def test_packed_archives(engine: Engine, pack: Callable[[bytes], bytes]) -> None:
    engine.load(pack(ARCHIVE))
    assert engine.images.find("alpine:3").id == ID


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstandard.compress])
def test_packed_layers(engine: Engine, pack: Callable[[bytes], bytes]) -> None:
    base, top = pack(BASE), pack(TOP)  # once each: gzip writes the time down
    data = docker_old((TWO, [base, top], []))
    assert engine.load(data) == f"Loaded image ID: {ID}\n"
    assert engine.blobs() == {ID, digest(base), digest(top)}
    assert engine.images.find(ID).size == len(b"etc/basebin/shetc/top")


def test_image_without_layers(engine: Engine) -> None:
    empty = config([])
    engine.load(docker_old((empty, [], ["scratch:x"])))
    image = engine.images.find("scratch:x")
    assert (image.chain_id, image.size) == (None, 0)
    assert engine.images.inspect("scratch:x").root_fs.type == "layers"


def test_name_moves_to_the_loaded_image(engine: Engine) -> None:
    engine.load(ARCHIVE)
    other = config([BASE], author="someone else")
    assert engine.load(docker_old((other, [BASE], ["alpine:3"]))) == (
        f"The image alpine:3 already exists, renaming the old one with ID {ID} to empty string\n"
        "Loaded image: alpine:3\n"
    )
    assert engine.images.find("alpine:3").id == digest(other)
    assert engine.images.inspect(ID).repo_tags == ["localhost:5000/a/b:x"]


def test_symlinked_layers(engine: Engine) -> None:
    items = [{"Config": "c.json", "RepoTags": None, "Layers": ["a/layer.tar", "b/layer.tar"]}]
    text = config([BASE, BASE])
    data = tar(
        [
            ("a/layer.tar", BASE), ("b/layer.tar", "../a/layer.tar"), ("c.json", text),
            ("manifest.json", json.dumps(items).encode()),
        ]
    )  # fmt: skip
    engine.load(data)
    assert len(engine.storage.snapshots) == 2
    assert engine.blobs() == {digest(text), digest(BASE)}


def oci_image(*layers: bytes, **extra: Any) -> tuple[bytes, bytes]:
    text = config(layers, **extra)
    return text, oci_manifest(text, layers)


def test_oci_layout(engine: Engine) -> None:
    text, manifest = oci_image(BASE)
    index = oci_index(
        described(MANIFEST, manifest, annotations={"org.opencontainers.image.ref.name": "some/where:1"})
    )
    assert engine.load(oci_layout(index, manifest, text, BASE)) == "Loaded image: some/where:1\n"
    assert engine.blobs() == {digest(text), digest(manifest), digest(BASE)}
    found = engine.images.inspect("some/where:1")
    assert found.id == digest(text)
    assert found.descriptor
    assert found.descriptor.digest == digest(manifest)


def test_oci_layout_for_several_platforms(engine: Engine) -> None:
    mine = oci_image(BASE)
    arm = oci_image(TOP, architecture="arm64")
    nested = oci_index(
        described(MANIFEST, arm[1], platform={"architecture": "arm64", "os": "linux"}),
        described(MANIFEST, mine[1], platform={"architecture": "amd64", "os": "linux"}),
    )
    name = {"io.containerd.image.name": "docker.io/library/multi:latest"}
    index = oci_index(described(INDEX, nested, annotations=name))
    data = oci_layout(index, nested, *mine, *arm, BASE, TOP)
    assert engine.load(data, platform="linux/amd64") == "Loaded image: multi:latest\n"
    assert engine.images.find("multi").id == digest(mine[0])
    assert engine.blobs() == {digest(part) for part in (nested, *mine, *arm, BASE, TOP)}
    assert set(engine.storage.snapshots) == {digest(BASE)}
    engine.load(data, platform="linux/arm64")
    assert engine.images.find("multi").architecture == "arm64"
    with pytest.raises(NotFound, match="no images providing the requested platform linux/s390x found"):
        engine.load(data, platform="linux/s390x")
    # the blobs of one platform only: the others are skipped
    only = oci_layout(index, nested, *mine, BASE)
    engine.remove("multi", force=True)
    engine.remove(digest(mine[0]))
    assert engine.nothing_left()
    assert engine.load(only) == "Loaded image: multi:latest\n"


def test_what_there_is_for_each_platform(engine: Engine) -> None:
    mine = oci_image(BASE)
    arm = oci_image(TOP, architecture="arm64")
    about = {"vnd.docker.reference.type": "attestation", "vnd.docker.reference.digest": digest(mine[1])}
    inner = oci_index(
        described(MANIFEST, arm[1], platform={"architecture": "arm64", "os": "linux", "variant": "v8"}),
        described(MANIFEST, mine[1], platform={"architecture": "amd64", "os": "linux"}),
        described(MANIFEST, b"{}", annotations=about),
    )
    name = {"io.containerd.image.name": "docker.io/library/multi:latest"}
    index = oci_index(described(INDEX, inner, annotations=name))
    engine.load(oci_layout(index, inner, *mine, arm[1], BASE))  # of the other one only the manifest
    engine.images.users = Containers(digest(mine[0]), a=True)
    (listed,) = engine.images.list(all=False, filters={}, manifests=True)
    inspected = engine.images.inspect("multi", manifests=True)
    assert listed.manifests == inspected.manifests
    assert listed.manifests is not UNSET
    other, ours, attestation = listed.manifests
    assert (other.id, other.kind, other.available) == (digest(arm[1]), "image", False)
    assert (other.size.content, other.size.total) == (len(arm[1]), len(arm[1]))
    content = len(mine[0]) + len(mine[1]) + len(BASE)
    assert (ours.available, ours.size.content, ours.size.total) == (True, content, content + listed.size)
    assert ours.image_data is not UNSET
    assert (ours.image_data.platform.architecture, ours.image_data.containers) == ("amd64", ["a" * 16])
    assert ours.image_data.size.unpacked == listed.size
    assert attestation.kind == "attestation"
    assert attestation.attestation_data is not UNSET
    assert attestation.attestation_data.for_ == digest(mine[1])
    engine.load(ARCHIVE)
    assert engine.images.inspect("alpine:3", manifests=True).manifests == []
    assert engine.images.inspect("alpine:3").manifests is UNSET


def test_docker_archive_of_another_platform(engine: Engine) -> None:
    with pytest.raises(NotFound, match="no images providing the requested platform linux/arm64 found"):
        engine.load(ARCHIVE, platform="linux/arm64")
    assert engine.nothing_left()


def test_docker_25_archive_keeps_its_manifest(engine: Engine) -> None:
    text, manifest = oci_image(BASE)
    index = oci_index(
        described(MANIFEST, manifest, annotations={"org.opencontainers.image.ref.name": "latest"})
    )
    path = "blobs/sha256/" + digest(text)[7:]
    items = [{"Config": path, "RepoTags": ["new:latest"], "Layers": ["blobs/sha256/" + digest(BASE)[7:]]}]
    files = [("manifest.json", json.dumps(items).encode()), ("index.json", index)]
    data = tar([*files, *((f"blobs/sha256/{digest(part)[7:]}", part) for part in (text, manifest, BASE))])
    engine.load(data)
    assert engine.blobs() == {digest(text), digest(manifest), digest(BASE)}


def test_v1_archive(engine: Engine) -> None:
    old, new = "a" * 64, "b" * 64
    documents = {
        old: {"id": old, "created": "2013-06-13T14:03:50-07:00", "os": "linux", "architecture": "amd64"},
        new: {
            "id": new, "parent": old, "created": "2014-01-01T00:00:00Z", "config": {"Cmd": ["sh"]}, "Size": 5,
            "container_config": {"Cmd": ["/bin/sh", "-c", "true"]}, "os": "linux", "architecture": "amd64",
        },
    }  # fmt: skip
    files: list[tuple[str, bytes | str]] = []
    for name, content in ((old, BASE), (new, TOP)):
        files += [(f"{name}/json", json.dumps(documents[name]).encode()), (f"{name}/layer.tar", content)]
    files.append(("repositories", json.dumps({"old/one": {"1": new}}).encode()))
    said = engine.load(tar(files))
    assert "Loaded image: old/one:1\n" in said
    found = engine.images.inspect("old/one:1")
    assert found.parent
    assert found.root_fs.layers == [digest(BASE), digest(TOP)]
    assert [entry.created_by for entry in engine.images.history("old/one:1")] == ["/bin/sh -c true", ""]
    assert engine.images.history("old/one:1")[1].id == found.parent
    with pytest.raises(Conflict, match="image has dependent child images"):
        engine.remove(found.parent)
    assert [step for step, _ in engine.remove("old/one:1")] == [
        "untagged",
        "deleted",
        "deleted",
        "deleted",
        "deleted",
    ]
    assert engine.nothing_left()


SWAPPED = f'invalid diffID for layer: expected "{digest(BASE)}", got "{digest(TOP)}"'
WITHOUT_BASE = oci_layout(
    oci_index(described(MANIFEST, oci_manifest(TWO, [BASE, TOP]))), oci_manifest(TWO, [BASE, TOP]), TWO, TOP
)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "invalid archive: does not contain a manifest.json"),
        (bytes(10240), "invalid archive: does not contain a manifest.json"),
        (b"x" * 2000, "invalid tar header"),
        (ARCHIVE[:3000], "unexpected end of the archive"),
        (gzip.compress(ARCHIVE)[:-20], "image archive: gzip: unexpected EOF"),
        (tar([("manifest.json", b"null")]), "invalid manifest, manifest cannot be null"),
        (tar([("manifest.json", b"{")]), "invalid archive: failed to decode manifest.json"),
        (tar([("manifest.json", b'[{"Config":"../../etc/passwd"}]')]), "'../../etc/passwd' named in"),
        (docker_old((TWO, [BASE], ["a:1"])), "layers length mismatch: expected 1, got 2"),
        (docker_old((TWO, [TOP, BASE], ["a:1"])), SWAPPED),
        (docker_old((TWO, [gzip.compress(TOP), BASE], ["a:1"])), SWAPPED),
        (docker_old((TWO, [gzip.compress(BASE)[:-1], TOP], [])), "gzip: unexpected EOF"),
        (docker_old((TWO, [BASE, TOP], ["Bad:1"])), "must be lowercase"),
        (docker_old((TWO, [BASE, TOP], ["bad"])), 'invalid tag "bad"'),
        (docker_old((b'{"os":"linux"}', [], [])), "invalid image JSON, no RootFS key"),
        (docker_old((config([], os="windows"), [], [])), "cannot load windows image on linux"),
        (tar([("index.json", b"{}")]), "invalid image index"),
        (oci_layout(oci_index()), "there is no image in it"),
        (oci_layout(oci_index(described(MANIFEST, b"x"))), "there is no image in it"),
        (oci_layout(oci_index(described(INDEX, b"x"))), "is missing"),
        (WITHOUT_BASE, f"blob {digest(BASE)} is missing"),
        (tar([("blobs/sha256/" + "0" * 64, b"x"), ("index.json", b"{}")]), "its name promises another"),
        (tar([("repositories", b'{"a/b":{"1":"' + b"c" * 64 + b'"}}')]), f"{'c' * 64}/json is not in it"),
        (tar([("repositories", b'{"a/b":{"1":"../x"}}')]), "invalid target ID: ../x"),
    ],
)  # fmt: skip
def test_bad_archives_leave_nothing(engine: Engine, data: bytes, message: str) -> None:
    with pytest.raises(EngineError) as caught:
        engine.load(data)
    assert message in str(caught.value)
    assert engine.nothing_left()
    assert not engine.images.list(all=True, filters={})


def test_cycles(engine: Engine) -> None:
    items = b'[{"Config":"a","Layers":[]}]'
    with pytest.raises(InvalidArchive, match="too many levels of symbolic links"):
        engine.load(tar([("a", "b"), ("b", "a"), ("manifest.json", items)]))
    one, two = "a" * 64, "b" * 64
    files: list[tuple[str, bytes | str]] = [
        (f"{one}/json", json.dumps({"parent": two}).encode()),
        (f"{two}/json", json.dumps({"parent": one}).encode()),
        ("repositories", json.dumps({"x": {"1": one}}).encode()),
    ]
    with pytest.raises(InvalidArchive, match="is its own ancestor"):
        engine.load(tar(files))


def test_images_before_a_bad_one_stay(engine: Engine) -> None:
    good, bad = config([BASE]), config([TOP])
    with pytest.raises(WrongDigest):
        engine.load(docker_old((good, [BASE], ["good:1"]), (bad, [BASE], ["bad:1"])))
    assert engine.images.find("good:1").id == digest(good)
    assert engine.blobs() == {digest(good), digest(BASE)}
    with pytest.raises(ImageNotFound):
        engine.images.find("bad:1")


@pytest.mark.parametrize("name", ["images.load.received", "images.install.layer", "images.install.row"])
def test_faults_leave_nothing(engine: Engine, name: str) -> None:
    faults.arm(name)
    try:
        with pytest.raises(InjectedFault):
            engine.load(ARCHIVE)
    finally:
        faults.disarm(name)
    assert engine.nothing_left()
    engine.load(ARCHIVE)
    assert engine.images.find("alpine:3").id == ID


def test_client_going_away_leaves_nothing(engine: Engine) -> None:
    async def main() -> None:
        gate = asyncio.Event()

        async def slow() -> Any:
            yield ARCHIVE[:8000]
            gate.set()
            await asyncio.Event().wait()

        task = asyncio.get_running_loop().create_task(engine.images.load(slow(), engine.lines.append))
        await gate.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert engine.nothing_left()


def test_loads_side_by_side(engine: Engine) -> None:
    async def main() -> None:
        archives = [ARCHIVE, docker_old((config([BASE]), [BASE], ["base:1"])), ARCHIVE]
        await asyncio.gather(*(engine.images.load(stream(data), engine.lines.append) for data in archives))

    asyncio.run(main())
    assert engine.storage.applied == 2
    assert len(engine.images.list(all=True, filters={})) == 2


def test_leftovers_of_a_crash_go_at_the_start(engine: Engine) -> None:
    engine.load(ARCHIVE)
    (engine.root / "tmp" / "image-work-left").mkdir()
    (engine.root / "tmp" / "image-work-left" / "1").write_bytes(b"x")
    (engine.root / "tmp" / "image-blob-left").write_bytes(b"x")
    stray = engine.root / "content" / "blobs" / "sha256" / ("0" * 64)
    stray.write_bytes(b"x")
    engine.reopen()
    assert not stray.exists()
    assert not list((engine.root / "tmp").iterdir())
    assert engine.images.find("alpine:3").id == ID
    assert engine.images.inspect(ID).repo_tags == ["alpine:3", "localhost:5000/a/b:x"]


# --- names ---


def test_find(engine: Engine) -> None:
    engine.load(ARCHIVE)
    short = ID[7:19]
    for name in ("alpine:3", "docker.io/library/alpine:3", ID, ID[7:], short, "sha256:" + short, ID[7:10]):
        assert engine.images.find(name).id == ID
    for name, shown in (
        ("alpine", "alpine:latest"),
        ("nothing", "nothing:latest"),
        ("a/b:c", "a/b:c"),
        ("f" * 64, "sha256:" + "f" * 64),
        ("alpine@sha256:" + "1" * 64, "alpine@sha256:" + "1" * 64),
    ):
        with pytest.raises(ImageNotFound) as caught:
            engine.images.find(name)
        assert str(caught.value) == f"No such image: {shown}"
    with pytest.raises(InvalidParameter, match=r"repository name \(library/Alpine\) must be lowercase"):
        engine.images.find("Alpine")


def test_find_for_a_platform(engine: Engine) -> None:
    engine.load(docker_old((config([], architecture="arm64", variant="v8"), [], ["arm:1"])))
    assert engine.images.find("arm:1", platform="linux/arm64").variant == "v8"
    with pytest.raises(NotFound) as caught:
        engine.images.find("arm:1", platform="linux/amd64")
    assert str(caught.value) == (
        "image with reference arm:1 was found but does not match the specified platform: "
        "wanted linux/amd64, actual: linux/arm64/v8"
    )


def test_tag(engine: Engine) -> None:
    engine.load(ARCHIVE)
    engine.tag("alpine:3", "mine")
    engine.tag(ID[7:20], "mine", "2")
    assert engine.images.find("mine:2").id == ID
    assert engine.actions()[1:] == [("tag", "mine:latest"), ("tag", "mine:2")]
    assert engine.images.inspect("mine").metadata.last_tag_time > "2020"
    for repo, tag, message in (
        ("sha256", "x", "refusing to create an ambiguous tag using digest algorithm as name"),
        ("x", "bad tag", "invalid tag format"),
        ("X", "", "repository name (library/X) must be lowercase"),
        ("x@sha256:" + "1" * 64, "", "cannot import digest reference"),
        ("", "", "invalid reference format"),
    ):
        with pytest.raises(InvalidParameter) as caught:
            engine.tag("alpine:3", repo, tag)
        assert message in str(caught.value)
    with pytest.raises(ImageNotFound):
        engine.tag("nothing", "x")


# --- lists ---


def test_inspect(engine: Engine) -> None:
    engine.load(ARCHIVE)
    found = engine.images.inspect("alpine:3")
    assert (found.id, found.created, found.os, found.architecture) == (
        ID,
        "2024-03-01T12:00:00.5Z",
        "linux",
        "amd64",
    )
    assert found.repo_tags == ["alpine:3", "localhost:5000/a/b:x"]
    assert found.root_fs.layers == [digest(BASE), digest(TOP)]
    assert found.graph_driver.name == "fake"
    assert found.metadata.last_tag_time == "0001-01-01T00:00:00Z"
    history = engine.images.history("alpine:3")
    assert [(entry.id, entry.created_by, entry.size) for entry in history] == [
        (ID, "step 1", len("etc/top")), ("<missing>", "step 0", len("etc/basebin/sh")),
    ]  # fmt: skip
    assert history[0].tags == ["alpine:3", "localhost:5000/a/b:x"]
    assert history[0].created == 1709294400


def test_list_and_filters(engine: Engine) -> None:
    engine.load(ARCHIVE)
    young = config([BASE], created="2025-01-01T00:00:00Z", config={"Labels": {"made": "there", "x": ""}})
    timeless = config([], created=None, config=None)
    engine.load(docker_old((young, [BASE], ["young:1"]), (timeless, [], [])))

    def ids(**filters: list[str]) -> list[str]:
        return [summary.id for summary in engine.images.list(all=False, filters=filters)]

    everything = [digest(young), ID, digest(timeless)]
    assert ids() == everything
    assert ids(dangling=["true"]) == [digest(timeless)]
    assert ids(dangling=["0"]) == everything[:2]
    assert ids(label=["made"]) == everything[:2]
    assert ids(label=["made=there", "x"]) == [digest(young)]
    assert ids(before=["young:1"]) == [ID]
    assert ids(since=["alpine:3"]) == [digest(young)]
    assert ids(until=["2024-06-01T00:00:00Z"]) == [ID]
    assert ids(reference=["alp*"]) == [ID]
    assert ids(reference=["localhost:5000/*/b", "young"]) == everything[:2]
    only = engine.images.list(all=False, filters={"reference": ["alpine"]})
    assert only[0].repo_tags == ["alpine:3"]
    for filters, message in (
        ({"x": ["1"]}, "invalid filter 'x'"), ({"dangling": ["maybe"]}, "invalid filter 'dangling=[maybe]'"),
        ({"dangling": []}, "invalid filter 'dangling=[]'"), ({"reference": ["["]}, "syntax error in pattern"),
    ):  # fmt: skip
        with pytest.raises(InvalidParameter) as caught:
            engine.images.list(all=False, filters=filters)
        assert str(caught.value) == message
    with pytest.raises(ImageNotFound):
        ids(before=["nothing"])
    summary = engine.images.list(all=False, filters={"reference": ["young"]}, shared_size=True)[0]
    assert (summary.shared_size, summary.containers, summary.labels) == (14, -1, {"made": "there", "x": ""})


# --- removal ---


class Containers:
    def __init__(self, image_id: str = ID, **running: bool) -> None:
        self.image_id = image_id
        self.running = running

    def containers_of(self, image_id: str) -> list[tuple[str, bool]]:
        return [(name * 16, runs) for name, runs in self.running.items()] if image_id == self.image_id else []

    def users_of_images(self, ignoring: Collection[str] = ()) -> dict[str, int]:
        return {ID: len(self.running)} if self.running else {}


def test_remove_names_then_the_image(engine: Engine) -> None:
    engine.load(ARCHIVE)
    assert engine.remove("alpine:3") == [("untagged", "alpine:3")]
    assert engine.remove("localhost:5000/a/b:x") == [
        ("untagged", "localhost:5000/a/b:x"), ("deleted", ID),
        ("deleted", CHAIN), ("deleted", digest(BASE)),
    ]  # fmt: skip
    assert engine.nothing_left()
    assert engine.actions() == [("load", ID), ("untag", ID), ("untag", ID), ("delete", ID)]
    with pytest.raises(ImageNotFound, match="No such image: alpine:3"):
        engine.remove("alpine:3")


def test_remove_by_id(engine: Engine) -> None:
    engine.load(ARCHIVE)
    with pytest.raises(Conflict) as caught:
        engine.remove(ID[7:19])
    assert str(caught.value) == (
        f"conflict: unable to delete {SHORT} (must be forced) - image is referenced in multiple repositories"
    )
    assert engine.remove(ID[7:19], force=True) == [
        ("untagged", "alpine:3"), ("untagged", "localhost:5000/a/b:x"), ("deleted", ID),
        ("deleted", CHAIN), ("deleted", digest(BASE)),
    ]  # fmt: skip
    assert engine.nothing_left()


def test_shared_layers_stay(engine: Engine) -> None:
    engine.load(ARCHIVE)
    other = config([BASE])
    engine.load(docker_old((other, [BASE], ["base:1"])))
    engine.remove("alpine:3")
    assert engine.remove("localhost:5000/a/b:x")[1:] == [("deleted", ID), ("deleted", CHAIN)]
    assert set(engine.storage.snapshots) == {digest(BASE)}
    assert engine.blobs() == {digest(other), digest(BASE)}


def test_containers_stand_against_removal(engine: Engine) -> None:
    engine.load(ARCHIVE)
    engine.remove("localhost:5000/a/b:x")
    engine.images.users = Containers(abcd=True)
    with pytest.raises(Conflict) as caught:
        engine.remove("alpine:3")
    assert str(caught.value) == (
        'conflict: unable to remove repository reference "alpine:3" (must force) - container abcdabcdabcd '
        f"is using its referenced image {SHORT}"
    )
    with pytest.raises(Conflict) as caught:
        engine.remove(ID, force=True)
    assert str(caught.value) == (
        f"conflict: unable to delete {SHORT} (cannot be forced) - "
        "image is being used by running container abcdabcdabcd"
    )
    engine.images.users = Containers(abcd=False)
    with pytest.raises(Conflict) as caught:
        engine.remove(ID)
    assert str(caught.value) == (
        f"conflict: unable to delete {SHORT} (must be forced) - "
        "image is being used by stopped container abcdabcdabcd"
    )
    # a running container: the name goes by force, the image stays
    engine.images.users = Containers(abcd=True)
    assert engine.remove("alpine:3", force=True) == [("untagged", "alpine:3")]
    assert engine.images.find(ID).id == ID


def test_forced_removal_under_a_stopped_container(engine: Engine) -> None:
    engine.load(ARCHIVE)
    engine.images.users = Containers(abcd=False)
    assert engine.remove(ID, force=True)[-1] == ("deleted", ID)
    with pytest.raises(ImageNotFound):
        engine.images.find(ID)
    assert engine.images.chains_in_use() == set(engine.storage.snapshots) == {digest(BASE), CHAIN}
    engine.reopen()
    assert not engine.images.list(all=True, filters={})
    engine.images.users = Containers()
    asyncio.run(engine.images.collect())
    assert engine.nothing_left()


def test_loading_again_what_was_removed_by_force(engine: Engine) -> None:
    engine.load(ARCHIVE)
    engine.images.users = Containers(abcd=False)
    engine.remove(ID, force=True)
    engine.load(ARCHIVE)
    assert engine.images.find(ID).id == ID
    engine.images.users = Containers()
    asyncio.run(engine.images.collect())
    assert engine.images.find("alpine:3").id == ID


def test_snapshot_in_use_elsewhere_stays(engine: Engine) -> None:
    engine.load(ARCHIVE)
    engine.storage.bases.add(CHAIN)
    assert engine.remove(ID, force=True)[-1] == ("deleted", ID)
    assert len(engine.storage.snapshots) == 2


# --- pruning ---


def test_prune(engine: Engine) -> None:
    young = config([BASE], created="2025-01-01T00:00:00Z", config={"Labels": {"keep": "no"}})
    plain = config([], created=None, config=None)
    engine.load(ARCHIVE)
    engine.load(docker_old((young, [BASE], []), (plain, [], [])))

    def prune(**filters: list[str]) -> tuple[set[str], int]:
        report = asyncio.run(engine.images.prune(filters))
        deleted = {step.deleted for step in report.images_deleted or () if step.deleted}
        return deleted, report.space_reclaimed

    assert prune(until=["2020-01-01T00:00:00Z"]) == (set(), 0)
    assert prune(**{"label!": ["keep"], "label": ["keep"]})[0] == {digest(plain)}
    assert prune(**{"label!": ["keep=no"]}) == (set(), 0)
    shared = set(engine.storage.snapshots)
    assert prune()[0] == {digest(young)}
    assert set(engine.storage.snapshots) == shared
    engine.remove("localhost:5000/a/b:x")
    engine.images.users = Containers(abcd=False)
    assert prune(dangling=["false"]) == (set(), 0)
    assert engine.images.find("alpine:3").id == ID
    engine.images.users = Containers()
    total = asyncio.run(engine.images.needs.shares()).total
    deleted, freed = prune(dangling=["0"])
    assert {ID, digest(BASE), CHAIN} <= deleted
    assert freed == total > len("etc/basebin/shetc/top")
    assert engine.nothing_left()
    assert engine.events.history()[-1].attributes == {"reclaimed": str(freed)}
    for filters, message in (
        ({"x": ["1"]}, "invalid filter 'x'"),
        ({"until": ["1", "2"]}, "more than one until filter specified"),
        ({"dangling": ["maybe"]}, "invalid filter 'dangling=[maybe]'"),
    ):
        with pytest.raises(InvalidParameter) as caught:
            asyncio.run(engine.images.prune(filters))
        assert str(caught.value) == message


def test_one_prune_at_a_time(engine: Engine) -> None:
    async def main() -> Sequence[object]:
        both = (engine.images.prune({}), engine.images.prune({}))
        return await asyncio.gather(*both, return_exceptions=True)

    engine.load(docker_old((config([BASE]), [BASE], [])))
    first, second = asyncio.run(main())
    assert not isinstance(first, Exception)
    assert str(second) == "a prune operation is already running"


def test_a_removal_collects_what_an_earlier_one_left(engine: Engine) -> None:
    other = config([])
    engine.load(ARCHIVE)
    engine.load(docker_old((other, [], ["other:1"])))
    engine.images.users = Containers(abcd=False)
    engine.remove(ID, force=True)
    engine.images.users = Containers()
    engine.remove("other:1")
    assert engine.nothing_left()


def test_documents_have_a_limit(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sampan.images.archive.MAX_DOCUMENTS", 2000)
    items = [{"Config": "c", "Layers": []}] * 20
    files: list[tuple[str, bytes | str]] = [("c", config([])), ("manifest.json", json.dumps(items).encode())]
    with pytest.raises(InvalidArchive, match="its documents have more than 2000 bytes"):
        engine.load(tar(files))
    assert engine.nothing_left()


def test_deep_and_wide_indexes(engine: Engine) -> None:
    index = oci_index()
    blobs = [index]
    for _ in range(12):
        index = oci_index(described(INDEX, index))
        blobs.append(index)
    with pytest.raises(InvalidArchive, match="nested too deeply"):
        engine.load(oci_layout(index, *blobs[:-1]))
    wide = oci_index(*[described(INDEX, oci_index())] * 4095, described(INDEX, oci_index()))
    with pytest.raises(InvalidArchive, match="or list too much"):
        engine.load(oci_layout(oci_index(described(INDEX, wide)), wide, oci_index()))
    assert engine.nothing_left()


# --- made here, and going out ---


def saved(engine: Engine, *names: str, platform: str | None = None) -> dict[str, bytes]:
    async def collect() -> bytes:
        return b"".join([piece async for piece in await engine.images.save(names, platform=platform)])

    with tarfile.open(fileobj=io.BytesIO(asyncio.run(collect()))) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive if m.isreg()}  # type: ignore[union-attr]


def commit(engine: Engine, data: bytes, **options: Any) -> str:
    async def make() -> str:
        made = Commit(ContainerConfig(cmd=["new"]), "c" * 64, ContainerConfig(cmd=["ran", "it"]), "me", "why")
        return await engine.images.commit(ID, iter([data[:700], data[700:]]), made, **options)

    return asyncio.run(make())


def test_commit(engine: Engine) -> None:
    engine.load(ARCHIVE)
    image_id = commit(engine, layer("new"), repo="made", tag="1")
    image = engine.images.inspect("made:1")
    assert (image.id, image.parent, image.author, image.comment) == (image_id, ID, "me", "why")
    assert image.root_fs.layers == [digest(BASE), digest(TOP), digest(layer("new"))]
    newest = engine.images.history(image_id)[0]
    assert (newest.created_by, newest.comment, newest.size) == ("ran it", "why", 3)
    assert engine.actions()[-1] == ("tag", "made:1")
    assert engine.remove("made:1") == [
        ("untagged", "made:1"),
        ("deleted", image_id),
        ("deleted", chain_id([digest(BASE), digest(TOP), digest(layer("new"))])),
    ]
    assert engine.blobs() == {ID, digest(BASE), digest(TOP)}


def test_commit_of_nothing_adds_no_layer(engine: Engine) -> None:
    engine.load(ARCHIVE)
    image_id = commit(engine, bytes(1024))
    assert engine.images.inspect(image_id).root_fs.layers == [digest(BASE), digest(TOP)]
    assert engine.images.find(image_id).config.cmd == ["new"]
    assert not list((engine.root / "tmp").iterdir())


def test_a_commit_that_breaks_leaves_nothing(engine: Engine) -> None:
    engine.load(ARCHIVE)
    before = engine.blobs(), set(engine.storage.snapshots)
    faults.arm("images.install.row")
    try:
        with pytest.raises(InjectedFault):
            commit(engine, layer("new"), repo="made")
    finally:
        faults.disarm("images.install.row")
    assert (engine.blobs(), set(engine.storage.snapshots)) == before
    assert not list((engine.root / "tmp").iterdir())
    with pytest.raises(ImageNotFound):
        engine.images.find("made")


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress, zstandard.compress])
def test_import(engine: Engine, pack: Callable[[bytes], bytes]) -> None:
    async def make(data: bytes) -> str:
        return await engine.images.import_archive(
            io.BytesIO(data), repo="flat", comment="why", changes=["CMD x"], platform="linux/arm64"
        )

    packed = pack(BASE)
    image_id = asyncio.run(make(packed))
    image = engine.images.inspect("flat")
    assert (image.id, image.architecture, image.comment) == (image_id, "arm64", "why")
    assert image.root_fs.layers == [digest(BASE)]
    assert engine.blobs() == {image_id, digest(packed)}
    assert engine.actions() == [("import", image_id), ("tag", "flat:latest")]
    if pack is gzip.compress:
        with pytest.raises(InvalidArchive):
            asyncio.run(make(packed[:-9]))
        assert engine.blobs() == {image_id, digest(packed)}


def test_save_keeps_what_came(engine: Engine) -> None:
    text, base = config([BASE]), gzip.compress(BASE, mtime=0)
    manifest = oci_manifest(text, [base], "tar+gzip")
    engine.load(
        oci_layout(oci_index(described(MANIFEST, manifest, annotations=named("a/b:1"))), manifest, text, base)
    )
    files = saved(engine, "a/b:1")
    for data in (manifest, text, base):
        assert files["blobs/sha256/" + digest(data)[7:]] == data
    entry = json.loads(files["index.json"])["manifests"][0]
    assert entry["digest"] == digest(manifest)
    assert entry["annotations"]["io.containerd.image.name"] == "docker.io/a/b:1"
    docker = json.loads(files["manifest.json"])[0]
    assert docker["RepoTags"] == ["a/b:1"]
    assert docker["LayerSources"][digest(BASE)]["digest"] == digest(base)
    assert json.loads(files["repositories"]) == {"a/b": {"1": digest(base)[7:]}}
    with pytest.raises(NotFound, match="no suitable export target found for platform linux/s390x"):
        saved(engine, "a/b:1", platform="linux/s390x")


def named(name: str) -> dict[str, str]:
    return {"io.containerd.image.name": f"docker.io/{name}"}


def test_names_to_save(engine: Engine) -> None:
    engine.load(ARCHIVE)
    engine.tag("alpine:3", "alpine", "4")

    def names(*asked: str) -> list[list[str] | None]:
        return [entry["RepoTags"] for entry in json.loads(saved(engine, *asked)["manifest.json"])]

    assert names("alpine:4") == [["alpine:4"]]
    assert names("alpine") == [["alpine:3", "alpine:4"]]
    assert names(SHORT) == names(ID) == [None]
    assert names("alpine:3", "localhost:5000/a/b:x", ID) == [["alpine:3", "localhost:5000/a/b:x"]]
    with pytest.raises(ImageNotFound, match="No such image: nothing:latest"):
        names("nothing")
    assert not list((engine.root / "tmp").iterdir())


def test_a_layer_without_its_blob_is_packed_anew(engine: Engine) -> None:
    engine.load(ARCHIVE)
    first = saved(engine, "alpine:3")
    (engine.root / "content/blobs/sha256" / digest(TOP)[7:]).unlink()
    assert saved(engine, "alpine:3") == first
    (engine.root / "content/blobs/sha256" / digest(TOP)[7:]).unlink()
    engine.storage.snapshots[CHAIN] = (engine.storage.snapshots[CHAIN][0], ["something/else"])
    with pytest.raises(HostFailure, match="cannot be made again"):
        saved(engine, "alpine:3")


def test_an_image_without_layers_is_saved_for_docker(engine: Engine) -> None:
    text = config([])
    engine.load(docker_old((text, [], ["empty:1"])))
    files = saved(engine, "empty:1")
    (entry,) = json.loads(files["index.json"])["manifests"]
    manifest = json.loads(files[f"blobs/{entry['digest'].replace(':', '/')}"])
    assert (manifest["config"]["digest"], manifest["layers"]) == (digest(text), [])
    assert json.loads(files["manifest.json"])[0]["Layers"] == []
    engine.remove("empty:1")
    assert engine.load(tar(files.items())) == "Loaded image: empty:1\n"
