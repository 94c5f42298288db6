"""``--platform`` on the command line says the same as the engine's own parser."""

import pytest

from sampan.cli.errors import CommandError
from sampan.cli.platforms import parse_platform
from sampan.oci.platform import parse_platform as parse


@pytest.mark.parametrize(
    "text",
    [
        "linux",
        "amd64",
        "linux/amd64",
        "linux/x86_64",
        "LINUX/aarch64",
        "linux/arm/v6",
        "arm64",
        "windows/amd64",
    ],
)
def test_platforms(text: str) -> None:
    expected = parse(text)
    found = parse_platform(text) or {}
    assert (found["os"], found.get("variant", "")) == (expected.os, expected.variant)
    assert found["architecture"] == expected.architecture


@pytest.mark.parametrize("text", ["a/b/c/d", "linux//x", "lin*x", "linux/"])
def test_what_is_none(text: str) -> None:
    with pytest.raises(CommandError, match="invalid platform"):
        parse_platform(text)


def test_nothing() -> None:
    assert parse_platform("") is None
