"""What the disk is taken by: ``system df`` and ``--explain`` against ``du``; orphans are found and named."""

from pathlib import Path

import pytest
from support.daemon import Daemon, sampan
from support.disk import explain, on_disk

pytestmark = pytest.mark.root


def test_every_byte_has_an_owner(whole: Daemon) -> None:
    account = explain(whole)
    assert account["Disk"] == sum(entry["Disk"] for entry in account["Entries"])
    assert account["Disk"] == pytest.approx(on_disk(whole.data_root), rel=0.01)
    assert not [entry for entry in account["Entries"] if entry["Orphan"]]
    owners = {(entry["Kind"], entry["Name"]) for entry in account["Entries"]}
    assert {("volume", "vol"), ("container", "writer"), ("container", "runs")} <= owners
    layers = {tuple(entry["Users"]) for entry in account["Entries"] if entry["Kind"] == "layer"}
    assert layers == {("busybox:latest", "made:1"), ("data:1",), ("made:1",)}
    assert len(account["Mounts"]) == 1  # the root file system of the container that runs


def test_orphans_are_found_and_named(full: Daemon) -> None:
    orphans = {
        "content/blobs/sha256/beef": "a blob that no image needs",
        "storage/overlay2/nobody": "a snapshot of no image and no container",
        "storage/zfs": "data of another storage driver, or of nobody",
        "containers/gone": "the folder of a container that is not there",
        "volumes/lost": "the folder of a volume that is not there",
        "tmp/left": "left by work that was broken off",
        "stranger": "nothing that the engine makes",
    }
    for path in orphans:
        place = full.data_root / path
        place.mkdir()
        (place / "f").write_bytes(bytes(100_000))
    account = explain(full)
    found = {entry["Path"]: (entry["Why"], entry["Disk"]) for entry in account["Entries"] if entry["Orphan"]}
    assert {path: why for path, (why, _) in found.items()} == {
        str(full.data_root / path): why for path, why in orphans.items()
    }
    assert {disk for _, disk in found.values()} == {on_disk(full.data_root / "stranger")}
    assert account["Disk"] == pytest.approx(on_disk(full.data_root), rel=0.01)
    shown = sampan(full, "system", "df", "--explain").stdout
    for path, why in orphans.items():
        assert f"{full.data_root / path} " in shown
        assert why in shown


def test_disk_usage_is_what_du_says(whole: Daemon) -> None:
    client = whole.client()
    usage = client.df()
    root = whole.data_root
    (volume,) = (volume for volume in usage["Volumes"] if volume["Name"] == "vol")
    assert volume["UsageData"]["Size"] == pytest.approx(on_disk(root / "volumes/vol/_data"), rel=0.01)
    assert volume["UsageData"]["RefCount"] == 1
    writer = client.containers.get("writer")
    sizes = {container["Id"]: container["SizeRw"] for container in usage["Containers"]}
    layer = Path(writer.attrs["GraphDriver"]["Data"]["UpperDir"])
    assert sizes[writer.id] == pytest.approx(
        on_disk(layer) + on_disk(root / "containers" / writer.id), rel=0.01
    )
    layers = sum(map(on_disk, (root / "storage").glob("*/sha256-*")))
    assert usage["LayersSize"] == pytest.approx(layers + on_disk(root / "content/blobs"), rel=0.01)
    shared = {image["RepoTags"][0]: (image["Size"], image["SharedSize"]) for image in usage["Images"]}
    assert shared["busybox:latest"][1] == shared["made:1"][1] > 1_000_000
    assert shared["data:1"][1] == 0
    assert 10_000_000 < shared["data:1"][0] < 10_200_000  # files and blobs
    client.close()


def test_only_what_is_asked_for(whole: Daemon) -> None:
    client = whole.client()
    answer = client.api._result(client.api._get(client.api._url("/system/df?type=volume")), json=True)
    assert [answer[kind] for kind in ("Images", "Containers", "BuildCache")] == [None, None, None]
    assert len(answer["Volumes"]) == 2
    client.close()
