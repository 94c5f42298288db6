"""Commands on several containers: order of output, errors told at the end, requests side by side."""

import json
import threading

import pytest
from support.command_line import Sampan
from support.fake_daemon import FakeDaemon, Received, Reply


def test_goes_on_past_errors_and_tells_them_at_the_end(daemon: FakeDaemon, sampan: Sampan) -> None:
    daemon.on("POST", "/containers/a/stop", status=204)
    daemon.on("POST", "/containers/b/stop", status=404, json={"message": "No such container: b"})
    daemon.on("POST", "/containers/c/stop", status=304)
    done = sampan("stop", "-t", "3", "-s", "HUP", "a", "b", "c")
    assert (done.code, done.out) == (1, "a\nc\n")
    assert done.err == "Error response from daemon: No such container: b\n"
    assert daemon.requests[0].query == {"signal": "HUP", "t": "3"}


def test_a_timeout_of_zero_is_not_none(daemon: FakeDaemon, sampan: Sampan) -> None:
    daemon.on("POST", "/containers/a/stop", status=204)
    sampan("stop", "-t", "0", "a")
    sampan("stop", "a")
    assert [r.query for r in daemon.requests] == [{"t": "0"}, {}]


def test_containers_are_stopped_side_by_side(daemon: FakeDaemon, sampan: Sampan) -> None:
    together = threading.Barrier(3, timeout=5)

    def stop(_request: Received) -> Reply:
        together.wait()
        return Reply(204)

    for name in "abc":
        daemon.on("POST", f"/containers/{name}/stop", stop)
    assert sampan("stop", "a", "b", "c").out == "a\nb\nc\n"


@pytest.mark.parametrize(("command", "path"), [("kill", "kill"), ("pause", "pause"), ("unpause", "unpause")])
def test_simple_ones(daemon: FakeDaemon, sampan: Sampan, command: str, path: str) -> None:
    daemon.on("POST", f"/containers/a/{path}", status=204)
    assert sampan(command, "a").out == "a\n"


def test_rm(daemon: FakeDaemon, sampan: Sampan) -> None:
    daemon.on("DELETE", "/containers/a", status=204)
    done = sampan("rm", "-fv", "/a", "gone")
    assert (done.code, done.out) == (0, "/a\n")
    assert "page not found" in done.err
    assert daemon.seen("DELETE", "/containers/a")[0].query == {"v": "1", "force": "1"}
    done = sampan("rm", "a", "/")
    assert (done.code, done.out, done.err) == (1, "a\n", "container name cannot be empty\n")


def test_wait_prints_codes(daemon: FakeDaemon, sampan: Sampan) -> None:
    daemon.on("POST", "/containers/a/wait", json={"StatusCode": 137})
    assert sampan("wait", "a").out == "137\n"


def test_rename(daemon: FakeDaemon, sampan: Sampan) -> None:
    daemon.on("POST", "/containers/a/rename", status=204)
    assert sampan("rename", "a", "b").code == 0
    assert daemon.requests[0].query == {"name": "b"}
    assert sampan("rename", "x", "b").err.endswith("Error: failed to rename container named x\n")
    assert sampan("rename", " ", "b").err == "Error: Neither old nor new names may be empty\n"


def test_prune_asks_first(daemon: FakeDaemon, sampan: Sampan) -> None:
    report = {"ContainersDeleted": ["c1", "c2"], "SpaceReclaimed": 1500}
    daemon.on("POST", "/containers/prune", json=report)
    done = sampan("container", "prune", stdin=b"n\n")
    assert (done.code, done.err) == (1, "")
    assert done.out.endswith("Are you sure you want to continue? [y/N] ")
    assert not daemon.requests
    done = sampan("container", "prune", "--filter", "until=1h", stdin=b"Y\n")
    assert done.out.endswith("Deleted Containers:\nc1\nc2\n\nTotal reclaimed space: 1.5kB\n")
    assert json.loads(daemon.requests[0].query["filters"]) == {"until": {"1h": True}}


def test_update(daemon: FakeDaemon, sampan: Sampan) -> None:
    daemon.on("POST", "/containers/a/update", json={"Warnings": ["no swap"]})
    done = sampan("update", "--memory", "64m", "--restart", "on-failure:3", "--cpus", "1.5", "a")
    assert (done.code, done.out) == (0, "a\nno swap\n")
    assert daemon.requests[0].json == {
        "Memory": 67108864,
        "NanoCpus": 1500000000,
        "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3},
    }
    assert sampan("update", "a").err == "you must provide one or more flags when using this command\n"


def test_logs(daemon: FakeDaemon, sampan: Sampan) -> None:
    from support.fake_daemon import frame

    kind = {"Content-Type": "application/vnd.docker.multiplexed-stream"}
    daemon.on("GET", "/containers/a/logs", chunks=[frame(1, b"o\n"), frame(2, b"e\n")], headers=kind)
    done = sampan("logs", "-f", "-t", "--tail", "5", "--since", "2020-01-01T00:00:00Z", "a")
    assert (done.out, done.err) == ("o\n", "e\n")
    assert daemon.requests[0].query == {
        "stdout": "1",
        "stderr": "1",
        "follow": "1",
        "timestamps": "1",
        "tail": "5",
        "since": "1577836800.000000000",
    }
    assert sampan("logs", "--until", "x", "a").err == (
        'invalid value for "until": failed to parse value as time or duration: "x"\n'
    )


def test_top(daemon: FakeDaemon, sampan: Sampan) -> None:
    document = {"Titles": ["PID", "CMD"], "Processes": [["1", "sh -c x"], ["22", "y"]]}
    daemon.on("GET", "/containers/a/top", json=document)
    assert sampan("top", "a", "-o", "pid,cmd").out == (
        "PID                 CMD\n1                   sh -c x\n22                  y\n"
    )
    assert daemon.requests[0].query == {"ps_args": "-o pid,cmd"}


def test_port(daemon: FakeDaemon, sampan: Sampan) -> None:
    ports = {
        "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}],
        "9/udp": None,
        "443/tcp": [{"HostIp": "127.0.0.1", "HostPort": "1"}],
    }
    daemon.on("GET", "/containers/a/json", json={"NetworkSettings": {"Ports": ports}})
    lines = ["80/tcp -> 0.0.0.0:8080", "80/tcp -> [::]:8080", "443/tcp -> 127.0.0.1:1"]
    assert sampan("port", "a").out.splitlines() == lines
    assert sampan("port", "a", "443").out == "127.0.0.1:1\n"
    assert sampan("port", "a", "9/udp").err == "Error: No public port '9/udp' published for a\n"
    assert "invalid port (x)" in sampan("port", "a", "x").err


def test_diff_and_export(daemon: FakeDaemon, sampan: Sampan) -> None:
    changes = [{"Path": "/a", "Kind": 1}, {"Path": "/b", "Kind": 0}, {"Path": "/c", "Kind": 2}]
    daemon.on("GET", "/containers/a/changes", json=changes)
    daemon.on("GET", "/containers/a/export", chunks=[b"ta", b"r"])
    assert sampan("diff", "a").out == "A /a\nC /b\nD /c\n"
    assert sampan("export", "a").out == "tar"
