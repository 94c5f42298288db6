"""A program in a real terminal: what it shows, what is typed, the size of its window."""

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self


class Terminal:
    """Runs ``command`` with a pseudo-terminal as its stdin, stdout and stderr."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], *, rows: int = 24, cols: int = 80
    ) -> None:
        self._master, slave = pty.openpty()
        self.resize(rows, cols)
        self.text = ""
        self._process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=dict(environment),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(10)
        os.close(self._master)

    def resize(self, rows: int, cols: int) -> None:
        """Change the window's size, as a person does by dragging its corner."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))
        if hasattr(self, "_process"):
            os.kill(self._process.pid, signal.SIGWINCH)

    def type(self, text: str) -> None:
        """Type ``text``."""
        os.write(self._master, text.encode())

    def expect(self, text: str, timeout: float = 20) -> str:
        """Read until ``text`` has come; return what came up to its end, and forget it."""
        deadline = time.monotonic() + timeout
        while text not in self.text:
            left = deadline - time.monotonic()
            if left <= 0 or not self._read(left):
                raise AssertionError(f"{text!r} did not come, but {self.text!r}")
        seen, _, self.text = self.text.partition(text)
        return seen + text

    def wait(self, timeout: float = 20) -> int:
        """Read to the program's end; return its exit code."""
        deadline = time.monotonic() + timeout
        while self._read(max(0.0, deadline - time.monotonic())):
            pass
        return self._process.wait(max(0.1, deadline - time.monotonic()))

    def _read(self, timeout: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], timeout)
        data = b""
        if ready:
            with contextlib.suppress(OSError):  # EIO: the last one closed the terminal
                data = os.read(self._master, 65536)
        self.text += data.decode(errors="replace")
        return bool(data)
