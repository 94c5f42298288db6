"""A root file system for the whole folder, and a runtime service for each test."""

from functools import partial
from pathlib import Path

import pytest
from support.tasks import OpenYard, make_rootfs, open_yard


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system that holds busybox."""
    return make_rootfs(tmp_path_factory.mktemp("rootfs") / "root")


@pytest.fixture
def yard(tmp_path: Path, rootfs: Path) -> OpenYard:
    """What opens a place to start tasks in."""
    return partial(open_yard, tmp_path, rootfs)
