"""``exec``: another command in a container that runs."""

import posix

from sampan.cli import terminal
from sampan.cli.app import STDIN, STDOUT
from sampan.cli.errors import CommandError
from sampan.cli.streams import Relay, Resizer, Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.cli.app import App
    from sampan.cli.parser import Parsed

_LOST = 255


def execute(app: "App", parsed: "Parsed") -> int:
    """Run a command; return its exit code, or at once when it is detached."""
    flags, client, name = parsed.flags, app.client, parsed.args[0]
    tty, stdin = flags["tty"], flags["interactive"] and not flags["detach"]
    if tty and stdin and not posix.isatty(STDIN):
        client.inspect(name)  # that there is no such container is the more important news
        terminal.check_input(attached=True, tty=True)
    body = _body(app, parsed, stdin=stdin)
    identifier = client.exec_create(name, body)
    start = {"Detach": flags["detach"], "Tty": tty}
    if "ConsoleSize" in body:
        start["ConsoleSize"] = body["ConsoleSize"]
    if flags["detach"]:
        client.begin_exec_start(identifier, start).result()
        return 0
    with Session(app, tty=tty, stdin=stdin, keys=flags["detach-keys"]) as session:
        wire = session.own(client.begin_exec_start(identifier, start).hijack())
        session.raw()
        resizer = Resizer(app, lambda rows, columns: client.exec_resize(identifier, rows, columns))
        if tty and posix.isatty(STDIN) and posix.isatty(STDOUT):
            resizer.start(session.handlers)
        relay = Relay(wire, framed=not tty, stdin=stdin, keys=session.keys, resizer=resizer)
        relay.run()
        session.restore()
        if relay.detached:
            raise CommandError("read escape sequence")
        return _exit_code(app, identifier)


def _body(app: "App", parsed: "Parsed", *, stdin: bool) -> "dict[str, Any]":
    flags = parsed.flags
    body: dict[str, Any] = {
        "User": flags["user"],
        "Privileged": flags["privileged"],
        "Tty": flags["tty"],
        "AttachStdin": stdin,
        "AttachStdout": not flags["detach"],
        "AttachStderr": not flags["detach"],
        "Detach": flags["detach"],
        "DetachKeys": flags["detach-keys"] or app.config.text("detachKeys"),
        "WorkingDir": flags["workdir"],
        "Cmd": parsed.args[1:],
    }
    if "env" in flags or "env-file" in flags:
        from sampan.cli.options.env import environment

        try:
            body["Env"] = environment(flags, app.environ)
        except ValueError as error:
            raise CommandError(str(error).removeprefix("--env-file: ")) from error
    if flags["tty"]:
        body["ConsoleSize"] = list(terminal.size(STDOUT))
    return body


def _exit_code(app: "App", identifier: str) -> int:
    from sampan.client.errors import ConnectionFailed

    try:
        return int(app.client.exec_inspect(identifier)["ExitCode"] or 0)
    except ConnectionFailed:
        return _LOST  # the daemon has died, and with it what it knew
