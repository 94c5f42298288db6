"""Rows of ``search``."""

from sampan.cli.columns import ellipsis
from sampan.cli.rows.base import Row as BaseRow

HEADERS = {
    "Name": "NAME",
    "Description": "DESCRIPTION",
    "StarCount": "STARS",
    "IsOfficial": "OFFICIAL",
    "IsAutomated": "AUTOMATED",
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

    def mark(self, name: str) -> str:
        """Return the sign for what is so."""
        return "[OK]" if self.item.get(name) else ""


Row.columns = {
    "Name": lambda row: row.text("name"),
    "Description": Row.description,
    "StarCount": lambda row: str(row.number("star_count")),
    "IsOfficial": lambda row: row.mark("is_official"),
    "IsAutomated": lambda row: row.mark("is_automated"),
}
