"""The machine is cut off, or the daemon killed, before an image is on the disk: it is whole or absent then.

A cut is a kill, after which the rows of what was unsettled are those of another boot and files are damaged.
"""

import random
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.daemon import Daemon
from support.fault_registry import FaultRegistry, Image
from support.image_archives import tar
from support.images import busybox_layer, load_busybox

pytestmark = pytest.mark.root
UNSETTLED = {"SAMPAN_FAULTS": "images.settle"}  # however long a test takes, nothing is settled


@pytest.fixture
def registry() -> Iterator[FaultRegistry]:
    with FaultRegistry() as found:
        yield found


@pytest.fixture
def daemon(own_daemon: Daemon) -> Daemon:
    own_daemon.stop()
    return own_daemon.start(environment=UNSETTLED)


def noise(seed: int) -> bytes:
    return tar([(f"noise{seed}", random.Random(seed).randbytes(1 << 20))])  # noqa: S311


def cut_off(daemon: Daemon) -> None:
    daemon.kill()
    for line in Path("/proc/self/mounts").read_text().splitlines():  # a machine that starts anew has none
        target = line.split()[1]
        if target.startswith(f"{daemon.data_root}/"):
            subprocess.run(["umount", "-l", target], check=True)
    with closing(sqlite3.connect(daemon.data_root / "state.db")) as rows, rows:
        changed = rows.execute("UPDATE unsettled SET document = ?", (b"another boot",)).rowcount
    assert changed


def blob(daemon: Daemon, digest: str) -> Path:
    return daemon.data_root / "content/blobs/sha256" / digest.removeprefix("sha256:")


def damage(daemon: Daemon, name: str) -> None:
    """Leave nothing of the file ``name`` of a layer but its name."""
    (path,) = (daemon.data_root / "storage").glob(f"*/sha256-*/diff/{name}")
    path.write_bytes(b"")


def contents(daemon: Daemon, name: str, *files: str) -> str:
    return daemon.cli("run", "--rm", "--network", "none", name, "sha256sum", *files).stdout


def two_images(registry: FaultRegistry) -> tuple[Image, Image, str, str]:
    """Put in two images that share their two lower layers; return them and their names."""
    shared = [busybox_layer(), noise(1)]
    return (
        registry.add_image("a/one", "1", [*shared, noise(2)]),
        registry.add_image("a/two", "1", [*shared, noise(3)]),
        f"{registry.host}/a/one:1",
        f"{registry.host}/a/two:1",
    )


def test_damaged_layers_are_made_whole_under_their_containers(
    daemon: Daemon, registry: FaultRegistry
) -> None:
    _, _, one, two = two_images(registry)
    daemon.cli("pull", "-q", one)
    daemon.cli("pull", "-q", two)
    wanted = contents(daemon, one, "/noise1", "/noise2"), contents(daemon, two, "/noise1", "/noise3")
    daemon.cli("run", "--name", "box", "--network", "none", one, "sh", "-c", "echo mine > /mine")
    cut_off(daemon)
    for name in ("noise1", "noise2", "noise3"):
        damage(daemon, name)
    registry.asked.clear()
    daemon.start(environment=UNSETTLED)
    assert "unpacked again" in daemon.log.read_text()
    assert contents(daemon, one, "/noise1", "/noise2") == wanted[0]
    assert contents(daemon, two, "/noise1", "/noise3") == wanted[1]
    daemon.cli("start", "-a", "box")
    assert daemon.cli("diff", "box").stdout == "A /mine\n"
    assert registry.asked == []
    daemon.cli("rm", "box")
    daemon.cli("rmi", one, two)


def test_images_with_a_damaged_blob_are_absent_and_a_pull_goes_on(
    daemon: Daemon, registry: FaultRegistry
) -> None:
    image, other, one, two = two_images(registry)
    daemon.cli("pull", "-q", one)
    daemon.cli("pull", "-q", two)
    daemon.cli("create", "--name", "box", "--network", "none", one, "sha256sum", "/noise1", "/mine")
    (daemon.folder / "mine").write_text("mine\n")
    daemon.cli("cp", str(daemon.folder / "mine"), "box:/mine")
    wanted = daemon.cli("start", "-a", "box").stdout
    cut_off(daemon)
    damage(daemon, "noise1")
    with blob(daemon, image.layers[1]).open("r+b") as file:
        file.truncate(1000)
    daemon.start(environment=UNSETTLED)
    log = daemon.log.read_text()
    assert log.count("was not on the disk when the machine stopped") == 2
    assert one in log
    assert daemon.cli("images", "-q", one).stdout == daemon.cli("images", "-q", two).stdout == ""
    assert daemon.cli("ps", "-aq", "--filter", "name=box").stdout
    refused = daemon.cli("start", "box", check=False)
    assert f"the layers of image {one} are not here: pull or load it again" in refused.stderr
    registry.asked.clear()
    daemon.cli("pull", "-q", one)
    daemon.cli("pull", "-q", two)
    fetched = [asked.target for asked in registry.seen("GET", "/blobs/") if "range" not in asked.headers]
    assert sum(image.layers[1] in target for target in fetched) == 1
    assert not [target for target in fetched if image.layers[0] in target or other.layers[2] in target]
    assert daemon.cli("start", "-a", "box").stdout == wanted
    daemon.cli("rm", "box")
    daemon.cli("rmi", one, two)


def test_a_killed_daemon_loses_nothing_and_looks_at_nothing(daemon: Daemon, registry: FaultRegistry) -> None:
    name = f"{registry.host}/a/b:1"
    registry.add_image("a/b", "1", [busybox_layer(), noise(4)])
    daemon.stop()
    daemon.start(environment={"SAMPAN_FAULTS": "images.install.answer=kill"})
    assert daemon.cli("pull", "-q", name, check=False).returncode
    assert daemon.wait() == -signal.SIGKILL
    daemon.start(environment=UNSETTLED)
    assert "unpacked again" not in daemon.log.read_text()
    assert contents(daemon, name, "/noise4")
    daemon.cli("rmi", name)


@pytest.mark.parametrize("step", ["storage.rebuild", "images.recovery.rows"])
def test_a_recovery_that_is_killed_begins_anew(daemon: Daemon, registry: FaultRegistry, step: str) -> None:
    name = f"{registry.host}/a/b:1"
    image = registry.add_image("a/b", "1", [busybox_layer(), noise(5)])
    daemon.cli("pull", "-q", name)
    load_busybox(daemon, "whole:1")
    cut_off(daemon)
    damage(daemon, "noise5")
    blob(daemon, image.layers[1]).write_bytes(b"")
    with pytest.raises(RuntimeError, match="-9"):
        daemon.start(environment={"SAMPAN_FAULTS": f"{step}=kill"})
    daemon.start(environment=UNSETTLED)
    assert daemon.cli("images", "-q", name).stdout == ""
    assert contents(daemon, "whole:1", "/bin/busybox")
    daemon.cli("pull", "-q", name)
    assert contents(daemon, name, "/noise5")
    daemon.cli("rmi", name, "whole:1")


def test_what_was_settled_is_not_looked_at(own_daemon: Daemon) -> None:
    """The rows go by themselves once the file systems were flushed."""
    with closing(sqlite3.connect(f"file:{own_daemon.data_root}/state.db?mode=ro", uri=True)) as rows:
        while rows.execute("SELECT count(*) FROM unsettled").fetchone()[0]:
            own_daemon.cli("images", "-q")  # takes a moment
