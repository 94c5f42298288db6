"""``system df --explain`` and ``system check``: whose every byte is, and whether all of it fits together."""

from sampan.base import jsonlite
from sampan.base.units import human_size
from sampan.cli.columns import align
from sampan.cli.errors import CommandError
from sampan.cli.rows.base import short_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Final

    from sampan.cli.app import App
    from sampan.cli.parser import Parsed

    Json = dict[str, Any]

_KINDS: "Final" = ("engine", "layer", "blob", "download", "container", "volume", "temporary", "unknown")
_MANY: "Final" = 3  # users that are named


def explain(app: "App", parsed: "Parsed") -> None:
    """Print who has which bytes below the data root."""
    account = app.client.disk_account()
    if _is_json(parsed):
        app.out(jsonlite.dumps(account))
        return
    entries: list[Json] = account["Entries"]
    _table(app, (entry for entry in entries if not entry["Orphan"]))
    if orphans := [entry for entry in entries if entry["Orphan"]]:
        app.out("\nOrphans:")
        lines = ["SIZE\tFILES\tPATH\tWHY\n"]
        lines += [f"{_sizes(entry)}\t{entry['Path']}\t{entry['Why']}\n" for entry in orphans]
        app.write(align("".join(lines)))
    lost = sum(entry["Disk"] for entry in orphans)
    app.out(f"\nTotal: {human_size(account['Disk'])} in {account['Files']} files below {account['Root']}")
    if orphans:
        app.out(f"Orphans: {human_size(lost)} in {len(orphans)} places; see 'system check'")
    if account["Mounts"]:
        app.out(f"Not counted: {len(account['Mounts'])} mounts below it")


def _table(app: "App", entries: "Iterable[Json]") -> None:
    lines = ["KIND\tNAME\tSIZE\tFILES\tFOR\n"]
    for entry in sorted(entries, key=lambda entry: (_KINDS.index(entry["Kind"]), -entry["Disk"])):
        users = entry["Users"]
        more = f" and {len(users) - _MANY} more" if len(users) > _MANY else ""
        purpose = ", ".join(users[:_MANY]) + more or entry["Why"]
        lines.append(f"{entry['Kind']}\t{_short(entry['Name'])}\t{_sizes(entry)}\t{purpose}\n")
    app.write(align("".join(lines)))


def _sizes(entry: "Json") -> str:
    return f"{human_size(entry['Disk'])}\t{entry['Files']}"


def _short(name: str) -> str:
    return short_id(name) if name.startswith("sha") and ":" in name else name


def check(app: "App", parsed: "Parsed") -> int:
    """Print what does not fit and what becomes of it; 1 if anything of it is left."""
    flags = parsed.flags
    report = app.client.check(repair=flags["repair"], quick=flags["quick"])
    findings: list[Json] = report["Findings"]
    left = sum(not finding["Repaired"] for finding in findings)
    if _is_json(parsed):
        app.out(jsonlite.dumps(report))
        return int(left > 0)
    for finding in findings:
        app.out(f"{finding['Kind']} {finding['Name']}: {finding['Problem']}")
        if finding["Repaired"]:
            app.out(f"  repaired: {finding['Remedy']}")
        elif finding["Error"]:
            app.out(f"  not repaired: {finding['Error']}")
        elif finding["Remedy"]:
            app.out(f"  with --repair: {finding['Remedy']}")
    looked_at = ", ".join(f"{number} {kind}" for kind, number in report["Checked"].items())
    app.out(f"Checked {looked_at} in {report['Seconds']:.1f} s.")
    app.out(
        "Everything fits." if not findings else f"{len(findings)} found, {len(findings) - left} repaired."
    )
    return int(left > 0)


def _is_json(parsed: "Parsed") -> bool:
    wanted = parsed.flags["format"]
    if wanted not in ("", "table", "json"):
        raise CommandError("--format: must be table or json")
    return bool(wanted == "json")
