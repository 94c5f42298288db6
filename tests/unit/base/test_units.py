"""Sizes, durations, ages and truth values against Docker's own tables."""

from typing import Any

import pytest
from support.shared import table

from sampan.base import units


@pytest.mark.parametrize("row", table("units/size_parse"), ids=str)
def test_sizes_are_read(row: dict[str, Any]) -> None:
    read = units.parse_size if row["units"] == "decimal" else units.parse_ram
    if row.get("error"):
        with pytest.raises(ValueError):  # noqa: PT011  # the words are the next test's
            read(row["input"])
    else:
        assert read(row["input"]) == row["bytes"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello", "invalid size: 'hello'"),
        ("-1", "invalid size: '-1'"),
        ("1xb", "invalid suffix: 'xb'"),
        ("1mbx", "invalid suffix: 'mbx'"),
        ("1 2", 'strconv.ParseFloat: parsing "1 2": invalid syntax'),
        ("1e400", 'strconv.ParseFloat: parsing "1e400": value out of range'),
        ("1e30", "invalid size: '1e30'"),
        ("1_0", 'strconv.ParseFloat: parsing "1_0": invalid syntax'),
    ],
)
def test_a_bad_size_is_refused_in_dockers_words(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # compared below
        units.parse_ram(text)
    assert str(caught.value) == message


@pytest.mark.parametrize("row", table("units/size_text"), ids=str)
def test_sizes_are_written(row: dict[str, Any]) -> None:
    write = units.human_size if row["units"] == "decimal" else units.bytes_size
    assert write(row["bytes"]) == row["text"]


def test_a_size_may_have_fewer_digits() -> None:
    assert units.human_size(77_812_345, 3) == "77.8MB"


@pytest.mark.parametrize("row", table("units/age_text"), ids=str)
def test_ages_are_written(row: dict[str, Any]) -> None:
    assert units.human_duration(row["seconds"]) == row["text"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "Less than a second"), (60, "About a minute"), (119, "About a minute"), (3600, "About an hour")],
)
def test_round_ages_have_words(seconds: int, text: str) -> None:
    assert units.human_duration(seconds) == text


@pytest.mark.parametrize("row", table("units/duration"), ids=str)
def test_durations_are_read(row: dict[str, Any]) -> None:
    if row.get("error"):
        with pytest.raises(ValueError, match=r"^time: "):
            units.parse_duration(row["input"])
    else:
        assert units.parse_duration(row["input"]) == row["nanoseconds"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", 'time: invalid duration "x"'),
        ("3", 'time: missing unit in duration "3"'),
        ("3d", 'time: unknown unit "d" in duration "3d"'),
        ("1.5h3", 'time: missing unit in duration "1.5h3"'),
    ],
)
def test_a_bad_duration_is_refused_in_gos_words(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # compared below
        units.parse_duration(text)
    assert str(caught.value) == message


def test_a_long_fraction_is_rounded_as_go_does() -> None:
    assert units.parse_duration("0.3333333333333333333h") == 20 * 60 * 10**9


@pytest.mark.parametrize("row", table("units/duration_text"), ids=str)
def test_durations_are_written(row: dict[str, Any]) -> None:
    assert units.format_duration(row["nanoseconds"]) == row["text"]


@pytest.mark.parametrize("row", table("units/bool"), ids=str)
def test_truth_values_are_read(row: dict[str, Any]) -> None:
    if row.get("error"):
        with pytest.raises(ValueError, match=r"^strconv.ParseBool: parsing "):
            units.parse_bool(row["input"])
    else:
        assert units.parse_bool(row["input"]) is row["value"]


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("-12", -12), ("+7", 7), ("0x1F", 31), ("010", 8), ("0b11", 3), ("1_000", 1000)],
)
def test_integers_are_read_in_gos_notation(text: str, value: int) -> None:
    assert units.parse_int(text) == value


@pytest.mark.parametrize("text", ["", " 1", "1 ", "1.5", "0x", "08", "_1", "1_", "1__0", "--1", "+-1", "١"])
def test_other_integers_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"invalid syntax$"):
        units.parse_int(text)


def test_an_integer_must_fit() -> None:
    assert units.parse_int("65535", 16, signed=False) == 65535
    with pytest.raises(ValueError, match=r'^strconv.ParseUint: parsing "65536": value out of range$'):
        units.parse_int("65536", 16, signed=False)
    with pytest.raises(ValueError, match=r'^strconv.ParseUint: parsing "-1": invalid syntax$'):
        units.parse_int("-1", 16, signed=False)
