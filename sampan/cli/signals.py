"""Signals of the client while it stands for a container: passed on, or taken as the end of the session.

Handlers run in the main thread whenever the interpreter gets to it, in the middle of a wait too; what they
ask of the daemon goes over a connection of its own.
"""

import _signal  # type: ignore[import-not-found]  # ``signal`` costs 5 ms (``enum``)

from sampan.base.errors import EngineError
from sampan.cli.errors import CommandError, Terminated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Final, Self

    from sampan.client.api import Client

    Handler = Callable[[int, FrameType | None], object]

WINCH: "Final" = 28
_INT: "Final" = 2
_TERM: "Final" = 15
# What ends a program by default and is sent to end it; raw mode must be taken back first.
_ENDING: "Final" = (1, _INT, 3, _TERM)
# Not passed on: what cannot be caught or means our own faults, SIGPIPE, SIGCHLD, job control by the terminal
# (SIGTTIN, SIGTTOU: a caught one would loop), SIGURG.
_OWN: "Final" = frozenset((4, 5, 7, 8, 9, 11, 13, 17, 19, 21, 22, 23, 31, 32, 33))
_FORWARDED: "Final" = tuple(number for number in range(1, 65) if number not in _OWN)
_PATIENCE: "Final" = 3


class Handlers:
    """Context manager: signals are handled by functions inside the block and as before behind it."""

    __slots__ = ("_before",)

    def __init__(self) -> None:
        self._before: dict[int, object] = {}

    def set(self, number: int, handler: "Handler") -> None:
        """Handle a signal by ``handler`` from now on."""
        before = _signal.signal(number, handler)
        self._before.setdefault(number, before)

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            _signal.signal(number, _signal.SIG_DFL if before is None else before)


def forward_all(handlers: Handlers, client: "Client", container: str, *, resized: bool) -> None:
    """Pass every signal on to a container. ``resized``: SIGWINCH has another use.

    The third SIGINT or SIGTERM ends the client all the same, for a container that does not care.
    """
    endings = 0

    def forward(number: int, _frame: object) -> None:
        nonlocal endings
        if number in {_INT, _TERM}:
            endings += 1
            if endings >= _PATIENCE:
                raise CommandError("\ngot 3 SIGTERM/SIGINTs, forcefully exiting")
        try:
            client.kill(container, number)
        except EngineError:
            return  # it has ended, or the daemon has: the session will see that itself

    for number in _FORWARDED:
        if not (resized and number == WINCH):
            handlers.set(number, forward)


def end_on_signals(handlers: Handlers) -> None:
    """Let the signals that end a program raise Terminated, so that the terminal is given back first."""

    def end(number: int, _frame: object) -> None:
        raise Terminated(number)

    for number in _ENDING:
        handlers.set(number, end)
