"""One daemon with images for the whole folder; each test must leave nothing behind."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.daemon import Daemon, remove_everything, running_daemon
from support.images import load_busybox
from support.traces import assert_none_left, look


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that has the image ``busybox:latest``."""
    folder = tmp_path_factory.mktemp("engine")
    with running_daemon(folder) as daemon:
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
def docker_cli(daemon: Daemon) -> Daemon:
    """The daemon, for tests that need Docker's own command line."""
    if shutil.which("docker") is None:
        pytest.skip("Docker's command line is not installed")
    version = subprocess.run(["docker", "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.split("version ")[1].split(".")[0]) < 24:
        pytest.skip(f"Docker's command line is too old: {version.strip()}")
    return daemon


@pytest.fixture
def cli_environment(daemon: Daemon) -> dict[str, str]:
    """The environment in which Docker's command line talks to the daemon."""
    environment = {**os.environ, "DOCKER_HOST": daemon.url, "HOME": str(daemon.folder), "TERM": "xterm"}
    environment.pop("DOCKER_TLS_VERIFY", None)
    return environment


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A folder with a page to serve."""
    (tmp_path / "index.html").write_text("hello from a bind mount\n")
    return tmp_path
