"""Namespace modes against moby's table."""

from typing import Any

import pytest
from support.shared import table

from sampan.runtime.namespaces import container_of, is_host, is_private, is_valid


@pytest.mark.parametrize(
    "row", table("engine/namespace_mode"), ids=lambda row: f"{row['kind']}-{row['mode']}"
)
def test_modes(row: dict[str, Any]) -> None:
    kind, mode = row["kind"], row["mode"]
    if kind != "network":
        assert is_valid(kind, mode) == row["valid"]
    assert is_host(mode) == row["host"]
    assert is_private(kind, mode) == row["private"]
    if "container" in row:
        assert container_of(mode) == row["container"]
