"""Rows of ``history``."""

import time

from sampan.base.units import human_size
from sampan.cli.columns import ellipsis
from sampan.cli.rows.base import Row as BaseRow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.rows.base import Options

HEADERS = {
    "ID": "IMAGE",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "CreatedBy": "CREATED BY",
    "Size": "SIZE",
    "Comment": "COMMENT",
}
_YEAR_2000 = 946684800  # builds that can be repeated give layers no time, or an early one


def table(options: "Options") -> tuple[str, ...]:
    """Return the columns of the usual table."""
    return ("ID", "CreatedSince" if options.human else "CreatedAt", "CreatedBy", "Size", "Comment")


class Row(BaseRow):
    """A step that made an image."""

    __slots__ = ()
    go_type = "*image.historyContext"

    def created_at(self) -> str:
        """Return the time in RFC 3339, in the client's zone."""
        text = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(self.number("Created")))
        return f"{text[:-5]}Z" if text.endswith("+0000") else f"{text[:-2]}:{text[-2:]}"

    def created_since(self) -> str:
        """Return the age in words, or the time if those are not wanted."""
        if not self.options.human:
            return self.created_at()
        created = self.number("Created")
        return "N/A" if created <= _YEAR_2000 else self.since(created)

    def created_by(self) -> str:
        """Return the command, cut to 45 columns."""
        command = self.text("CreatedBy").replace("\t", " ")
        return ellipsis(command, 45) if self.options.trunc else command

    def size(self) -> str:
        """Return the size of what the step added, in words or bytes."""
        size = self.number("Size")
        return human_size(size, 3) if self.options.human else str(size)


Row.columns = {
    "ID": Row.identifier,
    "CreatedSince": Row.created_since,
    "CreatedAt": Row.created_at,
    "CreatedBy": Row.created_by,
    "Size": Row.size,
    "Comment": lambda row: row.text("Comment"),
}
