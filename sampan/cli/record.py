"""What templates see besides plain JSON: rows of lists, and what stands for nothing."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, ClassVar


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
