"""A session with a container: its streams tied to ours until they end or the user leaves.

One thread and one loop over ``poll``: what comes is written out at once, what is typed is sent as fast as the
daemon takes it and never blocks the other direction. See ``terminal`` for raw mode and detach keys.
"""

import posix
import select
import time

from sampan.base import jsonlite
from sampan.base.errors import EngineError
from sampan.cli import terminal
from sampan.cli.app import STDERR, STDIN, STDOUT, write
from sampan.cli.signals import WINCH, Handlers, end_on_signals
from sampan.client.frames import STDERR as STDERR_FRAME
from sampan.client.frames import Frames
from sampan.client.session import document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final, TypeVar

    from sampan.cli.app import App
    from sampan.client.session import Exchange
    from sampan.client.wire import Wire

    Owned = TypeVar("Owned", "Wire", "Waiter")

_PIECE: "Final" = 65536
_READABLE: "Final" = select.POLLIN | select.POLLHUP | select.POLLERR | select.POLLNVAL
_RESIZE_TRIES: "Final" = 10


class Resizer:
    """Keeps the size of a container's terminal like that of ours.

    The first attempt may come before the other side is ready: it is made again a few times, later and later.
    """

    __slots__ = ("_again", "_app", "_failures", "_resize")

    def __init__(self, app: "App", resize: "Callable[[int, int], None]") -> None:
        self._app = app
        self._resize = resize
        self._failures = 0
        self._again = 0.0

    def start(self, handlers: Handlers) -> None:
        """Set the size now and whenever ours changes."""
        handlers.set(WINCH, lambda _number, _frame: self._set())
        if not self._set():
            self._again = time.monotonic() + 0.01

    def wait_ms(self) -> int | None:
        """Return after how many ms ``retry`` is due, None if it is not."""
        return max(0, int((self._again - time.monotonic()) * 1000) + 1) if self._again else None

    def retry(self) -> None:
        """Make a failed first attempt again if it is time."""
        if not self._again or time.monotonic() < self._again:
            return
        if self._set():
            self._again = 0.0
            return
        self._failures += 1
        self._again = time.monotonic() + 0.01 * (self._failures + 1)
        if self._failures >= _RESIZE_TRIES:
            self._again = 0.0
            self._app.err("failed to resize tty, using default size")

    def set(self, rows: int, columns: int) -> bool:
        """Set a size; return whether the daemon took it."""
        try:
            self._resize(rows, columns)
        except EngineError:
            return False
        return True

    def _set(self) -> bool:
        rows, columns = terminal.size(STDOUT)
        return (not rows and not columns) or self.set(rows, columns)


class Waiter:
    """The answer that tells how a container ended, awaited beside its streams."""

    __slots__ = ("_response",)

    def __init__(self, exchange: "Exchange") -> None:
        self._response = exchange.response()

    @property
    def ready(self) -> bool:
        """Whether the answer has come although ``poll`` does not see it."""
        return self._response.pending

    def fileno(self) -> int:
        return self._response.fileno()

    def result(self) -> "tuple[int, str]":
        """Wait for the exit code, and for what went wrong in waiting ("": nothing)."""
        try:
            found = document(jsonlite.loads(self._response.read()))
        except EngineError as error:
            return 125, str(error)
        except ValueError:
            return 125, "unexpected EOF"
        message = (found.get("Error") or {}).get("Message")
        return (125, str(message)) if message else (int(found["StatusCode"]), "")

    def close(self) -> None:
        """Give the answer up."""
        self._response.close()

    def status(self, app: "App") -> int:
        """Wait for the exit code to end with; what went wrong in waiting is told."""
        code, reason = self.result()
        if reason:
            app.err(f"error waiting for container: {reason}")
        return code


