"""The filters parameter, against Docker's tables."""

from collections.abc import Callable
from typing import Any

import pytest
from support.shared import table

from sampan.api.filters import (
    InvalidFilter,
    check_names,
    flag,
    matches_exactly,
    matches_labels,
    matches_only,
    matches_pattern,
    matches_prefix,
    parse_filters,
)

HOW: dict[str, Callable[..., bool]] = {
    "key_value": matches_labels,
    "pattern": matches_pattern,
    "exact": matches_exactly,
    "only_exact": matches_only,
    "prefix": matches_prefix,
}


@pytest.mark.parametrize("row", table("engine/filters_parse"), ids=str)
def test_both_forms_are_read(row: dict[str, Any]) -> None:
    if row.get("error"):
        with pytest.raises(InvalidFilter, match="invalid filter"):
            parse_filters(row["json"])
    else:
        assert {k: sorted(v) for k, v in parse_filters(row["json"]).items()} == row["filters"]


@pytest.mark.parametrize("row", table("engine/filters_bool"), ids=str)
def test_yes_and_no(row: dict[str, Any]) -> None:
    filters = {"dangling": row["values"]}
    if row.get("error"):
        with pytest.raises(InvalidFilter, match=r"invalid filter 'dangling=\["):
            flag(filters, "dangling", default=row["default"])
    else:
        assert flag(filters, "dangling", default=row["default"]) is row["value"]
    assert flag({}, "dangling", default=row["default"]) is row["default"]


@pytest.mark.parametrize("row", table("engine/filters_match"), ids=str)
def test_matching(row: dict[str, Any]) -> None:
    assert HOW[row["how"]](row["filters"], row["key"], row["value"]) is row["match"]


def test_a_pattern_that_is_none_matches_nothing() -> None:
    assert not matches_pattern({"name": ["("]}, "name", "web")
    assert matches_pattern({"name": ["("]}, "name", "(")


def test_labels_match_by_key_or_by_both() -> None:
    labels = {"a": "1", "b": ""}
    assert matches_labels({"label": ["a", "b="]}, "label", labels)
    assert not matches_labels({"label": ["a=2"]}, "label", labels)
    assert not matches_labels({"label": ["a", "c"]}, "label", labels)


def test_unknown_names_are_named() -> None:
    with pytest.raises(InvalidFilter, match=r"^invalid filter 'foo'$"):
        check_names({"label": [], "foo": []}, {"label"})
