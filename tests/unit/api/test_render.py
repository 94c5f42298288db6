"""What is sent: Go's omitempty, and the forms of older versions."""

from typing import Any

import msgspec
import pytest

from sampan.api.render import (
    render_brief_entry,
    render_container,
    render_containers,
    render_entries,
    render_entry,
    render_image,
    render_images,
)
from sampan.wire.containers import (
    ContainerConfig,
    ContainerState,
    ContainerSummary,
    EndpointSettings,
    GraphDriver,
    Health,
    HostConfig,
    InspectedContainer,
    MountPoint,
    NetworkSettings,
    SummaryHostConfig,
    SummaryNetworkSettings,
)
from sampan.wire.images import ImageMetadata, ImageRootFS, ImageSummary, InspectedImage, OCIDescriptor


def container(**changes: Any) -> InspectedContainer:
    made = InspectedContainer(
        id="a" * 64,
        created="",
        path="sh",
        args=[],
        state=ContainerState(),
        image="",
        resolv_conf_path="",
        hostname_path="",
        hosts_path="",
        log_path="",
        name="/x",
        restart_count=0,
        driver="overlay2",
        platform="linux",
        mount_label="",
        process_label="",
        app_armor_profile="",
        exec_ids=None,
        host_config=HostConfig(),
        graph_driver=GraphDriver("overlay2", None),
        mounts=[],
        config=ContainerConfig(hostname="h"),
        network_settings=NetworkSettings(),
    )
    return msgspec.structs.replace(made, **changes)


NEWEST = (1, 51)


def test_empty_fields_are_left_out_where_go_leaves_them_out() -> None:
    document = render_container(container(), NEWEST)
    assert set(document["Config"]) == {
        *(
            "Hostname",
            "Domainname",
            "User",
            "AttachStdin",
            "AttachStdout",
            "AttachStderr",
            "Tty",
            "OpenStdin",
        ),
        *("StdinOnce", "Env", "Cmd", "Image", "Volumes", "WorkingDir", "Entrypoint", "OnBuild", "Labels"),
    }
    host = document["HostConfig"]
    for name in (
        "Annotations",
        "StorageOpt",
        "Tmpfs",
        "Sysctls",
        "Runtime",
        "Mounts",
        "Init",
        "KernelMemory",
    ):
        assert name not in host
    for name in ("Binds", "PidsLimit", "OomKillDisable", "MemorySwappiness", "MaskedPaths", "Ulimits", "Dns"):
        assert name in host
    assert host["ConsoleSize"] == [0, 0]
    assert "Health" not in document["State"]
    assert "SizeRw" not in document
    assert document["ExecIDs"] is None


def test_set_fields_are_kept() -> None:
    document = render_container(
        container(
            size_rw=0,
            size_root_fs=5,
            state=ContainerState(health=Health("healthy")),
            host_config=HostConfig(init=False, runtime="crun", sysctls={"a": "b"}),
            config=ContainerConfig(stop_timeout=0, exposed_ports={"80/tcp": {}}, on_build=["RUN x"]),
            mounts=[MountPoint(type="bind", source="/a", destination="/b")],
        ),
        NEWEST,
    )
    assert (document["SizeRw"], document["SizeRootFs"]) == (0, 5)
    assert document["State"]["Health"]["Status"] == "healthy"
    assert document["HostConfig"]["Init"] is False
    assert document["HostConfig"]["Sysctls"] == {"a": "b"}
    assert document["Config"]["StopTimeout"] == 0
    assert document["Config"]["ExposedPorts"] == {"80/tcp": {}}
    assert set(document["Mounts"][0]) == {"Type", "Source", "Destination", "Mode", "RW", "Propagation"}


def test_older_versions_lack_what_came_later() -> None:
    mine = EndpointSettings(aliases=["web"], dns_names=["web"], endpoint_id="e")
    networks = {"bridge": EndpointSettings(), "mine": mine}
    found = container(
        host_config=HostConfig(annotations={"a": "b"}, cgroupns_mode="private"),
        network_settings=NetworkSettings(networks=networks),
    )
    new, old = render_container(found, NEWEST), render_container(found, (1, 40))
    assert new["HostConfig"]["Annotations"] == {"a": "b"}
    assert not {"Annotations", "CgroupnsMode"} & set(old["HostConfig"])
    assert new["NetworkSettings"]["Networks"]["mine"]["DNSNames"] == ["web"]
    mine = old["NetworkSettings"]["Networks"]["mine"]
    assert not {"DNSNames", "GwPriority"} & set(mine)
    assert mine["Aliases"] == ["web", "a" * 12, "h"], "the short id and the hostname stood among the aliases"
    assert old["NetworkSettings"]["Networks"]["bridge"]["Aliases"] is None
    assert networks["mine"].aliases == ["web"], "what is shown must not change what is"


