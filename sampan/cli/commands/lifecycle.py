"""Commands that change the state of containers: stop, restart, kill, pause, unpause, wait, rename, rm, prune.

Those that take several containers go on past errors, tell them all at the end, and work on them side by side:
the requests are sent on connections of their own before the first answer is awaited.
"""

from sampan.base.errors import EngineError, NotFound
from sampan.cli.errors import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Final

    from sampan.cli.app import App
    from sampan.cli.parser import Parsed
    from sampan.client.session import Exchange

_AT_ONCE: "Final" = 50


def stop(app: "App", parsed: "Parsed") -> None:
    """Stop containers and print their names."""
    signal, timeout = parsed.flags["signal"], _timeout(parsed)
    _each(app, parsed.args, lambda name: app.client.begin_stop(name, signal=signal, timeout=timeout))


def restart(app: "App", parsed: "Parsed") -> None:
    """Restart containers one by one and print their names."""
    signal, timeout = parsed.flags["signal"], _timeout(parsed)
    failures = []
    for name in parsed.args:
        try:
            app.client.restart(name, signal=signal, timeout=timeout)
        except EngineError as error:
            failures.append(str(error))
        else:
            app.out(name)
    finish(failures)


def kill(app: "App", parsed: "Parsed") -> None:
    """Send containers a signal and print their names."""
    _each(app, parsed.args, lambda name: app.client.begin_kill(name, parsed.flags["signal"]))


def pause(app: "App", parsed: "Parsed") -> None:
    """Freeze containers and print their names."""
    _each(app, parsed.args, app.client.begin_pause)


def unpause(app: "App", parsed: "Parsed") -> None:
    """Let containers run on and print their names."""
    _each(app, parsed.args, app.client.begin_unpause)


def wait(app: "App", parsed: "Parsed") -> None:
    """Wait for containers in turn and print their exit codes."""
    failures = []
    for name in parsed.args:
        try:
            result = app.client.begin_wait(name).result()
        except EngineError as error:
            failures.append(str(error))
        else:
            app.out(str(result["StatusCode"]))
    finish(failures)


def rename(app: "App", parsed: "Parsed") -> None:
    """Give a container another name."""
    old, new = (name.strip() for name in parsed.args)
    if not old or not new:
        raise CommandError("Error: Neither old nor new names may be empty")
    try:
        app.client.rename(old, new)
    except EngineError as error:
        app.err(str(error))
        raise CommandError(f"Error: failed to rename container named {old}") from error


def remove(app: "App", parsed: "Parsed") -> None:
    """Remove containers and print their names; forced, one that is not there is no failure."""
    flags = parsed.flags

    def begin(name: str) -> "Exchange":
        name = name.strip("/")
        if not name:
            raise CommandError("container name cannot be empty")
        return app.client.begin_remove(
            name, force=flags["force"], volumes=flags["volumes"], link=flags["link"]
        )

    _each(app, parsed.args, begin, missing_is_fine=flags["force"])


def prune(app: "App", parsed: "Parsed") -> None:
    """Remove all stopped containers after asking, and tell how much space that gave back."""
    from sampan.base.units import human_size
    from sampan.cli.prompt import confirm

    if parsed.flags["dry-run"]:
        from sampan.cli.commands.prune import dry_run

        dry_run(app, parsed, container=parsed.flags["filter"])
        return
    if not parsed.flags["force"]:
        confirm(app, "WARNING! This will remove all stopped containers.\nAre you sure you want to continue?")
    report = app.client.prune(parsed.flags["filter"])
    deleted = report.get("ContainersDeleted") or ()
    if deleted:
        app.out("\n".join(["Deleted Containers:", *deleted, ""]))
    app.out(f"Total reclaimed space: {human_size(report.get('SpaceReclaimed') or 0 if deleted else 0)}")


def finish(failures: list[str]) -> None:
    """Raise CommandError with all failures, a line each, if there are any."""
    if failures:
        raise CommandError("\n".join(failures))


def _timeout(parsed: "Parsed") -> int | None:
    timeout: int | None = dict.get(parsed.flags, "timeout")  # 0 is another thing than not given
    return timeout


def _each(
    app: "App", names: list[str], begin: "Callable[[str], Exchange]", *, missing_is_fine: bool = False
) -> None:
    """Do one thing to every container; print the names of those where it worked, then raise the failures."""
    failures = []
    for name, error in _outcomes(names, begin):
        if error is None:
            app.out(name)
        elif missing_is_fine and isinstance(error, NotFound):
            app.err(str(error))
        else:
            failures.append(str(error))
    finish(failures)


def _outcomes(
    names: list[str], begin: "Callable[[str], Exchange]"
) -> "Iterator[tuple[str, EngineError | CommandError | None]]":
    """Yield every name with its error, in order; up to ``_AT_ONCE`` requests are under way."""
    under_way: list[Exchange | EngineError | CommandError] = []
    for at, name in enumerate(names):
        while len(under_way) < min(len(names), at + _AT_ONCE):
            try:
                under_way.append(begin(names[len(under_way)]))
            except (EngineError, CommandError) as error:
                under_way.append(error)
        exchange = under_way[at]
        if isinstance(exchange, Exception):
            yield name, exchange
            continue
        try:
            exchange.result()
        except EngineError as error:
            yield name, error
        else:
            yield name, None
