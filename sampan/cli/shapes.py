"""JSON objects of a fixed shape, for templates.

Docker's client runs templates over typed structs. What shows of the types is kept here: a field that the
API left out can be asked for, a null list is ``[]``, a null pointer ``<nil>``, and a map of texts has "" for
every other key.
"""

from sampan.cli.record import Nil

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    Shape = str | tuple[str, "Shape"] | Mapping[str, "Shape"]


class Map(dict[str, "Any"]):
    """A map whose values are of one shape: what ``zero`` says for null and for keys it has not."""

    __slots__ = ("shape",)

    def __init__(self, values: "Mapping[str, Any]", shape: "Shape" = "text") -> None:
        super().__init__(values)
        self.shape = shape

    def at(self, key: str) -> "Any":
        """Return the value of ``key``, which need not be there."""
        return shaped(self.get(key), self.shape)

    def pairs(self) -> "Iterator[tuple[str, Any]]":
        """Return keys and values, sorted."""
        return ((key, shaped(self[key], self.shape)) for key in sorted(self))


class Document(dict[str, "Any"]):
    """A JSON object whose fields have known shapes; those that are not listed are taken as they come.

    JSON made of it has the fields that are there, and no others.
    """

    __slots__ = ("shapes",)

    def __init__(self, values: "Mapping[str, Any]", shapes: "Mapping[str, Shape]") -> None:
        super().__init__(values)
        self.shapes = shapes

    def at(self, name: str) -> "Any":
        """Return a field. Raises KeyError for one that is neither there nor listed."""
        shape = self.shapes.get(name)
        return self[name] if shape is None else shaped(self.get(name), shape)


_ZERO: "dict[str, Any]" = {"text": "", "number": 0, "truth": False, "list": [], "pointer": Nil("pointer")}


def shaped(value: "Any", shape: "Shape") -> "Any":
    """Return a JSON value as something of ``shape``.

    A shape is ``text``, ``number``, ``truth``, ``list``, ``map`` (of texts) or ``pointer``; a dict of shapes
    for a struct; ``("list", shape)`` or ``("map", shape)``.
    """
    if isinstance(shape, tuple):
        if shape[0] == "map":
            return Map(value or {}, shape[1])
        return [shaped(item, shape[1]) for item in value or ()]
    if not isinstance(shape, str):
        return Document(value, shape) if isinstance(value, dict) else Nil("pointer")
    if shape == "map":
        return Map(value or {})
    return _ZERO[shape] if value is None else value


_NO_OTHERS: "Mapping[str, str]" = {}


class Struct(dict[str, "Any"]):
    """A JSON object of a fixed shape: asking for a field that it lacks is an error, as with a Go struct.

    ``go_type`` is what Docker's client calls it, ``fields`` the JSON names of what Go names otherwise.
    """

    __slots__ = ("fields", "go_type")

    def __init__(
        self, values: "Mapping[str, Any]", go_type: str, fields: "Mapping[str, str]" = _NO_OTHERS
    ) -> None:
        super().__init__(values)
        self.go_type = go_type
        self.fields = fields
