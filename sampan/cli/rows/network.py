"""Rows of ``network ls``."""

from sampan.cli.rows.base import Row as BaseRow
from sampan.cli.rows.base import label, labels_text, printed_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.rows.base import Options

HEADERS = {
    "ID": "NETWORK ID",
    "Name": "NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "IPv4": "IPV4",
    "IPv6": "IPV6",
    "Internal": "INTERNAL",
    "Labels": "LABELS",
    "CreatedAt": "CREATED AT",
}
TABLE = ("ID", "Name", "Driver", "Scope")
QUIET_RAW = "network_id: {{.ID}}"


def raw(_: "Options") -> str:
    """Return the template of ``--format raw``."""
    return f"{QUIET_RAW}\nname: {{{{.Name}}}}\ndriver: {{{{.Driver}}}}\nscope: {{{{.Scope}}}}\n"


class Row(BaseRow):
    """A network of the list."""

    __slots__ = ()
    go_type = "*network.networkContext"

    def flag(self, name: str) -> str:
        """Return a yes/no field as text."""
        return "true" if self.item.get(name) else "false"


Row.columns = {
    "ID": Row.identifier,
    "Name": lambda row: row.text("Name"),
    "Driver": lambda row: row.text("Driver"),
    "Scope": lambda row: row.text("Scope"),
    "IPv4": lambda row: row.flag("EnableIPv4"),
    "IPv6": lambda row: row.flag("EnableIPv6"),
    "Internal": lambda row: row.flag("Internal"),
    "Labels": labels_text,
    "CreatedAt": lambda row: printed_time(row.text("Created")),
}
Row.methods = {"Label": label}
