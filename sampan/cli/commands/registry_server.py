"""``registry``: a registry of one's own. It is a program by itself, which takes this one's place."""

import os

from sampan.cli.daemon_start import find_program
from sampan.cli.errors import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from sampan.cli.app import App
    from sampan.cli.parser import Parsed

_PROGRAM: "Final" = "sampan-registry"
_DURATIONS: "Final" = ("older-than", "upload-timeout")
_SECOND: "Final" = 10**9


def serve(app: "App", parsed: "Parsed") -> None:
    """Serve until a signal ends it."""
    _become(app, "serve", parsed)


def collect(app: "App", parsed: "Parsed") -> None:
    """Collect garbage, also while the server runs."""
    _become(app, "gc", parsed)


def _become(app: "App", command: str, parsed: "Parsed") -> None:
    program = find_program(_PROGRAM, app.launcher, app.environ.get("PATH", os.defpath))
    if not program:
        raise CommandError(f"sampan: {_PROGRAM} is neither beside sampan nor on the PATH")
    words = [f"--{name}={_text(name, value)}" for name, value in parsed.flags.items()]
    try:
        os.execve(program, [_PROGRAM, command, *words], dict(app.environ))  # noqa: S606 - no shell is wanted
    except OSError as error:
        raise CommandError(f"sampan: {program}: {error.strerror}") from error


def _text(name: str, value: "Any") -> str:
    if name in _DURATIONS:
        return str(value // _SECOND)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
