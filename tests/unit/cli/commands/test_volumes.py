"""``volume`` on the command line."""

import os
from pathlib import Path

import pytest
from support.command_line import Sampan
from support.fake_daemon import FakeDaemon

VOLUME = {
    "Name": "web10",
    "Driver": "local",
    "Mountpoint": "/m",
    "Scope": "local",
    "Labels": {"a": "b"},
    "Options": None,
    "CreatedAt": "2024-01-01T00:00:00Z",
}
MADE = {"Name": "new", "Mountpoint": "/m", "Size": 1500, "Seconds": 0.0125}


def test_list(daemon: FakeDaemon, sampan: Sampan) -> None:
    second = {**VOLUME, "Name": "web9"}
    daemon.on("GET", "/volumes", json={"Volumes": [VOLUME, second], "Warnings": ["one sleeps"]})
    done = sampan("volume", "ls", "-f", "dangling=true")
    assert done.out == "DRIVER    VOLUME NAME\nlocal     web9\nlocal     web10\n"
    assert done.err == "WARNING: one sleeps\n"
    assert daemon.requests[0].query == {"filters": '{"dangling":{"true":true}}'}
    assert sampan("volume", "ls", "-q").out == "web9\nweb10\n"
    assert sampan("volume", "ls", "--format", '{{.Name}} {{.Label "a"}}').out == "web9 b\nweb10 b\n"


def test_create(daemon: FakeDaemon, sampan: Sampan) -> None:
    daemon.on("POST", "/volumes/create", json=VOLUME)
    done = sampan(
        "volume", "create", "-d", "x", "-o", "type=tmpfs", "--label", "a=b", "--label", "c", "web10"
    )
    assert (done.code, done.out) == (0, "web10\n")
    assert daemon.requests[0].json == {
        "Name": "web10",
        "Driver": "x",
        "DriverOpts": {"type": "tmpfs"},
        "Labels": {"a": "b", "c": ""},
    }
    assert "come with a later version" in sampan("volume", "create", "--group", "g").err


def test_remove(daemon: FakeDaemon, sampan: Sampan) -> None:
    daemon.on("DELETE", "/volumes/one", status=204)
    daemon.on("DELETE", "/volumes/two", status=409, json={"message": "remove two: volume is in use - [c]"})
    done = sampan("volume", "rm", "one", "two")
    assert (done.code, done.out) == (1, "one\n")
    assert done.err == "Error response from daemon: remove two: volume is in use - [c]\n"
    sampan("volume", "rm", "-f", "one")
    assert daemon.requests[-1].query == {"force": "1"}


def test_prune(daemon: FakeDaemon, sampan: Sampan) -> None:
    daemon.on("POST", "/volumes/prune", json={"VolumesDeleted": ["one"], "SpaceReclaimed": 2000})
    done = sampan("volume", "prune", stdin=b"y\n")
    assert done.out == (
        "WARNING! This will remove anonymous local volumes not used by at least one container.\n"
        "Are you sure you want to continue? [y/N] "
        "Deleted Volumes:\none\n\nTotal reclaimed space: 2kB\n"
    )
    assert sampan("volume", "prune", stdin=b"n\n").code == 1
    assert len(daemon.requests) == 1
    sampan("volume", "prune", "-af", "--filter", "label=x")
    assert daemon.requests[-1].query == {"filters": '{"label":{"x":true},"all":{"true":true}}'}
    assert (
        "cannot specify both --all and --filter all=1"
        in sampan("volume", "prune", "-a", "--filter", "all=1").err
    )


def test_inspect(daemon: FakeDaemon, sampan: Sampan) -> None:
    daemon.on("GET", "/volumes/web10", json=VOLUME)
    assert sampan("volume", "inspect", "-f", "{{.Mountpoint}}", "web10").out == "/m\n"