def summary(**changes: Any) -> ContainerSummary:
    made = ContainerSummary(
        id="a",
        names=["/x"],
        image="i",
        image_id="sha256:i",
        command="sh",
        created=1,
        ports=[],
        labels={},
        state="running",
        status="Up",
        host_config=SummaryHostConfig("bridge", {"a": "b"}),
        network_settings=SummaryNetworkSettings({"bridge": EndpointSettings(gw_priority=1)}),
        mounts=[],
    )
    return msgspec.structs.replace(made, **changes)


def sent(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


def test_lists_of_containers() -> None:
    assert sent(render_containers([], NEWEST)) == []
    new = sent(render_containers([summary()], NEWEST))[0]
    assert new["HostConfig"] == {"NetworkMode": "bridge", "Annotations": {"a": "b"}}
    assert "SizeRw" not in new
    old = sent(render_containers([summary()], (1, 40)))[0]
    assert old["HostConfig"] == {"NetworkMode": "bridge"}
    assert "GwPriority" not in old["NetworkSettings"]["Networks"]["bridge"]
    mounts = [MountPoint(type="volume", name="v", destination="/v")]
    shown = sent(render_containers([summary(mounts=mounts)], NEWEST))[0]["Mounts"][0]
    assert "Driver" not in shown
    assert shown["Name"] == "v"


def test_entries_of_the_list_of_containers() -> None:
    assert render_entries([]) == b"[]\n"
    mounts = [MountPoint(type="volume", name="v", destination="/v")]
    shown = [summary(), summary(mounts=mounts, labels={"State": "x", "Status": "y"})]
    entries = [(render_entry(entry), "paused", 'Up "1" second') for entry in shown]
    expected = sent(render_containers(shown, NEWEST))
    for entry in expected:
        entry.update(State="paused", Status='Up "1" second')
    text = render_entries(entries)
    assert text.endswith(b"]\n")
    assert msgspec.json.decode(text) == expected


def test_brief_entries_hold_what_the_usual_table_shows() -> None:
    whole, brief = (
        msgspec.json.decode(render_entries([(render(summary()), "running", "Up")]))[0]
        for render in (render_entry, render_brief_entry)
    )
    assert set(whole) - set(brief) == {"HostConfig", "Labels", "Mounts", "NetworkSettings"}
    assert brief == {name: whole[name] for name in brief}


def image() -> InspectedImage:
    return InspectedImage(
        id="sha256:i",
        repo_tags=[],
        repo_digests=[],
        parent="",
        comment="",
        docker_version="",
        author="",
        config=ContainerConfig(env=["A=b"], hostname="h", labels={"l": "1"}),
        architecture="amd64",
        os="linux",
        size=5,
        graph_driver=GraphDriver("overlay2", None),
        root_fs=ImageRootFS(),
        metadata=ImageMetadata(),
        virtual_size=5,
        container="c",
        container_config=ContainerConfig(),
        descriptor=OCIDescriptor(digest="sha256:d"),
    )


@pytest.mark.parametrize(
    ("minor", "has", "lacks"),
    [
        (43, {"VirtualSize", "Container", "ContainerConfig"}, {"Descriptor"}),
        (44, {"Container", "ContainerConfig"}, {"VirtualSize", "Descriptor"}),
        (45, set(), {"VirtualSize", "Container", "ContainerConfig", "Descriptor"}),
        (48, {"Descriptor"}, {"VirtualSize", "Container", "ContainerConfig"}),
    ],
)
def test_images_through_the_versions(minor: int, has: set[str], lacks: set[str]) -> None:
    document = render_image(image(), (1, minor))
    assert has <= set(document)
    assert not lacks & set(document)
    assert document["Config"]["Hostname"] == "h"
    assert "Healthcheck" not in document["Config"]


def test_the_configuration_of_an_image_became_portable() -> None:
    assert render_image(image(), (1, 50))["Config"] == {"Env": ["A=b"], "Labels": {"l": "1"}}


def test_lists_of_images() -> None:
    def listed(minor: int) -> dict[str, Any]:
        unnamed = ImageSummary("sha256:i", "", [], [], 1, 5, None)
        shown: dict[str, Any] = sent(render_images([unnamed], {"sha256:i": 2}, (1, minor)))[0]
        return shown

    assert listed(42)["RepoTags"] == ["<none>:<none>"]
    assert listed(42)["RepoDigests"] == ["<none>@<none>"]
    assert listed(42)["VirtualSize"] == 5
    assert listed(43)["RepoTags"] == []
    assert "VirtualSize" not in listed(44)
    assert listed(50)["Containers"] == -1
    assert listed(51)["Containers"] == 2
