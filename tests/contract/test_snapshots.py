"""Every storage driver keeps the contract of ``SnapshotDriver``, on a real kernel."""

import io
import json
import os
import signal
import stat
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.daemon import CHECKOUT
from support.disks import PLACES, Disks, Place, give_back, helpers, loop_files
from support.layers import CAPABILITY, MTIME, Layer, saved_layers
from support.shared import shared
from support.trees import describe

from sampan.base.errors import Conflict, InvalidParameter, NotFound
from sampan.base.outflow import in_memory
from sampan.kernel.mount import mounts
from sampan.storage.compare import shown_only
from sampan.storage.driver import Kind, Replaces, SnapshotDriver
from sampan.storage.mounting import put_on, take_off, underlying
from sampan.storage.pack import pack_delta, pack_tree
from sampan.storage.tree import opened
from sampan.storage.unpack import Applied, unpack

pytestmark = pytest.mark.root

OTHERS = {"l", "devicemapper"}  # what drivers keep besides snapshots


class Lab:
    """A driver with the few steps that tests repeat."""

    def __init__(self, place: Place, root: Path) -> None:
        self.place = place
        self.root = root
        self.driver = place.kind(root, place.options)

    def reopened(self) -> SnapshotDriver:
        """Return another driver on the same root, as the next daemon has it."""
        return self.place.kind(self.root, self.place.options)

    def layer(self, name: str, parent: str | None, layer: Layer | bytes) -> Applied:
        """Commit the tar ``layer`` as ``name``."""
        data = layer if isinstance(layer, bytes) else layer.bytes()
        key = f"work-{uuid.uuid4().hex}"
        self.driver.prepare(key, parent)
        with underlying(self.driver, key) as steps:
            applied = unpack(steps, io.BytesIO(data))
        self.driver.commit(name, key)
        return applied

    @contextmanager
    def mounted(self, key: str) -> Iterator[Path]:
        """Yield the root directory of ``key``."""
        try:
            yield Path(put_on(self.driver, key))
        finally:
            take_off(self.driver, key)

    @contextmanager
    def viewed(self, name: str | None) -> Iterator[Path]:
        """Yield a directory that shows the committed snapshot ``name``."""
        key = f"view-{uuid.uuid4().hex}"
        self.driver.view(key, name)
        try:
            with self.mounted(key) as path:
                yield path
        finally:
            self.driver.remove(key)

    def tree(self, name: str, *, times: bool = True) -> dict[str, dict[str, Any]]:
        """Describe the committed snapshot ``name``."""
        with self.viewed(name) as path:
            return describe(path, times=times)

    def changed(self, key: str, parent: str | None) -> list[tuple[str, str]]:
        """Return ``docker diff`` of ``key`` as (letter, path)."""
        with self.driver.diff(key, parent) as delta:
            return [("CAD"[d.kind], d.path.decode()) for d in shown_only(delta.differences)]

    def diff(self, key: str, parent: str | None) -> bytes:
        """Return the layer tar of ``key``."""
        with self.driver.diff(key, parent) as delta:
            return b"".join(pack_delta(delta))

    def export(self, name: str) -> bytes:
        """Return the tar of all that the committed snapshot ``name`` shows."""
        with self.viewed(name) as path, opened(str(path)) as root:
            return b"".join(in_memory(pack_tree(root)))


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.fixture(scope="session")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disks]:
    """The file systems that drivers are tried on."""
    found = Disks(tmp_path_factory.mktemp("disks"))
    yield found
    found.close()


def open_lab(place: Place, disks: Disks, folder: Path) -> Lab:
    """Return a lab for ``place``; skip the test where there can be none."""
    root = disks.root(place.disk) if place.disk else folder
    if (reason := place.kind.supported(root, place.options)) is not None:
        pytest.skip(f"{place.id}: {reason}")
    return Lab(place, root)


@pytest.fixture(params=PLACES, ids=lambda place: place.id)
def lab(request: pytest.FixtureRequest, disks: Disks, tmp_path: Path) -> Iterator[Lab]:
    if request.param.disk:
        disks.root(request.param.disk)  # mounted before the look at what is mounted
    loops, before, descriptors, programs = loop_files(), mounts(), _descriptors(), helpers()
    lab = open_lab(request.param, disks, tmp_path)
    yield lab
    assert mounts() == before
    assert _descriptors() == descriptors
    give_back(lab.driver)
    left = {p.name for p in (lab.root / lab.driver.name).iterdir()}
    assert left <= OTHERS
    assert loop_files() == loops
    assert helpers() <= programs


