"""``system check``: every kind of damage is found; a repair puts right what can be, and nothing else."""

import json
import sqlite3
import subprocess
from pathlib import Path

import pytest
from support.daemon import CHECKOUT, Daemon, sampan
from support.disk import check, explain, file_layer
from support.images import docker_archive

pytestmark = pytest.mark.root


def blob(daemon: Daemon, digest: str) -> Path:
    return daemon.data_root / "content/blobs/sha256" / digest.removeprefix("sha256:")


def rows(daemon: Daemon, statement: str, *values: object) -> None:
    """Change the state database of a daemon that does not run."""
    with sqlite3.connect(daemon.data_root / "state.db") as state:
        state.execute(statement, values)
    state.close()


def snapshot(daemon: Daemon, diff_id: str) -> Path:
    return daemon.data_root / "storage/overlay2" / diff_id.replace(":", "-")


def test_a_sound_engine(whole: Daemon) -> None:
    assert check(whole) == []
    assert check(whole, "--quick") == []
    assert "Everything fits." in sampan(whole, "system", "check").stdout


@pytest.mark.parametrize("damage", ["flipped", "short", "missing"])
def test_the_blob_of_a_bare_layer_is_made_again(whole: Daemon, damage: str) -> None:
    full, client = whole, whole.client()
    digest = client.images.get("made:1").attrs["RootFS"]["Layers"][-1]
    place = blob(full, digest)
    before = place.read_bytes()
    if damage == "flipped":
        place.write_bytes(before[:-700] + bytes([before[-700] ^ 1]) + before[-699:])
        assert check(full, "--quick") == []
    elif damage == "short":
        place.write_bytes(before[:-1])
    else:
        place.unlink()
    (found,) = check(full)
    assert (found["Kind"], found["Name"], found["Repaired"]) == ("blob", digest, False)
    assert "needed by made:1" in found["Problem"]
    (found,) = check(full, "--repair")
    assert found["Repaired"]
    assert place.read_bytes() == before
    assert check(full) == []
    client.close()


def test_a_damaged_configuration_comes_back_with_a_load(full: Daemon) -> None:
    client = full.client()
    archive = docker_archive(
        "data:1", [file_layer("one", 3_000_000), file_layer("two", 2_000_000)], {"Cmd": ["true"]}
    )
    place = blob(full, client.images.get("data:1").id)
    before = place.read_bytes()
    place.write_bytes(before[:-1] + b" ")
    (found,) = check(full, "--repair")
    assert found["Repaired"]
    assert "pull or load data:1 again" in found["Remedy"]
    assert not place.exists()
    (found,) = check(full, "--repair")
    assert not found["Repaired"]
    assert "pull or load data:1 again" in found["Problem"]
    client.images.load(archive)
    assert place.read_bytes() == before
    assert check(full) == []
    client.close()


def test_snapshots_are_unpacked_again(full: Daemon) -> None:
    client = full.client()
    one, two = client.images.get("data:1").attrs["RootFS"]["Layers"]
    (snapshot(full, one) / "diff/one").write_bytes(b"little")
    (found,) = check(full)
    assert "6 bytes of files instead of 3000000" in found["Problem"]
    (found,) = check(full, "--repair")
    assert "has children" in found["Error"]  # another layer stands on it
    full.stop()
    subprocess.run(["rm", "-rf", snapshot(full, one)], check=True)
    top = next(path.parent for path in (full.data_root / "storage").glob("*/sha256-*/diff/two") if two)
    subprocess.run(["rm", "-rf", top.parent], check=True)
    full.start()
    assert len(check(full)) == 2
    assert all(found["Repaired"] for found in check(full, "--repair"))
    assert check(full) == []
    assert (snapshot(full, one) / "diff/one").stat().st_size == 3_000_000
    client.close()


