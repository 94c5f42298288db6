"""What is shown: lists, inspect, events, version, info, contexts."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from support.command_line import Sampan
from support.contexts import save_context
from support.fake_daemon import FakeDaemon

CONTAINER = {
    "Id": "a" * 64,
    "Names": ["/web"],
    "Image": "busybox",
    "ImageID": "sha256:" + "b" * 64,
    "Command": "sleep 9",
    "Created": int(time.time()) - 7200,
    "Ports": [],
    "Labels": {},
    "State": "running",
    "Status": "Up 2 hours",
    "SizeRw": 5,
}


def test_ps(daemon: FakeDaemon, sampan: Sampan) -> None:
    daemon.on("GET", "/containers/json", json=[CONTAINER])
    lines = sampan("ps").out.splitlines()
    assert lines[0].split() == ["CONTAINER", "ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    assert lines[1].startswith("aaaaaaaaaaaa   busybox")
    assert sampan("ps", "-q").out == "a" * 12 + "\n"
    assert sampan("ps", "--format", "{{.Labels}}").out == "\n"
    assert [request.query for request in daemon.requests] == [{"brief": "1"}, {"brief": "1"}, {}]


@pytest.mark.parametrize(
    ("args", "query"),
    [
        (["-a"], {"all": "1", "brief": "1"}),
        (["-l"], {"limit": "1", "brief": "1"}),
        (["-n", "3"], {"limit": "3", "brief": "1"}),
        (["-l", "-n", "3", "--format", "json"], {"limit": "3"}),
        (["-s"], {"size": "1"}),
        (["--format", "{{.Size}}"], {"size": "1"}),
        (["--format", "{{.Size}}", "--size=false"], {}),
        (
            ["-f", "name=x", "-f", "status=exited"],
            {"filters": '{"name":{"x":true},"status":{"exited":true}}', "brief": "1"},
        ),
    ],
)
def test_ps_asks_for(daemon: FakeDaemon, sampan: Sampan, args: list[str], query: dict[str, str]) -> None:
    daemon.on("GET", "/containers/json", json=[])
    assert sampan("ps", *args).code == 0
    assert daemon.requests[0].query == query


def test_ps_format_of_the_settings(daemon: FakeDaemon, sampan: Sampan, tmp_path: Path) -> None:
    daemon.on("GET", "/containers/json", json=[CONTAINER])
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text('{"psFormat": "{{.Names}}", "HttpHeaders": {"X-A": "b"}}')
    assert sampan("ps").out == "web\n"
    assert daemon.requests[0].headers["x-a"] == "b"
    assert sampan("ps", "--format", "{{.Nope").err.startswith("failed to parse template: ")


def test_images(daemon: FakeDaemon, sampan: Sampan) -> None:
    daemon.on("GET", "/images/json", json=[])
    assert sampan("images", "-a", "busy*").out.startswith("REPOSITORY")
    assert daemon.requests[0].query == {"all": "1", "filters": '{"reference":{"busy*":true}}'}
    assert 'did you mean "sampan image ls"?' in sampan("images", "ls").err
    assert sampan("image", "ls", "ls").err == ""


def test_rmi(daemon: FakeDaemon, sampan: Sampan) -> None:
    daemon.on("DELETE", "/images/docker.io/library/x:1", json=[{"Untagged": "x:1"}, {"Deleted": "sha256:1"}])
    done = sampan("rmi", "docker.io/library/x:1", "y")
    assert (done.code, done.out) == (1, "Untagged: x:1\nDeleted: sha256:1\n")
    assert "page not found" in done.err
    assert sampan("rmi", "-f", "--no-prune", "y").code == 0
    assert daemon.requests[-1].query == {"force": "1", "noprune": "1"}


def test_tag(daemon: FakeDaemon, sampan: Sampan) -> None:
    daemon.on("POST", "/images/x/tag", status=201)
    assert sampan("tag", "x", "localhost:5000/y:2").code == 0
    assert daemon.requests[0].query == {"repo": "localhost:5000/y", "tag": "2"}
    assert 'Error parsing reference: "Y" is not a valid repository/tag' in sampan("tag", "x", "Y").err
    digest = "y@sha256:" + "0" * 64
    assert sampan("tag", "x", digest).err == "refusing to create a tag with a digest reference\n"


def test_bootstrap(daemon: FakeDaemon, sampan: Sampan) -> None:
    daemon.on("POST", "/sampan/images/bootstrap", chunks=[b'{"stream":"made\\n"}\r\n'])
    daemon.on("GET", "/images/busybox/json", status=404, json={"message": "No such image: busybox:latest"})
    daemon.on("POST", "/images/busybox/tag", status=201)
    daemon.on("DELETE", "/images/busybox", json=[])
    assert sampan("image", "bootstrap", "busybox").out == "made\n"
    assert sampan("image", "bootstrap", "-t", "mine:1", "busybox").code == 0
    assert daemon.seen("POST", "/images/busybox/tag")[0].query == {"repo": "mine", "tag": "1"}
    assert daemon.requests[-1].method == "DELETE"
    daemon.on("POST", "/sampan/images/bootstrap", chunks=[b'{"errorDetail":{"message":"no package"}}\r\n'])
    assert sampan("image", "bootstrap", "busybox").err == "no package\n"


def test_inspect(daemon: FakeDaemon, sampan: Sampan) -> None:
    daemon.on("GET", "/containers/web/json", json={"Id": "1", "HostConfig": {}, "Config": {}})
    daemon.on("GET", "/images/busybox/json", json={"Id": "2", "RootFS": {}})
    daemon.on("GET", "/info", json={"Swarm": {"ControlAvailable": False}})
    assert sampan("inspect", "-f", "{{.Id}}", "web", "busybox").out == "1\n2\n"
    done = sampan("inspect", "web", "gone")
    assert json.loads(done.out)[0]["Id"] == "1"
    assert done.out.startswith('[\n    {\n        "Id": "1",')
    assert (done.code, done.err) == (1, "Error: No such object: gone\n")
    assert sampan("inspect", "gone").out == "[]\n"
    assert sampan("inspect", "--type", "image", "web").code == 1
    assert 'unknown type: "x": must be one of' in sampan("inspect", "--type", "x", "web").err
    assert sampan("inspect", "-s", "busybox").err == "WARNING: --size ignored for image\n"
    assert sampan("inspect", "-f", "{{", "web").code == 64
    assert sampan("container", "inspect", "busybox").code == 1


def event(**changes: Any) -> bytes:
    document = {
        "Type": "container",
        "Action": "start",
        "Actor": {"ID": "c1", "Attributes": {"name": "web", "image": "busybox"}},
        "scope": "local",
        "time": 1577836800,
        "timeNano": 1577836800000000005,
        "status": "start",
        "id": "c1",
        "from": "busybox",
    }
    return json.dumps(document | changes).encode() + b"\n"


def test_events(daemon: FakeDaemon, sampan: Sampan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    daemon.on("GET", "/events", chunks=[event()[:50], event()[50:] + event(Action="die")])
    lines = sampan("events", "--since", "5m", "-f", "event=start").out.splitlines()
    assert lines[0] == ("2020-01-01T00:00:00.000000005Z container start c1 (image=busybox, name=web)")
    assert " container die c1 " in lines[1]
    assert daemon.requests[0].query["filters"] == '{"event":{"start":true}}'
    template = "{{.Type}} {{.Actor.ID}} {{.Actor.Attributes.name}} {{.TimeNano}}"
    assert sampan("events", "--format", template).out.startswith("container c1 web 1577836800000000005\n")
    shown = json.loads(sampan("events", "--format", "json").out.splitlines()[0])
    assert list(shown)[:4] == ["status", "id", "from", "Type"]
    done = sampan("events", "--format", "{{.Nope}}")
    assert done.code == 64
    assert done.err.startswith("Error parsing format: ")


def test_version(daemon: FakeDaemon, sampan: Sampan) -> None:
    daemon.on("GET", "/version", json={"Version": "9", "ApiVersion": "1.51", "MinAPIVersion": "1.24"})
    assert " Engine:\n  Version:          9\n" in sampan("version").out
    assert sampan(
        "version", "-f", "{{.Server.Version}} {{.Client.APIVersion}} {{.Server.APIVersion}}"
    ).out == ("9 1.51 1.51\n")
    assert '"ApiVersion":"1.51"' in sampan("version", "-f", "{{json .Server}}").out
    assert "in type *types.Version" in sampan("version", "-f", "{{.Server.Nope}}").err
    assert sampan("version", "-f", "{{").code == 64
    assert sampan("--version").out.startswith("Sampan version 0.1.0, build ")


def test_version_and_info_without_a_daemon(sampan: Sampan) -> None:
    for command in ("version", "info"):
        done = sampan("-H", "unix:///nope.sock", command)
        assert done.code == 1
        assert done.out.startswith("Client: Sampan\n")
        assert done.err == ("Cannot connect to the Sampan daemon at unix:///nope.sock. Is sampand running?\n")


def test_info(daemon: FakeDaemon, sampan: Sampan) -> None:
    facts = {
        "Containers": 3,
        "Driver": "overlay2",
        "MemTotal": 2**30,
        "Warnings": ["WARNING: No swap limit support"],
    }
    daemon.on("GET", "/info", json=facts)
    done = sampan("info")
    assert " Containers: 3\n" in done.out
    assert " Total Memory: 1GiB\n" in done.out
    assert done.err == "WARNING: No swap limit support\n"
    assert sampan("info", "-f", "{{.Driver}} {{.ClientInfo.Context}}").out == "overlay2 default\n"


def test_doctor(daemon: FakeDaemon, sampan: Sampan) -> None:
    facts = {"HostLacks": ["CONFIG_IPVLAN is not set in this kernel: no ipvlan networks"]}
    daemon.on("GET", "/info", json={**facts, "Runtimes": {"runc": {}, "crun": {}}, "DefaultRuntime": "crun"})
    done = sampan("doctor")
    assert "runtimes crun (default), runc\n" in done.out
    assert "  - CONFIG_IPVLAN is not set in this kernel: no ipvlan networks\n" in done.out
    assert sampan("-H", "unix:///nope.sock", "doctor").err.endswith("start it first\n")


def test_disk_usage(daemon: FakeDaemon, sampan: Sampan) -> None:
    daemon.on("GET", "/system/df", json={"LayersSize": 1000, "Containers": [CONTAINER]})
    assert sampan("system", "df").out.splitlines()[2].split()[:4] == ["Containers", "1", "1", "5B"]
    assert "Build cache usage: 0B\n" in sampan("system", "df", "-v").out


def test_networks_by_name(daemon: FakeDaemon, sampan: Sampan) -> None:
    daemon.on("GET", "/networks", json=[{"Id": "2", "Name": "n10"}, {"Id": "1", "Name": "n9"}])
    assert sampan("network", "ls", "-q").out == "1\n2\n"
    daemon.on("GET", "/networks/n9", json={"Name": "n9", "IPAM": {}})
    assert sampan("network", "inspect", "-v", "-f", "{{.Name}}", "n9").out == "n9\n"
    assert daemon.requests[-1].query == {"verbose": "1"}


def test_contexts(sampan: Sampan, environment: dict[str, str], tmp_path: Path) -> None:
    save_context(tmp_path / ".docker", "far", "tcp://far:1")
    del environment["DOCKER_HOST"]
    assert sampan("context", "show").out == "default\n"
    assert sampan("context", "ls", "-q").out == "default\nfar\n"
    done = sampan("context", "use", "far")
    assert (done.out, done.err) == ("far\n", 'Current context is now "far"\n')
    assert sampan("context", "show").out == "far\n"
    assert "far *" in sampan("context", "ls").out
    assert json.loads(sampan("context", "inspect").out)[0]["Endpoints"]["docker"]["Host"] == "tcp://far:1"
    assert sampan("context", "inspect", "-f", "{{.Name}}", "default").out == "default\n"
    assert 'context "gone": context not found' in sampan("context", "use", "gone").err
    assert "is invalid" in sampan("context", "use", "-").err
    environment["DOCKER_HOST"] = "tcp://x:1"
    assert "Warning: DOCKER_HOST environment variable overrides" in sampan("context", "ls").err
    assert sampan("context", "use", "default").code == 0
    assert json.loads((tmp_path / ".docker/config.json").read_text()) == {}
    done = sampan("-c", "gone", "ps")
    assert done.err.startswith('Failed to initialize: unable to resolve docker endpoint: context "gone"')
