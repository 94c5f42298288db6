"""A full disk in the middle of things: a clear error, nothing half-made, and the engine goes on."""

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from support.daemon import Daemon, remove_everything
from support.disk import check
from support.fault_registry import FaultRegistry
from support.image_archives import tar
from support.images import busybox_layer, docker_archive, load_busybox
from support.layers import Layer
from support.traces import assert_none_left, look

pytestmark = pytest.mark.root

SIZE = 48 << 20
FULL = r"(?i)no space left on device|database or disk is full"


class SmallDisk:
    """The disk under a daemon's data root, to be filled up and given free again."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._filler = root / "filler"

    def fill(self, *, leave: int = 0) -> None:
        """Leave ``leave`` bytes free, and not one more."""
        with self._filler.open("ab") as filler, contextlib.suppress(OSError):
            free = os.statvfs(self._root)
            os.posix_fallocate(filler.fileno(), 0, max(1, free.f_bavail * free.f_bsize - leave))
        if leave == 0:
            with self._filler.open("ab") as filler, contextlib.suppress(OSError):
                while True:
                    os.write(filler.fileno(), bytes(4096))

    def free(self) -> None:
        self._filler.unlink()

    def tree(self) -> set[str]:
        """Return every path on the disk, but for those that come and go with the database and its log."""
        found = {str(path.relative_to(self._root)) for path in self._root.rglob("*")}
        return {path for path in found - {"containers"} if not path.startswith(("filler", "state.db"))}


@pytest.fixture
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with the image, whose data root is a small disk of its own."""
    folder = tmp_path_factory.mktemp("small")
    daemon = Daemon(folder)
    daemon.data_root.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=711", "small", daemon.data_root], check=True
    )
    try:
        daemon.start()
        load_busybox(daemon)
        before = look(daemon)
        yield daemon
        if not daemon.running:
            daemon.start()
        remove_everything(daemon)
        assert_none_left(before, daemon)
        assert daemon.stop() == 0
        assert "Traceback" not in daemon.log.read_text()
    finally:
        if daemon.running:
            daemon.kill()
        subprocess.run(["umount", "-l", daemon.data_root], check=True)


@pytest.fixture
def disk(daemon: Daemon) -> SmallDisk:
    return SmallDisk(daemon.data_root)


@pytest.fixture
def client(daemon: Daemon) -> Iterator[docker.DockerClient]:
    connected = daemon.client()
    yield connected
    connected.close()


def works(client: docker.DockerClient) -> bool:
    """Tell whether a container runs."""
    return bool(client.containers.run("busybox", "echo fine", remove=True) == b"fine\n")


def test_a_load_that_does_not_fit_leaves_nothing(
    daemon: Daemon, disk: SmallDisk, client: docker.DockerClient
) -> None:
    before = disk.tree()
    images = {image.id for image in client.images.list(all=True)}
    large = docker_archive("large:1", [busybox_layer(), os.urandom(SIZE)], {"Cmd": ["sh"]})
    with pytest.raises((docker.errors.APIError, docker.errors.ImageLoadError), match=FULL):
        client.images.load(large)
    assert disk.tree() == before
    assert {image.id for image in client.images.list(all=True)} == images
    assert works(client)
    daemon.stop()
    daemon.start()
    assert disk.tree() == before
    assert works(client)


@pytest.mark.parametrize("free", [0, 64 << 10, 1 << 20])
def test_a_load_into_what_is_left_is_whole_or_absent(
    disk: SmallDisk, client: docker.DockerClient, free: int
) -> None:
    before = disk.tree()
    disk.fill(leave=free)
    layer = docker_archive("x:1", [], {})  # a tar of two small files, as good a layer as any
    archive = docker_archive("other:1", [busybox_layer(), layer], {"Cmd": ["sh"]})
    with pytest.raises((docker.errors.APIError, docker.errors.ImageLoadError), match=FULL):
        client.images.load(archive)
    assert disk.tree() == before
    disk.free()
    client.images.load(archive)
    assert client.containers.run("other:1", "echo fine", remove=True) == b"fine\n"
    client.images.remove("other:1")
    assert disk.tree() == before


def test_nothing_is_created_on_a_full_disk(disk: SmallDisk, client: docker.DockerClient) -> None:
    disk.fill()
    with pytest.raises(docker.errors.APIError, match=FULL) as caught:  # the database has room of its own
        [client.containers.create("busybox", "true", name=f"number{number}") for number in range(10_000)]
    assert caught.value.status_code == 500
    made = client.containers.list(all=True, sparse=True)
    disk.free()
    assert client.containers.list(all=True, sparse=True) == made
    client.containers.create("busybox", "true", name=f"number{len(made)}")  # the name is free
    assert works(client)


