"""Legacy links: how they are written."""

import pytest

from sampan.base.errors import InvalidParameter
from sampan.containers.links import split_link


@pytest.mark.parametrize(
    ("text", "parts"),
    [("db", ("db", "db")), ("db:store", ("db", "store")), ("/db:/web/store", ("db", "store"))],
)
def test_links_are_split(text: str, parts: tuple[str, str]) -> None:
    assert split_link(text) == parts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty string specified for links"),
        ("a:b:c", "bad format for links: a:b:c"),
        (":b", "bad format for links: :b"),
    ],
)
def test_bad_links_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        split_link(text)
