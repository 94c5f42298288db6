"""Print objects of the API as a list; ``format`` knows how lists look."""

from sampan.cli.errors import CommandError
from sampan.cli.format import FormatError, Formatter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.cli.app import App


def show(app: "App", kind: str, items: "list[dict[str, Any]]", source: str, **options: bool) -> None:
    """Print ``items`` under the format ``source`` ("": the usual table). Raises CommandError."""
    try:
        text = Formatter(kind, source, **options).render(items)
    except FormatError as error:
        raise CommandError(str(error)) from error
    app.write(text)


def show_object(app: "App", document: "dict[str, Any]", source: str, go_type: str) -> None:
    """Print one object under the template ``source``, or as ``json``. Raises CommandError, status 64."""
    from sampan.cli.format import render_object

    try:
        app.out(render_object(document, source, go_type))
    except FormatError as error:
        raise CommandError(str(error), 64) from error