def test_a_start_on_a_full_disk_leaves_nothing(
    daemon: Daemon, disk: SmallDisk, client: docker.DockerClient
) -> None:
    container = client.containers.create("busybox", "echo fine", ports={"80/tcp": 8080})
    before = look(daemon)
    disk.fill()
    with pytest.raises(docker.errors.APIError, match=FULL) as caught:
        container.start()
    assert caught.value.status_code == 500
    assert_none_left(before, daemon)
    container.reload()
    assert container.status == "created"
    disk.free()
    container.start()
    assert container.wait()["StatusCode"] == 0
    assert container.logs() == b"fine\n"


def test_a_container_on_a_full_disk_hears_of_it(disk: SmallDisk, client: docker.DockerClient) -> None:
    script = "dd if=/dev/zero of=/big bs=64k 2>/dev/null; code=$?; rm /big; echo dd ended with $code"
    container = client.containers.run("busybox", ["sh", "-c", script], detach=True)
    assert container.wait(timeout=60)["StatusCode"] == 0
    assert container.logs() == b"dd ended with 1\n"
    assert works(client)


@pytest.mark.parametrize("driver", ["json-file", "local"])
def test_a_log_that_does_not_fit_stops_nobody(
    disk: SmallDisk, client: docker.DockerClient, driver: str
) -> None:
    script = "read go; seq 1000000 1100000; echo silent; read go; echo heard; exit 3"
    container = client.containers.create(
        "busybox", ["sh", "-c", script], stdin_open=True, log_config={"Type": driver, "Config": {}}
    )
    stream = container.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    container.start()
    try:
        disk.fill(leave=64 << 10)
        stream._sock.sendall(b"go\n")
        seen = b""
        while not seen.endswith(b"silent\n"):  # who is attached loses nothing
            piece = stream._sock.recv(65536)
            assert piece, seen
            seen += piece
        assert seen.count(b"\n") >= 100_001
        disk.free()
        stream._sock.sendall(b"go\n")
        assert container.wait(timeout=60)["StatusCode"] == 3
    finally:
        stream._sock.close()
        stream._response.close()
    lines = container.logs().splitlines()
    assert lines[-1] == b"heard"
    assert 10 < len(lines) < 100_000
    assert set(lines[:-1]) <= {b"%d" % number for number in range(1_000_000, 1_100_001)} | {b"silent"}


def test_an_exit_on_a_full_disk_is_told(daemon: Daemon, disk: SmallDisk, client: docker.DockerClient) -> None:
    container = client.containers.run("busybox", ["sh", "-c", "read x; exit 5"], detach=True, stdin_open=True)
    doomed = client.containers.run("busybox", "sleep 1000", detach=True)
    disk.fill()
    stream = container.attach_socket(params={"stdin": 1, "stream": 1})
    stream._sock.sendall(b"x\n")
    assert container.wait(timeout=30)["StatusCode"] == 5
    stream._sock.close()
    stream._response.close()
    doomed.stop(timeout=0)
    doomed.reload()
    assert (doomed.status, doomed.attrs["State"]["ExitCode"]) == ("exited", 137)
    daemon.kill()
    disk.free()
    daemon.start()
    for ended, code in ((container, 5), (doomed, 137)):
        ended.reload()
        assert (ended.status, ended.attrs["State"]["ExitCode"]) == ("exited", code)
    assert works(client)


def test_a_daemon_starts_on_a_full_disk(daemon: Daemon, disk: SmallDisk, client: docker.DockerClient) -> None:
    container = client.containers.run("busybox", "sleep 1000", detach=True)
    disk.fill()
    daemon.kill()
    daemon.start()
    container.reload()
    assert container.status == "running"
    assert container.exec_run("echo fine").output == b"fine\n"
    container.remove(force=True)
    assert client.containers.list(all=True) == []
    disk.free()
    assert works(client)


def test_a_volume_that_cannot_be_filled_stays_empty(
    daemon: Daemon, disk: SmallDisk, client: docker.DockerClient
) -> None:
    """The image's content is copied when a volume is first mounted: all of it or nothing."""
    folder = (
        Layer().dir("content").add("content/small", b"x").add("content/large", os.urandom(4 << 20)).bytes()
    )
    client.images.load(docker_archive("content:1", [busybox_layer(), folder], {"Cmd": ["sh"]}))
    container = client.containers.create("content:1", "ls /content", volumes=["vol:/content"])
    before = look(daemon)
    disk.fill(leave=2 << 20)
    with pytest.raises(docker.errors.APIError, match=FULL):
        container.start()
    assert_none_left(before, daemon)
    assert [path.name for path in (daemon.data_root / "volumes/vol").iterdir()] == ["_data"]
    assert not any((daemon.data_root / "volumes/vol/_data").iterdir())
    disk.free()
    container.start()
    assert container.wait()["StatusCode"] == 0
    assert container.logs() == b"large\nsmall\n"
    container.remove()
    client.volumes.get("vol").remove()
    client.images.remove("content:1")


