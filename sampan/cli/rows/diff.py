"""Rows of ``diff``: what was changed in a container."""

from sampan.cli.rows.base import Row as BaseRow

HEADERS = {"Type": "CHANGE TYPE", "Path": "PATH"}
TABLE = ("Type", "Path")


class Row(BaseRow):
    """A changed path; ``Kind`` is 0, 1 or 2."""

    __slots__ = ()
    go_type = "*container.diffContext"


Row.columns = {
    "Type": lambda row: "CAD"[row.number("Kind")],
    "Path": lambda row: row.text("Path"),
}
