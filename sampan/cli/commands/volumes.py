"""``volume``: what Docker's client has of it, but for volumes of a cluster."""

from sampan.base.errors import EngineError
from sampan.cli.commands.processes import natural_key
from sampan.cli.errors import CommandError
from sampan.cli.lists import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from sampan.cli.app import App
    from sampan.cli.parser import Parsed

_OF_CLUSTERS: "Final" = (
    "availability group limit-bytes required-bytes scope secret sharing topology-preferred "
    "topology-required type"
).split()


def list_volumes(app: "App", parsed: "Parsed") -> None:
    """Print volumes, by name."""
    flags = parsed.flags
    if flags["cluster"]:
        raise CommandError("volumes of a cluster come with a later version")
    source = flags["format"] or ("" if flags["quiet"] else app.config.text("volumesFormat"))
    answer = app.client.volumes(flags["filter"])
    for warning in answer.get("Warnings") or ():
        app.err(f"WARNING: {warning}")
    volumes = sorted(answer.get("Volumes") or (), key=lambda volume: natural_key(volume["Name"]))
    show(app, "volume", volumes, source, quiet=flags["quiet"])


def create(app: "App", parsed: "Parsed") -> None:
    """Make a volume and print its name."""
    flags = parsed.flags
    if given := [name for name in _OF_CLUSTERS if name in flags]:
        raise CommandError(f"--{given[0]}: volumes of a cluster come with a later version")
    labels = dict(split_label(text) for text in flags["label"])
    name = parsed.args[0] if parsed.args else ""
    made = app.client.create_volume(name, driver=flags["driver"], options=flags["opt"] or {}, labels=labels)
    app.out(made["Name"])


def remove(app: "App", parsed: "Parsed") -> None:
    """Remove volumes and print their names; forced, one that is not there is no failure."""
    failures = []
    for name in parsed.args:
        try:
            app.client.remove_volume(name, force=parsed.flags["force"])
        except EngineError as error:
            failures.append(str(error))
        else:
            app.out(name)
    if failures:
        raise CommandError("\n".join(failures))


def prune(app: "App", parsed: "Parsed") -> None:
    """Remove, after asking, the volumes that no container uses and say what that gave back."""
    from sampan.base.units import human_size
    from sampan.cli.prompt import confirm

    filters = dict(parsed.flags["filter"])
    everything = parsed.flags["all"]
    if everything:
        if "all" in filters:
            raise CommandError("conflicting options: cannot specify both --all and --filter all=1")
        filters["all"] = ["true"]
    if parsed.flags["dry-run"]:
        from sampan.cli.commands.prune import dry_run

        dry_run(app, parsed, volume=filters)
        return
    if not parsed.flags["force"]:
        what = "all" if everything else "anonymous"
        confirm(
            app,
            f"WARNING! This will remove {what} local volumes not used by at least one container.\n"
            "Are you sure you want to continue?",
        )
    report = app.client.prune_volumes(filters)
    deleted = report.get("VolumesDeleted") or ()
    if deleted:
        app.out("\n".join(["Deleted Volumes:", *deleted, ""]))
    app.out(f"Total reclaimed space: {human_size(report.get('SpaceReclaimed') or 0 if deleted else 0)}")


def split_label(text: str) -> tuple[str, str]:
    """Return key and value of ``KEY[=VALUE]``."""
    key, _, value = text.partition("=")
    return key, value