@pytest.fixture(scope="session")
def torture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the torture image, and the tree that must result."""
    tool = shared("tools/mkimages.sh")
    folder = tmp_path_factory.mktemp("torture")
    subprocess.run([str(tool), str(folder), "torture"], check=True, stdout=subprocess.DEVNULL)
    return folder


BASE = (
    Layer()
    .dir("etc")
    .add("etc/conf", b"one")
    .add("etc/other", b"other")
    .dir("usr")
    .dir("usr/lib", mode=0o750)
    .add("usr/lib/a", b"a")
    .add("usr/lib/b", b"b")
    .link("lib", "usr/lib")
    .link("abs", "/usr/lib")
    .add("keep", b"keep")
    .dir("gone")
    .add("gone/x", b"x")
    .bytes()
)


# --- life of a snapshot ---


def test_prepare_mount_write_commit_and_build_on_it(lab: Lab) -> None:
    lab.driver.prepare("one", None)
    with lab.mounted("one") as path:
        (path / "file").write_text("first")
    lab.driver.commit("sha256:a", "one")
    lab.driver.prepare("two", "sha256:a")
    with lab.mounted("two") as path:
        assert (path / "file").read_text() == "first"
        (path / "file").write_text("second")
    lab.driver.commit("sha256:b", "two")
    assert lab.tree("sha256:a")["file"]["text"] == "first"
    assert lab.tree("sha256:b")["file"]["text"] == "second"
    assert [(s.key, s.kind, s.parent) for s in lab.driver.walk()] == [
        ("sha256:a", Kind.COMMITTED, None),
        ("sha256:b", Kind.COMMITTED, "sha256:a"),
    ]


def test_siblings_do_not_see_each_other(lab: Lab) -> None:
    lab.layer("sha256:a", None, BASE)
    for key in ("one", "two"):
        lab.driver.prepare(key, "sha256:a")
    with lab.mounted("one") as one, lab.mounted("two") as two:
        (one / "mine").write_text("1")
        (one / "keep").write_text("changed")
        (one / "gone/x").unlink()
        assert not (two / "mine").exists()
        assert (two / "keep").read_text() == "keep"
        assert (two / "gone/x").read_text() == "x"


def test_a_view_is_read_only(lab: Lab) -> None:
    lab.layer("sha256:a", None, BASE)
    lab.layer("sha256:b", "sha256:a", Layer().add("new", b"n"))
    for name in ("sha256:a", "sha256:b"):
        with lab.viewed(name) as path:
            assert (path / "keep").read_text() == "keep"
            with pytest.raises(OSError, match="Read-only"):
                (path / "x").write_text("x")
    with lab.viewed(None) as path:
        assert list(path.iterdir()) == []


def test_what_is_not_there_or_there_already(lab: Lab) -> None:
    lab.layer("sha256:a", None, BASE)
    lab.driver.prepare("one", "sha256:a")
    for call in (lab.driver.prepare, lab.driver.view):
        with pytest.raises(Conflict, match="already exists"):
            call("one", None)
        with pytest.raises(NotFound, match="sha256:none"):
            call("two", "sha256:none")
        with pytest.raises(Conflict, match="not committed"):
            call("two", "one")
    with pytest.raises(Conflict, match="already exists"):
        lab.driver.commit("sha256:a", "one")
    with pytest.raises(Conflict, match="not active"):
        lab.driver.commit("sha256:b", "sha256:a")
    lookups: list[Callable[[str], object]] = [lab.driver.find, lab.driver.mounts, lab.driver.usage]
    for look_up in (*lookups, lab.driver.describe):
        with pytest.raises(NotFound, match="two"):
            look_up("two")
    with pytest.raises(NotFound, match="two"):
        lab.driver.diff("two", None)
    assert {s.key for s in lab.driver.walk()} == {"sha256:a", "one"}
    assert {p.name for p in lab.root.iterdir()} <= {lab.driver.name}


@pytest.mark.parametrize("key", ["", ".", "..", "a/b", "../x", ".hidden", "a\nb", "x" * 201, "l\0"])
def test_keys_that_could_be_paths_are_refused(lab: Lab, key: str) -> None:
    with pytest.raises(InvalidParameter):
        lab.driver.prepare(key, None)


def test_removal_is_idempotent_and_refuses_parents(lab: Lab) -> None:
    lab.layer("sha256:a", None, BASE)
    lab.driver.prepare("one", "sha256:a")
    with pytest.raises(Conflict, match="children"):
        lab.driver.remove("sha256:a")
    lab.driver.remove("one")
    lab.driver.remove("one")
    lab.driver.remove("sha256:a")
    lab.driver.remove("sha256:a")
    assert list(lab.driver.walk()) == []
    home = lab.root / lab.driver.name
    assert {p.name for p in home.iterdir()} <= OTHERS
    assert list(home.glob("l/*")) == []


def test_walk_lists_parents_first_and_survives_a_restart(lab: Lab) -> None:
    # names in an order that is not that of their birth
    for name, parent in (("sha256:z", None), ("sha256:m", "sha256:z"), ("sha256:a", "sha256:m")):
        lab.layer(name, parent, Layer().add(name[-1], b"x"))
    lab.driver.prepare("container", "sha256:a")
    before = list(lab.driver.walk())
    assert [s.key for s in before] == ["sha256:z", "sha256:m", "sha256:a", "container"]
    again = lab.reopened()
    assert set(again.walk()) == set(before)
    assert [s.key for s in again.walk()].index("sha256:z") < [s.key for s in again.walk()].index("sha256:a")
    assert again.mounts("container") == lab.driver.mounts("container")
    assert again.sweep() == []


def test_usage_counts_own_data_and_hard_links_once(lab: Lab) -> None:
    lab.layer("sha256:a", None, Layer().add("big", bytes(range(256)) * 400))
    lab.driver.prepare("one", "sha256:a")
    assert lab.driver.usage("sha256:a").size == 102400
    before = lab.driver.usage("one")
    with lab.mounted("one") as path:
        (path / "file").write_bytes(b"x" * 5000)
        os.link(path / "file", path / "link")
        (path / "dir").mkdir()
    after = lab.driver.usage("one")
    assert after.size - before.size == 5000
    assert 2 <= after.inodes - before.inodes <= 4  # fuse-overlayfs puts two notes into each new directory
    assert after.disk - before.disk >= 4096


def test_what_a_crash_left_is_swept(lab: Lab) -> None:
    lab.layer("sha256:a", None, BASE)
    home = lab.root / lab.driver.name
    (home / ".new-123").mkdir()
    (home / ".new-123/file").write_text("half")
    (home / ".gone-456").mkdir()
    (home / "broken").mkdir()
    (home / "broken/snapshot.json").write_text("{")
    (home / "empty").mkdir()
    again = lab.reopened()
    assert [s.key for s in again.walk()] == ["sha256:a"]
    assert sorted(again.sweep()) == [".gone-456", ".new-123", "broken", "empty"]
    assert not {".new-123", ".gone-456", "broken", "empty"} & {p.name for p in home.iterdir()}
    again.prepare("one", "sha256:a")
    lab.driver = again


def test_many_layers(lab: Lab) -> None:
    count = min(getattr(lab.driver, "max_layers", 20), 100)  # copies would take long
    parent = None
    for number in range(count):
        name = f"sha256:{number:064x}"
        lab.layer(name, parent, Layer().add(f"file{number}", b"x").add("last", b"%d" % number))
        parent = name
    lab.driver.prepare("container", parent)
    with lab.mounted("container") as path:
        assert len(list(path.iterdir())) == count + 1
        assert (path / "last").read_text() == str(count - 1)
        (path / "mine").write_text("x")
    assert lab.changed("container", parent) == [("A", "/mine")]


# --- what changed ---


def test_changes_in_the_order_of_docker(lab: Lab) -> None:
    lab.layer("sha256:a", None, BASE)
    lab.driver.prepare("one", "sha256:a")
    with lab.mounted("one") as path:
        (path / "etc/conf").write_text("two!")
        (path / "etc/new").write_text("n")
        (path / "usr/lib/b").unlink()
        (path / "usr/lib/c").write_text("c")
        (path / "gone/x").unlink()
        (path / "gone").rmdir()
        (path / "top").mkdir()
        (path / "top/sub").mkdir()
    assert lab.changed("one", "sha256:a") == [
        ("C", "/etc"),
        ("C", "/etc/conf"),
        ("A", "/etc/new"),
        ("A", "/top"),
        ("A", "/top/sub"),
        ("C", "/usr"),
        ("C", "/usr/lib"),
        ("A", "/usr/lib/c"),
        ("D", "/usr/lib/b"),
        ("D", "/gone"),
    ]


def test_what_only_looks_touched_is_no_change(lab: Lab) -> None:
    lab.layer("sha256:a", None, BASE)
    lab.driver.prepare("one", "sha256:a")
    with lab.mounted("one") as path:
        (path / "etc/tmp").write_text("x")
        (path / "etc/tmp").unlink()
        with (path / "keep").open("r+b"):  # copied up by overlay, but not written
            pass
    assert lab.changed("one", "sha256:a") == []


def test_a_directory_made_anew_hides_the_old_one(lab: Lab) -> None:
    lab.layer("sha256:a", None, BASE)
    lab.driver.prepare("one", "sha256:a")
    with lab.mounted("one") as path:
        (path / "gone/x").unlink()
        (path / "gone").rmdir()
        (path / "gone").mkdir()
        (path / "gone/y").write_text("y")
    assert lab.changed("one", "sha256:a") == [("C", "/gone"), ("A", "/gone/y"), ("D", "/gone/x")]
    lab.layer("sha256:b", "sha256:a", lab.diff("one", "sha256:a"))
    assert [n for n in lab.tree("sha256:b") if n.startswith("gone")] == ["gone", "gone/y"]


def test_kinds_that_change_into_each_other(lab: Lab) -> None:
    lab.layer("sha256:a", None, BASE)
    lab.driver.prepare("one", "sha256:a")
    with lab.mounted("one") as path:
        (path / "keep").unlink()
        (path / "keep").mkdir()
        (path / "keep/in").write_text("in")
        (path / "gone/x").unlink()
        (path / "gone").rmdir()
        (path / "gone").write_text("a file")
        (path / "lib").unlink()
        (path / "lib").mkdir()
        want = describe(path)
    assert lab.changed("one", "sha256:a") == [
        ("C", "/gone"),
        ("C", "/keep"),
        ("A", "/keep/in"),
        ("C", "/lib"),
    ]
    lab.layer("sha256:b", "sha256:a", lab.diff("one", "sha256:a"))
    assert lab.tree("sha256:b") == want


def test_a_change_that_keeps_length_and_time_is_in_the_layer(lab: Lab) -> None:
    lab.layer("sha256:a", None, BASE)
    lab.driver.prepare("one", "sha256:a")
    with lab.mounted("one") as path:
        before = (path / "keep").stat()
        (path / "keep").write_text("KEEP")
        os.utime(path / "keep", ns=(before.st_atime_ns, before.st_mtime_ns))
    lab.layer("sha256:b", "sha256:a", lab.diff("one", "sha256:a"))
    assert lab.tree("sha256:b")["keep"]["text"] == "KEEP"


def test_a_layer_says_all_that_a_tree_has(lab: Lab) -> None:
    lab.layer("sha256:a", None, BASE)
    lab.driver.prepare("one", "sha256:a")
    with lab.mounted("one") as path:
        (path / "bin").mkdir()
        (path / "bin/ping").write_bytes(b"\x7fELF")
        os.setxattr(path / "bin/ping", "security.capability", CAPABILITY)
        os.setxattr(path / "bin", "trusted.note", b"dir\0ectory")
        os.link(path / "bin/ping", path / "bin/ping6")
        (path / "bin").chmod(0o2755)
        (path / "su").write_text("")
        os.chown(path / "su", 123456, 3_000_000)
        (path / "su").chmod(0o4755)
        os.mknod(path / "tty", 0o20620, os.makedev(4, 1))
        os.mknod(path / "disk", 0o60660, os.makedev(259, 70000))
        os.mkfifo(path / "fifo", 0o600)
        (path / "far").symlink_to("../" * 60 + "far")
        (path / "dangling").symlink_to("nowhere")
        os.chown(path / "dangling", 7, 8, follow_symlinks=False)
        deep = path / ("d" * 120) / ("e" * 120)
        deep.mkdir(parents=True)
        (deep / ("f" * 200)).write_text("deep")
        (path / "näme ✓\twith\nall").write_text("odd")
        (path / os.fsdecode(b"latin-\xe9")).write_text("no utf-8")
        os.utime(path / "su", ns=(0, 1_234_567_890_123_456_789))
        os.utime(path / "fifo", ns=(0, -1_500_000_000))
        os.utime(path / "bin", ns=(0, 1))
        os.utime(path / "usr", ns=(0, 42_000_000_007))
        want = describe(path)
    layer = lab.diff("one", "sha256:a")
    assert layer == lab.diff("one", "sha256:a")
    lab.layer("sha256:b", "sha256:a", layer)
    assert lab.tree("sha256:b") == want
    assert lab.diff("sha256:b", "sha256:a") == layer
    lab.layer("sha256:c", None, lab.diff("sha256:b", None))
    assert lab.tree("sha256:c") == want
    assert lab.export("sha256:c") == lab.export("sha256:b")


def test_holes_stay_holes(lab: Lab) -> None:
    lab.driver.prepare("one", None)
    with lab.mounted("one") as path, (path / "sparse").open("wb") as file:
        file.truncate(300 << 20)
        file.seek(100 << 20)
        file.write(b"island")
    layer = lab.diff("one", None)
    assert len(layer) > 300 << 20
    lab.layer("sha256:a", None, layer)
    del layer
    lab.driver.prepare("two", "sha256:a")
    with lab.mounted("two") as path:
        status = (path / "sparse").stat()
        assert status.st_size == 300 << 20
        assert status.st_blocks * 512 < 1 << 20
        with (path / "sparse").open("rb") as file:
            file.seek(100 << 20)
            assert file.read(7) == b"island\0"


def test_a_name_that_would_delete_cannot_be_in_a_layer(lab: Lab) -> None:
    lab.driver.prepare("one", None)
    with lab.mounted("one") as path:
        try:
            (path / ".wh.innocent").write_text("x")
        except OSError:
            return  # the file system itself wants no such name
    with pytest.raises(InvalidParameter, match=r"\.wh\.innocent"):
        lab.diff("one", None)


def test_differences_from_an_older_ancestor(lab: Lab) -> None:
    lab.layer("sha256:a", None, BASE)
    lab.layer("sha256:b", "sha256:a", Layer().add("b", b"b").add(".wh.keep"))
    lab.layer("sha256:c", "sha256:b", Layer().add("c", b"c").add("etc/conf", b"three"))
    assert lab.changed("sha256:c", "sha256:a") == [
        ("A", "/b"),
        ("A", "/c"),
        ("C", "/etc"),
        ("C", "/etc/conf"),
        ("D", "/keep"),
    ]
    lab.layer("sha256:d", "sha256:a", lab.diff("sha256:c", "sha256:a"))
    assert lab.tree("sha256:d", times=False) == lab.tree("sha256:c", times=False)


# --- applying layers ---


def test_whiteouts(lab: Lab) -> None:
    lab.layer("sha256:a", None, BASE)
    layer = Layer().add(".wh.keep").add(".wh.gone").add("etc/.wh.conf").add(".wh.never").add("nix/.wh.x")
    lab.layer("sha256:b", "sha256:a", layer)
    found = set(lab.tree("sha256:b"))
    assert found == {"abs", "etc", "etc/other", "lib", "nix", "usr", "usr/lib", "usr/lib/a", "usr/lib/b"}
    lab.driver.prepare("one", "sha256:b")
    with lab.mounted("one") as path:
        (path / "keep").write_text("back")
    assert lab.changed("one", "sha256:b") == [("A", "/keep")]


@pytest.mark.parametrize("order", ["first", "last"])
def test_a_whiteout_spares_its_own_layer(lab: Lab, order: str) -> None:
    lab.layer("sha256:a", None, BASE)
    brings = [("usr/lib/new", b"n"), ("keep", b"mine")]
    takes = ["usr/.wh.lib", ".wh.keep"]
    layer = Layer()
    for name in takes if order == "first" else []:
        layer.add(name)
    for name, data in brings:
        layer.add(name, data)
    for name in takes if order == "last" else []:
        layer.add(name)
    lab.layer("sha256:b", "sha256:a", layer)
    tree = lab.tree("sha256:b")
    assert tree["keep"]["text"] == "mine"
    assert [n for n in tree if n.startswith("usr")] == ["usr", "usr/lib", "usr/lib/new"]


@pytest.mark.parametrize("order", ["first", "last"])
def test_an_opaque_directory(lab: Lab, order: str) -> None:
    lab.layer("sha256:a", None, BASE)
    layer = Layer().dir("usr")
    if order == "first":
        layer.add("usr/.wh..wh..opq")
    layer.dir("usr/lib").add("usr/lib/a", b"mine").add("usr/lib2", b"x")
    if order == "last":
        layer.add("usr/.wh..wh..opq")
    lab.layer("sha256:b", "sha256:a", layer)
    tree = lab.tree("sha256:b")
    assert [n for n in tree if n.startswith("usr")] == ["usr", "usr/lib", "usr/lib/a", "usr/lib2"]
    assert tree["usr/lib/a"]["text"] == "mine"


def test_an_opaque_root(lab: Lab) -> None:
    lab.layer("sha256:a", None, BASE)
    lab.layer("sha256:b", "sha256:a", Layer().dir("etc").add("etc/mine", b"m").add(".wh..wh..opq"))
    assert set(lab.tree("sha256:b")) == {"etc", "etc/mine"}


def test_what_a_layer_replaces(lab: Lab) -> None:
    lab.layer("sha256:a", None, BASE)
    layer = (
        Layer()
        .add("gone", b"now a file")
        .dir("keep")
        .dir("gone2")
        .add("etc/conf", b"twice")
        .link("etc/conf", "other")
        .dir("lib")  # was a link: the directory is a new one
        .add("lib/in", b"in")
        .add("usr", b"")  # a file, and then a directory again: the old one stays hidden
        .dir("usr")
    )
    applied = lab.layer("sha256:b", "sha256:a", layer)
    tree = lab.tree("sha256:b")
    assert tree["gone"]["text"] == "now a file"
    assert tree["keep"]["type"] == "dir"
    assert tree["etc/conf"]["to"] == "other"
    assert tree["lib"]["type"] == "dir"
    assert tree["lib/in"]["text"] == "in"
    assert [n for n in tree if n.startswith("usr")] == ["usr"]
    assert applied.size == len(b"now a file") + len("other") + len(b"in")


def test_names_that_lead_through_links(lab: Lab) -> None:
    lab.layer("sha256:a", None, BASE)
    layer = Layer().add("lib/one", b"1").add("abs/two", b"2").link("alias", "lib").add("alias/three", b"3")
    lab.layer("sha256:b", "sha256:a", layer)
    tree = lab.tree("sha256:b")
    assert {n for n in tree if n.startswith("usr/lib/")} == {
        f"usr/lib/{n}" for n in ("a", "b", "one", "two", "three")
    }
    assert tree["usr/lib"]["mode"] == "0750"
    assert tree["usr/lib"]["mtime_ns"] == MTIME * 10**9
    assert tree["lib"]["to"] == "usr/lib"


def test_a_link_that_is_replaced_leads_elsewhere_at_once(lab: Lab) -> None:
    lab.layer("sha256:a", None, BASE)
    layer = (
        Layer()
        .add("lib/one", b"1")
        .link("lib", "etc")
        .add("lib/two", b"2")
        .dir("lib")
        .add("lib/three", b"3")
        .add(".wh.abs")
        .add("abs/four", b"4")
    )
    lab.layer("sha256:b", "sha256:a", layer)
    found = set(lab.tree("sha256:b"))
    assert {"usr/lib/one", "etc/two", "lib/three", "abs/four"} <= found
    assert not {"lib/one", "lib/two", "etc/three", "usr/lib/four"} & found


def test_hard_links_into_lower_layers(lab: Lab) -> None:
    lab.layer("sha256:a", None, BASE)
    lab.layer(
        "sha256:b", "sha256:a", Layer().hard("etc/hard", "keep").hard("soft", "lib").hard("h2", "etc/hard")
    )
    with lab.viewed("sha256:b") as path:
        assert (path / "etc/hard").read_text() == "keep"
        assert (path / "etc/hard").stat().st_ino == (path / "h2").stat().st_ino
        assert str((path / "soft").readlink()) == "usr/lib"


def test_aufs_notes_are_left_out_but_their_hard_links_work(lab: Lab) -> None:
    layer = (
        Layer()
        .dir(".wh..wh.plnk")
        .add(".wh..wh.plnk/12.34", b"shared")
        .dir(".wh..wh.orph")
        .add(".wh..wh.aufs")
        .hard("one", ".wh..wh.plnk/12.34")
        .hard("two", ".wh..wh.plnk/12.34")
    )
    lab.layer("sha256:a", None, layer)
    tree = lab.tree("sha256:a")
    assert set(tree) == {"one", "two"}
    assert tree["one"]["text"] == tree["two"]["text"] == "shared"
    assert tree["two"]["links"] == "one"


def test_overlay_marks_in_an_archive_are_not_believed(lab: Lab) -> None:
    lab.layer("sha256:a", None, BASE)
    mark = {"SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.trusted.overlay.redirect": "/etc"}
    layer = Layer().dir("usr", pax=mark).add("keep", kind=tarfile.CHRTYPE, device=(0, 0))
    lab.layer("sha256:b", "sha256:a", layer)
    found = set(lab.tree("sha256:b"))
    assert "usr/lib/a" in found
    assert "keep" not in found


def test_owners_in_a_directory_that_gives_its_group(lab: Lab) -> None:
    layer = Layer().add("d", kind=tarfile.DIRTYPE, mode=0o2775, owner=(0, 50)).add("d/file").dir("d/sub")
    lab.layer("sha256:a", None, layer.link("d/link", "x").add("d/fifo", kind=tarfile.FIFOTYPE))
    tree = lab.tree("sha256:a")
    assert tree["d"]["gid"] == 50
    assert {n: tree[n]["gid"] for n in ("d/file", "d/sub", "d/link", "d/fifo")} == dict.fromkeys(
        ("d/file", "d/sub", "d/link", "d/fifo"), 0
    )
    assert tree["d/sub"]["mode"] == "0755"


def test_root_directory_attributes_are_kept(lab: Lab) -> None:
    lab.layer("sha256:a", None, Layer().dir("./", mode=0o711).add("x"))
    lab.layer("sha256:b", "sha256:a", Layer().add("y"))
    lab.driver.prepare("one", "sha256:b")
    with lab.mounted("one") as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o711
        assert path.stat().st_mtime == MTIME
        path.chmod(0o700)
    lab.layer("sha256:c", "sha256:b", lab.diff("one", "sha256:b"))
    with lab.viewed("sha256:c") as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_the_torture_image(lab: Lab, torture: Path) -> None:
    expected = json.loads((torture / "torture.expected.json").read_text())
    parent = None
    for diff_id, data in saved_layers(torture / "torture_latest.docker.tar"):
        lab.layer(diff_id, parent, data)
        parent = diff_id
    assert parent is not None
    found = lab.tree(parent)
    for path, entry in found.items():
        wanted = expected.get(path, {})
        entry.pop("links", None)
        for key in ("mtime_ns", "mode"):
            if key not in wanted:
                entry.pop(key, None)
    assert found == expected


def test_all_ways_of_comparing_agree(disks: Disks, tmp_path: Path) -> None:
    """The layer that a container's changes make does not depend on the driver."""
    layers: dict[str, bytes] = {}
    for place in PLACES:
        try:
            root = disks.root(place.disk) if place.disk else tmp_path / place.id
        except pytest.skip.Exception:
            continue
        root.mkdir(exist_ok=True)
        if place.kind.supported(root, place.options) is not None:
            continue
        lab = Lab(place, root)
        lab.layer("sha256:a", None, BASE)
        lab.driver.prepare("one", "sha256:a")
        with lab.mounted("one") as path:
            (path / "usr/lib/a").unlink()
            (path / "usr/lib/d").mkdir()
            (path / "usr/lib/d/x").write_text("x")
            (path / "gone/x").unlink()
            (path / "gone").rmdir()
            (path / "gone").mkdir()
            (path / "keep").write_text("other")
            for where in ("usr/lib", "usr/lib/d", "usr/lib/d/x", "gone", "keep", "usr", "."):
                os.utime(path / where, ns=(0, 1_600_000_000_000_000_001))
        layers[place.id] = lab.diff("one", "sha256:a")
        give_back(lab.driver)
    assert len(layers) > 1
    listings = {name: _listing(layer) for name, layer in layers.items()}
    first = next(iter(listings.values()))
    assert listings == dict.fromkeys(listings, first)
    assert len(set(layers.values())) == 1


