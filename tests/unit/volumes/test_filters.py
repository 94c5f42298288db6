"""Which volumes a list or a prune is about."""

import pytest

from sampan.base.errors import InvalidParameter
from sampan.volumes import filters
from sampan.volumes.store import Record

RECORD = Record("web-data", "local", "", {"tier": "gold", "flag": ""})


@pytest.mark.parametrize(
    ("wanted", "passed"),
    [
        ({}, True),
        ({"name": ["web"]}, True),
        ({"name": ["^data"]}, False),
        ({"name": ["data$", "no"]}, True),
        ({"name": ["("]}, False),
        ({"driver": ["local"]}, True),
        ({"driver": ["loc"]}, False),
        ({"label": ["tier"]}, True),
        ({"label": ["tier=gold", "flag"]}, True),
        ({"label": ["tier=gold", "none"]}, False),
        ({"label": ["tier=lead"]}, False),
        ({"label!": ["tier=lead"]}, True),
        ({"label!": ["flag"]}, False),
    ],
)
def test_passes(wanted: dict[str, list[str]], passed: bool) -> None:
    assert filters.passes(RECORD, wanted) is passed


def test_flags_and_names() -> None:
    assert filters.flag({}, "dangling") is None
    assert filters.flag({"dangling": ["1"]}, "dangling") is True
    assert filters.flag({"dangling": ["false"]}, "dangling") is False
    with pytest.raises(InvalidParameter, match=r"invalid filter 'all=\[maybe\]'"):
        filters.flag({"all": ["maybe"]}, "all")
    with pytest.raises(InvalidParameter, match="invalid filter 'until'"):
        filters.check({"until": ["1h"]}, filters.PRUNE)
