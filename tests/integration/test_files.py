"""Files of containers, what containers use, and images made here, through Docker's Python SDK."""

import contextlib
import gzip
import io
import json
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import APIError, NotFound
from docker.models.containers import Container
from support.daemon import Daemon

pytestmark = pytest.mark.root


def tar_of(*files: tuple[str, bytes], **fields: Any) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for field, value in fields.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def members(pieces: Iterator[bytes]) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as archive:
        return {member.name: member for member in archive}


@pytest.fixture
def sleeper(client: docker.DockerClient, tmp_path: Path) -> Container:
    (tmp_path / "bound").mkdir()
    return client.containers.run(
        "busybox",
        ["sleep", "1000"],
        name="sleeper",
        detach=True,
        volumes={"files-test": {"bind": "/volume"}, str(tmp_path / "bound"): {"bind": "/bound"}},
        tmpfs={"/memory": ""},
    )


@pytest.fixture(autouse=True)
def no_volumes(client: docker.DockerClient) -> Iterator[None]:
    yield
    for container in client.containers.list(all=True):
        container.remove(force=True)
    for volume in client.volumes.list():
        volume.remove()


@pytest.mark.parametrize("runs", [True, False])
def test_files_in_and_out(sleeper: Container, tmp_path: Path, *, runs: bool) -> None:
    if not runs:
        sleeper.kill()
        sleeper.wait()
    for place in ("/root", "/volume", "/bound", *(["/memory"] if runs else [])):
        sleeper.put_archive(place, tar_of(("f", b"text"), mode=0o4751, uid=5, gid=6, mtime=1000))
        pieces, stat = sleeper.get_archive(f"{place}/f")
        assert (stat["name"], stat["size"], stat["linkTarget"]) == ("f", 4, "")
        assert stat["mode"] == 1 << 23 | 0o751
        found = members(pieces)["f"]
        assert (found.mode, found.uid, found.gid, found.mtime) == (0o4751, 5, 6, 1000)
    assert (tmp_path / "bound/f").read_bytes() == b"text"
    pieces, stat = sleeper.get_archive("/volume")
    assert stat["mode"] >> 31 == 1
    assert sorted(members(pieces)) == ["volume", "volume/f"]
    assert sorted(members(sleeper.get_archive("/volume/.")[0])) == [".", "./f"]


def test_a_container_that_never_ran(client: docker.DockerClient) -> None:
    container = client.containers.create("busybox", volumes={"files-test": {"bind": "/deep/volume"}})
    container.put_archive("/deep/volume", tar_of(("f", b"x")))
    container.put_archive("/etc", tar_of(("mine", b"y")))
    assert "volume/f" in members(container.get_archive("/deep/volume")[0])
    container.start()
    container.wait()
    assert {"Path": "/etc/mine", "Kind": 1} in container.diff()


