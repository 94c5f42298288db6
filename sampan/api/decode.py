"""JSON bodies read as Go's encoding/json reads them, into wire structs, with Docker's words for what is
wrong.

Two habits of Go matter to clients: keys match whatever their case, and ``null`` leaves a field at its default
(docker-py sends dozens of them). Both are settled on the decoded document before msgspec checks the types.
"""

import types
import typing
from collections.abc import Callable
from functools import cache
from typing import Any, Final, TypeVar, cast

import msgspec

from sampan.base.errors import InvalidParameter

T = TypeVar("T")
_Fix = Callable[[Any], Any]

_INT64_MIN: Final = -(1 << 63)
_INT64_MAX: Final = (1 << 63) - 1
_GO_TYPES: Final = {
    "int": "int64",
    "str": "string",
    "bool": "bool",
    "float": "float64",
    "array": "[]string",
    "object": "map[string]string",
}
_JSON_TYPES: Final = {"int": "number", "float": "number", "str": "string"}
_decode: Final = msgspec.json.Decoder().decode


def decode(data: bytes, kind: type[T]) -> T:
    """Decode ``data`` as a struct of type ``kind``. Raises InvalidParameter ("invalid JSON: …")."""
    if not data.strip():
        raise InvalidParameter("invalid JSON: got EOF while reading request body")
    try:
        document = _decode(data)
    except UnicodeDecodeError:  # in a string: Go puts U+FFFD there
        return decode(data.decode("utf-8", "replace").encode(), kind)
    except msgspec.DecodeError as error:
        raise InvalidParameter(_syntax(str(error), data)) from error
    except RecursionError as error:
        raise InvalidParameter("invalid JSON: exceeded max depth") from error
    if document is None:
        document = {}
    try:
        return msgspec.convert(_fixer(cast("Any", kind))(document), kind)
    except msgspec.ValidationError as error:
        raise InvalidParameter(f"invalid JSON: {_mismatch(str(error), kind.__name__)}") from error


def _syntax(message: str, data: bytes) -> str:
    if "truncated" in message:
        return "invalid JSON: unexpected EOF"
    if "trailing" in message:
        return "unexpected content after JSON"
    _, _, at = message.partition("(byte ")
    if at and (place := int(at.rstrip(")"))) < len(data) and "invalid character" in message:
        return f"invalid JSON: invalid character {chr(data[place])!r} looking for beginning of value"
    return f"invalid JSON: {message}"


def _mismatch(message: str, kind: str) -> str:
    """Turn "Expected `int`, got `str` - at `$.A.B`" into what encoding/json says."""
    words = message.split("`")
    if not (message.startswith("Expected ") and len(words) >= 4):
        return message
    if words[2].startswith(" >= 0"):  # "Expected `int` >= 0 - at `$.A.B`"
        words[1:4] = "uint64", "", "number", "", words[3]
    wanted, found = words[1].removesuffix(" | null"), words[3]
    path = words[5].lstrip("$.") if len(words) > 5 else ""
    place, type_ = f"Go struct field {kind}.{path}", _GO_TYPES.get(wanted, wanted)
    if not path:
        place, type_ = "Go value", kind
    return f"json: cannot unmarshal {_JSON_TYPES.get(found, found)} into {place} of type {type_}"


@cache
def _fixer(kind: Any) -> _Fix:
    """Return the function that brings a decoded document into the form that msgspec expects of ``kind``."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _struct_fixer(kind)
    if origin is list:
        return _list_fixer(_fixer(arguments[0]))
    if origin is dict:
        return _map_fixer(_fixer(arguments[1]))
    if origin in {typing.Union, types.UnionType}:
        fixers = [fix for a in arguments if (fix := _fixer(a)) is not _plain]
        return fixers[0] if fixers else _plain
    return _plain


def _plain(value: Any) -> Any:
    if isinstance(value, str) and "\0" in value:  # the kernel's names and arguments end at it
        raise InvalidParameter(f"invalid JSON: a NUL character in {value!r}")
    if isinstance(value, int) and not _INT64_MIN <= value <= _INT64_MAX:
        raise InvalidParameter(
            f"invalid JSON: json: cannot unmarshal number {value} into Go value of type int64"
        )
    return value


def _list_fixer(fix: _Fix) -> _Fix:
    return lambda value: [fix(item) for item in value] if isinstance(value, list) else value


def _map_fixer(fix: _Fix) -> _Fix:
    return lambda value: {_plain(k): fix(v) for k, v in value.items()} if isinstance(value, dict) else value


def _struct_fixer(kind: type[msgspec.Struct]) -> _Fix:
    fields: dict[str, tuple[str, Any]] = {}
    for entry in msgspec.structs.fields(kind):
        fields[entry.encode_name] = (entry.encode_name, entry.type)
        fields.setdefault(entry.encode_name.lower(), (entry.encode_name, entry.type))
    fixers: dict[str, tuple[str, _Fix]] = {}

    def fix(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        fixed = {}
        for key, item in value.items():
            if item is None:
                continue
            known = fixers.get(key)
            if known is None:
                entry = fields.get(key) or fields.get(key.lower())
                if entry is None:
                    continue
                known = fixers[entry[0]] = (entry[0], _fixer(entry[1]))
            fixed[known[0]] = known[1](item)
        return fixed

    return fix
