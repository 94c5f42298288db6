"""References against the tables of github.com/distribution/reference."""

from typing import Any

import pytest
from support.shared import table

from sampan.base.errors import InvalidParameter
from sampan.oci import reference
from sampan.oci.digest import Digest, is_identifier
from sampan.oci.glob import Glob, InvalidPattern
from sampan.oci.reference import InvalidReference, Reference

SHA = "sha256:" + "f" * 64


def rows(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", table(f"reference/{name}"), ids=lambda row: str(row)[:70])


@rows("any")
def test_any(row: dict[str, Any]) -> None:
    found = reference.parse_any(row["input"])
    assert str(found) == row["full"]
    assert isinstance(found, Digest) is row["is_digest"]


@rows("compose")
def test_compose(row: dict[str, Any]) -> None:
    composed = reference.parse_name(row["name"])
    if "tag" in row:
        composed = composed.with_tag(row["tag"])
    if "digest" in row:
        composed = composed.with_digest(row["digest"])
    assert str(composed) == row["text"]


@rows("default_tag")
def test_default_tag(row: dict[str, Any]) -> None:
    assert str(reference.parse_tagged(row["input"])) == row["full"]


@rows("familiar_valid")
def test_familiar_valid(row: dict[str, Any]) -> None:
    if row["valid"]:
        reference.parse_normalized(row["input"])
    else:
        with pytest.raises(InvalidParameter):
            reference.parse_normalized(row["input"])


@rows("glob")
def test_glob(row: dict[str, Any]) -> None:
    named = reference.parse_normalized(row["name"])
    if row.get("error"):
        with pytest.raises(InvalidPattern, match="syntax error in pattern"):
            reference.matches(row["pattern"], named)
    else:
        assert reference.matches(row["pattern"], named) is row["match"]


@rows("grammar")
def test_grammar(row: dict[str, Any]) -> None:
    text = row["input"]
    if row["what"] == "domain":
        assert reference.is_domain(text) is row["match"]
    elif row["what"] == "identifier":
        assert is_identifier(text) is row["match"]
    elif row["what"] == "name":
        if not row["match"]:
            with pytest.raises(InvalidReference):
                reference.parse_name(text)
            return
        found = reference.parse_name(text)
        assert [found.domain, found.path] == row.get("groups", [found.domain, found.path])
    elif row["match"]:
        found = reference.parse(text)
        assert [found.name, found.tag, found.digest] == row.get(
            "groups", [found.name, found.tag, found.digest]
        )
    else:
        with pytest.raises(InvalidReference):
            reference.parse(text)


@rows("must_be_canonical")
def test_must_be_canonical(row: dict[str, Any]) -> None:
    if "error" in row:
        with pytest.raises(InvalidParameter) as caught:
            reference.parse_canonical(row["input"])
        assert str(caught.value) == row["error"]
    else:
        found = reference.parse_canonical(row["input"])
        assert (found.domain, found.path) == (row["domain"], row["path"])


@rows("name_only")
def test_name_only(row: dict[str, Any]) -> None:
    if "error" in row:
        with pytest.raises(InvalidReference) as caught:
            reference.parse_name(row["input"])
        assert str(caught.value) == row["error"]
    else:
        found = reference.parse_name(row["input"])
        assert (found.domain, found.path) == (row["domain"], row["path"])


@rows("normalize")
def test_normalize(row: dict[str, Any]) -> None:
    found = reference.parse_normalized(row["input"])
    assert str(found) == row["full"]
    assert found.familiar == row["familiar"]
    assert (found.domain, found.path) == (row["domain"], row["path"])


@rows("normalize_split")
def test_normalize_split(row: dict[str, Any]) -> None:
    found = reference.parse_normalized(row["input"])
    assert (found.domain, found.path) == (row["domain"], row["path"])


@rows("parse")
def test_parse(row: dict[str, Any]) -> None:
    if "error" in row and row["input"].startswith("validname@sha512:"):
        pytest.skip("sha512 was not linked into that suite; this engine knows it")
    if "error" in row:
        with pytest.raises(InvalidParameter) as caught:
            reference.parse(row["input"])
        assert str(caught.value) == row["error"]
    else:
        found = reference.parse(row["input"])
        assert (found.name, found.domain, found.tag, found.digest) == (
            row["repository"],
            row["domain"],
            row["tag"],
            row["digest"],
        )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Foo", "invalid reference format: repository name (library/Foo) must be lowercase"),
        ("foo/Bar:tag", "invalid reference format: repository name (foo/Bar) must be lowercase"),
        ("foo:bad tag", "invalid reference format"),
        ("f" * 64, f"invalid repository name ({'f' * 64}), cannot specify 64-byte hexadecimal strings"),
        ("", "invalid reference format"),
        ("alpine@sha256:abc", "invalid reference format"),
        ("a" * 256, "repository name must not be more than 255 characters"),
    ],
)
def test_words(text: str, message: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        reference.parse_normalized(text)
    assert str(caught.value) == message


def test_parts() -> None:
    full = reference.parse_normalized(f"alpine:3@{SHA}")
    assert full == Reference("library/alpine", "docker.io", "3", SHA)
    assert full.familiar == f"alpine:3@{SHA}"
    assert full.without_tag().familiar == f"alpine@{SHA}"
    assert full.name_only().with_default_tag().familiar == "alpine:latest"
    assert reference.parse_name("a").with_tag("_" * 128).tag
    for tag in ("", "-x", "x" * 129, "a/b", "é"):
        with pytest.raises(InvalidReference, match="invalid tag format"):
            full.with_tag(tag)
    with pytest.raises(InvalidReference, match="invalid digest format"):
        full.with_digest("nothing")


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("*", "abc", True), ("*", "a/c", False), ("a*/b", "abc/b", True), ("*/*", "a/b", True),
        ("a?c", "abc", True), ("a?c", "a/c", False), ("[^a]b", "bb", True), ("[^a-c]", "b", False),
        ("a\\*b", "a*b", True), ("a\\*b", "axb", False), ("*a*b*", "xxaxxbxx", True), ("[\\]a]", "]", True),
        ("**", "ab", True), ("a", "ab", False), ("*x", "xxy", False),
    ],
)  # fmt: skip
def test_glob_rules(pattern: str, text: str, expected: bool) -> None:
    assert Glob(pattern).matches(text) is expected


@pytest.mark.parametrize("pattern", ["[", "[]", "[a", "[a-", "[a-]", "[-a]", "a\\", "[^", "[^]", "[\\"])
def test_bad_glob(pattern: str) -> None:
    with pytest.raises(InvalidPattern):
        Glob(pattern)
