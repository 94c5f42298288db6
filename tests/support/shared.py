"""Where the reference data of the project lies, for tests that compare with it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

_PLACES = (os.environ.get("SAMPAN_SHARED", ""), str(Path(__file__).resolve().parents[3] / "shared"))


def shared(path: str) -> Path:
    """Return the file or folder ``path`` of the reference data; skip the calling test where it is absent."""
    for place in _PLACES:
        if place and (found := Path(place) / path).exists():
            return found
    pytest.skip(f"reference data {path} is not beside this checkout", allow_module_level=True)


def table(name: str) -> list[dict[str, Any]]:
    """Return the rows of the behaviour table ``name``, for example ``engine/signal``."""
    rows: list[dict[str, Any]] = json.loads(shared(f"data/tables/{name}.json").read_text())
    return rows
