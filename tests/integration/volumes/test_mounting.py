"""Volumes in containers: options, reference counts, sub-paths, read-only, mapped owners, images' content."""

import io
import os
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import docker
import pytest
from docker.types import Mount
from support.daemon import Daemon, sampan
from support.images import busybox_layer, docker_archive
from support.traces import assert_none_left, look

pytestmark = pytest.mark.root
Shell = Callable[..., str]
TMPFS = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=7"}


def data(daemon: Daemon, volume: str) -> Path:
    return daemon.data_root / "volumes" / volume / "_data"


def test_data_outlives_its_container(client: docker.DockerClient, sh: Shell) -> None:
    sh("echo kept >/data/f; echo lost >/f", volumes=["vol:/data"])
    assert (
        sh("cat /data/f; ls /f || true", volumes=["vol:/data"]) == "kept\nls: /f: No such file or directory\n"
    )
    assert client.volumes.get("vol").attrs["Driver"] == "local"


def test_options_are_mounted_for_the_first_and_unmounted_after_the_last(
    daemon: Daemon, client: docker.DockerClient
) -> None:
    client.volumes.create("tmp", driver_opts=TMPFS)
    assert not os.path.ismount(data(daemon, "tmp"))
    first = client.containers.run("busybox", "sleep 1000", detach=True, volumes=["tmp:/t"])
    second = client.containers.run("busybox", "sleep 1000", detach=True, volumes=["tmp:/t"])
    first.exec_run("sh -c 'echo shared >/t/f'")
    assert second.exec_run("cat /t/f").output == b"shared\n"
    assert second.exec_run("stat -c %u /t").output == b"7\n"
    first.kill()
    first.wait()
    assert second.exec_run("cat /t/f").output == b"shared\n"
    with pytest.raises(docker.errors.APIError, match=r"remove tmp: volume is in use - \[") as caught:
        client.volumes.get("tmp").remove()
    assert caught.value.status_code == 409
    assert {first.id, second.id} == set(
        str(caught.value.explanation).partition("[")[2].rstrip("]").split(", ")
    )
    second.remove(force=True)
    first.remove()
    assert not os.path.ismount(data(daemon, "tmp"))


