"""An image service on real storage, which each test must leave as it found it."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.image_lab import Lab
from support.shared import shared


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    found = Lab(tmp_path)
    yield found
    found.remove_all()
    assert found.left() == []
    found.state.close()


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images in every layout, and ``images.tsv`` with their digests and IDs."""
    tool = shared("tools/mkimages.sh")
    shared("data/images/alpine")
    folder = tmp_path_factory.mktemp("made")
    subprocess.run([str(tool), str(folder), "hello", "torture", "alpine"], check=True, capture_output=True)
    return folder
