"""A volume driver that is another process."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from support.daemon import Daemon, sampan
from support.plugin import VolumePlugin

pytestmark = pytest.mark.root
SOCKETS = Path("/run/docker/plugins")


@pytest.fixture
def plugin(daemon: Daemon, tmp_path: Path) -> Iterator[VolumePlugin]:
    SOCKETS.mkdir(parents=True, exist_ok=True)
    # the folder is the whole machine's, what is mounted there is this test's alone
    subprocess.run(["mount", "-t", "tmpfs", "plugins", SOCKETS], check=True)
    folder = tmp_path / "kept"
    folder.mkdir()
    address = SOCKETS / "vault.sock"
    try:
        with VolumePlugin(address, folder) as server:
            yield server
            client = daemon.client()
            for container in client.containers.list(all=True):
                container.remove(force=True)
            for volume in client.volumes.list():
                volume.remove(force=True)
            client.close()
    finally:
        subprocess.run(["umount", "-l", SOCKETS], check=True)
        for empty in (SOCKETS, SOCKETS.parent):
            with contextlib.suppress(OSError):  # somebody else's are there
                empty.rmdir()


def test_a_volume_of_a_plugin(
    daemon: Daemon, client: docker.DockerClient, plugin: VolumePlugin, tmp_path: Path
) -> None:
    made = client.volumes.create("safe", driver="vault", driver_opts={"size": "big"}, labels={"a": "b"})
    assert plugin.called("Create") == [{"Name": "safe", "Opts": {"size": "big"}}]
    assert (made.attrs["Driver"], made.attrs["Scope"]) == ("vault", "global")
    found = client.volumes.get("safe").attrs
    assert (found["Mountpoint"], found["Status"]) == (str(tmp_path / "kept/safe"), {"tier": "gold"})
    assert (found["Options"], found["Labels"]) == ({"size": "big"}, {"a": "b"})
    assert "vault" in client.info()["Plugins"]["Volume"]
    container = client.containers.run("busybox", "sleep 1000", detach=True, volumes=["safe:/s"])
    assert plugin.mounted == {"safe": {container.id}}
    container.exec_run("sh -c 'echo kept >/s/f'")
    assert (tmp_path / "kept/safe/f").read_text() == "kept\n"
    container.reload()
    assert container.attrs["Mounts"][0]["Source"] == str(tmp_path / "kept/safe")
    container.kill()
    container.wait()
    container.remove()
    assert plugin.mounted == {"safe": set()}
    assert len(plugin.called("Unmount")) == 1
    made.remove()
    assert plugin.called("Remove") == [{"Name": "safe"}]
    assert client.volumes.list() == []


def test_volumes_that_only_the_plugin_knows(
    daemon: Daemon, client: docker.DockerClient, plugin: VolumePlugin, tmp_path: Path
) -> None:
    (tmp_path / "kept/foreign").mkdir()
    client.volumes.create("mine")
    assert [volume.name for volume in client.volumes.list()] == ["foreign", "mine"]
    assert [volume.name for volume in client.volumes.list(filters={"driver": "vault"})] == ["foreign"]
    assert client.volumes.get("foreign").attrs["Driver"] == "vault"
    client.containers.run("busybox", "touch /s/f", remove=True, volumes=["foreign:/s"], volume_driver="vault")
    assert (tmp_path / "kept/foreign/f").exists()


def test_a_plugin_that_fails(daemon: Daemon, client: docker.DockerClient, plugin: VolumePlugin) -> None:
    plugin.refuse.add("Create")
    with pytest.raises(docker.errors.APIError) as caught:
        client.volumes.create("safe", driver="vault")
    assert caught.value.explanation == "create safe: VolumeDriver.Create: it does not want to"
    plugin.refuse = {"Mount"}
    client.volumes.create("safe", driver="vault")
    container = client.containers.create("busybox", "true", volumes=["safe:/s"])
    with pytest.raises(docker.errors.APIError, match=r"VolumeDriver\.Mount: it does not want to"):
        container.start()
    assert plugin.called("Unmount") == []
    container.remove()
    with pytest.raises(docker.errors.APIError, match="create safe: volume name must be unique"):
        client.volumes.create("safe", driver="local")
    with pytest.raises(
        docker.errors.NotFound, match='error looking up volume plugin nosuch: plugin "nosuch" not found'
    ):
        client.volumes.create("other", driver="nosuch")


def test_copies_of_a_plugins_volume_are_local(
    daemon: Daemon, client: docker.DockerClient, plugin: VolumePlugin, tmp_path: Path
) -> None:
    client.volumes.create("safe", driver="vault")
    (tmp_path / "kept/safe/f").write_text("x")
    sampan(daemon, "volume", "clone", "safe", "copy")
    assert (daemon.data_root / "volumes/copy/_data/f").read_text() == "x"
    assert plugin.mounted == {"safe": set()}
    done = sampan(daemon, "volume", "rename", "safe", "other", check=False)
    assert "the volume belongs to the plugin vault" in done.stderr
