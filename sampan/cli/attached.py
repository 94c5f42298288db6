"""Start a container with its streams attached, and stand for it until it ends or the user leaves.

The order is Docker's: the streams are attached and the exit is waited for before the start, so that nothing
is missed. Both requests are sent before either is answered.
"""

import posix

from sampan.base.errors import EngineError
from sampan.cli.app import STDOUT
from sampan.cli.signals import forward_all
from sampan.cli.streams import Relay, Resizer, Session, Waiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.app import App


class Target:
    """A container that is about to start.

    ``tty``: it has a terminal; ``stdin``, ``stdout``, ``stderr``: which streams are wanted; ``removed``: it
    removes itself in the end; ``keys``: the detach keys given ("": the user's usual ones).
    """

    __slots__ = ("identifier", "keys", "removed", "stderr", "stdin", "stdout", "tty")

    def __init__(
        self,
        identifier: str,
        *,
        tty: bool,
        stdin: bool,
        removed: bool,
        keys: str,
        stdout: bool = True,
        stderr: bool = True,
    ) -> None:
        self.identifier = identifier
        self.tty = tty
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self.removed = removed
        self.keys = keys


def start_attached(app: "App", target: Target, *, proxy: bool) -> int:
    """Start ``target`` and return its exit code, 0 if the user left. ``proxy``: signals are passed on.

    Raises EngineError when it cannot be started; one that removes itself is then gone, too.
    """
    client, identifier = app.client, target.identifier
    shows_terminal = target.tty and posix.isatty(STDOUT)
    with Session(app, tty=target.tty, stdin=target.stdin, keys=target.keys) as session:
        if proxy:
            forward_all(session.handlers, client, identifier, resized=shows_terminal)
        attaching = client.begin_attach(
            identifier,
            stdin=target.stdin,
            stdout=target.stdout,
            stderr=target.stderr,
            detach_keys=target.keys or app.config.text("detachKeys"),
        )
        waiting = client.begin_wait(identifier, "removed" if target.removed else "next-exit")
        wire = session.own(attaching.hijack())
        waiter = session.own(Waiter(waiting))
        session.raw()
        try:
            client.start(identifier)
        except EngineError:
            session.restore()
            if target.removed:
                waiter.result()
            raise
        resizer = Resizer(app, lambda rows, columns: client.resize(identifier, rows, columns))
        if shows_terminal:
            resizer.start(session.handlers)
        relay = Relay(
            wire,
            framed=not target.tty,
            stdin=target.stdin,
            stdout=target.stdout,
            stderr=target.stderr,
            keys=session.keys,
            resizer=resizer,
        )
        if not relay.run(waiter) and (target.stdout or target.stderr):
            relay.run()  # it has ended; what it wrote is still on its way
        session.restore()
        return 0 if relay.detached else waiter.status(app)
