"""The daemon on every storage driver: what a container changes, limits, what a kill of the daemon leaves."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from support.daemon import Daemon, remove_everything
from support.disks import PLACES, Disks, Place, helpers, loop_files
from support.images import load_busybox
from support.traces import assert_none_left, look

from sampan.kernel.mount import mounts

pytestmark = pytest.mark.root

# copies on ext4 and on xfs differ in nothing that the daemon could see
TRIED = [place for place in PLACES if place.id != "vfs@xfs"]


@pytest.fixture(scope="session")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disks]:
    found = Disks(tmp_path_factory.mktemp("disks"))
    yield found
    found.close()


@pytest.fixture(params=TRIED, ids=lambda place: place.id)
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.param
    return found


@pytest.fixture
def daemon(place: Place, disks: Disks, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with the image, its data root on the driver; afterwards nothing of it is left on the host."""
    folder = disks.root(place.disk) if place.disk else tmp_path_factory.mktemp("data")
    if (reason := place.kind.supported(folder, place.options)) is not None:
        pytest.skip(f"{place.id}: {reason}")
    loops, programs = loop_files(), helpers()
    options = [word for key, value in place.options.items() for word in ("--storage-opt", f"{key}={value}")]
    found = Daemon(folder, "--storage-driver", place.driver, *options).start()
    load_busybox(found)
    before = look(found)
    yield found
    if not found.running:
        found.start()
    remove_everything(found)
    assert_none_left(before, found)
    assert found.stop() == 0
    assert helpers() <= programs
    assert loop_files() == loops


@pytest.fixture
def client(daemon: Daemon) -> Iterator[docker.DockerClient]:
    connected = daemon.client()
    yield connected
    connected.close()


def shell(container: docker.models.containers.Container, script: str) -> str:
    code, output = container.exec_run(["sh", "-c", script])
    assert code == 0, output
    return str(output.decode())


def sleeping(client: docker.DockerClient, **more: object) -> docker.models.containers.Container:
    return client.containers.run(
        "busybox", ["sleep", "600"], detach=True, network_mode="none", stop_signal="KILL", **more
    )


def upper_of(container: docker.models.containers.Container) -> Path | None:
    container.reload()
    data = container.attrs["GraphDriver"]["Data"] or {}
    return Path(data["UpperDir"]) if "UpperDir" in data else None


def test_a_container_changes_its_own_layer_alone(daemon: Daemon, client: docker.DockerClient) -> None:
    one, two = sleeping(client), sleeping(client)
    shell(
        one,
        "echo changed >> /etc/passwd; rm /etc/group; mkdir /new; echo new > /new/file; echo 2 >> /etc/passwd",
    )
    assert "changed" not in shell(two, "cat /etc/passwd")
    assert shell(two, "ls -d /etc/group /new 2>/dev/null || true") == "/etc/group\n"
    changes = {(change["Kind"], change["Path"]) for change in one.diff()}
    assert changes == {(0, "/etc"), (0, "/etc/passwd"), (2, "/etc/group"), (1, "/new"), (1, "/new/file")}
    assert two.diff() in (None, [])
    if (upper := upper_of(one)) is not None:
        assert (upper / "etc/passwd").read_text().endswith("changed\n2\n")  # copied up, whole, once
        assert (upper / "new/file").read_text() == "new\n"
        mark = os.lstat(upper / "etc/group")
        assert mark.st_rdev == 0
        found = {str(p.relative_to(upper)) for p in upper.rglob("*") if not p.name.startswith(".wh.")}
        assert found - ENGINE == {"etc", "etc/passwd", "etc/group", "new", "new/file"}
    image = one.commit("made")
    again = client.containers.run(
        image, ["sh", "-c", "tail -1 /etc/passwd; cat /new/file; ls /etc"], remove=True
    )
    lines = again.decode().splitlines()
    assert lines[:2] == ["2", "new"]
    assert "group" not in lines
    one.restart(timeout=0)
    assert shell(one, "cat /new/file") == "new\n"
    archive, _ = one.get_archive("/new/file")
    assert b"new\n" in b"".join(archive)
    client.images.remove("made", force=True)


# what the engine makes in a container's layer: places to mount at, and what programs look for
ENGINE = {".dockerenv", "dev", "sys", "etc/hosts", "etc/hostname", "etc/resolv.conf"}


