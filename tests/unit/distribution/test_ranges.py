"""Ranges of bytes, wanted and sent."""

import pytest

from sampan.distribution.errors import RangeInvalid, UploadInvalid
from sampan.distribution.ranges import chunk_range, upload_range, wanted_range


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("bytes=0-", (0, 100)),
        ("bytes=0-0", (0, 1)),
        ("bytes=99-", (99, 1)),
        ("bytes=50-1000", (50, 50)),
        ("bytes=-30", (70, 30)),
        ("bytes=-1000", (0, 100)),
        ("bytes= 1 - 2", (1, 2)),
        ("bytes=-", None),
        ("bytes=2-1", None),
        ("bytes=0-1,3-4", None),
        ("items=0-1", None),
        ("bytes=a-b", None),
        ("", None),
    ],
)
def test_wanted(header: str, found: tuple[int, int] | None) -> None:
    assert wanted_range(header, 100) == found


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_there_is_no_such_range(header: str) -> None:
    with pytest.raises(RangeInvalid) as caught:
        wanted_range(header, 100)
    assert caught.value.headers == {"Content-Range": "bytes */100"}


def test_nothing_has_no_ranges() -> None:
    with pytest.raises(RangeInvalid):
        wanted_range("bytes=0-", 0)


def test_chunks() -> None:
    assert chunk_range("0-0") == (0, 1)
    assert chunk_range("10-19") == (10, 10)
    for bad in ("", "1", "-1", "1-", "9-8", "bytes=0-1", "0-1/2", " 0-1", "٣-٤"):
        with pytest.raises(UploadInvalid):
            chunk_range(bad)
    assert [upload_range(size) for size in (0, 1, 100)] == ["0-0", "0-0", "0-99"]
