"""Query strings, against Docker's tables."""

from typing import Any

import pytest
from support.shared import table

from sampan.api.query import Query, parse_platform, parse_uint32
from sampan.base.errors import InvalidParameter


def test_values_are_decoded_in_order() -> None:
    query = Query("a=1&b=x%20y+z&a=2&empty&c=%E2%82%AC")
    assert query.all("a") == ["1", "2"]
    assert query.text("a") == "1"
    assert query.text("b") == "x y z"
    assert query.text("c") == "€"
    assert query.text("empty", "unset") == ""
    assert query.text("missing", "unset") == "unset"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a=%zz", 'invalid URL escape "%zz"'),
        ("a=%2", 'invalid URL escape "%2"'),
        ("a=1;b=2", "invalid semicolon separator in query"),
    ],
)
def test_bad_escapes_are_refused_in_gos_words(text: str, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        Query(text)


@pytest.mark.parametrize("row", table("engine/query_value"), ids=str)
def test_values_are_read_as_docker_reads_them(row: dict[str, Any]) -> None:
    text = row["text"]
    query = Query("" if text is None else f"v={text}")
    if row["kind"] == "bool":
        assert query.flag("v") is row["value"]
    elif row["kind"] == "int_or_zero":
        assert (query.integer("v") or 0) == row["value"]
    elif row["kind"] == "int_or_minus_1":
        if row.get("error"):
            with pytest.raises(InvalidParameter):
                query.integer("v")
        else:
            found = query.integer("v")
            assert (-1 if found is None else found) == row["value"]
    elif "error" in row:
        with pytest.raises(ValueError, match=row["error"]):
            parse_uint32(text or "")
    else:
        assert parse_uint32(text) == row["value"]


def test_flags_have_a_default_for_when_they_are_absent() -> None:
    assert Query("").flag("quiet", default=True)
    assert not Query("quiet=").flag("quiet", default=True)
    assert not Query("quiet=0").flag("quiet", default=True)
    assert Query("quiet=1").flag("quiet")


def test_numbers_have_bounds() -> None:
    assert Query("t=-1").integer("t") == -1
    assert Query("t=%2B9").integer("t") == 9
    with pytest.raises(InvalidParameter, match="value out of range"):
        Query("t=9223372036854775808").integer("t")
    with pytest.raises(InvalidParameter, match="invalid syntax"):
        Query("t=1.5").integer("t")


def test_a_terminal_size_names_itself() -> None:
    with pytest.raises(InvalidParameter, match='invalid resize height "x": invalid syntax'):
        Query("h=x").terminal_size("h", "height")
    assert Query("h=24").terminal_size("h", "height") == 24


@pytest.mark.parametrize("row", table("engine/query_platform"), ids=str)
def test_platforms(row: dict[str, Any]) -> None:
    if "error" in row:
        with pytest.raises(InvalidParameter) as caught:
            parse_platform(row["platform"])
        assert str(caught.value) == row["error"]
        return
    found, wanted = parse_platform(row["platform"]), row["decoded"]
    assert (found.os, found.architecture, found.variant) == (
        wanted["os"],
        wanted["architecture"],
        wanted.get("variant", ""),
    )
    assert (found.os_version, found.os_features) == (
        wanted.get("os.version", ""),
        wanted.get("os.features", []),
    )
