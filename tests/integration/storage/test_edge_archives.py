"""Layers of other projects' test data: loaded rightly on every driver, and nothing is written elsewhere."""

import asyncio
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.layers import Layer, saved_layers
from support.shared import shared
from support.trees import describe

from sampan.base.errors import InvalidParameter
from sampan.storage.service import StorageService

pytestmark = pytest.mark.root

EDGE = shared("data/images/edge")
ARCHIVES = sorted(
    str(p.relative_to(EDGE))
    for p in EDGE.rglob("*")
    if p.is_file() and p.suffix in (".tar", ".layer") and p.parent.name != "stereoscope"
)


def layers(path: Path) -> Iterator[bytes]:
    """Yield the layers of a docker-save archive, or the file itself if it is a layer."""
    try:
        with tarfile.open(path) as tar:
            manifest = json.load(tar.extractfile("manifest.json"))  # type: ignore[arg-type] # KeyError without
    except (KeyError, tarfile.TarError):
        yield path.read_bytes()
        return
    if manifest:
        yield from (data for _, data in saved_layers(path))


def load(storage: StorageService, path: Path, base: Layer | None = None) -> dict[str, dict[str, Any]]:
    parent = None
    for number, data in enumerate([*([base.bytes()] if base else []), *layers(path)]):
        storage.apply(f"sha256:{number}", parent, io.BytesIO(data))
        parent = f"sha256:{number}"

    async def look() -> dict[str, dict[str, Any]]:
        await storage.prepare("look", parent)
        try:
            return describe(await storage.mount("look"), times=False)
        finally:
            await storage.remove("look")

    return asyncio.run(look())


@pytest.mark.parametrize("name", ARCHIVES)
def test_every_archive_is_loaded_or_refused(storage: StorageService, name: str, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    before = describe(tmp_path / "root", times=False).keys()
    try:
        load(storage, EDGE / name)
    except InvalidParameter as error:
        assert str(error)  # noqa: PT017 - either way is right here
    for key in ("sha256:3", "sha256:2", "sha256:1", "sha256:0"):
        asyncio.run(storage.remove(key))
    assert describe(tmp_path / "root", times=False).keys() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["root", "secret.txt"]
    assert (tmp_path / "secret.txt").read_text() == "secret"


@pytest.mark.parametrize(
    ("name", "tree"),
    [
        (
            "claircore/whiteout.layer",
            ["a", "a/a_file.txt", "a_root_file.txt", "b", "b/in", "etc", "etc/shadow"],
        ),
        ("claircore/whiteout_advanced.layer", ["a", "etc", "etc/profile", "etc/shadow"]),
        (
            "claircore/whiteout_opaque.layer",
            ["a", "a_root_file.txt", "b", "b/in", "b/not.a.wh..wh..opq", "etc", "etc/profile", "etc/shadow"],
        ),
    ],
)
def test_whiteouts_over_a_base(storage: StorageService, name: str, tree: list[str]) -> None:
    base = (
        Layer()
        .dir("etc")
        .add("etc/profile")
        .add("etc/shadow")
        .dir("a")
        .add("a/a_file.txt")
        .add("a_root_file.txt")
    )
    assert sorted(load(storage, EDGE / name, base.dir("b").add("b/in"))) == tree


@pytest.mark.parametrize(
    ("name", "tree"),
    [
        ("go-containerregistry/whiteout_image.tar", {"bar.txt": "file"}),
        ("go-containerregistry/overwritten_file.tar", {"foo.txt": "bar.txt", "bar.txt": "file"}),
        ("go-containerregistry/whiteout_dir.tar", {"a": "dir", "a/baz": "file", "b": "dir", "b/bar": "file"}),
        ("osv-scalibr/image/two-files.tar", {"foo.txt": "file", "bar.txt": "file"}),
        ("moby/collision__collision-0.tar", {"file": "file"}),
        ("claircore/oddlayer.tar", {}),
        (
            "claircore/concat.tar",
            {
                "run": "dir",
                "run/logs": "dir",
                "run/logs/log.txt": "file",
                "var": "dir",
                "var/run": "dir",
                "var/run/console": "dir",
                "var/run/console/algo.txt": "file",
            },
        ),
    ],
)
def test_trees(storage: StorageService, name: str, tree: dict[str, str]) -> None:
    found = load(storage, EDGE / name)
    assert {path: entry.get("to") or entry["type"] for path, entry in found.items()} == tree


def test_a_name_that_is_not_utf_8(storage: StorageService) -> None:
    [name] = load(storage, EDGE / "claircore/bad_name.tar")
    assert name.endswith("bad\udcfdname")


def test_a_capability_of_an_old_writer(storage: StorageService) -> None:
    [entry] = load(storage, EDGE / "moby/xattr__layer.tar").values()
    assert entry["xattrs"]["security.capability"] == "01000002c0000000" + "00" * 12


def test_a_trampoline_of_links(storage: StorageService) -> None:
    found = load(storage, EDGE / "osv-scalibr/unpack/escape.tar")
    assert found["trampoline"]["to"] == "."
    assert found["escape"]["type"] == "link"
    assert found["usr/share/doc/c/copyright"]["to"] == "/escape/poc.txt"
    assert "escape/poc.txt" not in found
