"""``image prune`` and ``system prune``: what nothing uses goes, after a question."""

from sampan.base.units import human_size
from sampan.cli.errors import CommandError
from sampan.cli.prompt import confirm

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from sampan.cli.app import App
    from sampan.cli.parser import Parsed

    Json = dict[str, Any]
    Filters = dict[str, list[str]]


def images(app: "App", parsed: "Parsed") -> None:
    """Remove images without a name or, with ``--all``, without a container."""
    flags = parsed.flags
    if not flags["force"]:
        what = (
            "This will remove all images without at least one container associated to them."
            if flags["all"]
            else "This will remove all dangling images."
        )
        confirm(app, f"WARNING! {what}\nAre you sure you want to continue?")
    freed = _prune_images(app, dict(flags["filter"]), everything=flags["all"])
    app.out(f"Total reclaimed space: {human_size(freed)}")


def system(app: "App", parsed: "Parsed") -> None:
    """Remove stopped containers, unused networks and images, build cache and, if wanted, volumes."""
    flags = parsed.flags
    filters = dict(flags["filter"])
    volumes, everything = flags["volumes"], flags["all"]
    if volumes and "until" in filters:
        raise CommandError('ERROR: The "until" filter is not supported with "--volumes"')
    if not flags["force"]:
        confirm(app, _warning(filters, volumes=volumes, everything=everything))
    client = app.client
    freed = _show(app, "Deleted Containers:", client.prune(filters), "ContainersDeleted")
    _show(app, "Deleted Networks:", client.prune_networks(filters), "NetworksDeleted")
    if volumes:
        freed += _show(app, "Deleted Volumes:", client.prune_volumes(filters), "VolumesDeleted")
    freed += _prune_images(app, dict(filters), everything=everything)
    cache = client.prune_build_cache(filters, all=everything)
    freed += _show(app, "Deleted build cache objects:", cache, "CachesDeleted")
    app.out(f"Total reclaimed space: {human_size(freed)}")


def _warning(filters: "Filters", *, volumes: bool, everything: bool) -> str:
    lines = [
        "WARNING! This will remove:",
        "  - all stopped containers",
        "  - all networks not used by at least one container",
    ]
    if volumes:
        lines.append("  - all anonymous volumes not used by at least one container")
    if everything:
        lines += ["  - all images without at least one container associated to them", "  - all build cache"]
    else:
        lines += ["  - all dangling images", "  - unused build cache"]
    if filters:
        lines += ["", "  Items to be pruned will be filtered with:"]
        lines += [f"  - {name}={value}" for name, values in sorted(filters.items()) for value in values]
    return "\n".join([*lines, "", "Are you sure you want to continue?"])


def _prune_images(app: "App", filters: "Filters", *, everything: bool) -> int:
    filters["dangling"] = ["false" if everything else "true"]
    report = app.client.prune_images(filters)
    removed = report.get("ImagesDeleted") or ()
    if not removed:
        return 0
    app.out("Deleted Images:")
    app.out_lines([*(_removal(entry) for entry in removed), ""])
    return int(report.get("SpaceReclaimed") or 0)


def _removal(entry: "Json") -> str:
    return f"untagged: {entry['Untagged']}" if entry.get("Untagged") else f"deleted: {entry['Deleted']}"


def _show(app: "App", title: str, report: "Json", key: str) -> int:
    """Print what went, if anything, and return how many bytes that gave back."""
    removed: Iterable[str] = report.get(key) or ()
    if not removed:
        return 0
    app.out_lines([title, *removed, ""])
    return int(report.get("SpaceReclaimed") or 0)
