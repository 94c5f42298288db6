"""``sampan.Client`` against our daemon."""

from collections.abc import Iterator

import pytest
from support.daemon import Daemon

from sampan.base.errors import Conflict, NotFound
from sampan.client.api import Client
from sampan.client.body import CommandFailed

pytestmark = pytest.mark.root


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    with Client(daemon.url) as made:
        yield made


def test_run(client: Client) -> None:
    assert client.run("busybox", ["echo", "hello"]) == b"hello\n"
    with pytest.raises(CommandFailed) as caught:
        client.run("busybox", ["sh", "-c", "echo bad >&2; exit 3"], env={"A": "1"})
    assert (caught.value.code, caught.value.stderr) == (3, b"bad\n")
    assert client.containers(all=True) == []


def test_a_whole_life(client: Client) -> None:
    name = client.create("busybox", ["sh", "-c", "echo up; sleep 1000; :"], name="lib", labels={"a": "b"})
    client.start(name)
    assert client.exec("lib", ["cat", "/proc/1/comm"]) == (0, b"sh\n")
    assert client.exec("lib", ["sh", "-c", "echo e >&2; exit 5"]) == (5, b"e\n")
    assert [c["Id"] for c in client.containers(filters={"label": ["a=b"]})] == [name]
    assert client.inspect("lib")["State"]["Running"] is True
    with pytest.raises(Conflict):
        client.create("busybox", name="lib")
    client.stop("lib", timeout=0)
    assert client.wait("lib") == 137
    assert b"".join(data for stream, data in client.logs("lib") if stream == 1) == b"up\n"
    client.remove("lib")
    with pytest.raises(NotFound, match="No such container: lib"):
        client.inspect("lib")


def test_events_and_images(client: Client) -> None:
    client.run("busybox", ["true"])
    container = {"type": ["container"]}
    actions = [event["Action"] for event in client.events(since="1h", until="0s", filters=container)]
    assert actions[-3:] == ["start", "die", "destroy"]
    assert any("busybox:latest" in (image["RepoTags"] or ()) for image in client.images())
    assert client.inspect_image("busybox")["Os"] == "linux"
    client.tag("busybox", "other", "1")
    assert client.remove_image("other:1") == [{"Untagged": "other:1"}]
    assert client.version()["ApiVersion"] == "1.51"
