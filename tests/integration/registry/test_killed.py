"""The daemon is killed in the middle of pulls, pushes and commits: whole or absent, and then it goes on."""

import contextlib
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.daemon import Daemon
from support.fault_registry import Asked, FaultRegistry, Image, Reply
from support.image_archives import tar
from support.images import busybox_layer

pytestmark = pytest.mark.root
POINTS = 20


@pytest.fixture
def registry() -> Iterator[FaultRegistry]:
    with FaultRegistry() as found:
        yield found


def noise(seed: int, size: int) -> bytes:
    return tar([(f"noise{seed}", random.Random(seed).randbytes(size))])  # noqa: S311


def content(daemon: Daemon) -> dict[str, int]:
    """Return the sizes of all files of the content store and of what is on its way."""
    found = {}
    for folder in ("content", "tmp"):
        for path in (daemon.data_root / folder).rglob("*"):
            if path.is_file():
                found[str(path.relative_to(daemon.data_root))] = path.stat().st_size
    return found


def killed_in_a_pull(
    daemon: Daemon, registry: FaultRegistry, image: Image, name: str, chooser: random.Random
) -> None:
    """Pull ``name``; at a random byte of a random layer the daemon dies."""
    blob = chooser.choice(image.layers)
    cut = chooser.randrange(len(registry.blobs[blob]) + 1)
    registry.fault("GET", f"/v2/a/b/blobs/{blob}", Reply(cut=cut, then=daemon.kill), times=1)
    assert daemon.cli("pull", name, check=False).returncode
    assert daemon.wait() == -signal.SIGKILL


def test_a_pull_killed_at_random_points_goes_on_where_it_stopped(
    own_daemon: Daemon, registry: FaultRegistry
) -> None:
    image = registry.add_image("a/b", "1", [busybox_layer(), noise(1, 3 << 20), noise(2, 1 << 20)])
    name = f"{registry.host}/a/b:1"
    before = content(own_daemon)
    images = own_daemon.cli("images", "-q").stdout
    chooser = random.Random(5)  # noqa: S311 - about the same points in every run
    resumed = 0
    for _ in range(POINTS):
        killed_in_a_pull(own_daemon, registry, image, name, chooser)
        own_daemon.start()
        assert own_daemon.cli("images", "-q").stdout == images  # absent
        left = {
            path.name.replace("-", ":", 1): path.stat().st_size
            for path in (own_daemon.data_root / "content/partial").iterdir()
        }
        registry.asked.clear()
        own_daemon.cli("pull", "-q", name)
        for blob, size in left.items():
            asked = [each.headers.get("range", "") for each in registry.seen("GET", blob)]
            if size == len(registry.blobs[blob]):
                assert asked == []
            elif size:
                assert asked == [f"bytes={size}-"]
                resumed += 1
        ran = own_daemon.cli("run", "--rm", "--network", "none", name, "sha256sum", "/noise1", "/noise2")
        assert ran.stdout.count("\n") == 2
        own_daemon.cli("rmi", name)
        assert content(own_daemon) == before
    assert resumed
    assert own_daemon.cli("images", "-q").stdout == images


@pytest.mark.parametrize("step", ["PATCH", "images.pack.layer=kill", "images.push.layers=kill", "PUT"])
def test_a_daemon_killed_in_a_push(own_daemon: Daemon, registry: FaultRegistry, step: str) -> None:
    name = f"{registry.host}/a/b:1"
    own_daemon.cli("tag", "busybox:latest", name)
    identifier = own_daemon.cli("images", "-q", "--no-trunc", name).stdout
    if "=" in step:
        own_daemon.stop()
        own_daemon.start(environment={"SAMPAN_FAULTS": step})

    def kill(asked: Asked) -> Reply:
        own_daemon.kill()
        return Reply(raw=b"")

    path = "/v2/a/b/manifests/1" if step == "PUT" else "/v2/a/b/blobs/uploads/0"
    registry.fault(step, path, kill, times=1)
    assert own_daemon.cli("push", name, check=False).returncode
    assert own_daemon.wait() == -signal.SIGKILL
    assert "a/b@1" not in registry.manifests
    own_daemon.start(environment={"SAMPAN_FAULTS": ""})
    assert list((own_daemon.data_root / "tmp").iterdir()) == []
    assert own_daemon.cli("images", "-q", "--no-trunc", name).stdout == identifier
    own_daemon.cli("push", "-q", name)
    own_daemon.cli("rmi", name)
    own_daemon.cli("pull", "-q", name)
    assert own_daemon.cli("images", "-q", "--no-trunc", name).stdout == identifier
    own_daemon.cli("rmi", name)


@pytest.mark.parametrize("action", ["", "=kill"], ids=["fails", "killed"])
@pytest.mark.parametrize("step", ["storage.commit", "images.install.row"])
def test_a_commit_is_whole_or_absent(own_daemon: Daemon, step: str, action: str) -> None:
    own_daemon.cli("run", "--name", "one", "--network", "none", "busybox", "sh", "-c", "echo x > /new")
    images, before = own_daemon.cli("images", "-qa").stdout, content(own_daemon)
    own_daemon.stop()
    own_daemon.start(environment={"SAMPAN_FAULTS": f"{step}{action}"})
    failed = own_daemon.cli("commit", "one", "made:1", check=False)
    assert failed.returncode
    if action:
        assert own_daemon.wait() == -signal.SIGKILL
    else:
        assert f"injected fault at {step}" in failed.stderr
        assert content(own_daemon) == before
        own_daemon.stop()
    own_daemon.start(environment={"SAMPAN_FAULTS": ""})
    assert own_daemon.cli("images", "-qa").stdout == images
    assert content(own_daemon) == before
    own_daemon.cli("commit", "one", "made:1")
    done = own_daemon.cli("run", "--rm", "--network", "none", "made:1", "cat", "/new")
    assert done.stdout == "x\n"
    own_daemon.cli("rm", "one")
    own_daemon.cli("rmi", "made:1")


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "gone"])
def test_a_partial_file_that_is_wrong_does_no_harm(
    own_daemon: Daemon, registry: FaultRegistry, kept: bool
) -> None:
    """Bytes that a crash has left wrong are found out, and the next try begins again."""
    image = registry.add_image("a/b", "1", [noise(3, 1 << 20)])
    name = f"{registry.host}/a/b:1"
    partial = Path(own_daemon.data_root / "content/partial" / image.layers[0].replace(":", "-"))
    partial.write_bytes(bytes(1000) if kept else b"")
    with contextlib.suppress(AssertionError):
        own_daemon.cli("pull", "-q", name)
    own_daemon.cli("pull", "-q", name)
    own_daemon.cli("rmi", name)
