"""Start the daemon when it is needed and does not run: for root, and only at the default address.

The daemon outlives the command: a session of its own, its output in a log file.
"""

import os
import signal
import time

from sampan.cli.errors import CommandError
from sampan.client.config import docker_endpoint, home
from sampan.client.errors import ConnectionFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from sampan.cli.app import App
    from sampan.client.api import Client

_PATIENCE_S: "Final" = 15.0
_LAST_WORDS: "Final" = 2000
_NAMED_LIKE_US: "Final" = "sampan"


def recover(app: "App", client: "Client", error: ConnectionFailed) -> "Client":
    """Return a client that is connected although nothing answered at the default address.

    A daemon at Docker's address will do, for root only if it is ours: root can have ours started instead.
    Raises CommandError, ConnectionFailed.
    """
    if isinstance(error.__cause__, PermissionError):
        raise error
    if other := _other_daemon(app):
        return other
    if os.geteuid() != 0:
        raise CommandError(f"{error} (Only root can start it: sudo sampand)") from error
    _start(app, client)
    return client


def _other_daemon(app: "App") -> "Client | None":
    client = app.client_of(docker_endpoint())
    try:
        client.transport.warm()
        if os.geteuid() != 0 or client.ping().get("Server", "").lower().startswith(_NAMED_LIKE_US):
            return client
    except ConnectionFailed:
        pass
    client.close()
    return None


def _start(app: "App", client: "Client") -> None:
    program = find_daemon(app.launcher, app.environ.get("PATH", os.defpath))
    log_path = log_file(app)
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    try:
        begins = os.lseek(log, 0, os.SEEK_END)
        process = os.posix_spawn(
            "/bin/sh",
            # The daemon must not hold on to the folder that the command was given in.
            ["/bin/sh", "-c", 'cd / && umask 022 && exec "$0"', program],
            dict(app.environ),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=(signal.SIGPIPE, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP),
        )
    finally:
        os.close(log)
    app.err(f"sampan: started sampand (pid {process})")
    _wait_ready(client, process, log_path, begins)


def _wait_ready(client: "Client", process: int, log_path: str, begins: int) -> None:
    """Wait until the daemon answers. If it ends, another may have been first: that one gets a moment, too."""
    patience = time.monotonic() + _PATIENCE_S
    ended = False
    pause = 0.002
    while time.monotonic() < patience:
        try:
            client.ping()  # it listens before it is ready, and answers when it is
        except ConnectionFailed:
            pass
        else:
            return
        if not ended and os.waitpid(process, os.WNOHANG)[0]:
            ended = True
            patience = min(patience, time.monotonic() + 1)
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
    with open(log_path, "rb") as log:
        log.seek(max(begins, os.fstat(log.fileno()).st_size - _LAST_WORDS))
        words = log.read().decode(errors="replace").strip()
    reason = "it ended at once" if ended else f"it did not answer within {_PATIENCE_S:.0f} seconds"
    raise CommandError(f"sampan: sampand could not be started: {reason}; see {log_path}\n{words}".rstrip())


def find_daemon(launcher: str, path: str) -> str:
    """Return the path of ``sampand``: beside the running program, or on ``path``. Raises CommandError."""
    if program := find_program("sampand", launcher, path):
        return program
    raise CommandError("sampan: no daemon answers, and sampand is neither beside sampan nor on the PATH")


def find_program(name: str, launcher: str, path: str) -> str:
    """Return the path of a program of ours: beside the running one, or on ``path``; "" if there is none."""
    folders = [os.path.dirname(os.path.realpath(launcher))] if "/" in launcher else []
    for folder in folders + path.split(":"):
        program = f"{folder or '.'}/{name}"
        if os.access(program, os.X_OK) and not os.path.isdir(program):
            return os.path.abspath(program)
    return ""


def log_file(app: "App") -> str:
    """Return where the daemon's output goes: ``/var/log/sampan.log``, or the user's state folder."""
    if os.access("/var/log", os.W_OK):
        return "/var/log/sampan.log"
    folder = app.environ.get("XDG_STATE_HOME") or f"{home(app.environ)}/.local/state"
    os.makedirs(folder, exist_ok=True)
    return f"{folder}/sampan.log"
