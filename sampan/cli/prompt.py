"""Ask the user before something is lost."""

import posix

from sampan.cli.app import STDIN, STDOUT, encode, write
from sampan.cli.errors import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.app import App


def confirm(app: "App", question: str) -> None:
    """Go on if the user says yes. Raises CommandError, silent and with status 1, otherwise."""
    write(STDOUT, encode(f"{question} [y/N] "))
    answer = b""
    while not answer.endswith(b"\n") and (data := posix.read(STDIN, 1)):
        answer += data
    if answer.strip().lower() != b"y":
        raise CommandError
