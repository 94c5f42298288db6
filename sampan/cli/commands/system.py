"""``system df``: the disk space that the engine's objects take."""

import time

from sampan.base.units import human_size
from sampan.cli.columns import align
from sampan.cli.lists import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from sampan.cli.app import App
    from sampan.cli.parser import Parsed

_VERBOSE: "Final" = (
    (
        "Images",
        "image",
        "table {{.Repository}}\\t{{.Tag}}\\t{{.ID}}\\t{{.CreatedSince}}\\t{{.Size}}\\t{{.SharedSize}}"
        "\\t{{.UniqueSize}}\\t{{.Containers}}",
    ),
    (
        "Containers",
        "container",
        "table {{.ID}}\\t{{.Image}}\\t{{.Command}}\\t{{.LocalVolumes}}\\t{{.Size}}\\t{{.RunningFor}}"
        "\\t{{.Status}}\\t{{.Names}}",
    ),
    ("Volumes", "volume", "table {{.Name}}\\t{{.Links}}\\t{{.Size}}"),
)
_CACHE_TITLES: "Final" = ("CACHE ID", "CACHE TYPE", "SIZE", "CREATED", "LAST USED", "USAGE", "SHARED")
_TITLES: "Final" = {"Images": "Images", "Containers": "Containers", "Volumes": "Local Volumes"}


def disk_usage(app: "App", parsed: "Parsed") -> None:
    """Print sums by kind of object, or every object."""
    flags = parsed.flags
    if flags["explain"]:
        from sampan.cli.commands.check import explain

        explain(app, parsed)
        return
    usage = app.client.disk_usage()
    if flags["verbose"] and flags["format"] in ("", "table"):
        _each(app, usage)
    elif flags["verbose"]:
        _each_formatted(app, usage, flags["format"])
    else:
        show(app, "disk", [usage], flags["format"])


def _each(app: "App", usage: "dict[str, Any]") -> None:
    _without_images(usage)
    for field, kind, source in _VERBOSE:
        app.out(f"{_TITLES[field]} space usage:\n")
        show(app, kind, usage.get(field) or [], source)
        app.out("")
    cache = usage.get("BuildCache") or ()
    size = sum(record.get("Size") or 0 for record in cache if not record.get("Shared"))
    app.out(f"Build cache usage: {human_size(size)}\n")
    app.write(align("\t".join(_CACHE_TITLES) + "\n" + "".join(_cache_line(record) for record in cache)))


def _without_images(usage: "dict[str, Any]") -> None:
    for container in usage.get("Containers") or ():
        container["SizeRootFs"] = 0  # most of it is the image's, which is told of by itself


def _each_formatted(app: "App", usage: "dict[str, Any]", source: str) -> None:
    """Print one document of all objects, or what a template makes of it; Docker ends it without a newline."""
    from sampan.cli.format import Formatter
    from sampan.cli.lists import show_document

    _without_images(usage)
    if source == "raw":
        for field, kind, _ in _VERBOSE:
            show(app, kind, usage.get(field) or [], source, trunc=False)
        return
    document: dict[str, Any] = {
        field: Formatter(kind, trunc=False).rows(usage.get(field) or []) for field, kind, _ in _VERBOSE
    }
    show_document(app, {**document, "BuildCache": usage.get("BuildCache") or []}, source)


def _cache_line(record: "dict[str, Any]") -> str:
    from sampan.base.times import parse_ns
    from sampan.base.units import human_duration

    def ago(field: str) -> str:
        moment = record.get(field)
        return f"{human_duration(time.time() - parse_ns(moment) / 1e9)} ago" if moment else ""

    identifier = str(record.get("ID", ""))[:12] + ("*" if record.get("InUse") else "")
    cells = (
        identifier,
        str(record.get("Type", "")),
        human_size(record.get("Size") or 0, 3),
        ago("CreatedAt"),
        ago("LastUsedAt"),
        str(record.get("UsageCount") or 0),
        "true" if record.get("Shared") else "false",
    )
    return "\t".join(cells) + "\n"
