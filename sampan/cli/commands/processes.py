"""What a container is doing and showing: top, port, diff."""

from sampan.cli.errors import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from sampan.cli.app import App
    from sampan.cli.parser import Parsed

_KINDS: "Final" = {0: "C", 1: "A", 2: "D"}
_MIN_WIDTH: "Final" = 20
_PADDING: "Final" = 3


def top(app: "App", parsed: "Parsed") -> None:
    """Print a container's processes as a table."""
    found = app.client.top(parsed.args[0], " ".join(parsed.args[1:]))
    rows = [found["Titles"], *found["Processes"]]
    widths = [
        max(_MIN_WIDTH, max(len(row[column]) for row in rows if column < len(row)) + _PADDING)
        for column in range(max(map(len, rows)) - 1)
    ]
    for row in rows:
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)]
        app.out("".join([*cells, *row[len(widths) :]]))


def port(app: "App", parsed: "Parsed") -> None:
    """Print where a container's ports are published, or where one of them is; or change them.

    Two words are what Docker takes; a change has at least three.
    """
    if len(parsed.args) > 2:
        _change_ports(app, *parsed.args)
        return
    name = parsed.args[0]
    ports = app.client.inspect(name)["NetworkSettings"].get("Ports") or {}
    if len(parsed.args) > 1:
        wanted = parsed.args[1]
        number, _, proto = wanted.partition("/")
        if not number.isascii() or not number.isdigit():
            raise CommandError(
                f'Error: invalid port ({wanted}): strconv.ParseUint: parsing "{number}": invalid syntax'
            )
        if int(number) > 65535:
            raise CommandError(
                f'Error: invalid port ({wanted}): strconv.ParseUint: parsing "{number}": value out of range'
            )
        places = ports.get(f"{number}/{proto or 'tcp'}")
        if not places:
            raise CommandError(f"Error: No public port '{wanted}' published for {name}")
        lines = [_place(place) for place in places]
    else:
        lines = [f"{key} -> {_place(place)}" for key, places in ports.items() for place in places or ()]
    app.out_lines(sorted(lines, key=natural_key))


def _change_ports(app: "App", verb: str, name: str, *specs: str) -> None:
    """Publish ports of a container or do so no longer, and print those that it has then."""
    from sampan.cli.options.ports import publish

    if verb not in {"add", "rm"}:
        raise CommandError(f"unknown change of ports: {verb!r}: say add or rm")
    try:
        _, bindings = publish(list(specs), [])
    except ValueError as error:
        raise CommandError(str(error)) from error
    change = app.client.add_ports if verb == "add" else app.client.remove_ports
    ports = change(name, bindings)["Ports"] or {}
    lines = [f"{key} -> {_place(place)}" for key, places in ports.items() for place in places or ()]
    app.out_lines(sorted(lines, key=natural_key))


def diff(app: "App", parsed: "Parsed") -> None:
    """Print the paths that were changed, added or deleted."""
    name = parsed.args[0]
    if not name:
        raise CommandError("Container name cannot be empty")
    app.out_lines(f"{_KINDS[change['Kind']]} {change['Path']}" for change in app.client.changes(name))


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Return a key by which numbers in names sort as numbers: ``80/tcp`` before ``443/tcp``."""
    parts: list[tuple[int, int, str]] = []
    at = 0
    while at < len(text):
        end = at
        digits = text[at] in "0123456789"
        while end < len(text) and (text[end] in "0123456789") is digits:
            end += 1
        piece = text[at:end]
        parts.append((0, int(piece), piece) if digits else (1, 0, piece))
        at = end
    return parts


def _place(place: dict[str, str]) -> str:
    address = place.get("HostIp", "")
    return f"[{address}]:{place['HostPort']}" if ":" in address else f"{address}:{place['HostPort']}"
