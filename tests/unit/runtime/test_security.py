"""Security options against moby's table."""

from typing import Any

import pytest
from support.shared import table

from sampan.base.errors import InvalidParameter
from sampan.runtime.security import SecurityOptions, parse_security_options


@pytest.mark.parametrize("row", table("engine/security_opt"), ids=lambda row: row["security_opt"])
def test_table(row: dict[str, Any]) -> None:
    if "error" in row:
        with pytest.raises(InvalidParameter) as caught:
            parse_security_options([row["security_opt"]])
        assert str(caught.value) == row["error"]
        return
    parsed = parse_security_options([row["security_opt"]])
    for field in ("apparmor", "seccomp", "no_new_privileges"):
        if field in row:
            assert getattr(parsed, field) == row[field]


def test_daemons_default_and_its_denial() -> None:
    assert parse_security_options((), no_new_privileges=True).no_new_privileges
    assert not parse_security_options(["no-new-privileges=0"], no_new_privileges=True).no_new_privileges
    assert parse_security_options(["no-new-privileges", "disable", "label=disable"]) == SecurityOptions(
        no_new_privileges=True
    )


def test_values_keep_their_signs() -> None:
    assert parse_security_options(['seccomp={"a":"b=c"}']).seccomp == '{"a":"b=c"}'
    assert parse_security_options(["writable-cgroups"]).writable_cgroups is True
    assert parse_security_options(["writable-cgroups=false"]).writable_cgroups is False


@pytest.mark.parametrize(
    "option", ["no-new-privileges=maybe", "writable-cgroups=2", "systempaths=unconfined"]
)
def test_refused(option: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse_security_options([option])
    assert str(caught.value) == f'invalid --security-opt 2: "{option}"'