def _listing(layer: bytes) -> list[tuple[str, bytes, int, int, dict[str, str]]]:
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        return [(m.name, m.type, m.size, m.mode, dict(m.pax_headers)) for m in tar]


# --- limits, and the host's mishaps ---


def test_a_limit_holds_or_is_refused(lab: Lab) -> None:
    lab.layer("sha256:a", None, BASE)
    limit = 500 << 20 if lab.driver.name == "devicemapper" else 20 << 20
    try:
        lab.driver.check_size(limit)
    except InvalidParameter:
        with pytest.raises(InvalidParameter):
            lab.driver.prepare("one", "sha256:a", size=limit)
        assert [s.key for s in lab.driver.walk()] == ["sha256:a"]
        return
    lab.driver.prepare("one", "sha256:a", size=limit)
    lab.driver.prepare("free", "sha256:a")
    with lab.mounted("one") as path:
        with pytest.raises(OSError, match=r"quota exceeded|No space left"):
            _fill(path / "big", limit + (64 << 20))
        (path / "big").unlink()
    lab.driver.commit("sha256:b", "one")
    lab.driver.prepare("two", "sha256:b")
    with lab.mounted("two") as path:
        (path / "small").write_text("x")
    with lab.mounted("free") as path:
        (path / "small").write_text("x")


