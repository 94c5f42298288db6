"""The environment of processes."""

from typing import Any

import pytest
from support.shared import table

from sampan.runtime.environment import PATH, container_env, merge_env, with_home


@pytest.mark.parametrize("row", table("engine/env_merge"), ids=lambda row: ",".join(row["overrides"]))
def test_table(row: dict[str, Any]) -> None:
    assert merge_env(row["base"], row["overrides"]) == row["env"]


def test_defaults_first() -> None:
    assert container_env(["A=1", "PATH=/x", "A=2"], hostname="h", tty=True) == [
        "PATH=/x",
        "HOSTNAME=h",
        "TERM=xterm",
        "A=2",
    ]
    assert container_env([], hostname="h", tty=False) == [f"PATH={PATH}", "HOSTNAME=h"]
    assert container_env(["HOSTNAME"], hostname="h", tty=False) == [f"PATH={PATH}"]


def test_home() -> None:
    assert with_home(["A=1"], "/root") == ["A=1", "HOME=/root"]
    assert with_home(["HOME="], "/root") == ["HOME="]