def test_backup_to_a_file(daemon: FakeDaemon, sampan: Sampan, tmp_path: Path) -> None:
    daemon.on("GET", "/sampan/volumes/web/backup", chunks=[b"one", b"two"])
    file = tmp_path / "out.tar.zst"
    file.write_text("before")
    done = sampan("volume", "backup", "web", "-o", str(file), "--pause")
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith("Backed up web: 6B in ")
    assert file.read_bytes() == b"onetwo"
    assert daemon.requests[0].query == {"compress": "zstd", "pause": "1"}
    assert sampan("volume", "backup", "web", "-o", "-", "--compress", "gzip").out == "onetwo"
    assert "unknown compression lzma" in sampan("volume", "backup", "web", "--compress", "lzma").err
    assert "no such file" in sampan("volume", "backup", "web", "-o", str(tmp_path / "no/f")).err


def test_a_backup_that_breaks_off(daemon: FakeDaemon, sampan: Sampan, tmp_path: Path) -> None:
    daemon.on("GET", "/sampan/volumes/web/backup", status=404, json={"message": "get web: no such volume"})
    file = tmp_path / "out.tar"
    file.write_text("before")
    before = sorted(os.listdir(tmp_path))  # noqa: PTH208 - names
    done = sampan("volume", "backup", "web", "-o", str(file))
    assert (done.code, done.err) == (1, "Error response from daemon: get web: no such volume\n")
    assert file.read_text() == "before"
    assert sorted(os.listdir(tmp_path)) == before  # noqa: PTH208 - names


@pytest.mark.parametrize("source", ["file", "stdin"])
def test_restore(daemon: FakeDaemon, sampan: Sampan, tmp_path: Path, source: str) -> None:
    daemon.on("GET", "/_ping", headers={"Api-Version": "1.51"})
    daemon.on("POST", "/sampan/volumes/new/restore", status=201, json=MADE)
    (tmp_path / "in.tar").write_bytes(b"archive")
    args = ("-i", str(tmp_path / "in.tar")) if source == "file" else ()
    done = sampan("volume", "restore", "--replace", "new", *args, stdin=b"archive")
    assert (done.code, done.out, done.err) == (0, "new\n", "Restored new: 1.5kB in 12.5 ms\n")
    assert daemon.requests[-1].query == {"replace": "1"}
    assert b"archive" in daemon.requests[-1].body


def test_copies(daemon: FakeDaemon, sampan: Sampan) -> None:
    daemon.on("POST", "/sampan/volumes/web/clone", status=201, json=MADE)
    daemon.on("POST", "/sampan/volumes/web/snapshot", status=201, json={**MADE, "Seconds": 2.5})
    daemon.on("POST", "/sampan/volumes/web/rename", status=204)
    done = sampan("volume", "clone", "--label", "a=b", "web", "new")
    assert (done.out, done.err) == ("new\n", "Cloned web: 1.5kB in 12.5 ms\n")
    assert daemon.requests[-1].json == {"Name": "new", "Labels": {"a": "b"}, "Pause": False}
    done = sampan("volume", "snapshot", "--pause", "web")
    assert (done.out, done.err) == ("new\n", "Took a snapshot of web: 1.5kB in 2.50 s\n")
    assert daemon.requests[-1].json == {"Name": "", "Labels": {}, "Pause": True}
    assert sampan("volume", "rename", "web", "other").code == 0
    assert daemon.requests[-1].json == {"Name": "other"}


def test_usage_and_diff(daemon: FakeDaemon, sampan: Sampan) -> None:
    found = {"Name": "web", "Size": 1500, "Disk": 4096, "Files": 2, "Containers": ["c" * 64]}
    daemon.on("GET", "/sampan/volumes/web/usage", json=found)
    assert sampan("volume", "usage", "web").out == (
        "VOLUME NAME   SIZE      ON DISK   FILES     CONTAINERS\n"
        "web           1.5kB     4.096kB   2         cccccccccccc\n"
    )
    assert sampan("volume", "usage", "--format", "json", "web").out.startswith('{"Name":"web"')
    daemon.on("GET", "/sampan/volumes/web/diff", json=[{"Path": "/f", "Kind": 1}, {"Path": "/g", "Kind": 2}])
    assert sampan("volume", "diff", "web", "old").out == "A /f\nD /g\n"
    assert daemon.requests[-1].query == {"other": "old"}
