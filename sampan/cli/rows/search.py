"""Rows of ``search``."""

from sampan.cli.columns import ellipsis
from sampan.cli.rows.base import Row as BaseRow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HEADERS = {
    "Name": "NAME",
    "Description": "DESCRIPTION",
    "StarCount": "STARS",
    "IsOfficial": "OFFICIAL",
}
TABLE = ("Name", "Description", "StarCount", "IsOfficial")
_WIDTH = 45


class Row(BaseRow):
    """A repository that was found."""

    __slots__ = ()
    go_type = "*registry.searchContext"

    def description(self) -> str:
        """Return the description on one line, cut to 45 columns."""
        text = self.text("description").replace("\n", " ").replace("\r", " ")
        return ellipsis(text, _WIDTH) if self.options.trunc else text

    def official(self) -> str:
        """Return the sign for what is Docker's own."""
        return "[OK]" if self.item.get("is_official") else ""

    def as_dict(self) -> "dict[str, Any]":
        """Return the columns as JSON shows them: a word stands for the sign there."""
        word = "true" if self.item.get("is_official") else "false"
        return {**super().as_dict(), "IsOfficial": word}


Row.columns = {
    "Name": lambda row: row.text("name"),
    "Description": Row.description,
    "StarCount": lambda row: str(row.number("star_count")),
    "IsOfficial": Row.official,
}
