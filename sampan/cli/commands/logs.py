"""``logs``: what a container has written."""

from sampan.cli.app import STDERR, STDOUT, write
from sampan.client import frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.app import App
    from sampan.cli.parser import Parsed


def logs(app: "App", parsed: "Parsed") -> None:
    """Print a container's output, each stream where it belongs."""
    flags = parsed.flags
    since, until = (_moment(name, flags[name]) for name in ("since", "until"))
    pieces = app.client.logs(
        parsed.args[0],
        follow=flags["follow"],
        since=since,
        until=until,
        tail=flags["tail"],
        timestamps=flags["timestamps"],
        details=flags["details"],
    )
    for stream, data in pieces:
        write(STDERR if stream == frames.STDERR else STDOUT, data)


def _moment(flag: str, text: str) -> str | None:
    if not text:
        return None
    from sampan.cli.errors import CommandError
    from sampan.cli.moments import render_moment

    try:
        return render_moment(text)
    except ValueError as error:
        raise CommandError(f'invalid value for "{flag}": {error}') from error
