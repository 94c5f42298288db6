"""``events``: what happens in the engine, as it happens."""

import time

from sampan.cli.errors import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.cli.app import App
    from sampan.cli.gotemplate import Template
    from sampan.cli.parser import Parsed

_BAD_TEMPLATE = 64


def events(app: "App", parsed: "Parsed") -> None:
    """Print events until the daemon or the user ends it."""
    flags = parsed.flags
    template = _template(flags["format"])
    since, until = (_moment(flags[name]) for name in ("since", "until"))
    for event in app.client.events(since=since, until=until, filters=flags["filter"]):
        app.out(render_event(event) if template is None else template.render(_row(event)))


def render_event(event: "dict[str, Any]") -> str:
    """Return the usual line of an event: time, kind, action, who, and the attributes in order."""
    actor = event.get("Actor") or {}
    moment = int(event.get("timeNano") or int(event.get("time") or 0) * 10**9)
    line = f"{local_moment(moment)} {event.get('Type', '')} {event.get('Action', '')} {actor.get('ID', '')}"
    attributes = actor.get("Attributes") or {}
    if attributes:
        line += f" ({', '.join(f'{name}={attributes[name]}' for name in sorted(attributes))})"
    return line


def local_moment(moment_ns: int) -> str:
    """Return a moment as RFC 3339 in the user's zone, always with nine digits behind the point."""
    seconds, rest = divmod(moment_ns, 10**9)
    text = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(seconds))
    clock, offset = text[:19], text[19:]
    zone = "Z" if offset == "+0000" else f"{offset[:3]}:{offset[3:]}"
    return f"{clock}.{rest:09d}{zone}"


def _moment(text: str) -> str | None:
    if not text:
        return None
    from sampan.cli.moments import render_moment

    try:
        return render_moment(text)
    except ValueError as error:
        raise CommandError(str(error)) from error


def _template(source: str) -> "Template | None":
    """Return the template of ``--format``, tried on an empty event first. Raises CommandError."""
    if not source:
        return None
    from sampan.cli.gotemplate import Template, TemplateError

    try:
        template = Template("{{json .}}" if source == "json" else source)
        template.render(_row({}))
    except TemplateError as error:
        raise CommandError(f"Error parsing format: {error}", _BAD_TEMPLATE) from error
    return template


def _row(event: "dict[str, Any]") -> object:
    from sampan.cli.rows.event import Row

    return Row(event)
