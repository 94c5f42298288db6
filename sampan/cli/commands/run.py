"""``run``: create, attach, start, and stand for the container until it ends.

The order is Docker's: the streams are attached and the exit is waited for before the start, so that nothing
is missed. Both requests are sent before either is answered.
"""

import posix

from sampan.base.errors import EngineError
from sampan.cli import terminal
from sampan.cli.app import STDOUT
from sampan.cli.commands.create import Creation, start_status, with_help
from sampan.cli.errors import CommandError
from sampan.cli.signals import forward_all
from sampan.cli.streams import Relay, Resizer, Session, Waiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.cli.app import App
    from sampan.cli.parser import Parsed


def run(app: "App", parsed: "Parsed") -> int:
    """Run a command in a new container; return its exit code."""
    flags = parsed.flags
    detach = flags["detach"]
    try:
        creation = Creation(app, parsed)
        body = creation.body
        if not detach:
            terminal.check_input(attached=body["AttachStdin"], tty=body["Tty"])
        elif flags["attach"]:
            raise CommandError("conflicting options: cannot specify both --attach and --detach")
        else:
            body["AttachStdin"] = body["AttachStdout"] = body["AttachStderr"] = body["StdinOnce"] = False
        identifier = creation.perform()
    except EngineError as error:
        raise _failed(error, parsed) from error
    if body["AttachStdin"] or body["AttachStdout"] or body["AttachStderr"]:
        return _run_attached(app, parsed, body, identifier)
    app.out(identifier)
    return _run_detached(app, parsed, body, identifier)


def _failed(error: EngineError, parsed: "Parsed") -> CommandError:
    return CommandError(with_help(str(error), parsed.path), start_status(error))


def _run_detached(app: "App", parsed: "Parsed", body: "dict[str, Any]", identifier: str) -> int:
    try:
        app.client.start(identifier)
    except EngineError as error:
        if body["HostConfig"].get("AutoRemove"):
            _wait_removed(app, identifier)
        raise _failed(error, parsed) from error
    return 0


def _wait_removed(app: "App", identifier: str) -> None:
    """Wait until the daemon has removed a container that could not be started."""
    try:
        app.client.wait(identifier, "removed")
    except EngineError:
        return  # gone already


def _run_attached(app: "App", parsed: "Parsed", body: "dict[str, Any]", identifier: str) -> int:
    flags, client = parsed.flags, app.client
    tty, stdin = body["Tty"], body["AttachStdin"]
    outputs = body["AttachStdout"] or body["AttachStderr"]
    shows_terminal = tty and posix.isatty(STDOUT)
    with Session(app, tty=tty, stdin=stdin, keys=flags["detach-keys"]) as session:
        if flags["sig-proxy"]:
            forward_all(session.handlers, client, identifier, resized=shows_terminal)
        attaching = client.begin_attach(
            identifier,
            stdin=stdin,
            stdout=body["AttachStdout"],
            stderr=body["AttachStderr"],
            detach_keys=flags["detach-keys"] or app.config.text("detachKeys"),
        )
        removed = bool(body["HostConfig"].get("AutoRemove"))
        waiting = client.begin_wait(identifier, "removed" if removed else "next-exit")
        wire = session.own(attaching.hijack())
        waiter = session.own(Waiter(waiting))
        session.raw()
        try:
            client.start(identifier)
        except EngineError as error:
            session.restore()
            if removed:
                waiter.result()
            raise _failed(error, parsed) from error
        resizer = Resizer(app, lambda rows, columns: client.resize(identifier, rows, columns))
        if shows_terminal:
            resizer.start(session.handlers)
        relay = Relay(
            wire,
            framed=not tty,
            stdin=stdin,
            stdout=body["AttachStdout"],
            stderr=body["AttachStderr"],
            keys=session.keys,
            resizer=resizer,
        )
        if not relay.run(waiter) and outputs:
            relay.run()
        session.restore()
        if relay.detached:
            return 0
        return waiter.status(app)
