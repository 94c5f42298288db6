"""What of the registries' settings changes while the daemon runs: SIGHUP, and what events and info tell."""

import json
import os
import signal
import threading
from collections.abc import Iterator

import pytest
from support.daemon import Daemon
from support.fault_registry import Asked, FaultRegistry, Reply
from support.image_archives import layer

pytestmark = pytest.mark.root


@pytest.fixture
def registry() -> Iterator[FaultRegistry]:
    with FaultRegistry() as found:
        yield found


def reload(daemon: Daemon, **settings: object) -> dict[str, str]:
    """Give the daemon other settings; return what its event says of them."""
    (daemon.folder / "daemon.json").write_text(json.dumps(settings))
    client = daemon.client()
    events = client.events(decode=True, filters={"type": "daemon"})
    try:
        os.kill(daemon.pid, signal.SIGHUP)
        attributes: dict[str, str] = next(events)["Actor"]["Attributes"]
    finally:
        events.close()
        client.close()
    return attributes


def test_mirrors_and_insecure_registries(own_daemon: Daemon, registry: FaultRegistry) -> None:
    registry.add_image("library/only-here", "1", [layer("x")])
    assert own_daemon.cli("pull", "only-here:1", check=False).returncode
    told = reload(
        own_daemon,
        **{
            "registry-mirrors": [f"http://{registry.host}"],
            "insecure-registries": ["registry.example:5000", "10.0.0.0/8"],
            "max-concurrent-downloads": 7,
            "max-concurrent-uploads": 8,
            "max-download-attempts": 2,
        },
    )
    assert told["registry-mirrors"] == json.dumps([f"http://{registry.host}"])
    assert told["insecure-registries"] == '["registry.example:5000","10.0.0.0/8"]'
    numbers = ("max-concurrent-downloads", "max-concurrent-uploads", "max-download-attempts")
    assert [told[name] for name in numbers] == ["7", "8", "2"]
    own_daemon.cli("pull", "-q", "only-here:1")
    shown = json.loads(own_daemon.cli("info", "--format", "{{json .RegistryConfig}}").stdout)
    assert shown["Mirrors"] == [f"http://{registry.host}/"]
    assert "10.0.0.0/8" in shown["InsecureRegistryCIDRs"]
    assert shown["IndexConfigs"]["registry.example:5000"]["Secure"] is False
    own_daemon.cli("rmi", "only-here:1")
    reload(own_daemon)
    assert own_daemon.cli("pull", "only-here:1", check=False).returncode
    before = own_daemon.log.read_text()
    (own_daemon.folder / "daemon.json").write_text('{"registry-mirrors": ["ftp://x"]}')
    os.kill(own_daemon.pid, signal.SIGHUP)
    own_daemon.cli("info")
    assert "invalid mirror" in own_daemon.log.read_text().removeprefix(before)
    (own_daemon.folder / "daemon.json").write_text("{}")


def test_more_downloads_at_once_while_they_wait(own_daemon: Daemon, registry: FaultRegistry) -> None:
    own_daemon.cli("info")  # where there is no client the test is skipped here, not in its thread
    image = registry.add_image("a/b", "1", [layer(f"file{number}") for number in range(3)])
    reload(own_daemon, **{"max-concurrent-downloads": 1})
    asked, go, third = [], threading.Event(), threading.Event()

    def hang(request: Asked) -> Reply:
        asked.append(request.target)
        if len(asked) == 3:
            third.set()
        go.wait(30)
        return Reply()

    for blob in image.layers:
        registry.fault("GET", f"/v2/a/b/blobs/{blob}", hang)
    pulling = threading.Thread(target=own_daemon.cli, args=("pull", "-q", f"{registry.host}/a/b:1"))
    pulling.start()
    try:
        while not asked:
            own_daemon.cli("info")
        own_daemon.cli("info")
        assert len(asked) == 1
        reload(own_daemon, **{"max-concurrent-downloads": 3})
        assert third.wait(30)
    finally:
        go.set()
        pulling.join(60)
    own_daemon.cli("rmi", f"{registry.host}/a/b:1")
