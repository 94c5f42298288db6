"""Backup, restore, clone, snapshot, rename, usage and diff: exact, confined, and whole or absent."""

import hashlib
import io
import os
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import pytest
import zstandard
from support.daemon import CHECKOUT, Daemon, sampan
from support.trees import describe

from sampan.base.units import human_size

pytestmark = pytest.mark.root
Shell = Callable[..., str]


def data(daemon: Daemon, volume: str) -> Path:
    return daemon.data_root / "volumes" / volume / "_data"


def raw(daemon: Daemon, *args: str, data_in: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    """Run our command line with bytes for its streams."""
    environment = {**os.environ, "DOCKER_HOST": daemon.url, "HOME": str(daemon.folder)}
    return subprocess.run(
        [CHECKOUT / "bin" / "sampan", *args], input=data_in, capture_output=True, timeout=60, env=environment
    )


@pytest.fixture
def tricky(request: pytest.FixtureRequest) -> str:
    """A volume with what is hard to keep; returns its name."""
    name = "own_daemon" if "own_daemon" in request.fixturenames else "daemon"
    daemon: Daemon = request.getfixturevalue(name)
    client = daemon.client()
    client.volumes.create("tricky")
    client.close()
    place = data(daemon, "tricky")
    (place / "dir/deep").mkdir(parents=True)
    (place / "dir/file").write_bytes(b"content " * 1000)
    os.link(place / "dir/file", place / "hard")
    (place / "link").symlink_to("/etc/passwd")
    (place / ".wh.not-a-deletion").write_text("kept")
    (place / ("long" * 60)).write_text("x")
    (place / os.fsdecode(b"not-\xff-text")).touch()
    with (place / "sparse").open("wb") as file:
        file.seek(64 << 20)
        file.write(b"end")
        file.truncate(100 << 20)
    os.mkfifo(place / "fifo")
    os.mknod(place / "device", 0o60600, os.makedev(7, 99))
    os.setxattr(place / "dir/file", "user.color", b"blue")
    os.setxattr(place / "dir", "trusted.secret", b"\0\1")
    os.chown(place / "dir", 1234, 2_000_000)
    (place / "dir").chmod(0o2751)
    (place / "dir/file").chmod(0o4711)
    os.utime(place / "hard", ns=(5, 1_500_000_000_123_456_789))
    place.chmod(0o1777)
    os.chown(place, 42, 43)
    return "tricky"


def seen(place: Path) -> dict[str, Any]:
    status = place.stat()
    root = (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns)
    return {"/": root, "blocks": (place / "sparse").stat().st_blocks < 1000, **describe(place)}


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tar.zst"])
def test_a_backup_comes_back_as_it_was(daemon: Daemon, tricky: str, tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"backup.{ending}"
    done = sampan(daemon, "volume", "backup", tricky, "-o", str(file))
    assert done.stderr.startswith("Backed up tricky: ")
    assert file.stat().st_size < 200_000
    done = sampan(daemon, "volume", "restore", "back", "-i", str(file))
    assert done.stdout == "back\n"
    assert done.stderr.startswith("Restored back: 104.9MB in ")
    assert seen(data(daemon, "back")) == seen(data(daemon, tricky))
    assert sampan(daemon, "volume", "diff", tricky, "back").stdout == ""


def test_other_tools_read_a_backup(daemon: Daemon, tricky: str, tmp_path: Path) -> None:
    archive = raw(daemon, "volume", "backup", tricky).stdout
    done = subprocess.run(["tar", "x", "--xattrs", "-p", "-C", tmp_path], input=archive, capture_output=True)
    assert done.returncode == 0, done.stderr
    mine, its = seen(data(daemon, tricky)), seen(tmp_path)
    assert {path: entry for path, entry in its.items() if path != "dir"} == {
        path: entry for path, entry in mine.items() if path != "dir"
    }
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        assert "./.wh.not-a-deletion".removeprefix("./") in [
            name.removeprefix("./") for name in opened.getnames()
        ]
    zst = raw(daemon, "volume", "backup", tricky, "--compress", "zstd").stdout
    unpacked = zstandard.ZstdDecompressor().decompressobj().decompress(zst)
    assert hashlib.sha256(unpacked).digest() == hashlib.sha256(archive).digest()


def test_a_backup_of_another_tool_is_taken(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "in/d").mkdir(parents=True)
    (tmp_path / "in/d/f").write_text("x")
    packed = subprocess.run(["tar", "cz", "-C", tmp_path / "in", "."], capture_output=True, check=True)
    done = raw(daemon, "volume", "restore", "of-tar", data_in=packed.stdout)
    assert done.returncode == 0, done.stderr
    assert (data(daemon, "of-tar") / "d/f").read_text() == "x"


def test_clone_and_snapshot(daemon: Daemon, client: docker.DockerClient, sh: Shell, tricky: str) -> None:
    done = sampan(daemon, "volume", "clone", "--label", "a=b", tricky, "copy")
    assert done.stdout == "copy\n"
    assert done.stderr.startswith("Cloned tricky: 104.9MB in ")
    assert seen(data(daemon, "copy")) == seen(data(daemon, tricky))
    assert client.volumes.get("copy").attrs["Labels"] == {"a": "b"}
    snapshot = sampan(daemon, "volume", "snapshot", tricky).stdout.strip()
    assert snapshot.startswith("tricky-2")
    assert client.volumes.get(snapshot).attrs["Labels"] == {"sampan.volume.snapshot-of": tricky}
    with pytest.raises(docker.errors.ContainerError, match="Read-only file system"):
        sh("touch /data/x", volumes=[f"{snapshot}:/data"])
    place = data(daemon, tricky)
    status = (place / "dir/file").stat()
    (place / "hard").unlink()
    (place / "dir/file").write_bytes(b"CONTENT " * 1000)
    os.utime(place / "dir/file", ns=(status.st_atime_ns, status.st_mtime_ns))
    (place / "dir/new").touch()
    assert sampan(daemon, "volume", "diff", tricky).stdout == "C /dir\nC /dir/file\nA /dir/new\nD /hard\n"
    assert sampan(daemon, "volume", "diff", "copy", snapshot).stdout == ""
    done = sampan(daemon, "volume", "clone", tricky, "copy", check=False)
    assert done.stderr == "Error response from daemon: clone copy: volume name must be unique\n"
    done = sampan(daemon, "volume", "diff", "copy", check=False)
    assert "the volume has no snapshot" in done.stderr


def test_rename_and_usage(daemon: Daemon, client: docker.DockerClient, sh: Shell) -> None:
    sh("dd if=/dev/zero of=/d/f bs=1k count=8 2>/dev/null; ln /d/f /d/h", volumes=["old:/d"])
    container = client.containers.create("busybox", "true", volumes=["old:/d"])
    done = sampan(daemon, "volume", "rename", "old", "new", check=False)
    assert done.stderr == f"Error response from daemon: rename old: volume is in use - [{container.id}]\n"
    shown = sampan(daemon, "volume", "usage", "old").stdout.splitlines()
    assert shown[0].split() == ["VOLUME", "NAME", "SIZE", "ON", "DISK", "FILES", "CONTAINERS"]
    place = data(daemon, "old")
    on_disk = 512 * (place.stat().st_blocks + (place / "f").stat().st_blocks)
    assert shown[1].split() == ["old", "8.192kB", human_size(on_disk), "2", container.id[:12]]
    container.remove()
    sampan(daemon, "volume", "rename", "old", "new")
    assert [volume.name for volume in client.volumes.list()] == ["new"]
    assert sh("ls /d", volumes=["new:/d"]) == "f\nh\n"
    with pytest.raises(docker.errors.NotFound, match="get old: no such volume"):
        client.volumes.get("old")
    for bad in ("x", "../up", "a/b"):
        done = sampan(daemon, "volume", "rename", "new", bad, check=False)
        assert "includes invalid characters for a local volume name" in done.stderr


def test_restore_in_the_place_of_what_is_there(
    daemon: Daemon, client: docker.DockerClient, sh: Shell
) -> None:
    sh("echo first >/d/f", volumes=["vol:/d"])
    archive = raw(daemon, "volume", "backup", "vol").stdout
    sh("echo second >/d/f; touch /d/more", volumes=["vol:/d"])
    assert b"volume name must be unique" in raw(daemon, "volume", "restore", "vol", data_in=archive).stderr
    user = client.containers.run("busybox", "sleep 1000", detach=True, volumes=["vol:/d"])
    done = raw(daemon, "volume", "restore", "--replace", "vol", data_in=archive)
    assert f"restore vol: volume is in use - [{user.id}]".encode() in done.stderr
    user.kill()
    user.wait()
    user.remove()
    assert raw(daemon, "volume", "restore", "--replace", "vol", data_in=archive).returncode == 0
    assert sh("cat /d/*", volumes=["vol:/d"]) == "first\n"


def entry(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", content: bytes = b""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(content)
    return info, content


HOSTILE = {
    "up": [entry("../../../escaped", content=b"x")],
    "absolute": [entry("/escaped", content=b"x")],
    "through a link": [entry("l", tarfile.SYMTYPE, "/"), entry("l/escaped", content=b"x")],
    "through two links": [
        entry("a", tarfile.SYMTYPE, ".."),
        entry("b", tarfile.SYMTYPE, "a/../.."),
        entry("b/escaped", content=b"x"),
    ],
    "a hard link out": [entry("h", tarfile.LNKTYPE, "../../../state.db")],
    "a hard link through a link": [
        entry("l", tarfile.SYMTYPE, "/etc"),
        entry("h", tarfile.LNKTYPE, "l/passwd"),
    ],
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_archives_reach_nothing_outside(daemon: Daemon, kind: str) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, content in HOSTILE[kind]:
            archive.addfile(info, io.BytesIO(content))
    before = sorted(str(path) for path in daemon.data_root.iterdir())
    raw(daemon, "volume", "restore", "hostile", data_in=buffer.getvalue())
    assert sorted(str(path) for path in daemon.data_root.iterdir()) == before
    assert not Path("/escaped").exists()
    assert not (daemon.folder / "escaped").exists()
    place = data(daemon, "hostile")
    if (place / "h").exists():
        assert (place / "h").stat().st_ino != Path("/etc/passwd").stat().st_ino


@pytest.mark.parametrize("how", ["cut", "no archive", "cut gzip", "bad gzip", "nothing"])
def test_a_broken_archive_makes_no_volume(
    daemon: Daemon, client: docker.DockerClient, tricky: str, how: str
) -> None:
    plain = raw(daemon, "volume", "backup", tricky).stdout
    packed = raw(daemon, "volume", "backup", tricky, "--compress", "gzip").stdout
    broken = {
        "cut": plain[: len(plain) // 2],
        "no archive": os.urandom(100_000),
        "cut gzip": packed[: len(packed) // 2],
        "bad gzip": packed[:500] + bytes(500) + packed[1000:],
        "nothing": b"",
    }[how]
    done = raw(daemon, "volume", "restore", "broken", data_in=broken)
    assert done.returncode == 1, done.stdout
    assert done.stderr.startswith(b"Error response from daemon: ")
    assert [volume.name for volume in client.volumes.list()] == [tricky]
    names = sorted(entry.name for entry in (daemon.data_root / "volumes").iterdir())
    assert names == [tricky]


def test_a_full_disk_makes_no_volume(own_daemon: Daemon, tmp_path: Path) -> None:
    """The volumes lie on a small file system of their own."""
    own_daemon.stop()
    volumes = own_daemon.data_root / "volumes"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "small", volumes], check=True)
    try:
        own_daemon.start()
        client = own_daemon.client()
        client.volumes.create("full")
        (data(own_daemon, "full") / "f").write_bytes(os.urandom(3 << 20))
        archive = raw(own_daemon, "volume", "backup", "full").stdout
        for command in (("clone", "full", "copy"), ("snapshot", "full", "copy"), ("restore", "copy")):
            done = raw(own_daemon, "volume", *command, data_in=archive)
            assert done.returncode == 1
            assert b"no space left on device" in done.stderr.lower(), command
            assert [volume.name for volume in client.volumes.list()] == ["full"]
            assert [entry.name for entry in volumes.iterdir()] == ["full"]
        client.volumes.get("full").remove()
        client.close()
        own_daemon.stop()
    finally:
        subprocess.run(["umount", volumes], check=True)


KILLS = {
    "volumes.copy": (("clone", "src", "new"), {"src"}),
    "volumes.arrive": (("clone", "src", "new"), {"src", "new"}),
    "volumes.restore": (("restore", "new"), {"src"}),
    "volumes.rename": (("rename", "src", "new"), {"new"}),
    "volumes.exchange": (("restore", "--replace", "src"), {"src"}),
    "volumes.create": (("create", "new"), {"src", "new"}),
    "volumes.remove": (("rm", "src"), {"src"}),
}


@pytest.mark.parametrize("step", KILLS)
def test_a_killed_daemon_leaves_a_volume_whole_or_absent(own_daemon: Daemon, step: str) -> None:
    client = own_daemon.client()
    client.volumes.create("src", labels={"a": "b"})
    place = data(own_daemon, "src")
    for number in range(20):
        (place / str(number)).write_text(str(number))
    whole = describe(place)
    archive = raw(own_daemon, "volume", "backup", "src").stdout
    own_daemon.stop()
    own_daemon.start(environment={"SAMPAN_FAULTS": f"{step}=kill"})
    command, expected = KILLS[step]
    done = raw(own_daemon, "volume", *command, data_in=archive)
    assert done.returncode != 0
    own_daemon.wait()
    own_daemon.start()
    names = {volume.name for volume in client.volumes.list()}
    if step == "volumes.remove":  # the data went first: it is gone, and its name with it
        expected = set()
    assert names == expected
    for name in names - ({"new"} if step == "volumes.create" else set()):
        assert describe(data(own_daemon, name)) == whole
    if "new" in names and step == "volumes.rename":
        assert client.volumes.get("new").attrs["Labels"] == {"a": "b"}
    left = {entry.name for entry in (own_daemon.data_root / "volumes").iterdir()}
    assert left == names
    client.close()


def test_a_daemon_killed_in_a_backup(own_daemon: Daemon, tmp_path: Path) -> None:
    """The file is absent, what was there before stays, and the container that was paused goes on."""
    client = own_daemon.client()
    own_daemon.stop()
    own_daemon.start(environment={"SAMPAN_FAULTS": "volumes.backup=kill"})
    user = client.containers.run("busybox", "sleep 1000", detach=True, volumes=["vol:/d"])
    file = tmp_path / "backup.tar"
    file.write_text("of yesterday")
    done = raw(own_daemon, "volume", "backup", "--pause", "vol", "-o", str(file))
    assert done.returncode != 0
    own_daemon.wait()
    assert [entry.name for entry in tmp_path.iterdir()] == ["backup.tar"]
    assert file.read_text() == "of yesterday"
    own_daemon.start()
    user.reload()
    assert user.status == "running"
    assert user.exec_run("echo works").output == b"works\n"
    client.close()


def test_a_client_killed_in_a_backup_or_a_restore(
    daemon: Daemon, client: docker.DockerClient, tmp_path: Path
) -> None:
    client.volumes.create("big")
    (data(daemon, "big") / "f").write_bytes(os.urandom(48 << 20))
    environment = {**os.environ, "DOCKER_HOST": daemon.url, "HOME": str(daemon.folder)}
    program = str(CHECKOUT / "bin" / "sampan")
    process = subprocess.Popen([program, "volume", "restore", "new"], stdin=subprocess.PIPE, env=environment)
    assert process.stdin is not None
    process.stdin.write(raw(daemon, "volume", "backup", "big").stdout[: 20 << 20])
    process.stdin.flush()
    process.kill()
    process.wait()
    process.stdin.close()
    deadline = time.monotonic() + 20
    while [entry.name for entry in (daemon.data_root / "volumes").iterdir()] != ["big"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert [volume.name for volume in client.volumes.list()] == ["big"]


def test_pause_is_seen_and_taken_back(daemon: Daemon, client: docker.DockerClient) -> None:
    user = client.containers.run("busybox", "sleep 1000", detach=True, volumes=["vol:/d"])
    since = int(time.time()) - 1
    sampan(daemon, "volume", "snapshot", "--pause", "vol", "kept")
    user.reload()
    assert user.status == "running"
    events = client.events(since=since, until=int(time.time()) + 1, decode=True)
    actions = [event["Action"] for event in events if event["Actor"]["ID"] == user.id]
    assert actions[-2:] == ["pause", "unpause"]


def test_a_backup_that_does_not_fit_leaves_nothing(
    daemon: Daemon, client: docker.DockerClient, tmp_path: Path
) -> None:
    client.volumes.create("big")
    (data(daemon, "big") / "f").write_bytes(os.urandom(3 << 20))
    target = tmp_path / "target"
    target.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "small", target], check=True)
    try:
        (target / "big.tar").write_text("the backup of yesterday")
        done = raw(daemon, "volume", "backup", "big", "-o", str(target / "big.tar"))
        assert done.returncode == 1
        assert b"no space left on device" in done.stderr.lower()
        assert [path.name for path in target.iterdir()] == ["big.tar"]
        assert (target / "big.tar").read_text() == "the backup of yesterday"
    finally:
        subprocess.run(["umount", target], check=True)