def test_a_directory_of_the_host_as_a_volume(client: docker.DockerClient, sh: Shell, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("of the host")
    client.volumes.create("bin", driver_opts={"type": "none", "device": str(tmp_path), "o": "bind"})
    assert sh("cat /b/f; echo new >/b/g", volumes=["bin:/b"]) == "of the host"
    assert (tmp_path / "g").read_text() == "new\n"
    client.volumes.create("gone", driver_opts={"type": "none", "device": f"{tmp_path}/no", "o": "bind"})
    with pytest.raises(docker.errors.APIError, match=r"failed to mount local volume.*no such file"):
        sh("true", volumes=["gone:/b"])


def test_a_file_system_that_the_kernel_has_not_is_named(client: docker.DockerClient, sh: Shell) -> None:
    client.volumes.create("net", driver_opts={"type": "nosuchfs", "device": "x", "o": "ro"})
    with pytest.raises(docker.errors.APIError, match="the kernel has no file system nosuchfs"):
        sh("true", volumes=["net:/n"])


def test_mounts_of_a_killed_daemon_are_kept_for_those_that_live(own_daemon: Daemon) -> None:
    client = own_daemon.client()
    before = look(own_daemon)
    client.volumes.create("tmp", driver_opts=TMPFS)
    lives = client.containers.run("busybox", "sleep 1000", detach=True, volumes=["tmp:/t"])
    dies = client.containers.run(
        "busybox", "sh -c 'until [ -e /t/end ]; do sleep 0.02; done'", detach=True, volumes=["tmp:/t"]
    )
    lives.exec_run("sh -c 'echo kept >/t/f'")
    own_daemon.kill()
    own_daemon.start()
    assert os.path.ismount(data(own_daemon, "tmp"))
    assert lives.exec_run("cat /t/f").output == b"kept\n"
    lives.exec_run("touch /t/end")
    dies.wait()
    assert os.path.ismount(data(own_daemon, "tmp"))
    lives.kill()
    lives.wait()
    lives.remove()
    dies.remove()
    assert_none_left(before, own_daemon)
    client.close()


@pytest.mark.parametrize("step", ["volumes.mount", "containers.start.volumes", "containers.start.process"])
@pytest.mark.parametrize("action", ["", "=kill"])
def test_a_start_that_fails_unmounts(own_daemon: Daemon, step: str, action: str) -> None:
    before = look(own_daemon)
    own_daemon.stop()
    own_daemon.start(environment={"SAMPAN_FAULTS": step + action})
    client = own_daemon.client()
    client.volumes.create("tmp", driver_opts=TMPFS)
    client.volumes.create("plain")
    (data(own_daemon, "plain") / "below").mkdir()
    mounts = [
        Mount("/t", "tmp"),
        {"Type": "volume", "Source": "plain", "Target": "/p", "VolumeOptions": {"Subpath": "below"}},
    ]
    container = client.containers.create("busybox", "sleep 100", mounts=mounts)
    with pytest.raises((docker.errors.APIError, OSError)):
        container.start()
    if action:
        own_daemon.wait()
        own_daemon.start()
    assert_none_left(before, own_daemon)
    container.remove(force=True)
    client.close()


def subpath(volume: str, path: str, target: str = "/s") -> Mount:
    mount = Mount(target, volume)
    mount["VolumeOptions"] = {"Subpath": path}
    return mount


def test_a_path_below_a_volume(daemon: Daemon, client: docker.DockerClient, sh: Shell) -> None:
    sh(
        "mkdir -p /d/a/b; echo deep >/d/a/b/f; ln -s a/b /d/in; ln -s /etc /d/out; ln -s ../.. /d/up",
        volumes=["vol:/d"],
    )
    before = look(daemon)
    for path in ("a/b", "in", "a/../a/b"):
        assert sh("cat /s/f", mounts=[subpath("vol", path)]) == "deep\n"
    assert sh("cat /s", mounts=[subpath("vol", "a/b/f")]) == "deep\n"
    for path in ("out", "up", "out/passwd"):
        with pytest.raises(docker.errors.APIError, match="leads out of volume vol") as caught:
            sh("ls /s", mounts=[subpath("vol", path)])
        assert caught.value.status_code == 400
    with pytest.raises(docker.errors.APIError, match="no such file or directory"):
        sh("ls /s", mounts=[subpath("vol", "nothing")])
    assert_none_left(before, daemon)


def test_a_path_that_becomes_a_link_under_our_hands(
    daemon: Daemon, client: docker.DockerClient, sh: Shell
) -> None:
    """A container swaps the sub-path for a link to the host's root while others start on it."""
    sh("mkdir /d/real; echo fine >/d/real/f; ln -s /etc /d/evil; ln -s real /d/s", volumes=["vol:/d"])
    folder, end = data(daemon, "vol"), threading.Event()
    seen: list[str] = []
    refusals: list[str] = []

    def swap() -> None:
        while not end.is_set():
            for target in ("evil", "real"):
                (folder / "next").symlink_to(target)
                (folder / "next").rename(folder / "s")

    worker = threading.Thread(target=swap)
    worker.start()
    try:
        for _ in range(8):
            try:
                seen.append(sh("ls /s", mounts=[subpath("vol", "s")]))
            except docker.errors.APIError as error:
                refusals.append(str(error))
    finally:
        end.set()
        worker.join()
    assert set(seen) <= {"f\n"}
    assert all("leads out of volume vol" in text for text in refusals)


def test_copying_from_a_container_that_does_not_run(
    daemon: Daemon, client: docker.DockerClient, sh: Shell
) -> None:
    sh("mkdir /d/below; echo deep >/d/below/f", volumes=["vol:/d"], network_mode="none")
    before = look(daemon)
    container = client.containers.create("busybox", "true", mounts=[subpath("vol", "below")])
    pieces, _ = container.get_archive("/s/f")
    assert b"deep" in b"".join(pieces)
    place = data(daemon, "vol") / "below"
    (place / "f").unlink()
    place.rmdir()
    place.symlink_to("/etc")
    with pytest.raises(docker.errors.NotFound):
        container.get_archive("/s/passwd")
    assert_none_left(before, daemon)


def test_read_only_and_volumes_of_another_container(client: docker.DockerClient, sh: Shell) -> None:
    holder = client.containers.create("busybox", "true", volumes=["vol:/v", "/anonymous"])
    sh("echo x >/v/f; echo y >/anonymous/f", volumes_from=[holder.name])
    assert sh("cat /v/f /anonymous/f", volumes_from=[f"{holder.name}:ro"]) == "x\ny\n"
    with pytest.raises(docker.errors.ContainerError) as caught:
        sh("touch /v/g", volumes_from=[f"{holder.name}:ro"])
    assert b"Read-only file system" in caught.value.stderr
    assert len(client.volumes.list()) == 2
    holder.remove(v=True)
    assert [volume.name for volume in client.volumes.list()] == ["vol"]


def test_labels_and_options_of_a_mount_make_the_volume(client: docker.DockerClient, sh: Shell) -> None:
    mount = Mount("/t", "made")
    mount["VolumeOptions"] = {"Labels": {"a": "b"}, "DriverConfig": {"Name": "local", "Options": TMPFS}}
    assert "tmpfs" in sh("mount | grep ' /t '", mounts=[mount])
    attributes = client.volumes.get("made").attrs
    assert (attributes["Labels"], attributes["Options"]) == ({"a": "b"}, TMPFS)


def test_owners_are_mapped(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    os.chown(tmp_path, 1000, 1001)
    os.chown(tmp_path / "f", 1000, 1001)
    before = look(daemon)
    show = "stat -c '%u:%g' /h /h/f; touch /h/new"
    for option in ("-v", f"{tmp_path}:/h:idmap"), ("--mount", f"type=bind,src={tmp_path},dst=/h,idmap"):
        done = sampan(daemon, "run", "--rm", *option, "busybox", "sh", "-c", show)
        assert done.stdout == "0:0\n0:0\n"
        made = tmp_path / "new"
        assert (made.stat().st_uid, made.stat().st_gid) == (1000, 1001)
        made.unlink()
    option = ("-v", f"{tmp_path}:/h:ro,idmap=uids=1000-5-1;gids=1001-6-1")
    done = sampan(daemon, "run", "--rm", *option, "busybox", "stat", "-c", "%u:%g", "/h/f")
    assert done.stdout == "5:6\n"
    sampan(daemon, "run", "--rm", "-v", "vol:/h:idmap", "-u", "33", "busybox", "touch", "/h/mine")
    assert (data(daemon, "vol") / "mine").stat().st_uid == 0
    done = sampan(daemon, "run", "--rm", "-v", "/proc:/h:idmap", "busybox", "true", check=False)
    assert "the owners of /proc cannot be mapped (idmap)" in done.stderr
    done = sampan(daemon, "run", "--rm", "-v", f"{tmp_path}:/h:idmap=x", "busybox", "true", check=False)
    assert "invalid idmap: x" in done.stderr
    assert_none_left(before, daemon)


def full_image(client: docker.DockerClient) -> None:
    """Load an image with a folder full of what is hard to copy, and a volume there."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, mode, link in (
            ("full", tarfile.DIRTYPE, 0o1770, ""),
            ("full/f", tarfile.REGTYPE, 0o4751, ""),
            ("full/h", tarfile.LNKTYPE, 0o4751, "full/f"),
            ("full/l", tarfile.SYMTYPE, 0o777, "/nowhere"),
            ("full/p", tarfile.FIFOTYPE, 0o600, ""),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.linkname, info.uid, info.gid = kind, mode, link, 11, 12
            if kind == tarfile.REGTYPE:
                info.pax_headers = {"SCHILY.xattr.user.test": "value"}
            archive.addfile(info)
    config: dict[str, object] = {"Cmd": ["sh"], "Volumes": {"/full": {}}, "Env": ["PATH=/bin"]}
    client.images.load(docker_archive("full:latest", [busybox_layer(), buffer.getvalue()], config))


def test_an_empty_volume_takes_the_content_of_the_image(daemon: Daemon, client: docker.DockerClient) -> None:
    full_image(client)
    container = client.containers.run("full", "sleep 1000", detach=True)
    (mount,) = container.attrs["Mounts"] or client.containers.get(container.id).attrs["Mounts"]
    assert (mount["Type"], mount["Destination"], mount["Driver"]) == ("volume", "/full", "local")
    place = Path(mount["Source"])
    status = place.stat()
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o1770, 11, 12)
    file = (place / "f").stat()
    assert (file.st_mode & 0o7777, file.st_uid, file.st_nlink) == (0o4751, 11, 2)
    assert (place / "h").stat().st_ino == file.st_ino
    assert os.getxattr(place / "f", "user.test") == b"value"
    assert str((place / "l").readlink()) == "/nowhere"
    assert (place / "p").is_fifo()
    (place / "f").unlink()
    container.restart(timeout=0)
    assert sorted(entry.name for entry in place.iterdir()) == ["h", "l", "p"]
    container.remove(force=True, v=True)
    assert not place.exists()
    plain = Mount("/full", "named", no_copy=True)
    assert client.containers.run("full", "ls /full", remove=True, mounts=[plain]) == b""
    client.images.remove("full", force=True)


def test_a_daemon_killed_while_it_fills_a_volume(own_daemon: Daemon) -> None:
    client = own_daemon.client()
    full_image(client)
    own_daemon.stop()
    own_daemon.start(environment={"SAMPAN_FAULTS": "volumes.fill=kill"})
    container = client.containers.create("full", "ls /full", volumes=["vol:/full"])
    with pytest.raises((docker.errors.APIError, OSError)):
        container.start()
    own_daemon.wait()
    assert list(data(own_daemon, "vol").iterdir()) == []
    own_daemon.start()
    container.start()
    container.wait()
    assert container.logs() == b"f\nh\nl\np\n"
    container.remove()
    assert sorted(entry.name for entry in data(own_daemon, "vol").parent.iterdir()) == ["_data"]
    client.close()


def test_host_paths_are_made_for_v_and_refused_for_mount(
    client: docker.DockerClient, sh: Shell, tmp_path: Path
) -> None:
    sh("touch /b/f", volumes=[f"{tmp_path}/new/deep:/b"])
    assert (tmp_path / "new/deep/f").exists()
    with pytest.raises(docker.errors.APIError, match="bind source path does not exist: ") as caught:
        sh("true", mounts=[Mount("/b", f"{tmp_path}/none", type="bind", consistency="cached")])
    assert caught.value.status_code == 400
    assert not (tmp_path / "none").exists()


def test_propagation_and_recursive_read_only(daemon: Daemon, tmp_path: Path) -> None:
    import subprocess

    host = tmp_path / "host"
    (host / "sub").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "below", host / "sub"], check=True)
    try:
        run = ("run", "--rm", "--mount")
        bind = f"type=bind,src={host},dst=/h"
        done = daemon.cli(*run, f"{bind},readonly", "busybox", "touch", "/h/sub/f", check=False)
        assert "Read-only file system" in done.stderr
        daemon.cli(*run, f"{bind},readonly,bind-recursive=writable", "busybox", "touch", "/h/sub/f")
        done = daemon.cli(*run, f"{bind},bind-recursive=disabled", "busybox", "ls", "/h/sub")
        assert done.stdout == ""
        client = daemon.client()
        slave = Mount("/h", str(host), type="bind", propagation="rslave")
        container = client.containers.run("busybox", "sleep 1000", detach=True, mounts=[slave])
        subprocess.run(["umount", host / "sub"], check=True)
        assert container.exec_run("ls /h/sub").output == b""
        assert container.exec_run("sh -c \"mount | grep -c ' /h/sub '\"").output == b"0\n"
        container.remove(force=True)
        client.close()
    finally:
        subprocess.run(["umount", host / "sub"], check=False, capture_output=True)


def test_tmpfs_size_and_mode(daemon: Daemon) -> None:
    show = "stat -c %a /t; df -k /t | tail -1 | awk '{print $2}'"
    for option in (
        ("--tmpfs", "/t:size=2m,mode=1700"),
        ("--mount", "type=tmpfs,dst=/t,tmpfs-size=2m,tmpfs-mode=1700"),
    ):
        assert daemon.cli("run", "--rm", *option, "busybox", "sh", "-c", show).stdout == "1700\n2048\n"
