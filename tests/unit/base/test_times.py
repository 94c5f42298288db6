"""Moments and durations, against Docker's own cases."""

import pytest
from support.shared import table

from sampan.base.errors import InvalidParameter
from sampan.base.times import format_ns, parse_duration_ns, parse_moment_ns, parse_ns

NOW = parse_ns("2020-01-02T03:04:05.123456789Z")


def test_since_and_until_are_read_as_docker_reads_them() -> None:
    for row in table("engine/since_until"):
        if row.get("error"):
            with pytest.raises(InvalidParameter):
                parse_moment_ns(row["input"], now_ns=NOW)
        else:
            assert format_ns(parse_moment_ns(row["input"], now_ns=NOW)) == row["time"], row


def test_nanoseconds_are_written_without_trailing_zeros() -> None:
    assert format_ns(1_500_000_000_120_000_000) == "2017-07-14T02:40:00.12Z"
    assert format_ns(0) == "1970-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("text", "expected"), [("1h2m3.5s", 3723_500_000_000), ("-5ms", -5_000_000), ("0", 0)]
)
def test_go_durations(text: str, expected: int) -> None:
    assert parse_duration_ns(text) == expected
