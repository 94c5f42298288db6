"""The program: reads the command line, finds the command's module, turns errors into words and exit codes.

Only what a command needs is imported: the interpreter's own start is most of what a short command costs.
"""

import posix
import sys

from sampan.base.errors import EngineError
from sampan.cli.app import STDERR, STDOUT, App, encode, write
from sampan.cli.commands import COMMANDS, WITH_PACKAGES
from sampan.cli.errors import CommandError, Terminated
from sampan.cli.parser import UsageError, parse
from sampan.client.config import environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import NoReturn

    from sampan.cli.parser import Parsed

_LOG_LEVELS = ("debug", "info", "warn", "warning", "error", "fatal", "panic", "trace")
_SIGINT = 2


def main() -> "NoReturn":
    """Run the program with the process's arguments and leave the process."""
    status = run(sys.argv[1:], environment(), sys.argv[0])
    # Nothing is buffered here and nothing needs taking down: the interpreter's own leave-taking is saved.
    posix._exit(status)


def run(argv: list[str], environ: "Mapping[str, str]", launcher: str = "") -> int:
    """Run one command and return its exit code."""
    try:
        return _run(argv, environ, launcher)
    except UsageError as error:
        return _fail(str(error), error.status)
    except CommandError as error:
        return _fail(str(error), error.status)
    except EngineError as error:
        return _fail(str(error), 1)
    except Terminated as error:
        return 128 + error.number
    except KeyboardInterrupt:
        return 128 + _SIGINT
    except BrokenPipeError:
        return _die_of_broken_pipe()


def _run(argv: list[str], environ: "Mapping[str, str]", launcher: str) -> int:
    parsed = parse(argv, environ)
    for warning in parsed.warnings:
        write(STDERR, encode(warning + "\n"))
    if parsed.help:
        from sampan.cli.help import render

        write(STDERR if parsed.help == "stderr" else STDOUT, encode(render(parsed.command, parsed.path)))
        return 0
    if "log-level" in parsed.globals and parsed.globals["log-level"] not in _LOG_LEVELS:
        raise CommandError(f"Unable to parse logging level: {parsed.globals['log-level']}")
    app = App(parsed.globals, environ, launcher)
    if not parsed.command:
        from sampan.cli.commands.version import version_line

        app.out(version_line())
        return 0
    try:
        return find_command(parsed)(app, parsed) or 0
    finally:
        app.close()


def find_command(parsed: "Parsed") -> "Callable[[App, Parsed], int | None]":
    """Return the function behind a command. Raises CommandError if it is not built yet."""
    place = COMMANDS.get(parsed.command)
    if place is None:
        raise CommandError(f"`sampan {parsed.path}` comes with a later version.")
    module, function = place
    if module in WITH_PACKAGES and sys.flags.no_site:
        import site

        site.main()
    found: Callable[[App, Parsed], int | None] = getattr(
        __import__(f"sampan.cli.commands.{module}", fromlist=(function,)), function
    )
    return found


def _fail(message: str, status: int) -> int:
    if message:
        try:
            write(STDERR, encode(message + "\n"))
        except OSError:
            return status  # nobody is left to be told
    return status


def _die_of_broken_pipe() -> int:
    """End as programs end whose reader has gone (``sampan ps | head -1``): by SIGPIPE, silently."""
    import signal

    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.raise_signal(signal.SIGPIPE)
    return 128 + signal.SIGPIPE
