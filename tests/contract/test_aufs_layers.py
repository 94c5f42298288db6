"""Layers as aufs has them on disk, where no kernel mounts them: what it would show is put together here."""

import io
import os
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.layers import Layer
from support.trees import describe

from sampan.kernel.fs import remove_tree
from sampan.kernel.mount import Mount, bind
from sampan.storage import stacks
from sampan.storage.drivers.aufs import Aufs
from sampan.storage.mounting import underlying
from sampan.storage.pack import pack_delta
from sampan.storage.unpack import unpack

pytestmark = pytest.mark.root

BASE = (
    Layer()
    .dir("etc")
    .add("etc/conf", b"one")
    .add("keep", b"k")
    .dir("gone")
    .add("gone/x", b"x")
    .add("last", b"l")
)


def merge(layers: Sequence[str], target: Path) -> None:
    """Put together in the empty ``target`` what aufs shows of ``layers``, the uppermost first."""
    for layer in reversed(layers):
        for folder, dirs, files in os.walk(layer):
            place = Path(folder)
            below = target / place.relative_to(layer)
            below.mkdir(exist_ok=True)
            if ".wh..wh..opq" in files:
                for path in below.iterdir():
                    remove_tree(path)
            for name in files:
                if name.startswith(".wh.") and not name.startswith(".wh..wh."):
                    remove_tree(below / name[4:])
            for name in dirs:
                if not (below / name).is_dir():
                    (below / name).unlink(missing_ok=True)
            for name in files:
                if not name.startswith(".wh."):
                    remove_tree(below / name)
                    (below / name).hardlink_to(place / name)
            status = place.stat()
            os.utime(below, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Aufs:
    """The driver, with mounts of several layers done by hand."""

    def perform(m: Mount) -> None:
        assert m.type == "aufs"
        branches = next(o[3:] for o in m.options if o.startswith("br:")).split(":")
        merged = tmp_path / "merged" / os.urandom(4).hex()
        merged.mkdir(parents=True)
        merge([branch.partition("=")[0] for branch in branches], merged)
        bind(merged, m.target, readonly=True)

    monkeypatch.setattr(stacks, "mount", perform)
    return Aufs(tmp_path)


def apply(driver: Aufs, name: str, parent: str | None, layer: Layer | bytes) -> Path:
    """Commit ``layer`` as ``name`` and return its directory."""
    driver.prepare("work", parent)
    with underlying(driver, "work") as steps:
        unpack(steps, io.BytesIO(layer if isinstance(layer, bytes) else layer.bytes()))
    driver.commit(name, "work")
    return Path(driver.describe(name)["UpperDir"])


def below(path: Path) -> set[str]:
    return {str(p.relative_to(path)) for p in path.rglob("*")}


def test_a_layer_lies_on_disk_as_aufs_has_it(driver: Aufs) -> None:
    apply(driver, "sha256:a", None, BASE)
    apply(driver, "sha256:b", "sha256:a", Layer().add("b", b"b"))
    layer = Layer().add(".wh.keep").add(".wh.never").dir("gone").add("gone/.wh..wh..opq").add("gone/y", b"y")
    layer.add("etc/conf", b"two").add(".wh.b")
    path = apply(driver, "sha256:c", "sha256:b", layer)
    assert below(path) == {".wh.keep", ".wh.b", "gone", "gone/.wh..wh..opq", "gone/y", "etc", "etc/conf"}
    mark = (path / ".wh.keep").lstat()
    assert (stat.S_IFMT(mark.st_mode), mark.st_size, stat.S_IMODE(mark.st_mode)) == (stat.S_IFREG, 0, 0o444)
    assert (path / "gone").stat().st_mtime == (path / "etc").stat().st_mtime
    assert os.listxattr(path / "gone") == []


def test_a_layer_read_back_is_the_layer(driver: Aufs, tmp_path: Path) -> None:
    apply(driver, "sha256:a", None, BASE)
    apply(driver, "sha256:b", "sha256:a", Layer().add("b", b"b"))
    layer = (
        Layer().add(".wh.keep").dir("gone").add("gone/.wh..wh..opq").add("gone/y", b"y").add("etc/conf", b"2")
    )
    path = apply(driver, "sha256:c", "sha256:b", layer)
    with driver.diff("sha256:c", "sha256:b") as delta:
        packed = b"".join(pack_delta(delta))
    again = apply(driver, "sha256:d", "sha256:b", packed)
    assert (
        again / "gone/.wh.x"
    ).exists()  # what an opaque mark hides is listed one by one, as for all drivers
    shown = []
    for name in ("c", "d"):
        target = tmp_path / f"shown-{name}"
        target.mkdir()
        records = [driver.describe(f"sha256:{n}")["UpperDir"] for n in (name, "b", "a")]
        merge(records, target)
        shown.append(describe(target, times=False))
    assert shown[0] == shown[1]
    assert set(shown[0]) == {"b", "etc", "etc/conf", "gone", "gone/y", "last"}
    assert below(path)