def _fill(path: Path, size: int) -> None:
    with path.open("wb", buffering=0) as file:
        for _ in range(size >> 20):
            file.write(os.urandom(1 << 16) * 16)
            os.fdatasync(file.fileno())


KILLED = """
import io, sys
from sampan.base import faults
from sampan.kernel.mount import umount
from sampan.storage.mounting import underlying
from sampan.storage.unpack import unpack
from sampan.storage.drivers import DRIVERS
root, driver, options, point = sys.argv[1], sys.argv[2], eval(sys.argv[3]), sys.argv[4]
from pathlib import Path
driver = next(d for d in DRIVERS if d.name == driver)(Path(root), options)
driver.prepare("kept", "sha256:a")
if point != "inside":
    faults.arm(point, "kill")
driver.prepare("work", "sha256:a")
with underlying(driver, "work") as steps:
    unpack(steps, io.BytesIO(sys.stdin.buffer.read()))
    if point == "inside":
        faults.arm("here", "kill")
        faults.point("here")
driver.commit("sha256:b", "work")
driver.remove("sha256:b")
"""


@pytest.mark.parametrize("point", ["storage.create", "inside", "storage.commit", "storage.remove"])
def test_a_daemon_killed_in_the_middle(lab: Lab, point: str) -> None:
    lab.layer("sha256:a", None, BASE)
    layer = Layer().add("new", b"new").bytes()
    command = [sys.executable, "-c", KILLED, str(lab.root), lab.driver.name, repr(lab.place.options), point]
    killed = subprocess.run(command, input=layer, cwd=CHECKOUT, check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    again = lab.reopened()
    again.sweep()
    for key in ("work", "sha256:b"):
        take_off(again, key)
        again.remove(key)
    if point != "storage.create":
        assert [s.key for s in again.walk()] == ["sha256:a", "kept"]
    lab.driver = again
    lab.layer("sha256:b", "sha256:a", layer)
    assert lab.tree("sha256:b")["new"]["text"] == "new"


# --- after a power cut ---


def test_a_layer_is_replaced_under_what_stands_on_it(lab: Lab) -> None:
    if not isinstance(lab.driver, Replaces):
        pytest.skip(f"{lab.driver.name} has its layers on the disk when they are committed")
    lab.layer("sha256:a", None, Layer().add("file", b"").bytes())
    lab.driver.prepare("box", "sha256:a")
    with lab.mounted("box") as path:
        (path / "own").write_text("own")
    lab.driver.prepare("work", None)
    with lab.mounted("work") as path:
        (path / "file").write_text("whole")
    lab.driver.replace("sha256:a", "work")
    assert {s.key for s in lab.driver.walk()} == {"sha256:a", "box"}
    assert lab.tree("sha256:a")["file"]["text"] == "whole"
    with lab.mounted("box") as path:
        assert (path / "own").read_text() == "own"
    lab.driver.discard("sha256:a")
    assert {s.key for s in lab.reopened().walk()} == {"box"}
    lab.layer("sha256:a", None, Layer().add("file", b"again").bytes())
    with lab.mounted("box") as path:
        assert (path / "own").read_text() == "own"
    with pytest.raises(Conflict):
        lab.driver.remove("sha256:a")
    for key in ("box", "sha256:a"):
        lab.driver.remove(key)
