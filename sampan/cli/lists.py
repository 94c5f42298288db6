"""Print objects of the API as a list; ``format`` knows how lists look."""

from sampan.cli.errors import CommandError
from sampan.cli.format import FormatError, Formatter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.cli.app import App

_BAD_TEMPLATE = 64


def show(app: "App", kind: str, items: "list[dict[str, Any]]", source: str, **options: bool) -> None:
    """Print ``items`` under the format ``source`` ("": the usual table). Raises CommandError."""
    try:
        text = Formatter(kind, source, **options).render(items)
    except FormatError as error:
        raise CommandError(str(error)) from error
    app.write(text)


def show_object(app: "App", document: "dict[str, Any]", source: str, go_type: str) -> None:
    """Print one object under the template ``source``, or as ``json``.

    Raises CommandError, with status 64 for text that is no template.
    """
    from sampan.cli.format import render_object

    if source != "json":
        check_template(source)
    try:
        app.out(render_object(document, source, go_type))
    except FormatError as error:
        raise CommandError(str(error).removeprefix("template parsing error: ")) from error


def show_document(app: "App", document: "dict[str, Any]", source: str) -> None:
    """Print what a template makes of ``document``, whose values may be rows. Raises CommandError."""
    from sampan.cli.format import render_object

    try:
        app.write(render_object(document, source, "*formatter.diskUsageContext"))
    except FormatError as error:
        raise CommandError(str(error)) from error


def check_template(source: str) -> None:
    """Raise CommandError, status 64, if ``source`` is no template."""
    from sampan.cli.gotemplate import Template, TemplateError

    try:
        Template(source)
    except TemplateError as error:
        raise CommandError(f"template parsing error: {error}", _BAD_TEMPLATE) from error