class Relay:
    """Ties the standard streams to ``wire``.

    ``framed``   what comes is in Docker's frames, else it is raw (a terminal) and goes to standard output
    ``stdin``    whether standard input is sent; ``keys`` are the detach keys looked for in it (b"": none)
    ``stdout``, ``stderr``  whether these are written, or dropped
    """

    def __init__(
        self,
        wire: "Wire",
        *,
        framed: bool,
        stdin: bool,
        stdout: bool = True,
        stderr: bool = True,
        keys: bytes = b"",
        resizer: Resizer | None = None,
    ) -> None:
        self._wire = wire
        self._frames = Frames() if framed else None
        self._stdin = stdin
        self._stdout = stdout
        self._stderr = stderr
        self._detacher = terminal.Detacher(keys)
        self._resizer = resizer
        self._unsent = memoryview(b"")
        self._watching_input = False
        self._ended = False
        if not stdin:
            self._end_input()

    @property
    def detached(self) -> bool:
        """Whether the user has left."""
        return self._detacher.found

    def run(self, waiter: "Waiter | None" = None) -> bool:
        """Run until the stream ends or the user leaves; return True.

        Return False as soon as ``waiter`` knows how the container ended; what it wrote may still be on its
        way: run on without the waiter to have that too.
        """
        poll = select.poll()
        self._watching_input = False
        exited = -1
        if waiter is not None:
            exited = waiter.fileno()
            poll.register(exited, select.POLLIN)
        while not self._ended and not self.detached:
            if waiter is not None and waiter.ready:
                return False
            self._watch(poll)
            wait = 0 if self._wire.pending else self._resizer.wait_ms() if self._resizer else None
            ready = dict(poll.poll(wait))
            if self._resizer:
                self._resizer.retry()
            state = ready.get(self._wire.fileno(), 0)
            if state & select.POLLOUT:
                self._send()
            if state & _READABLE or self._wire.pending:
                self._receive()
            if STDIN in ready and not self._ended:
                self._read_input()
            if exited in ready:
                return False
        return True

    def _watch(self, poll: "select.poll") -> None:
        sending = bool(self._unsent) or self._wire.backlog
        poll.register(self._wire.fileno(), select.POLLIN | (select.POLLOUT if sending else 0))
        if self._stdin and not self._unsent:
            poll.register(STDIN, select.POLLIN)
            self._watching_input = True
        elif self._watching_input:
            poll.unregister(STDIN)
            self._watching_input = False

    def _receive(self) -> None:
        data = self._wire.recv_now()
        if data is not None:
            self._take(data)

    def _take(self, data: bytes) -> None:
        if not data:
            self._ended = True
        elif self._frames is None:
            if self._stdout:
                write(STDOUT, data)
        else:
            for stream, piece in self._frames.feed(data):
                if stream == STDERR_FRAME:
                    if self._stderr:
                        write(STDERR, piece)
                elif self._stdout:
                    write(STDOUT, piece)

    def _read_input(self) -> None:
        try:
            data = posix.read(STDIN, _PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # closed, or a terminal that is gone
        if not data:
            self._end_input()
            return
        if data := self._detacher.feed(data):
            self._unsent = memoryview(data)
            self._send()

    def _send(self) -> None:
        try:
            self._unsent = self._unsent[self._wire.send(self._unsent) :]
        except OSError:
            # The other side reads no more; what it has to say still comes.
            self._unsent = memoryview(b"")
            self._stdin = False

    def _end_input(self) -> None:
        """Tell the other side that no more input comes."""
        self._stdin = False
        try:
            self._wire.shutdown_write()
        except OSError:
            return  # it has hung up; reading will tell


class Session:
    """Context manager around a relay: raw mode where it is due, signals, and the terminal given back.

    ``tty`` is whether the container has a terminal; ``stdin`` whether ours feeds it.
    """

    def __init__(self, app: "App", *, tty: bool, stdin: bool, keys: str = "") -> None:
        self.handlers = Handlers()
        self._raw = terminal.Raw(STDIN) if tty and stdin else None
        self._owned: list[Wire | Waiter] = []
        self.keys = detach_keys(app, keys) if tty and stdin else b""

    def __enter__(self) -> "Session":
        if self._raw is not None:
            end_on_signals(self.handlers)
        return self

    def own(self, connection: "Owned") -> "Owned":
        """Close ``connection`` at the end; return it."""
        self._owned.append(connection)
        return connection

    def raw(self) -> None:
        """Put the terminal in raw mode."""
        if self._raw is not None:
            self._raw.__enter__()

    def restore(self) -> None:
        """Give the terminal back, before the end where something is to be said."""
        if self._raw is not None:
            self._raw.restore()

    def __exit__(self, *_: object) -> None:
        self.restore()
        self.handlers.__exit__()
        for connection in self._owned:
            connection.close()


def detach_keys(app: "App", given: str) -> bytes:
    """Return the detach keys: those given, those of the settings file, or the usual ones."""
    text = given or app.config.text("detachKeys") or terminal.DEFAULT_DETACH_KEYS
    try:
        return terminal.parse_keys(text)
    except ValueError as error:
        app.err(f"invalid detach escape keys, using default: {error}")
        return terminal.parse_keys(terminal.DEFAULT_DETACH_KEYS)
