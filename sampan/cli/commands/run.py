"""``run``: make a container and start it, attached or in the background."""

from sampan.base.errors import EngineError
from sampan.cli import terminal
from sampan.cli.commands.create import Creation, start_status, with_help
from sampan.cli.errors import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.cli.app import App
    from sampan.cli.parser import Parsed


def run(app: "App", parsed: "Parsed") -> int:
    """Run a command in a new container; return its exit code."""
    creation = Creation(app, parsed)
    body = creation.body
    if parsed.flags["detach"]:
        if parsed.flags["attach"]:
            raise CommandError("conflicting options: cannot specify both --attach and --detach")
        body["AttachStdin"] = body["AttachStdout"] = body["AttachStderr"] = body["StdinOnce"] = False
    else:
        terminal.check_input(attached=body["AttachStdin"], tty=body["Tty"])
    try:
        identifier = creation.perform()
        if body["AttachStdin"] or body["AttachStdout"] or body["AttachStderr"]:
            return _attached(app, parsed, body, identifier)
        app.out(identifier)
        _start(app, identifier, removed=bool(body["HostConfig"].get("AutoRemove")))
    except EngineError as error:
        raise CommandError(with_help(str(error), parsed.path), start_status(error)) from error
    return 0


def _attached(app: "App", parsed: "Parsed", body: "dict[str, Any]", identifier: str) -> int:
    from sampan.cli.attached import Target, start_attached

    target = Target(
        identifier,
        tty=body["Tty"],
        stdin=body["AttachStdin"],
        stdout=body["AttachStdout"],
        stderr=body["AttachStderr"],
        removed=bool(body["HostConfig"].get("AutoRemove")),
        keys=parsed.flags["detach-keys"],
    )
    return start_attached(app, target, proxy=parsed.flags["sig-proxy"])


def _start(app: "App", identifier: str, *, removed: bool) -> None:
    try:
        app.client.start(identifier)
    except EngineError:
        if removed:
            _wait_removed(app, identifier)
        raise


def _wait_removed(app: "App", identifier: str) -> None:
    """Wait until the daemon has removed a container that could not be started."""
    try:
        app.client.wait(identifier, "removed")
    except EngineError:
        return  # gone already
