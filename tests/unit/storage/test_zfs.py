"""The commands that the zfs driver runs, in order; the contract tries a real pool where there is one."""

import os
import stat
from pathlib import Path

import pytest

from sampan.base.errors import HostFailure, InvalidParameter
from sampan.kernel.mount import Mount
from sampan.storage.drivers import own_filesystem
from sampan.storage.drivers.zfs import Zfs

FAKE = """#!/bin/sh
# plays zfs: each dataset is a file in $SAMPAN_FAKE_ZFS; every call is noted there too
cd "$SAMPAN_FAKE_ZFS" || exit 1
echo "$*" >>calls
command=$1
for last; do :; done
file=$(echo "$last" | tr / %)
case $command in
list) case "$*" in
  *"-r -d 1"*) for name in "$file" "$file"%*; do [ -e "$name" ] && echo "$name" | tr % /; done; exit 0 ;;
  *) [ -e "$file" ] || { echo "cannot open '$last': dataset does not exist" >&2; exit 1; } ;;
  esac ;;
create | snapshot | clone)
  [ -e full ] && { echo "cannot create '$last': out of space" >&2; exit 1; }
  touch "$file" ;;
destroy) rm -f "$file" "$file"@* ;;
get) printf '1024\\n2048\\n0\\nlz4\\n' ;;
*) exit 2 ;;
esac
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose ``zfs`` is the fake; the file that lists what it was asked."""
    program, state = tmp_path / "bin/zfs", tmp_path / "state"
    program.parent.mkdir()
    state.mkdir()
    program.write_text(FAKE)
    program.chmod(stat.S_IRWXU)
    (state / "tank%docker").touch()
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SAMPAN_FAKE_ZFS", str(state))
    mounted: list[Mount] = []

    def perform(m: Mount) -> None:
        mounted.append(m)

    monkeypatch.setattr(own_filesystem, "mount", perform)
    monkeypatch.setattr(own_filesystem, "umount", lambda *_, **__: None)
    return state / "calls"


def made(root: Path) -> Zfs:
    return Zfs(root, {"zfs.fsname": "tank/docker", "zfs.mountopt": "noatime"})


def test_the_life_of_a_snapshot_as_commands(tmp_path: Path, calls: Path) -> None:
    driver = made(tmp_path)
    driver.prepare("work", None)
    driver.commit("sha256:a", "work")
    driver.prepare("one", "sha256:a", size=1 << 30)
    driver.prepare("two", "sha256:a")
    base, one, two = (driver.describe(key)["Dataset"] for key in ("sha256:a", "one", "two"))
    driver.view("look", "sha256:a")
    driver.remove("look")
    driver.remove("one")
    found = [" ".join(line.split()) for line in calls.read_text().splitlines()]
    asked = f"list -H -o name -t all {base}@layer"
    assert found == [
        f"create -o mountpoint=legacy -o acltype=posix -o xattr=sa {base}",
        asked,
        f"snapshot {base}@layer",
        f"clone -o mountpoint=legacy -o quota=1073741824 {base}@layer {one}",
        asked,
        f"clone -o mountpoint=legacy {base}@layer {two}",
        f"list -H -o name -t all {one}",
        f"destroy -r {one}",
    ]
    home = tmp_path / "zfs"
    assert driver.mounts("two") == [
        Mount("zfs", two, str(home / "two/filesystem"), ("noatime",)),
        Mount("none", str(home / "two/filesystem/rootfs"), str(home / "two/merged"), ("bind",)),
    ]
    assert driver.mounts("two") == made(tmp_path).mounts("two")
    assert dict(driver.status())["Parent Dataset"] == "tank/docker"


def test_what_a_crash_left_is_swept(tmp_path: Path, calls: Path) -> None:
    driver = made(tmp_path)
    driver.prepare("one", None)
    for name in ("sampan-0123456789abcdef", "somebody"):
        (calls.parent / f"tank%docker%{name}").touch()
    new = tmp_path / "zfs/.new-1"
    new.mkdir()
    (new / "source").write_text("sampan-half")
    (calls.parent / "tank%docker%sampan-half").touch()
    assert made(tmp_path).sweep() == [".new-1", "tank/docker/sampan-0123456789abcdef"]
    left = {path.name for path in calls.parent.iterdir()}
    assert "tank%docker%somebody" in left
    assert not {"tank%docker%sampan-half", "tank%docker%sampan-0123456789abcdef"} & left


def test_a_full_pool_leaves_nothing(tmp_path: Path, calls: Path) -> None:
    driver = made(tmp_path)
    (calls.parent / "full").touch()
    with pytest.raises(HostFailure, match=r"zfs create: cannot create 'tank/docker/sampan-.*': out of space"):
        driver.prepare("one", None)
    assert list(driver.walk()) == []
    assert list((tmp_path / "zfs").iterdir()) == []


def test_unknown_options(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match=r"zfs: unknown option zfs.name"):
        Zfs(tmp_path, {"zfs.name": "x"})
