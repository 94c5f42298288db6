"""JSON without the json package gives what the json package gives."""

import json
import subprocess
import sys

import pytest

from sampan.base import jsonlite

VALUES = [
    None,
    True,
    0,
    -12345678901234567890,
    1.5e-7,
    "",
    'é\u2028"\\\n\x01',
    [],
    {},
    [1, [2, {"a": None}]],
    {"b": 1, "a": [True, False, {"x": "y"}]},
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values_come_back(value: object) -> None:
    text = jsonlite.dumps(value)
    assert text == json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    assert jsonlite.loads(text) == value
    assert jsonlite.loads(f" \n{text}\t ".encode()) == value


@pytest.mark.parametrize("text", ["", " ", "{", "[1,]", "nul", "{} x", '{"a":1', '"abc', '"a\x01"', "{1:2}"])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"JSON|Invalid|Expecting|Unterminated"):
        jsonlite.loads(text)


def test_bytes_must_be_text() -> None:
    with pytest.raises(UnicodeDecodeError):
        jsonlite.loads(b'"\xff"')


@pytest.mark.parametrize(
    ("value", "error"), [(float("nan"), ValueError), (b"", TypeError), ({1, 2}, TypeError)]
)
def test_what_has_no_json_is_refused(value: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        jsonlite.dumps(value)


def test_several_values_in_one_text() -> None:
    text = '{"a":1}\r\n[2] "x'
    first, start = jsonlite.scan(text, 0)
    second, start = jsonlite.scan(text, start)
    assert (first, second) == ({"a": 1}, [2])
    with pytest.raises(ValueError, match=r"JSON|Unterminated"):
        jsonlite.scan(text, start)


def test_bad_json_is_refused_without_the_json_package_too() -> None:
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "from sampan.base.jsonlite import loads\n"
        "for text in ('', '{', '[1,]', '\"x'):\n"
        "    try: loads(text)\n"
        "    except ValueError: pass\n"
        "    else: sys.exit(text)\n"
        "sys.exit('json' in sys.modules or 're' in sys.modules or 'typing' in sys.modules)"
    )
    root = jsonlite.__file__.removesuffix("/sampan/base/jsonlite.py")
    assert subprocess.run([sys.executable, "-S", "-E", "-I", "-c", code, root], check=False).returncode == 0
