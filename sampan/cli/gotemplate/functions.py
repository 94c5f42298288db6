"""Functions of templates: Go's own and those that Docker's client adds.

``FUNCTIONS`` maps a name to the function, the kinds of its fixed parameters and the kind of the further ones
(None: there are none). Kinds: ``string``, ``int``, ``any``, and ``value``, which may be ``MISSING`` too. A
function raises ValueError with the message of Go's.
"""

from sampan.cli.gojson import to_json
from sampan.cli.gotemplate.printf import sprint, sprintf, sprintln, text_of, type_name
from sampan.cli.gotext import printable
from sampan.cli.record import MISSING, Missing, Nil, Record
from sampan.cli.shapes import Map

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Function = tuple[Callable[..., Any], tuple[str, ...], str | None]

_HTML = {"\0": "\ufffd", '"': "&#34;", "'": "&#39;", "&": "&amp;", "<": "&lt;", ">": "&gt;"}
_JS = {
    "\\": "\\\\",
    "'": "\\'",
    '"': '\\"',
    "<": "\\u003C",
    ">": "\\u003E",
    "&": "\\u0026",
    "=": "\\u003D",
}
_UNRESERVED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~")


def is_true(value: "Any") -> bool:
    """Tell what ``if`` makes of a value: false are nil, zero, and what is empty."""
    return True if isinstance(value, Record) else bool(value)


def printable_value(value: "Any") -> "Any":
    """Return what is written for a value: ``<no value>`` for one that is missing."""
    if isinstance(value, Missing) or value is None:
        return "<no value>"
    return "<nil>" if isinstance(value, Nil) else value


# -- comparison


