"""Programs of the host that do what no system call does: found, run, and understood when they fail."""

import os
from collections.abc import Sequence
from typing import Final

_PLACES: Final = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_TIMEOUT_S: Final = 600


class CommandFailed(OSError):
    """A program ended with a status other than 0; ``words`` is what it wrote to stderr, in one line."""

    def __init__(self, program: str, status: int, words: str) -> None:
        self.words = words
        super().__init__(status, words or f"ended with status {status}", program)


def find_command(name: str) -> str | None:
    """Return the path of the program ``name``, None if it is not installed; ``PATH`` may lack sbin."""
    for folder in (*os.environ.get("PATH", "").split(":"), *_PLACES):
        path = os.path.join(folder, name)
        if folder and os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    return None


def run_command(name: str, *arguments: str, timeout_s: float = _TIMEOUT_S) -> str:
    """Run the program ``name`` to its end and return what it wrote to stdout; its locale is C.

    Raises CommandFailed; FileNotFoundError, with its name, if it is not installed. Blocks.
    """
    import subprocess  # most engines never ask

    path = find_command(name)
    if path is None:
        raise FileNotFoundError(2, "the program is not installed", name)
    try:
        done = subprocess.run(
            [path, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout_s,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(name, -1, f"does not end within {timeout_s} s") from error
    if done.returncode:
        raise CommandFailed(name, done.returncode, " ".join(done.stderr.split()))
    return done.stdout


def load_modules(*names: str) -> None:
    """Ask for kernel modules; whether they are there is for the caller to see."""
    try:
        run_command("modprobe", "-a", *names, timeout_s=10)
    except OSError:
        return


def spawn_and_wait(argv: Sequence[str], error_fd: int) -> int:
    """Run ``argv``, a path and its arguments, in a session of its own, and return its exit status.

    What it leaves in the background is no concern of this process. ``error_fd`` gets its stderr.
    """
    pid = os.posix_spawn(
        argv[0],
        list(argv),
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0),
            (os.POSIX_SPAWN_DUP2, 0, 1),
            (os.POSIX_SPAWN_DUP2, error_fd, 2),
        ],
        setsid=True,
        setsigmask=[],
    )
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