def test_a_file_that_cannot_be_copied_up_stays_as_it_was(
    disk: SmallDisk, client: docker.DockerClient
) -> None:
    """Overlay copies a file whole before its first byte is changed."""
    large = Layer().add("large", os.urandom(4 << 20)).bytes()
    client.images.load(docker_archive("large:1", [busybox_layer(), large], {"Cmd": ["sh"]}))
    container = client.containers.run("large:1", "sleep 1000", detach=True)
    summed = container.exec_run("md5sum /large").output
    disk.fill(leave=2 << 20)
    code, said = container.exec_run(["sh", "-c", "echo more >>/large"])
    assert code != 0
    assert b"No space left" in said
    assert container.exec_run("md5sum /large").output == summed
    assert {change["Path"] for change in container.diff() or ()} <= {"/large"}
    disk.free()
    assert container.exec_run(["sh", "-c", "echo more >>/large"]).exit_code == 0
    container.remove(force=True)
    client.images.remove("large:1")


def test_a_commit_that_does_not_fit_leaves_nothing(
    daemon: Daemon, disk: SmallDisk, client: docker.DockerClient
) -> None:
    script = "head -c 4000000 /dev/urandom >/large; sleep 1000"
    container = client.containers.run("busybox", ["sh", "-c", script], detach=True)
    while not container.exec_run("wc -c /large").output.startswith(b"4000000 "):
        pass
    images = {image.id for image in client.images.list(all=True)}
    before = disk.tree()
    for leave in (0, 2 << 20, 6 << 20):  # in the blob, and in the snapshot
        disk.fill(leave=leave)
        with pytest.raises(docker.errors.APIError, match=FULL):
            container.commit("made:1")
        disk.free()
        assert {image.id for image in client.images.list(all=True)} == images
        assert disk.tree() == before
        container.reload()
        assert container.status == "running"
    assert check(daemon) == []
    container.commit("made:1")
    assert client.containers.run("made:1", "wc -c /large", remove=True) == b"4000000 /large\n"
    container.remove(force=True)
    client.images.remove("made:1")


def test_a_pull_that_does_not_fit_is_absent_and_goes_on_later(
    daemon: Daemon, disk: SmallDisk, client: docker.DockerClient
) -> None:
    images = {image.id for image in client.images.list(all=True)}
    with FaultRegistry() as registry:
        data = tar([(f"noise{n}", os.urandom(4 << 20)) for n in range(3)])
        image = registry.add_image("a/b", "1", [busybox_layer(), data])
        name = f"{registry.host}/a/b"
        disk.fill(leave=7 << 20)
        failed = daemon.cli("pull", f"{name}:1", check=False)
        assert failed.returncode
        assert re.search(FULL, failed.stderr)
        assert {image.id for image in client.images.list(all=True)} == images
        assert works(client)
        disk.free()
        registry.asked.clear()
        assert client.images.pull(name, tag="1").id == image.id
        (again,) = registry.seen("GET", image.layers[1])
        assert int(again.headers["range"].removeprefix("bytes=").rstrip("-")) > 1 << 20
        assert works(client)
        client.images.remove(f"{name}:1")


def test_a_push_that_does_not_fit_harms_nothing(
    daemon: Daemon, disk: SmallDisk, client: docker.DockerClient
) -> None:
    """The first push of an image packs its layers, which takes room."""
    with FaultRegistry() as registry:
        name = f"{registry.host}/a/b"
        client.images.load(docker_archive(f"{name}:1", [tar([("noise", os.urandom(6 << 20))])], {}))
        before = disk.tree()
        disk.fill(leave=1 << 20)
        failed = daemon.cli("push", f"{name}:1", check=False)
        assert failed.returncode
        assert re.search(FULL, failed.stderr)
        disk.free()
        assert disk.tree() == before
        daemon.cli("push", f"{name}:1")
        assert "a/b@1" in registry.manifests
        client.images.remove(f"{name}:1")


def test_a_commit_and_an_import_that_do_not_fit_leave_nothing(
    daemon: Daemon, disk: SmallDisk, client: docker.DockerClient, tmp_path: Path
) -> None:
    container = client.containers.create("busybox", "true")
    (tmp_path / "noise.tar").write_bytes(tar([("noise", os.urandom(6 << 20))]))
    daemon.cli("cp", str(tmp_path / "noise.tar"), f"{container.id}:/noise")
    before, images = disk.tree(), {image.id for image in client.images.list(all=True)}
    disk.fill(leave=3 << 20)
    for words in (("commit", container.id, "made:1"), ("import", str(tmp_path / "noise.tar"), "made:2")):
        failed = daemon.cli(*words, check=False)
        assert failed.returncode
        assert re.search(FULL, failed.stderr)
    disk.free()
    assert disk.tree() == before
    assert {image.id for image in client.images.list(all=True)} == images
    daemon.cli("commit", container.id, "made:1")
    daemon.cli("import", str(tmp_path / "noise.tar"), "made:2")
    container.remove()
    for name in ("made:1", "made:2"):
        client.images.remove(name)