def test_info_and_a_limit(daemon: Daemon, client: docker.DockerClient, place: Place) -> None:
    info = client.info()
    assert info["Driver"] == place.driver
    assert info["DriverStatus"] or place.driver == "vfs"
    size = "500m" if place.driver == "devicemapper" else "24m"
    megabytes = 560 if place.driver == "devicemapper" else 40
    limited = daemon.cli(
        *("run", "-d", "--network", "none", "--storage-opt", f"size={size}", "busybox", "sleep", "600"),
        check=False,
    )
    if limited.returncode:
        assert place.kind.name in ("overlay2", "vfs", "aufs", "fuse-overlayfs")
        assert place.disk not in ("xfs-quota", "ext4-quota")
        assert REFUSALS[place.driver] in limited.stderr
        assert client.containers.list(all=True) == []
        return
    container = client.containers.get(limited.stdout.strip())
    code, output = container.exec_run(
        ["sh", "-c", f"dd if=/dev/urandom of=/big bs=1M count={megabytes} && sync"]
    )
    assert code != 0
    assert b"No space left" in output or b"quota exceeded" in output
    # zfs gives room back a moment later, with one of its next transaction groups
    shell(
        container, "rm /big; for i in $(seq 50); do sync; echo x 2>/dev/null > /small && exit; done; exit 1"
    )
    with pytest.raises(docker.errors.APIError, match="size"):
        client.containers.create("busybox", storage_opt={"size": "much"})
    with pytest.raises(docker.errors.APIError, match="Unknown option colour"):
        client.containers.create("busybox", storage_opt={"colour": "red"})


REFUSALS = {
    "overlay2": "--storage-opt is supported only for overlay over xfs with 'pquota' mount option",
    "fuse-overlayfs": "--storage-opt is not supported",
    "aufs": "--storage-opt is not supported for aufs",
    "vfs": "Filesystem does not support, or has not enabled quotas",
}


def test_a_daemon_killed_in_the_middle(daemon: Daemon, client: docker.DockerClient) -> None:
    running = sleeping(client)
    shell(running, "echo mine > /mine")
    made = client.containers.create("busybox", ["true"], network_mode="none")
    daemon.kill()
    daemon.start(environment={"SAMPAN_FAULTS": "storage.remove=kill"})
    try:
        made.start()
        made.wait()
        made.remove()
    except (docker.errors.APIError, OSError):
        pass
    daemon.kill()
    daemon.start(environment={"SAMPAN_FAULTS": ""})
    known = {c.id for c in client.containers.list(all=True)}
    assert running.id in known
    assert shell(running, "cat /mine") == "mine\n"
    kept = {json.loads(p.read_text())["key"] for p in snapshots(daemon) if p.parent.name[:1] != "."}
    assert {key for key in kept if ":" not in key} <= known
    home = daemon.data_root / "storage" / client.info()["Driver"]
    assert [p.name for p in home.iterdir() if p.name.startswith(".")] == []
    mounted = [m.target for m in mounts() if m.target.startswith(str(home)) and running.id not in m.target]
    assert [target for target in mounted if made.id not in target] == []


def snapshots(daemon: Daemon) -> Iterator[Path]:
    yield from (daemon.data_root / "storage").glob("*/*/snapshot.json")


def test_the_data_of_one_driver_is_not_taken_by_another(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, "--storage-driver", "vfs").start()
    load_busybox(daemon)
    assert daemon.stop() == 0
    other = Daemon(tmp_path, "--storage-driver", "overlay2")
    with pytest.raises(RuntimeError, match=r"holds data of the storage driver .*vfs.*, not of .*overlay2"):
        other.start()
    daemon = Daemon(tmp_path).start()  # by itself it goes on with what is there
    client = daemon.client()
    assert client.info()["Driver"] == "vfs"
    assert [image.tags for image in client.images.list()] == [["busybox:latest"]]
    client.close()
    assert daemon.stop() == 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--storage-driver", "reiser"), 'driver not supported: "reiser"'),
        (("--storage-opt", "dm.basesize"), "unable to parse storage-opt key/value option: dm.basesize"),
        (("--storage-opt", "nosuch=1"), "no storage driver has an option nosuch"),
        (("-s", "overlay2", "--storage-opt", "zfs.fsname=x"), "overlay2: unknown option zfs.fsname"),
        (("-s", "vfs", "--storage-opt", "size=much"), "size: invalid size: 'much'"),
        (("-s", "vfs", "--storage-opt", "size=1G"), "Filesystem does not support, or has not enabled quotas"),
        (("-s", "btrfs"), "does not lie on btrfs"),
    ],
)
def test_wrong_drivers_and_options(tmp_path: Path, flags: tuple[str, ...], words: str) -> None:
    with pytest.raises(RuntimeError) as caught:
        Daemon(tmp_path, *flags).start()
    assert words in str(caught.value)


def test_a_file_system_that_lacks_something_is_named(tmp_path: Path) -> None:
    lower, upper, root = tmp_path / "lower", tmp_path / "upper", tmp_path / "root"
    for path in (lower, upper / "upper", upper / "work", root):
        path.mkdir(parents=True)
    layers = f"lowerdir={lower},upperdir={upper}/upper,workdir={upper}/work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, root], check=True)
    try:
        with pytest.raises(RuntimeError) as caught:
            Daemon(root, "--storage-driver", "overlay2").start()
        # Which of the things that an overlay lacks is noticed first differs between kernels.
        lacking = (
            "'overlay' is not supported over overlayfs",
            "(overlayfs) has no trusted extended attributes",
        )
        assert any(words in str(caught.value) for words in lacking)
    finally:
        subprocess.run(["umount", root], check=True)