def test_links_stay_inside(client: docker.DockerClient, sleeper: Container, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    sleeper.exec_run(["sh", "-c", f"ln -s {outside} /out; ln -s /../../{outside} /up; ln -s /etc /link"])
    for path in ("/out", "/up"):
        with pytest.raises(NotFound):
            sleeper.put_archive(path, tar_of(("f", b"x")))
        with pytest.raises(NotFound):
            sleeper.get_archive(f"{path}/.")
    assert not list(outside.iterdir())
    _, stat = sleeper.get_archive("/link")
    assert (stat["linkTarget"], stat["mode"] >> 27) == ("/etc", 1)
    assert "passwd" in members(sleeper.get_archive("/link/passwd")[0])
    for name in ("../f", "a/../../f"):
        with pytest.raises(APIError, match="is outside of"):
            sleeper.put_archive("/tmp", tar_of((name, b"x")))
    sleeper.put_archive("/tmp", tar_of(("/../f", b"x")))
    assert sleeper.exec_run(["ls", "/f"]).exit_code == 1


def test_what_cannot_be_copied(client: docker.DockerClient, sleeper: Container) -> None:
    with pytest.raises(NotFound, match="Could not find the file /nope in container sleeper") as caught:
        client.api.get_archive("sleeper", "/nope")
    assert caught.value.status_code == 404
    with pytest.raises(APIError, match="extraction point is not a directory"):
        sleeper.put_archive("/etc/passwd", tar_of(("f", b"x")))
    with pytest.raises(APIError) as caught:
        sleeper.put_archive("/tmp", b"this is no archive" * 100)
    assert caught.value.status_code == 400
    url = client.api._url("/containers/sleeper/archive")
    for bad in ({"path": ""}, {}):
        assert client.api._get(url, params=bad).status_code == 400
    answer = client.api._put(
        url, params={"path": "/", "noOverwriteDirNonDir": "1"}, data=tar_of(("etc", b""))
    )
    assert answer.status_code == 400
    assert "cannot overwrite directory" in answer.text


def test_read_only_places(client: docker.DockerClient) -> None:
    container = client.containers.run(
        "busybox",
        ["sleep", "1000"],
        detach=True,
        read_only=True,
        volumes={"files-test": {"bind": "/rw"}, "other": {"bind": "/ro", "mode": "ro"}},
    )
    with pytest.raises(APIError, match="container rootfs is marked read-only"):
        container.put_archive("/tmp", tar_of(("f", b"x")))
    with pytest.raises(APIError, match="mounted volume is marked read-only"):
        container.put_archive("/ro", tar_of(("f", b"x")))
    assert container.put_archive("/rw", tar_of(("f", b"x")))


def test_owner_is_the_user_of_the_container(client: docker.DockerClient) -> None:
    container = client.containers.run("busybox", ["sleep", "1000"], detach=True, user="33:7")
    url = client.api._url("/containers/{0}/archive", container.id)
    answer = client.api._put(
        url, params={"path": "/tmp", "copyUIDGID": "true"}, data=tar_of(("f", b"x"), uid=5)
    )
    assert answer.status_code == 200
    assert container.exec_run(["stat", "-c", "%u %g", "/tmp/f"]).output == b"33 7\n"


def test_the_kernels_files_are_not_copied_along(client: docker.DockerClient) -> None:
    container = client.containers.run("busybox", ["sleep", "1000"], detach=True, privileged=True)
    names = members(container.get_archive("/")[0])
    assert "/proc" in names or "proc" in names
    assert not any(name.lstrip("/").startswith(("proc/", "sys/")) for name in names)
    assert members(container.get_archive("/proc/version")[0])


def test_statistics(client: docker.DockerClient) -> None:
    container = client.containers.run(
        "busybox", ["sh", "-c", "while :; do :; done"], detach=True, mem_limit="64m", pids_limit=50
    )
    stats = container.stats(stream=False)
    assert (stats["id"], stats["name"]) == (container.id, f"/{container.name}")
    assert stats["memory_stats"]["limit"] == 64 << 20
    assert stats["memory_stats"]["usage"] > 0
    assert stats["pids_stats"] == {"current": 1, "limit": 50}
    used = stats["cpu_stats"]["cpu_usage"]["total_usage"] - stats["precpu_stats"]["cpu_usage"]["total_usage"]
    assert used > 10**7
    assert stats["cpu_stats"]["system_cpu_usage"] > stats["precpu_stats"]["system_cpu_usage"]
    assert stats["networks"]["eth0"]["rx_bytes"] >= 0
    stream = container.stats(stream=True, decode=True)
    first, second = next(stream), next(stream)
    assert first["preread"] == "0001-01-01T00:00:00Z"
    assert (second["preread"], second["precpu_stats"]) == (first["read"], first["cpu_stats"])
    stream.close()
    container.kill()
    container.wait()
    empty = container.stats(stream=False)
    assert (empty["read"], empty["memory_stats"], empty["pids_stats"]) == ("0001-01-01T00:00:00Z", {}, {})


def test_statistics_have_one_reader_and_end_with_the_container(client: docker.DockerClient) -> None:
    container = client.containers.run("busybox", ["sleep", "1000"], detach=True, network_mode="none")
    streams = [container.stats(stream=True, decode=True) for _ in range(3)]
    assert len({next(stream)["read"] for stream in streams}) <= 2
    assert "networks" not in container.stats(stream=False)
    container.remove(force=True)
    for stream in streams:
        for _ in range(10):
            if next(stream, None) is None:
                break
        else:
            pytest.fail("the stream goes on after its container")
    url = client.api._url("/containers/{0}/stats", container.id)
    assert client.api._get(url).status_code == 404


def test_commit(client: docker.DockerClient, sleeper: Container) -> None:
    base = client.images.get("busybox")
    unchanged = sleeper.commit("same")
    assert unchanged.attrs["RootFS"] == base.attrs["RootFS"]
    sleeper.exec_run(["sh", "-c", "echo hi >/root/f; rm /etc/group; touch /volume/x /memory/x"])
    image = sleeper.commit(
        "files/made", "1", message="why", author="who", changes=['CMD ["cat", "/root/f"]', "ENV A=b"]
    )
    assert image.tags == ["files/made:1"]
    assert (image.attrs["Author"], image.attrs["Comment"]) == ("who", "why")
    assert image.attrs["Parent"] == base.id
    assert image.attrs["RootFS"]["Layers"][:-1] == base.attrs["RootFS"]["Layers"]
    assert client.containers.run("files/made:1", remove=True) == b"hi\n"
    listed = client.containers.run(
        "files/made:1", ["sh", "-c", "ls /etc/group; ls -A /volume /memory; echo $A"]
    )
    assert b"/etc/group" not in listed
    assert b"x" not in listed
    assert listed.endswith(b"b\n")
    step = image.history()[0]
    assert (step["Comment"], step["CreatedBy"], step["Size"]) == ("why", "sleep 1000", 3)
    assert not client.api.inspect_container("sleeper")["State"]["Paused"]
    again = sleeper.commit()
    assert again.attrs["RootFS"] == image.attrs["RootFS"]
    with pytest.raises(APIError, match="RUN is not a valid change command"):
        sleeper.commit(changes=["RUN true"])
    with pytest.raises(APIError, match="invalid reference format"):
        sleeper.commit("Bad Name")
    for name in (again.id, "files/made:1", "same"):
        client.images.remove(name, force=True)


def test_export_and_import(client: docker.DockerClient, sleeper: Container) -> None:
    data = b"".join(sleeper.export())
    for archive in (data, gzip.compress(data)):
        answer = client.api.import_image_from_data(
            archive, repository="imported", tag="1", changes=["CMD id"]
        )
        image = client.images.get("imported:1")
        assert json.loads(answer)["status"] == image.id
        assert image.attrs["Comment"] == "Imported from -"
        assert len(image.attrs["RootFS"]["Layers"]) == 1
        assert client.containers.run("imported:1", remove=True).startswith(b"uid=0")
        client.images.remove("imported:1")
    for bad in (b"nothing" * 1000, data[:5000], gzip.compress(data)[:-20]):
        with pytest.raises(APIError):
            client.api.import_image_from_data(bad)
    assert all("busybox:latest" in image.tags for image in client.images.list())


def test_save_and_load(client: docker.DockerClient, sleeper: Container, tmp_path: Path) -> None:
    sleeper.exec_run(["touch", "/new"])
    made = sleeper.commit("saved", "1")
    made.tag("other/name", "2")
    base = client.images.get("busybox")
    path = tmp_path / "saved.tar"
    wanted = {"names": ["saved:1", "other/name", "busybox"]}
    answer = client.api._get(client.api._url("/images/get"), params=wanted, stream=True)
    path.write_bytes(b"".join(answer.iter_content(1 << 20)))
    with tarfile.open(path) as archive:
        manifest = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
        names = archive.getnames()
    assert [entry["RepoTags"] for entry in manifest] == [["saved:1", "other/name:2"], ["busybox:latest"]]
    assert names[:2] == ["blobs", "blobs/sha256"]
    for source in (f"docker-archive:{path}:saved:1", f"oci-archive:{path}:1"):
        target = f"dir:{tmp_path}/{source.split(':', 1)[0]}"
        subprocess.run(
            ["skopeo", "--insecure-policy", "copy", "-q", source, target], check=True, capture_output=True
        )
    sleeper.remove(force=True)
    for name in ("saved:1", "other/name:2", "busybox"):
        client.images.remove(name)
    assert not client.images.list()
    loaded = client.images.load(path.read_bytes())
    assert {image.id for image in loaded} == {made.id, base.id}
    assert client.images.get("other/name:2").id == made.id
    again = b"".join(client.images.get("saved:1").save(named=True))
    first = b"".join(client.images.get("saved:1").save(named=True))
    assert again == first
    with pytest.raises(NotFound, match="No such image: nosuch:latest"):
        list(client.api.get_image("nosuch"))
    for name in ("saved:1", "other/name:2"):
        client.images.remove(name)


def test_a_layer_whose_blob_is_gone_is_made_again(
    client: docker.DockerClient, daemon: Daemon, sleeper: Container
) -> None:
    sleeper.exec_run(["sh", "-c", "mkdir /d; echo 1 >/d/f; ln /d/f /d/g; ln -s f /d/s; rm -r /home"])
    made = sleeper.commit("gone")
    before = b"".join(made.save())
    blob = daemon.data_root / "content/blobs/sha256" / made.attrs["RootFS"]["Layers"][-1][7:]
    blob.unlink()
    assert b"".join(made.save()) == before
    sleeper.remove(force=True)
    client.images.remove("gone")


def test_prune_and_disk_usage(client: docker.DockerClient, sleeper: Container) -> None:
    sleeper.exec_run(["sh", "-c", "head -c 100000 /dev/urandom >/big"])
    dangling = sleeper.commit()
    usage = client.df()
    assert {image["Id"] for image in usage["Images"]} >= {dangling.id}
    assert usage["Containers"][0]["SizeRw"] >= 100000
    report = client.images.prune()
    assert report["SpaceReclaimed"] >= 100000
    assert {"Deleted": dangling.id} in report["ImagesDeleted"]


def held_files(daemon: Daemon) -> int:
    """Count the daemon's descriptors but for sockets: the SDK keeps connections as it likes."""
    count = 0
    for path in Path(f"/proc/{daemon.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            count += not str(path.readlink()).startswith("socket:")
    return count


def test_a_client_that_leaves_in_the_middle(
    client: docker.DockerClient, daemon: Daemon, sleeper: Container
) -> None:
    sleeper.exec_run(["sh", "-c", "head -c 30000000 /dev/urandom >/big"])
    sleeper.kill()
    sleeper.wait()
    before = held_files(daemon)
    for url, params in (
        (client.api._url("/containers/sleeper/archive"), {"path": "/big"}),
        (client.api._url("/images/busybox/get"), {}),
    ):
        answer = client.api._get(url, params=params, stream=True)
        next(answer.iter_content(1000))
        answer.close()
    deadline = time.monotonic() + 10
    while held_files(daemon) > before and time.monotonic() < deadline:
        client.ping()
    assert held_files(daemon) <= before
    table = Path(f"/proc/{daemon.pid}/mountinfo")
    deadline = time.monotonic() + 10  # a removal is answered before the last mount is taken down
    while str(daemon.data_root) in table.read_text().replace("/exec", "") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert str(daemon.data_root) not in table.read_text().replace("/exec", "")


def test_an_upload_that_breaks_off(client: docker.DockerClient, daemon: Daemon, sleeper: Container) -> None:
    before = held_files(daemon)
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(daemon.socket))
        raw.sendall(
            b"PUT /v1.47/containers/sleeper/archive?path=/tmp HTTP/1.1\r\nHost: x\r\n"
            b"Content-Length: 100000\r\nContent-Type: application/x-tar\r\n\r\n" + tar_of(("f", b"x"))[:700]
        )
    deadline = time.monotonic() + 10
    while held_files(daemon) > before and time.monotonic() < deadline:
        client.ping()
    sleeper.put_archive("/tmp", tar_of(("g", b"x")))
