"""What templates see of things that are no plain JSON: rows of lists, and documents of a fixed shape.

Docker's client runs templates over typed structs. What shows of the types is kept here: a field that the
API left out can be asked for, a null list is ``[]``, a null pointer ``<nil>``, a map of texts gives "" for
any key.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, ClassVar

    Shape = str | tuple[str, "Shape"] | Mapping[str, "Shape"]


class Missing:
    """Go's invalid value: what a map without the key gives. Writes as ``<no value>``."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False


MISSING = Missing()
_NO_METHODS: "dict[str, Callable[[Any, str], object]]" = {}


class Nil:
    """A nil pointer of a fixed-shape document: writes as ``<nil>``, is false, has no fields."""

    __slots__ = ("go_type",)

    def __init__(self, go_type: str) -> None:
        self.go_type = go_type

    def __bool__(self) -> bool:
        return False


class Record:
    """A row of a list: its columns are worked out when a template asks for them.

    ``columns``: by name, each a function of the row. ``methods``: those that take one text besides.
    ``go_type``: what Docker's client calls the row in messages.
    """

    __slots__ = ()
    columns: "ClassVar[Mapping[str, Callable[[Any], object]]]"
    methods: "ClassVar[Mapping[str, Callable[[Any, str], object]]]" = _NO_METHODS
    go_type: "ClassVar[str]" = ""

    def as_dict(self) -> "dict[str, Any]":
        """Return all columns by name, sorted as JSON shows them."""
        return {name: self.columns[name](self) for name in sorted(self.columns)}


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


class Struct(dict[str, "Any"]):
    """A JSON object of a fixed shape: asking for a field that it lacks is an error, as with a Go struct."""

    go_type = ""
