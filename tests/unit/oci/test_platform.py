"""Platforms against the tables of github.com/containerd/platforms."""

from typing import Any

import msgspec
import pytest
from support.shared import table

from sampan.oci import platform
from sampan.oci.platform import InvalidPlatform, Platform, parse_platform

LOCAL = Platform("amd64", "linux")
HOW = {"compatible": platform.compatible, "strict": platform.strict, "os": platform.same_os}


def rows(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", table(f"platform/{name}"), ids=lambda row: str(row)[:80])


@rows("parse")
def test_parse(row: dict[str, Any]) -> None:
    if row.get("error"):
        with pytest.raises(InvalidPlatform):
            parse_platform(row["input"], local=LOCAL)
        return
    found = parse_platform(row["input"], local=LOCAL)
    assert msgspec.json.decode(msgspec.json.encode(found)) == row["platform"]
    assert (found.long_text() if row["with_version"] else str(found)) == row["text"]
    for other in row["also_matches"]:
        assert platform.strict(found).matches(msgspec.convert(other, Platform))


@rows("normalize")
def test_normalize(row: dict[str, Any]) -> None:
    system, architecture, variant = row["given"]
    found = Platform(architecture, system, variant=variant).normalized()
    assert [found.os, found.architecture, found.variant] == row["normal"]


@rows("long_text")
def test_long_text(row: dict[str, Any]) -> None:
    assert msgspec.convert(row["platform"], Platform).long_text() == row["text"]


@rows("match")
def test_match(row: dict[str, Any]) -> None:
    matcher = HOW[row["how"]](parse_platform(row["wanted"], local=LOCAL))
    assert matcher.matches(parse_platform(row["image"], local=LOCAL)) is row["match"]


@rows("order")
def test_order(row: dict[str, Any]) -> None:
    matcher = HOW[row["how"]](parse_platform(row["wanted"], local=LOCAL))
    items = [(parse_platform(text, local=LOCAL), text) for text in row["images"]]
    assert [text for _, text in matcher.best_first(items)] == row["order"]


@pytest.mark.parametrize(
    ("host", "image", "runs"),
    [
        ("10.0.17763", "10.0.17763.1", True),
        ("10.0.17763", "10.0.17764", False),
        ("10.0.20348", "10.0.20348.5", True),
        ("10.0.25398", "10.0.20348", True),
        ("10.0.26100", "10.0.20348", True),
        ("10.0.26101", "10.0.25398", False),
        ("10.0.20348", "10.0.17763", False),
        ("10.0.26100", "10.0.26101", False),
        ("10.0.20348", "11.0.20348", False),
        ("", "10.0.1", True),
        ("x.y.z", "10.0.1", True),
    ],
)
def test_windows(host: str, image: str, runs: bool) -> None:
    wanted = Platform("amd64", "windows", os_version=host)
    assert platform.strict(wanted).matches(Platform("amd64", "windows", os_version=image)) is runs


@pytest.mark.parametrize(
    "text", ["linux(", "linux(a", "linux(%zz)/amd64", "linux(%4)/a", "li nux", "linux//arm", "*", "a/b/c/d"]
)
def test_refused(text: str) -> None:
    with pytest.raises(InvalidPlatform):
        parse_platform(text, local=LOCAL)


def test_win32k_is_not_asked_for() -> None:
    wanted = Platform("amd64", "windows")
    image = Platform("amd64", "windows", os_features=("win32k",))
    assert platform.strict(wanted).matches(image)
    assert platform.compatible(wanted).matches(image)
    assert not platform.strict(wanted).matches(Platform("amd64", "windows", os_features=("other",)))


def test_host() -> None:
    assert platform.host().os == "linux"
    assert platform.host().architecture
