"""Binds and mounts, against Docker's own cases."""

import os
from pathlib import Path

import msgspec
import pytest
from support.shared import table

from sampan.base.errors import InvalidParameter
from sampan.containers.mounts import check_mount, parse_bind, parse_tmpfs, plan_mounts
from sampan.wire.containers import Mount


def test_binds_are_taken_or_refused_as_docker_does() -> None:
    for row in table("engine/bind_check"):
        if row.get("valid"):
            parse_bind(row["bind"])
        else:
            with pytest.raises(InvalidParameter) as caught:
                parse_bind(row["bind"])
            assert row["error_contains"] in str(caught.value), row


def test_binds_become_mount_points() -> None:
    for row in table("engine/bind_parse"):
        if "error" in row:
            with pytest.raises(InvalidParameter) as caught:
                parse_bind(row["bind"])
            assert str(caught.value) == row["error"]
            continue
        (planned,) = plan_mounts(
            binds=[row["bind"]],
            mounts=[],
            image_volumes=[],
            volume_driver=row.get("driver", ""),
            volume_path=lambda name: "",
        )
        for key, value in row["mount"].items():
            if key == "copy_data":
                assert planned.copy_up == value
            elif key != "driver":
                assert getattr(planned.point, key) == value, (row, key)


def test_mounts_are_checked_as_docker_does() -> None:
    for row in table("engine/mount_check"):
        mount = msgspec.convert(row["mount"], Mount)
        if row.get("valid") or "point" in row:
            check_mount(mount)
        else:
            with pytest.raises(InvalidParameter) as caught:
                check_mount(mount)
            assert (row["error_contains"] if "error_contains" in row else row["error"]) in str(caught.value)


def test_a_destination_is_taken_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="Duplicate mount point: /data"):
        plan_mounts(
            binds=[f"{tmp_path}:/data", f"{os.sep}tmp:/data/"],
            mounts=[],
            image_volumes=[],
            volume_driver="",
            volume_path=lambda name: name,
        )


def test_what_the_user_mounts_hides_the_images_volume(tmp_path: Path) -> None:
    planned = plan_mounts(
        binds=[f"{tmp_path}:/data:ro"],
        mounts=[],
        image_volumes=["/data", "/other"],
        volume_driver="",
        volume_path=lambda name: f"/volumes/{name}",
    )
    assert {entry.point.destination: entry.point.type for entry in planned} == {
        "/data": "bind",
        "/other": "volume",
    }
    assert planned[0].options == ["rbind", "rro", "rprivate"]


def test_a_bind_and_a_tmpfs_do_not_share_a_place(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="Duplicate mount point: /data"):
        plan_mounts(
            binds=[f"{tmp_path}:/data"],
            mounts=[],
            image_volumes=[],
            volume_driver="",
            volume_path=lambda name: name,
            tmpfs={"/data": ""},
        )


def test_no_tmpfs_is_put_over_the_root() -> None:
    with pytest.raises(InvalidParameter, match="destination can't be '/'"):
        parse_tmpfs("/..", "")
