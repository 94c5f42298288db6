"""API versions: which are spoken, and what older requests mean."""

from typing import Any

import pytest
from support.shared import table

from sampan.api import versions
from sampan.api.versions import SPOKEN, check_version, parse_version, read_create, read_update
from sampan.base.errors import InvalidParameter
from sampan.wire.containers import (
    BindOptions,
    CreateContainer,
    EndpointSettings,
    HealthConfig,
    HostConfig,
    Mount,
    NetworkingConfig,
    TmpfsOptions,
    UpdateContainer,
    VolumeOptions,
)


@pytest.mark.parametrize("row", table("engine/api_version"), ids=str)
def test_the_rule_holds_with_other_limits(row: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "MIN", "1.40")
    monkeypatch.setattr(versions, "MAX", "1.56")
    monkeypatch.setattr(versions, "MIN_VERSION", (1, 40))
    monkeypatch.setattr(versions, "MAX_VERSION", (1, 56))
    if row["asked"] is None:
        return  # the newest, see below
    if "error" in row:
        with pytest.raises(InvalidParameter) as caught:
            check_version(row["asked"])
        assert str(caught.value) == row["error"]
    else:
        assert check_version(row["asked"]) == parse_version(row["used"])


def test_the_limits() -> None:
    assert SPOKEN[""] == check_version("1.51") == (1, 51)
    assert check_version("1.24") == (1, 24)
    for text in ("1.23", "1", "0.9", "1.9", ".", "1."):
        with pytest.raises(
            InvalidParameter, match=f"^client version {text} is too old. Minimum supported API"
        ):
            check_version(text)
    for text in ("1.52", "1.99", "2.0", "1.51.1", "1.510"):
        with pytest.raises(
            InvalidParameter, match=rf"^client version {text} is too new. Maximum .* is 1\.51$"
        ):
            check_version(text)


def read(body: CreateContainer, minor: int, *, cgroup_v2: bool = True) -> HostConfig:
    read_create(body, (1, minor), cgroup_v2=cgroup_v2)
    assert body.host_config is not None
    return body.host_config


def test_what_a_version_did_not_know_is_ignored() -> None:
    def fresh() -> CreateContainer:
        return CreateContainer(
            image="a",
            host_config=HostConfig(
                auto_remove=True,
                annotations={"a": "b"},
                console_size=[1, 2],
                kernel_memory=5,
                kernel_memory_tcp=5,
                pids_limit=-1,
            ),
            healthcheck=HealthConfig(start_interval=9),
        )

    assert read(fresh(), 24).auto_remove is False
    assert read(fresh(), 25).auto_remove is True
    assert read(fresh(), 39).kernel_memory_tcp is None
    assert read(fresh(), 41).console_size is None
    assert read(fresh(), 41).kernel_memory == 5
    assert read(fresh(), 42).kernel_memory is None
    assert read(fresh(), 42).console_size == [1, 2]
    assert read(fresh(), 42).annotations is None
    assert read(fresh(), 43).annotations == {"a": "b"}
    assert read(fresh(), 51).pids_limit is None
    body = fresh()
    read(body, 43)
    assert body.healthcheck == HealthConfig()


def test_what_a_version_took_for_granted_is_spelled_out() -> None:
    assert read(CreateContainer(image="a"), 39).ipc_mode == "shareable"
    assert read(CreateContainer(image="a"), 40).ipc_mode == ""
    assert read(CreateContainer(image="a"), 40, cgroup_v2=False).cgroupns_mode == "host"
    assert read(CreateContainer(image="a"), 40, cgroup_v2=True).cgroupns_mode == ""
    assert read(CreateContainer(image="a"), 41, cgroup_v2=False).cgroupns_mode == ""


def test_mounts_of_older_versions() -> None:
    def mounted(mount: Mount, minor: int) -> Mount:
        host = read(CreateContainer(image="a", host_config=HostConfig(mounts=[mount])), minor)
        assert host.mounts is not None
        return host.mounts[0]

    bind = BindOptions(create_mountpoint=True, non_recursive=True)
    found = mounted(Mount(type="bind", read_only=True, bind_options=bind), 41).bind_options
    assert found is not None
    assert (found.create_mountpoint, found.non_recursive, found.read_only_non_recursive) == (
        False,
        True,
        True,
    )
    assert mounted(Mount(type="bind", read_only=True), 44).bind_options is None
    assert mounted(Mount(type="bind", tmpfs_options=TmpfsOptions()), 41).tmpfs_options is None
    assert mounted(Mount(type="bind", tmpfs_options=TmpfsOptions()), 42).tmpfs_options is not None
    with pytest.raises(InvalidParameter, match=r"needs API v1\.44 or newer"):
        mounted(Mount(type="bind", bind_options=BindOptions(read_only_force_recursive=True)), 43)
    with pytest.raises(InvalidParameter, match=r"VolumeOptions\.Subpath needs API v1\.45 or newer"):
        mounted(Mount(type="volume", volume_options=VolumeOptions(subpath="a")), 44)


def test_one_network_before_1_44() -> None:
    endpoints: dict[str, EndpointSettings | None] = {
        "a": EndpointSettings(mac_address="02:00:00:00:00:01"),
        "b": None,
    }
    body = CreateContainer(image="a", networking_config=NetworkingConfig(endpoints))
    with pytest.raises(InvalidParameter, match="cannot be created with multiple network endpoints: a, b"):
        read(body, 43)
    del endpoints["b"]
    read(body, 43)
    assert endpoints["a"] is not None
    assert endpoints["a"].mac_address == ""


def test_a_container_needs_a_configuration() -> None:
    with pytest.raises(InvalidParameter, match=r"^config cannot be empty in order to create a container$"):
        read_create(CreateContainer(host_config=HostConfig()), (1, 51), cgroup_v2=True)


def test_updates_of_older_versions() -> None:
    body = UpdateContainer(pids_limit=5, kernel_memory=5)
    read_update(body, (1, 39))
    assert (body.pids_limit, body.kernel_memory) == (None, 5)
    read_update(body, (1, 42))
    assert body.kernel_memory is None
