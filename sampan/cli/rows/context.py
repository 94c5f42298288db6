"""Rows of ``context ls``."""

from sampan.cli.columns import ellipsis
from sampan.cli.rows.base import Row as BaseRow

HEADERS = {
    "Name": "NAME",
    "Description": "DESCRIPTION",
    "DockerEndpoint": "DOCKER ENDPOINT",
    "Error": "ERROR",
    "Current": "CURRENT",
}
TABLE = ("Name", "Description", "DockerEndpoint", "Error")
QUIET = "{{.Name}}"


class Row(BaseRow):
    """A context; the item has the columns' names."""

    __slots__ = ()
    go_type = "*formatter.clientContextContext"


Row.columns = {
    "Name": lambda row: row.text("Name"),
    "Description": lambda row: row.text("Description"),
    "DockerEndpoint": lambda row: row.text("DockerEndpoint"),
    "Error": lambda row: ellipsis(row.text("Error"), 45),
    "Current": lambda row: bool(row.item.get("Current")),
}
