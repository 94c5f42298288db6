"""Progress of long work (load, pull, bootstrap) as the daemon's JSON messages tell it, shown as Docker does.

On a terminal every id has a line that is written over; elsewhere only what is not a progress bar is printed.
"""

from sampan.base.units import human_size
from sampan.cli import terminal
from sampan.cli.app import encode, write
from sampan.client.api import checked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from sampan.cli.app import App

_BAR = 50
_WIDE = 110


def show(app: "App", messages: "Iterable[dict[str, Any]]", *, fd: int | None) -> None:
    """Print messages to ``fd`` (None: nowhere) as they come. Raises StreamFailed at an error among them."""
    import posix

    if fd is None:
        for _ in checked(messages):
            pass
        return
    display = Display(columns=terminal.size(fd)[1] or 200 if posix.isatty(fd) else 0)
    for message in checked(messages):
        if text := display.render(message):
            write(fd, encode(text))


class Display:
    """Turns messages into what is written. ``columns``: width of the terminal, 0: there is none."""

    def __init__(self, *, columns: int) -> None:
        self._columns = columns
        self._lines: dict[str, int] = {}

    def render(self, message: "dict[str, Any]") -> str:
        """Return the text to write for one message, cursor movements included."""
        if "aux" in message:
            return ""
        detail = message.get("progressDetail")
        identifier = message.get("id", "")
        up = 0
        text = ""
        if identifier and (detail is not None or message.get("progress")):
            if identifier not in self._lines:
                self._lines[identifier] = len(self._lines)
                text += "\n" if self._columns else ""
            up = len(self._lines) - self._lines[identifier]
        else:
            self._lines.clear()
        line = self._line(message, detail, identifier)
        if self._columns and up:
            return f"{text}\x1b[{up}A{line}\x1b[{up}B"
        return text + line

    def _line(self, message: "dict[str, Any]", detail: "dict[str, Any] | None", identifier: str) -> str:
        bar = render_bar(detail, self._columns) if detail is not None else ""
        over = bool(self._columns) and detail is not None and not message.get("stream")
        if bar and not over:
            return ""
        head = "\x1b[2K\r" if over else ""
        name = f"{identifier}: " if identifier else ""
        end = "\r" if over else ""
        status = message.get("status", "")
        if over:
            return f"{head}{name}{status} {bar}{end}"
        if stream := message.get("stream"):
            return f"{name}{stream}"
        if done := message.get("progress"):
            return f"{name}{status} {done}"
        return f"{name}{status}\n"


def render_bar(detail: "dict[str, Any]", columns: int) -> str:
    """Return a progress bar with numbers, "" where nothing is known. The bar itself needs a wide terminal."""
    current, total = int(detail.get("current") or 0), int(detail.get("total") or 0)
    units = detail.get("units") or ""
    if current <= 0 and total <= 0:
        return ""
    done = f"{current} {units}" if units else f"{human_size(current):>8}"
    if total <= 0:
        return done
    share = min(int(current / total * 100) // 2, _BAR)
    bar = f"[{'=' * share}>{' ' * (_BAR - share)}] " if columns > _WIDE else ""
    if detail.get("hidecounts"):
        return bar
    if current > total:
        return bar + done
    return bar + (f"{current}/{total} {units}" if units else f"{human_size(current):>8}/{human_size(total)}")
