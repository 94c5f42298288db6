"""Images mounted into containers: read-only, of a sub-path, kept from removal, through a daemon's crash."""

from collections.abc import Iterator

import docker
import pytest
from support.daemon import Daemon, sampan
from support.images import docker_archive
from support.layers import Layer
from support.traces import assert_none_left, look

pytestmark = pytest.mark.root


@pytest.fixture
def tools(client: docker.DockerClient) -> Iterator[str]:
    """An image of two layers that hold nothing but files: no program could run in it."""
    base = Layer().dir("etc").add("etc/one", b"one\n").add("etc/two", b"old\n").bytes()
    top = Layer().add("etc/two", b"two\n").link("out", "/etc").link("up", "../../..").bytes()
    client.images.load(docker_archive("tools:1", [base, top], {}))
    yield "tools:1"
    client.images.remove("tools:1", force=True)


def views(daemon: Daemon) -> list[str]:
    return [path.name for path in (daemon.data_root / "storage").glob("*/*-image-*")]


def test_an_image_is_seen_and_not_written(daemon: Daemon, client: docker.DockerClient, tools: str) -> None:
    before = look(daemon)
    container = client.containers.run(
        "busybox",
        "sleep 1000",
        detach=True,
        mounts=[{"Type": "image", "Source": tools, "Target": "/tools"}],
    )
    assert container.exec_run("cat /tools/etc/one /tools/etc/two").output == b"one\ntwo\n"
    code, said = container.exec_run("touch /tools/new")
    assert code == 1
    assert b"Read-only file system" in said
    container.reload()
    (point,) = container.attrs["Mounts"]
    assert (point["Type"], point["Name"], point["Destination"], point["RW"]) == (
        "image",
        tools,
        "/tools",
        False,
    )
    with pytest.raises(docker.errors.APIError, match="image is being used by running container"):
        client.images.remove(client.images.get(tools).id, force=True)
    assert len(views(daemon)) == 1
    container.kill()
    container.wait()
    container.remove()
    assert views(daemon) == []
    assert_none_left(before, daemon)


def test_a_part_of_an_image_stays_inside_it(daemon: Daemon, tools: str) -> None:
    mount = f"type=image,source={tools},target=/tools"
    run = ("run", "--rm", "--mount")
    assert (
        sampan(daemon, *run, f"{mount},image-subpath=etc", "busybox", "cat", "/tools/one").stdout == "one\n"
    )
    for subpath, reason in (
        ("out", "leads out of image tools:1"),
        ("up", "leads out of image tools:1"),
        ("no/such", "no such file or directory"),
    ):
        failed = sampan(daemon, *run, f"{mount},image-subpath={subpath}", "busybox", "true", check=False)
        assert failed.returncode in (125, 127), failed.stderr  # Docker's client: 127 for what is not found
        assert reason in failed.stderr
    failed = sampan(
        daemon, *run, "type=image,source=nosuch:1,target=/t", "--pull=never", "busybox", "true", check=False
    )
    assert "No such image: nosuch:1" in failed.stderr
    assert views(daemon) == []


def test_files_are_copied_out_of_a_stopped_container(
    daemon: Daemon, client: docker.DockerClient, tools: str
) -> None:
    mount = {"Type": "image", "Source": tools, "Target": "/tools"}
    container = client.containers.create("busybox", "true", mounts=[mount])
    stream, status = container.get_archive("/tools/etc/two")
    assert b"two\n" in b"".join(stream)
    assert status["size"] == 4
    with pytest.raises(docker.errors.APIError, match="read-only"):
        container.put_archive("/tools", Layer().add("new", b"x").bytes())
    other = client.containers.run("busybox", "cat /tools/etc/one", volumes_from=[container.id], remove=True)
    assert other == b"one\n"
    assert views(daemon) == []


def test_a_view_outlives_the_daemon_and_not_its_container(own_daemon: Daemon) -> None:
    client = own_daemon.client()
    mount = {"Type": "image", "Source": "busybox", "Target": "/tools"}
    container = client.containers.run("busybox", "sleep 1000", detach=True, mounts=[mount])
    own_daemon.kill()
    own_daemon.start()
    assert container.exec_run("ls -d /tools/bin").output == b"/tools/bin\n"
    assert len(views(own_daemon)) == 1
    container.remove(force=True)
    assert views(own_daemon) == []
    client.close()


@pytest.mark.parametrize("action", ["", "=kill"])
def test_a_start_that_fails_leaves_no_view(own_daemon: Daemon, action: str) -> None:
    before = look(own_daemon)
    own_daemon.stop()
    own_daemon.start(environment={"SAMPAN_FAULTS": f"containers.start.process{action}"})
    client = own_daemon.client()
    mount = {"Type": "image", "Source": "busybox", "Target": "/tools"}
    container = client.containers.create("busybox", "sleep 1000", mounts=[mount])
    with pytest.raises((docker.errors.APIError, OSError)):
        container.start()
    if own_daemon.running:
        own_daemon.stop()
    own_daemon.start()
    for left in client.containers.list(all=True):
        left.remove(force=True)
    assert views(own_daemon) == []
    assert_none_left(before, own_daemon)
    client.close()