def _basic_kind(value: "Any") -> str:
    """Return the kind of a value that can be compared by size or equality, or "" for others."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "float"
    if isinstance(value, complex):
        return "complex"
    return "string" if isinstance(value, str) else ""


def _is_nil(value: "Any") -> bool:
    return value is None or isinstance(value, (Missing, Nil))


def equal(first: "Any", *others: "Any") -> bool:
    """``eq``: whether the first is equal to any of the others."""
    if not others:
        raise ValueError("missing argument for comparison")
    kind = _basic_kind(first)
    for other in others:
        if _is_nil(first) or _is_nil(other):
            if _is_nil(first) and _is_nil(other):
                return True
        elif kind != _basic_kind(other):
            raise ValueError("incompatible types for comparison")
        elif not kind:
            raise ValueError(f"non-comparable type {text_of(first)}: {type_name(first)}")
        elif first == other:
            return True
    return False


def _not_equal(first: "Any", second: "Any") -> bool:
    return not equal(first, second)


def _less(first: "Any", second: "Any") -> bool:
    kind = _basic_kind(first)
    if not kind or not _basic_kind(second):
        raise ValueError("invalid type for comparison")
    if kind != _basic_kind(second):
        raise ValueError("incompatible types for comparison")
    if kind in {"bool", "complex"}:
        raise ValueError("invalid type for comparison")
    return bool(first < second)


def _less_or_equal(first: "Any", second: "Any") -> bool:
    return _less(first, second) or equal(first, second)


def _greater(first: "Any", second: "Any") -> bool:
    return not _less_or_equal(first, second)


def _greater_or_equal(first: "Any", second: "Any") -> bool:
    return not _less(first, second)


# -- collections


def _data(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _position(index: "Any", size: int) -> int:
    if _is_nil(index):
        raise ValueError("cannot index slice/array with nil")
    if type(index) is not int:
        raise ValueError(f"cannot index slice/array with type {type_name(index)}")
    if not 0 <= index < size:
        raise ValueError(f"index out of range: {index}")
    return index


def _index(item: "Any", *indexes: "Any") -> "Any":
    if _is_nil(item):
        raise ValueError("index of untyped nil")
    for index in indexes:
        if isinstance(item, str):
            data = _data(item)
            item = data[_position(index, len(data))]
        elif isinstance(item, (list, tuple)):
            item = item[_position(index, len(item))]
        elif isinstance(item, dict):
            if _is_nil(index):
                raise ValueError("value is nil; should be of type string")
            if not isinstance(index, str):
                raise ValueError(f"value has type {type_name(index)}; should be string")
            item = item.at(index) if isinstance(item, Map) else item.get(index, MISSING)
        elif _is_nil(item):
            raise ValueError("index of nil pointer")
        else:
            raise ValueError(f"can't index item of type {type_name(item)}")
    return item


def _slice(item: "Any", *indexes: "Any") -> "Any":
    if _is_nil(item):
        raise ValueError("slice of untyped nil")
    if len(indexes) > 3:
        raise ValueError(f"too many slice indexes: {len(indexes)}")
    if not isinstance(item, (str, list, tuple)):
        raise ValueError(f"can't slice item of type {type_name(item)}")
    if isinstance(item, str) and len(indexes) == 3:
        raise ValueError("cannot 3-index slice a string")
    body = _data(item) if isinstance(item, str) else item
    bounds = [0, len(body), len(body)]
    for at, index in enumerate(indexes):
        bounds[at] = _position(index, len(body) + 1)
    if bounds[0] > bounds[1]:
        raise ValueError(f"invalid slice index: {bounds[0]} > {bounds[1]}")
    if len(indexes) == 3 and bounds[1] > bounds[2]:
        raise ValueError(f"invalid slice index: {bounds[1]} > {bounds[2]}")
    part = body[bounds[0] : bounds[1]]
    return part.decode("utf-8", "surrogateescape") if isinstance(part, bytes) else part


def _length(item: "Any") -> int:
    if _is_nil(item):
        raise ValueError("len of nil pointer")
    if isinstance(item, str):
        return len(_data(item))
    if not isinstance(item, (list, tuple, dict)):
        raise ValueError(f"len of type {type_name(item)}")
    return len(item)


def _call(function: "Any", *_: "Any") -> "Any":
    if _is_nil(function):
        raise ValueError("call of nil")
    raise ValueError(f"non-function {text_of(function)} of type {type_name(function)}")


# -- escaping


def _as_text(values: "tuple[Any, ...]") -> str:
    return sprint([printable_value(value) for value in values])


def _html(*values: "Any") -> str:
    return "".join(_HTML.get(letter, letter) for letter in _as_text(values))


def _js(*values: "Any") -> str:
    return "".join(
        _JS.get(letter) or (letter if printable(letter) else f"\\u{ord(letter):04X}")
        for letter in _as_text(values)
    )


def _urlquery(*values: "Any") -> str:
    out = []
    for byte in _data(_as_text(values)):
        letter = chr(byte)
        out.append(letter if letter in _UNRESERVED else "+" if letter == " " else f"%{byte:02X}")
    return "".join(out)


# -- Docker's own


def _json_function(value: "Any") -> str:
    return to_json(value)


def _split(text: str, separator: str) -> list[str]:
    return text.split(separator) if separator else list(text)


def _join(values: "Any", separator: str) -> str:
    if _is_nil(values):
        return ""
    if isinstance(values, dict):
        return separator.join(sorted(map(text_of, values.values())))
    if not isinstance(values, (list, tuple)):
        raise ValueError(f"expected slice, got {type_name(values)}")
    return separator.join(map(text_of, values))


def _title(text: str) -> str:
    out, before = [], " "
    for letter in text:
        inner = before == "_" or before.isalnum() or (before > "\x7f" and not before.isspace())
        out.append(letter if inner else letter.title())
        before = letter
    return "".join(out)


def _pad(text: str, before: int, behind: int) -> str:
    if min(before, behind) < 0:
        raise ValueError("strings: negative Repeat count")
    return text and " " * before + text + " " * behind


def _truncate(text: str, size: int) -> str:
    if size < 0:
        raise ValueError(f"slice bounds out of range [:{size}]")
    return _data(text)[:size].decode("utf-8", "surrogateescape")


FUNCTIONS: "dict[str, Function]" = {
    "and": (is_true, ("value",), "value"),
    "or": (is_true, ("value",), "value"),
    "not": (lambda value: not is_true(value), ("value",), None),
    "call": (_call, ("value",), "value"),
    "html": (_html, (), "any"),
    "index": (_index, ("value",), "value"),
    "slice": (_slice, ("value",), "value"),
    "js": (_js, (), "any"),
    "len": (_length, ("value",), None),
    "print": (lambda *values: sprint(values), (), "any"),
    "printf": (lambda template, *values: sprintf(template, values), ("string",), "any"),
    "println": (lambda *values: sprintln(values), (), "any"),
    "urlquery": (_urlquery, (), "any"),
    "eq": (equal, ("value",), "value"),
    "ne": (_not_equal, ("value", "value"), None),
    "lt": (_less, ("value", "value"), None),
    "le": (_less_or_equal, ("value", "value"), None),
    "gt": (_greater, ("value", "value"), None),
    "ge": (_greater_or_equal, ("value", "value"), None),
    "json": (_json_function, ("any",), None),
    "split": (_split, ("string", "string"), None),
    "join": (_join, ("any", "string"), None),
    "title": (_title, ("string",), None),
    "lower": (str.lower, ("string",), None),
    "upper": (str.upper, ("string",), None),
    "pad": (_pad, ("string", "int", "int"), None),
    "truncate": (_truncate, ("string", "int"), None),
}
# In the header of a table these leave the column's title alone.
HEADER_FUNCTIONS: "dict[str, Function]" = {
    **FUNCTIONS,
    **{name: (lambda text: text, ("string",), None) for name in ("json", "title", "lower", "upper")},
    "split": (lambda text, _: text, ("string", "string"), None),
    "join": (lambda text, _: text, ("string", "string"), None),
    "truncate": (lambda text, _: text, ("string", "int"), None),
}
