"""``image prune``, ``system prune`` and every ``--dry-run``: what nothing uses goes, after a question."""

from sampan.base.units import human_size
from sampan.cli.errors import CommandError
from sampan.cli.prompt import confirm
from sampan.cli.rows.base import short_id

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
    if flags["dry-run"]:
        dry_run(app, parsed, image=_of_images(flags["filter"], everything=flags["all"]))
        return
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
    if flags["dry-run"]:
        kinds: dict[str, Filters] = {"container": filters, "network": filters}
        if volumes:
            kinds["volume"] = filters
        dry_run(app, parsed, **kinds, image=_of_images(filters, everything=everything))
        return
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


def dry_run(app: "App", parsed: "Parsed", **filters: "Filters") -> None:
    """List what a prune of the kinds in ``filters`` would take; remove exactly that if the user says yes."""
    from sampan.cli.columns import align

    if parsed.flags["force"]:
        raise CommandError("conflicting options: cannot specify both --dry-run and --force")
    items = app.client.plan_prune(**filters)
    if not items:
        app.out("Nothing would be removed.")
        return
    lines = ["KIND\tNAME\tID\tSIZE\tREASON\n", *map(_planned_line, items)]
    app.write(align("".join(lines)))
    size = human_size(sum(item["Size"] for item in items))
    try:
        confirm(app, f"\nThese {len(items)} would be removed, {size} in all. Remove exactly these?")
    except CommandError:
        app.out("")
        return
    result = app.client.prune_planned(items)
    app.out_lines(f"removed: {item['Kind']} {item['Name']}" for item in result["Removed"])
    app.out_lines(f"kept: {item['Kind']} {item['Name']}: {item['Reason']}" for item in result["Kept"])
    app.out(f"Total reclaimed space: {human_size(result['SpaceReclaimed'])}")


def _planned_line(item: "Json") -> str:
    names = ", ".join(item["Names"]) or item["Name"]
    identifier = "" if item["ID"] == item["Name"] else short_id(item["ID"])
    reason = f"{item['Reason']} (only its names go)" if item["OnlyNames"] else item["Reason"]
    return f"{item['Kind']}\t{names}\t{identifier}\t{human_size(item['Size'])}\t{reason}\n"


def _of_images(filters: "Filters", *, everything: bool) -> "Filters":
    return {**filters, "dangling": ["false" if everything else "true"]}


def _prune_images(app: "App", filters: "Filters", *, everything: bool) -> int:
    report = app.client.prune_images(_of_images(filters, everything=everything))
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
