"""Every test finds no volumes and must leave none."""

from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest
from support.daemon import Daemon

Shell = Callable[..., str]


@pytest.fixture(autouse=True)
def no_volumes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Remove what volumes a test made; nothing but them may be in their folder then."""
    name = "own_daemon" if "own_daemon" in request.fixturenames else "daemon"
    daemon: Daemon = request.getfixturevalue(name)
    yield
    if not daemon.running:
        daemon.start()
    client = daemon.client()
    for container in client.containers.list(all=True):
        container.remove(force=True)
    for volume in client.volumes.list():
        volume.remove(force=True)
    client.close()
    assert list((daemon.data_root / "volumes").iterdir()) == []
    assert list((daemon.exec_root / "mounts").glob("*")) == []


@pytest.fixture
def sh(client: docker.DockerClient) -> Shell:
    """Return a function that runs a script in a new container and returns what it wrote."""

    def run(script: str, **options: object) -> str:
        output = client.containers.run(
            "busybox", ["sh", "-c", script], remove=True, stdout=True, stderr=True, **options
        )
        return str(output, "utf-8")

    return run


def data(daemon: Daemon, volume: str) -> Path:
    """Return where the data of a local volume lies."""
    return daemon.data_root / "volumes" / volume / "_data"
