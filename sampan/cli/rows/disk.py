"""Rows of ``system df``: one for each kind of object, made of the answer of ``/system/df``."""

from sampan.base.units import human_size
from sampan.cli.rows.base import Row as BaseRow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.cli.rows.base import Options

HEADERS = {
    "Type": "TYPE",
    "TotalCount": "TOTAL",
    "Active": "ACTIVE",
    "Size": "SIZE",
    "Reclaimable": "RECLAIMABLE",
}
TABLE = ("Type", "TotalCount", "Active", "Size", "Reclaimable")
_RUNNING = ("running", "paused", "restarting")


def raw(_: "Options") -> str:
    """Return the template of ``--format raw``."""
    return (
        "type: {{.Type}}\ntotal: {{.TotalCount}}\nactive: {{.Active}}\n"
        "size: {{.Size}}\nreclaimable: {{.Reclaimable}}\n"
    )


class Row(BaseRow):
    """One kind of object: ``Type``, ``Total``, ``Active``, ``Size``, ``Free``; ``Share``: told or not."""

    __slots__ = ()
    go_type = "*formatter.diskUsageImagesContext"

    def reclaimable(self) -> str:
        """Return what could be freed, with its share of the whole."""
        size, free = self.number("Size"), self.number("Free")
        share = f" ({free * 100 // size}%)" if size > 0 and self.item["Share"] else ""
        return human_size(free) + share


Row.columns = {
    "Type": lambda row: row.text("Type"),
    "TotalCount": lambda row: row.text("Total"),
    "Active": lambda row: row.text("Active"),
    "Size": lambda row: human_size(row.number("Size")),
    "Reclaimable": Row.reclaimable,
}


def rows(items: "list[dict[str, Any]]", options: "Options", source: str) -> list[Row]:
    """Return the rows for the answer of the engine, the one item."""
    return [
        Row({**summary, "Share": summary["Type"] != "Build Cache"}, options)
        for item in items
        for summary in (_images(item), _containers(item), _volumes(item), _build_cache(item))
    ]


def _images(usage: "dict[str, Any]") -> "dict[str, Any]":
    images = usage.get("Images") or []
    used = sum(
        image["Size"] - image["SharedSize"]
        for image in images
        if image.get("Containers") and -1 not in {image["Size"], image["SharedSize"]}
    )
    size = usage.get("LayersSize") or 0
    active = sum(image.get("Containers", 0) > 0 for image in images)
    return {"Type": "Images", "Total": len(images), "Active": active, "Size": size, "Free": size - used}


def _containers(usage: "dict[str, Any]") -> "dict[str, Any]":
    containers = usage.get("Containers") or []
    sizes = [(container.get("SizeRw") or 0, container.get("State") in _RUNNING) for container in containers]
    return {
        "Type": "Containers",
        "Total": len(containers),
        "Active": sum(active for _, active in sizes),
        "Size": sum(size for size, _ in sizes),
        "Free": sum(size for size, active in sizes if not active),
    }


def _volumes(usage: "dict[str, Any]") -> "dict[str, Any]":
    uses = [volume.get("UsageData") or {} for volume in usage.get("Volumes") or ()]
    sizes = [(max(use.get("Size", 0), 0), use.get("RefCount", 0)) for use in uses]
    return {
        "Type": "Local Volumes",
        "Total": len(uses),
        "Active": sum(count > 0 for _, count in sizes),
        "Size": sum(size for size, _ in sizes),
        "Free": sum(size for size, count in sizes if count == 0),
    }


def _build_cache(usage: "dict[str, Any]") -> "dict[str, Any]":
    records = usage.get("BuildCache") or []
    sizes = [
        (record.get("Size") or 0, bool(record.get("InUse"))) for record in records if not record.get("Shared")
    ]
    return {
        "Type": "Build Cache",
        "Total": len(records),
        "Active": sum(bool(record.get("InUse")) for record in records),
        "Size": sum(size for size, _ in sizes),
        "Free": sum(size for size, in_use in sizes if not in_use),
    }
