"""Daemons with some of everything."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.daemon import Daemon, remove_everything
from support.disk import fill


@contextmanager
def filled(folder: Path) -> Iterator[Daemon]:
    daemon = Daemon(folder).start()
    fill(daemon)
    yield daemon
    if not daemon.running:
        daemon.start()
    remove_everything(daemon)
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.log.read_text()


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that tests look at and leave as it is."""
    with filled(tmp_path_factory.mktemp("whole")) as daemon:
        yield daemon


@pytest.fixture
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon of the test's own; it goes with all it has."""
    with filled(tmp_path_factory.mktemp("full")) as daemon:
        yield daemon
