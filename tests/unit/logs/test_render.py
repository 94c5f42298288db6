"""Records as clients get them."""

from typing import Any

import pytest
from support.logs import json_line

from sampan.logs.driver import Line
from sampan.logs.drivers.json_file import JsonFile
from sampan.logs.render import Renderer, render_details

TIME = 1_700_000_000_500_000_000
STAMP = b"2023-11-14T22:13:20.500000000Z "


def lines() -> list[Line]:
    data = (
        json_line("out\n", time_ns=TIME, attrs={"b": "2 &", "a": "1"})
        + json_line("err\n", stream="stderr", time_ns=TIME)
        + json_line("?\n", stream="stdwhat", time_ns=TIME)
    )
    return list(JsonFile().decode(data, final=True)[0])


def render(**changes: Any) -> bytes:
    options = {"stdout": True, "stderr": True, "timestamps": False, "details": False, "multiplexed": False}
    return Renderer(**{**options, **changes}).render(lines())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, b"out\nerr\n"),
        ({"stdout": False}, b"err\n"),
        ({"stderr": False}, b"out\n"),
        ({"stdout": False, "stderr": False}, b""),
        ({"multiplexed": True}, b"\1\0\0\0\0\0\0\4out\n\2\0\0\0\0\0\0\4err\n"),
        ({"timestamps": True}, STAMP + b"out\n" + STAMP + b"err\n"),
        ({"details": True}, b"a=1,b=2+%26 out\n err\n"),
        ({"timestamps": True, "details": True, "stderr": False}, STAMP + b"a=1,b=2+%26 out\n"),
        (
            {"timestamps": True, "multiplexed": True, "stdout": False},
            b"\2\0\0\0\0\0\0\x23" + STAMP + b"err\n",
        ),
    ],
)
def test_forms(changes: dict[str, Any], expected: bytes) -> None:
    assert render(**changes) == expected


def test_details() -> None:
    assert render_details(None) == ""
    assert render_details({"ä": "x~y-z_.", "=": ","}) == "%3D=%2C,%C3%A4=x~y-z_."
