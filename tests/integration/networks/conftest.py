"""A neighbour host for the whole folder; every test must leave the namespace as it was."""

from collections.abc import Iterator

import pytest
from support.netlab import make_outside, remove_outside
from support.traces import assert_none_left, look


@pytest.fixture(scope="session", autouse=True)
def outside() -> Iterator[None]:
    """Another host beside this one."""
    make_outside()
    yield
    remove_outside()


@pytest.fixture(autouse=True)
def no_trace(outside: None) -> Iterator[None]:
    """Compare mounts, links and rules before and after the test."""
    before = look("no shim")
    yield
    assert_none_left(before, "no shim")
