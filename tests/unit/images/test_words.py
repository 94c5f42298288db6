"""Words of Dockerfile instructions against BuildKit's own cases."""

import pytest
from support.shared import table

from sampan.base.errors import InvalidParameter
from sampan.images.words import expand, expand_words, split_raw

_VARIABLES = {"PWD": "/home", "SHELL": "bash", "KOREAN": "한국어", "NULL": ""}


def test_one_word() -> None:
    for row in table("dockerfile/word"):
        if row["platform"] == "windows":
            continue
        if row.get("error"):
            with pytest.raises(InvalidParameter):
                expand(row["input"], _VARIABLES)
        else:
            assert expand(row["input"], _VARIABLES) == row["output"], row


def test_several_words() -> None:
    for row in table("dockerfile/words"):
        assert expand_words(row["input"], row["env"]) == row["words"], row


def test_words_as_they_are() -> None:
    for row in table("dockerfile/arg_words"):
        assert split_raw(row["input"]) == row["words"], row


@pytest.mark.parametrize("text", ["${a#b}", "${a%%b}", "${a/b/c}", "${a:#b}"])
def test_patterns_are_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match="unsupported modifier"):
        expand(text, {"a": "abc"})


def test_what_is_missing_is_named() -> None:
    with pytest.raises(InvalidParameter, match="VAR: message herex"):
        expand("${VAR:?message here$ARG}", {"VAR": "", "ARG": "x"})
    assert expand("${VAR?message}", {"VAR": ""}) == ""
