"""``start``: several containers in the background, or one with its streams attached."""

import posix

from sampan.base.errors import EngineError
from sampan.cli.app import STDOUT
from sampan.cli.errors import CommandError
from sampan.cli.streams import Relay, Resizer, Session, Waiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.app import App
    from sampan.cli.parser import Parsed


def start(app: "App", parsed: "Parsed") -> int:
    """Start containers; attached, return the exit code of the one."""
    flags = parsed.flags
    if flags["checkpoint"] or flags["checkpoint-dir"]:
        raise CommandError("checkpoints come with a later version")
    if not flags["attach"] and not flags["interactive"]:
        return _start_all(app, parsed.args)
    if len(parsed.args) > 1:
        raise CommandError("you cannot start and attach multiple containers at once")
    return _start_attached(app, parsed)


def _start_all(app: "App", names: list[str]) -> int:
    failed = []
    for name in names:
        try:
            app.client.start(name)
        except EngineError as error:
            app.err(str(error))
            failed.append(name)
        else:
            app.out(name)
    if failed:
        raise CommandError(f"Error: failed to start containers: {', '.join(failed)}")
    return 0


def _start_attached(app: "App", parsed: "Parsed") -> int:
    from sampan.cli.signals import forward_all

    flags, client = parsed.flags, app.client
    container = client.inspect(parsed.args[0])
    identifier, tty = container["Id"], container["Config"]["Tty"]
    stdin = flags["interactive"] and container["Config"]["OpenStdin"]
    removed = container["HostConfig"]["AutoRemove"]
    keys = flags["detach-keys"]
    with Session(app, tty=tty, stdin=stdin, keys=keys) as session:
        if not tty:
            forward_all(session.handlers, client, identifier, resized=False)
        attaching = client.begin_attach(
            identifier, stdin=stdin, detach_keys=keys or app.config.text("detachKeys")
        )
        waiting = client.begin_wait(identifier, "removed" if removed else "next-exit")
        wire = session.own(attaching.hijack())
        waiter = session.own(Waiter(waiting))
        session.raw()
        try:
            client.start(identifier)
        except EngineError:
            session.restore()
            if removed:
                waiter.result()
            raise
        resizer = Resizer(app, lambda rows, columns: client.resize(identifier, rows, columns))
        if tty and posix.isatty(STDOUT):
            resizer.start(session.handlers)
        relay = Relay(wire, framed=not tty, stdin=stdin, keys=session.keys, resizer=resizer)
        if not relay.run(waiter):
            relay.run()
        session.restore()
        return 0 if relay.detached else waiter.status(app)