def test_rows_that_do_not_fit(full: Daemon) -> None:
    full.stop()
    rows(
        full,
        "INSERT INTO names VALUES (?, ?)",
        "docker.io/library/stray:1",
        json.dumps({"image": f"sha256:{0:064}"}),
    )
    rows(
        full,
        "DELETE FROM images WHERE id = (SELECT json_extract(document, '$.image') FROM names WHERE id = ?)",
        "docker.io/library/made:1",
    )
    rows(full, "DELETE FROM volumes WHERE id = 'vol'")
    subprocess.run(["rm", "-rf", full.data_root / "volumes/vol"], check=True)
    full.start()
    found = {finding["Name"]: finding for finding in check(full, "--repair")}
    assert set(found) == {"stray:1", "made:1", "writer"}
    assert all(finding["Repaired"] for finding in found.values())
    assert found["writer"]["Problem"] == "its volume vol is not there"
    assert check(full) == []
    subprocess.run(["rm", "-rf", full.data_root / "volumes/vol"], check=True)
    (lost,) = check(full, "--repair")
    assert (lost["Kind"], lost["Name"], lost["Problem"]) == ("volume", "vol", "its folder is missing")
    assert (full.data_root / "volumes/vol/_data").is_dir()
    client = full.client()
    client.containers.get("writer").start()
    client.close()


def test_a_container_without_its_image_is_told(full: Daemon) -> None:
    client = full.client()
    image = client.images.get("busybox").id
    full.stop()
    rows(full, "DELETE FROM images WHERE id = ?", image)
    full.start()
    found = check(full, "--repair")
    told = {finding["Name"]: finding["Problem"] for finding in found if finding["Kind"] == "container"}
    assert told == dict.fromkeys(("writer", "runs", "new"), f"its image {image} is not there")
    client.close()


def test_what_lies_about_goes_and_nothing_else(full: Daemon) -> None:
    root = full.data_root
    removed = ("content/blobs/sha256/beef", "storage/overlay2/nobody", "containers/gone", "tmp/left")
    told = ("stranger", "storage/zfs", "content/other")
    for path in (*removed, *told, "volumes/lost/_data"):
        (root / path).mkdir(parents=True)
        (root / path / "f").write_text("x")
    hidden = root / "containers/gone"
    subprocess.run(["mount", "-t", "tmpfs", "left", hidden], check=True)
    before = explain(full)
    found = {finding["Path"]: finding["Repaired"] for finding in check(full, "--repair")}
    assert found == {
        **{str(root / path): True for path in (*removed, "volumes/lost")},
        **{str(root / path): False for path in told},
    }
    assert not any((root / path).exists() for path in removed)
    assert all((root / path / "f").exists() for path in told)
    client = full.client()
    assert "lost" in {volume.name for volume in client.volumes.list()}
    kept = [entry for entry in before["Entries"] if not entry["Orphan"] and entry["Kind"] != "engine"]
    now = {entry["Path"] for entry in explain(full)["Entries"]}
    assert {entry["Path"] for entry in kept} <= now
    assert client.containers.get("runs").exec_run("true").exit_code == 0
    for path in told:
        subprocess.run(["rm", "-r", root / path], check=True)
    assert check(full) == []
    client.close()


def test_mounts_for_nobody_are_taken_down(full: Daemon) -> None:
    client = full.client()
    client.volumes.create("tmp", driver_opts={"type": "tmpfs", "device": "tmpfs"})
    layer = Path(client.containers.get("writer").attrs["GraphDriver"]["Data"]["MergedDir"])
    for place in (full.data_root / "volumes/tmp/_data", layer):
        subprocess.run(["mount", "-t", "tmpfs", "left", place], check=True)
    found = check(full, "--repair")
    assert {finding["Kind"] for finding in found} == {"mount"}
    assert len(found) == 2
    assert all(finding["Repaired"] for finding in found)
    assert check(full) == []
    assert client.containers.get("runs").exec_run("true").exit_code == 0
    client.close()


def test_a_check_beside_work(full: Daemon) -> None:
    """What is on its way in is neither damage nor an orphan."""
    program = [str(CHECKOUT / "bin" / "sampan"), "-H", full.url, "load", "-q"]
    loading = subprocess.Popen(program, stdin=subprocess.PIPE)
    assert loading.stdin is not None
    archive = docker_archive("late:1", [file_layer("late", 1_000_000)], {"Cmd": ["true"]})
    loading.stdin.write(archive[: len(archive) // 2])
    loading.stdin.flush()
    assert check(full, "--repair") == []
    loading.stdin.write(archive[len(archive) // 2 :])
    loading.stdin.close()
    assert loading.wait(30) == 0
    assert check(full) == []
