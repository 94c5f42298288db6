"""A neighbour host for the whole folder; every test must leave the namespace as it was."""

from collections.abc import Iterator

import pytest
from support.netlab import assert_footprint, footprint, make_outside, remove_outside


@pytest.fixture(scope="session", autouse=True)
def outside() -> Iterator[None]:
    """Another host beside this one."""
    make_outside()
    yield
    remove_outside()


@pytest.fixture(autouse=True)
def no_trace(outside: None) -> Iterator[None]:
    """Compare mounts, links and rules before and after the test."""
    before = footprint()
    yield
    assert_footprint(before)
