"""``ps``: the list of containers."""

from sampan.cli.format import FormatError, Formatter
from sampan.client.session import rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.app import App
    from sampan.cli.parser import Parsed

_USUAL = ("", "table")
_WITHOUT_SIZE = ("", "table", "json", "raw")


def list_containers(app: "App", parsed: "Parsed") -> None:
    """Print containers: the running ones unless more is asked for."""
    flags = parsed.flags
    quiet, size, source = flags["quiet"], flags["size"], flags["format"]
    if not source:
        source = app.config.text("psFormat")
    elif quiet:
        app.err("WARNING: Ignoring custom format, because both --format and --quiet are set.")
    trunc = not flags["no-trunc"]
    try:
        if source not in _WITHOUT_SIZE and not quiet and "size" not in flags:
            # working sizes out is dear: only for a template that shows them
            size = Formatter("container", source, trunc=trunc).uses("Size")
        limit = dict.get(flags, "last", -1)  # not flags.get: defaults cost an import here
        if flags["latest"] and limit == -1:
            limit = 1
        containers = app.client.begin_containers(
            all=flags["all"],
            limit=limit if limit > 0 else None,
            size=size,
            filters=dict.get(flags, "filter"),
            brief=not size and (quiet or source in _USUAL),
        )
        formatter = Formatter("container", source, quiet=quiet, trunc=trunc, size=size)  # the daemon works
        text = formatter.render(rows(containers.result()))
    except FormatError as error:
        from sampan.cli.errors import CommandError

        raise CommandError(str(error)) from error
    app.write(text)
