"""One daemon with an image for the whole folder; each test must leave nothing behind."""

from collections.abc import Iterator

import docker
import pytest
from support.daemon import Daemon, remove_everything, running_daemon
from support.images import load_busybox
from support.traces import assert_none_left, look


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that has the image ``busybox:latest``."""
    with running_daemon(tmp_path_factory.mktemp("engine")) as daemon:
        load_busybox(daemon)
        yield daemon


@pytest.fixture
def daemon(engine: Daemon) -> Iterator[Daemon]:
    """The folder's daemon; when the test ends, its containers are removed and the host is compared."""
    before = look(engine)
    yield engine
    remove_everything(engine)
    assert_none_left(before, engine)


@pytest.fixture
def client(daemon: Daemon) -> Iterator[docker.DockerClient]:
    """Docker's Python SDK, connected to the daemon."""
    connected = daemon.client()
    yield connected
    connected.close()


@pytest.fixture
def own_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon of the test's own, which it may kill, with the image; not started for it."""
    folder = tmp_path_factory.mktemp("own")
    daemon = Daemon(folder)
    daemon.start()
    load_busybox(daemon)
    before = look(daemon)
    yield daemon
    if not daemon.running:
        daemon.start()
    try:
        remove_everything(daemon)
        assert_none_left(before, daemon)
    finally:
        code = daemon.stop()
    assert code == 0
