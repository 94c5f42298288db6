"""A storage service on each driver; whatever a test does, no mount and no half-made snapshot stays."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.kernel.mount import mounts
from sampan.storage.drivers import DRIVERS
from sampan.storage.service import StorageService


@pytest.fixture(params=[d.name for d in DRIVERS])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StorageService]:
    """A storage service on a root of its own, ``tmp_path/root``."""
    driver = next(d for d in DRIVERS if d.name == request.param)
    root = tmp_path / "root"
    if (reason := driver.supported(root)) is not None:
        pytest.skip(f"{driver.name}: {reason}")
    before = mounts()
    yield StorageService(root, driver=driver.name)
    assert mounts() == before
    left = [p.name for p in (root / driver.name).iterdir() if p.name.startswith((".", "apply-", "view-"))]
    assert left == []
