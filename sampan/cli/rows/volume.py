"""Rows of ``volume ls``."""

from sampan.base.units import human_size
from sampan.cli.rows.base import Row as BaseRow
from sampan.cli.rows.base import label, labels_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.cli.rows.base import Options

HEADERS = {
    "ID": "ID",
    "Name": "VOLUME NAME",
    "Group": "GROUP",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "Availability": "AVAILABILITY",
    "Mountpoint": "MOUNTPOINT",
    "Labels": "LABELS",
    "Links": "LINKS",
    "Size": "SIZE",
    "Status": "STATUS",
}
TABLE = ("Driver", "Name")
QUIET = "{{.Name}}"
QUIET_RAW = "name: {{.Name}}"


def raw(_: "Options") -> str:
    """Return the template of ``--format raw``."""
    return f"{QUIET_RAW}\ndriver: {{{{.Driver}}}}\n"


class Row(BaseRow):
    """A volume of the list."""

    __slots__ = ()
    go_type = "*formatter.volumeContext"

    def usage(self, name: str) -> "int | None":
        """Return a figure of its use, None where the engine was not asked for it."""
        usage: dict[str, Any] | None = self.item.get("UsageData")
        return None if usage is None else usage.get(name) or 0

    def cluster(self, name: str) -> str:
        """Return a field of its specification in the cluster."""
        volume = self.item.get("ClusterVolume")
        return "N/A" if volume is None else str((volume.get("Spec") or {}).get(name) or "")

    def status(self) -> str:
        """Return how far the volume is in the cluster."""
        volume = self.item.get("ClusterVolume")
        if volume is None:
            return "N/A"
        if not (volume.get("Info") or {}).get("VolumeID"):
            return "pending creation"
        count = len(volume.get("PublishStatus") or ())
        return f"in use ({count} node{'s' * (count > 1)})" if count else "created"


def _or_na(value: int | None) -> str:
    return "N/A" if value is None else str(value)


def _size(row: Row) -> str:
    size = row.usage("Size")
    return "N/A" if size is None else human_size(size)


Row.columns = {
    "Name": lambda row: row.text("Name"),
    "Driver": lambda row: row.text("Driver"),
    "Scope": lambda row: row.text("Scope"),
    "Mountpoint": lambda row: row.text("Mountpoint"),
    "Labels": labels_text,
    "Links": lambda row: _or_na(row.usage("RefCount")),
    "Size": _size,
    "Group": lambda row: row.cluster("Group"),
    "Availability": lambda row: row.cluster("Availability"),
    "Status": Row.status,
}
Row.methods = {"Label": label}
