"""``ps``: the list of containers."""

from sampan.cli.format import FormatError, Formatter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.app import App
    from sampan.cli.parser import Parsed

_WITHOUT_SIZE = ("", "table", "json", "raw")


def list_containers(app: "App", parsed: "Parsed") -> None:
    """Print containers: the running ones unless more is asked for."""
    flags = parsed.flags
    quiet, size, source = flags["quiet"], flags["size"], flags["format"]
    if not source:
        source = app.config.text("psFormat")
    elif quiet:
        app.err("WARNING: Ignoring custom format, because both --format and --quiet are set.")
    try:
        formatter = Formatter("container", source, quiet=quiet, trunc=not flags["no-trunc"], size=size)
        if source not in _WITHOUT_SIZE and not quiet and "size" not in flags and formatter.uses("Size"):
            size = True  # working sizes out is dear: only for a template that shows them
            formatter = Formatter("container", source, quiet=quiet, trunc=not flags["no-trunc"], size=True)
        limit = dict.get(flags, "last", -1)  # not flags.get: defaults cost an import here
        if flags["latest"] and limit == -1:
            limit = 1
        containers = app.client.containers(
            all=flags["all"],
            limit=limit if limit > 0 else None,
            size=size,
            filters=dict.get(flags, "filter"),
        )
        text = formatter.render(containers)
    except FormatError as error:
        from sampan.cli.errors import CommandError

        raise CommandError(str(error)) from error
    app.write(text)
