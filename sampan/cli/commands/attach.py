"""``attach``: join the streams of a container that runs."""

import posix

from sampan.cli import terminal
from sampan.cli.app import STDOUT
from sampan.cli.errors import CommandError
from sampan.cli.signals import forward_all
from sampan.cli.streams import Relay, Resizer, Session, Waiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.cli.app import App
    from sampan.cli.parser import Parsed
    from sampan.client.api import Client


def attach(app: "App", parsed: "Parsed") -> int:
    """Attach to a container until it ends or the user leaves; return its exit code."""
    flags, client, name = parsed.flags, app.client, parsed.args[0]
    container = _running(client, name)
    tty = container["Config"]["Tty"]
    terminal.check_input(attached=not flags["no-stdin"], tty=tty)
    stdin = not flags["no-stdin"] and container["Config"]["OpenStdin"]
    keys = flags["detach-keys"]
    with Session(app, tty=tty, stdin=stdin, keys=keys) as session:
        if flags["sig-proxy"] and not tty:
            forward_all(session.handlers, client, name, resized=False)
        waiter = session.own(Waiter(client.begin_wait(name)))
        attaching = client.begin_attach(name, stdin=stdin, detach_keys=keys or app.config.text("detachKeys"))
        wire = session.own(attaching.hijack())
        _running(client, name)  # it may have ended in between: the streams of a stopped one never end
        resizer = Resizer(app, lambda rows, columns: client.resize(name, rows, columns))
        session.raw()
        if tty and posix.isatty(STDOUT):
            rows, columns = terminal.size(STDOUT)
            if rows or columns:
                # Another size first: only a change makes the program over there draw its prompt again.
                resizer.set(rows + 1, columns + 1)
            resizer.start(session.handlers)
        relay = Relay(wire, framed=not tty, stdin=stdin, keys=session.keys, resizer=resizer)
        relay.run()
        session.restore()
        if relay.detached:
            raise CommandError("read escape sequence")
        code, reason = waiter.result()
    if reason:
        raise CommandError(reason)
    return code


def _running(client: "Client", name: str) -> "dict[str, Any]":
    """Return a container that can be attached to. Raises CommandError, EngineError."""
    container = client.inspect(name)
    state = container["State"]
    if not state["Running"]:
        raise CommandError("You cannot attach to a stopped container, start it first")
    if state["Paused"]:
        raise CommandError("You cannot attach to a paused container, unpause it first")
    if state["Restarting"]:
        raise CommandError("You cannot attach to a restarting container, wait until it is running")
    return container
