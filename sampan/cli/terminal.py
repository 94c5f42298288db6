"""The user's terminal: raw mode that is always taken back, its size, and the keys that leave a session."""

import posix

from sampan.cli.errors import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, Self

DEFAULT_DETACH_KEYS: "Final" = "ctrl-p,ctrl-q"
_CONTROLS: "Final" = "@abcdefghijklmnopqrstuvwxyz[\\]^_"


def size(fd: int) -> tuple[int, int]:
    """Return rows and columns of the terminal ``fd``, (0, 0) if it is none."""
    try:
        columns, rows = posix.get_terminal_size(fd)
    except OSError:
        return 0, 0
    return rows, columns


def check_input(*, attached: bool, tty: bool) -> None:
    """Raise CommandError if a container's terminal would be fed from something that is no terminal."""
    if tty and attached and not posix.isatty(0):
        raise CommandError("the input device is not a TTY")


class Raw:
    """Context manager: the terminal ``fd`` hands every key on and echoes none. ``restore`` may come early.

    Nothing happens where ``fd`` is no terminal. The settings are those of cfmakeraw(3).
    """

    __slots__ = ("_before", "_fd")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._before: list[int | list[bytes | int]] | None = None

    def __enter__(self) -> "Self":
        import termios

        try:
            before = termios.tcgetattr(self._fd)
        except termios.error:
            return self
        iflag, oflag, cflag, lflag, ispeed, ospeed, keys = before
        iflag &= ~(
            termios.IGNBRK
            | termios.BRKINT
            | termios.PARMRK
            | termios.ISTRIP
            | termios.INLCR
            | termios.IGNCR
            | termios.ICRNL
            | termios.IXON
        )
        oflag &= ~termios.OPOST
        lflag &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        cflag = (cflag & ~(termios.CSIZE | termios.PARENB)) | termios.CS8
        keys = list(keys)
        keys[termios.VMIN], keys[termios.VTIME] = 1, 0
        self._before = before
        termios.tcsetattr(self._fd, termios.TCSANOW, [iflag, oflag, cflag, lflag, ispeed, ospeed, keys])
        return self

    def restore(self) -> None:
        """Give the terminal back as it was."""
        if self._before is None:
            return
        import termios

        before, self._before = self._before, None
        try:
            termios.tcsetattr(self._fd, termios.TCSANOW, before)
        except termios.error:
            return  # the terminal is gone

    def __exit__(self, *_: object) -> None:
        self.restore()


def parse_keys(text: str) -> bytes:
    """Return the bytes of a key sequence: single characters and ``ctrl-X``, parted by commas.

    Raises ValueError in Docker's words.
    """
    keys = bytearray()
    for key in text.split(","):
        if len(key) == 1:
            keys += key.encode()
            continue
        control = key[5:].lower() if key.lower().startswith("ctrl-") else ""
        if len(control) != 1 or control not in _CONTROLS:
            raise ValueError(f"Unknown character: '{key}'")
        keys.append(_CONTROLS.index(control))
    return bytes(keys)


class Detacher:
    """Looks for the detach keys in what the user types; keys that may begin the sequence are held back."""

    __slots__ = ("_held", "_keys", "found")

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = b""
        self.found = False

    def feed(self, data: bytes) -> bytes:
        """Return what is to be passed on. ``found``: the sequence came; what follows it is dropped."""
        if not self._keys:
            return data
        data = self._held + data
        at = data.find(self._keys)
        if at >= 0:
            self.found = True
            self._held = b""
            return data[:at]
        for length in range(min(len(self._keys) - 1, len(data)), 0, -1):
            if data.endswith(self._keys[:length]):
                self._held = data[-length:]
                return data[:-length]
        self._held = b""
        return data
