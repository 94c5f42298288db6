"""The daemon's own log: one line a record on stderr, as text in logrus's form or as JSON."""

import logging
import sys
import traceback
from typing import Final

import msgspec

from sampan.base.times import format_ns

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}
_NAMES: Final = {
    logging.DEBUG: "debug",
    logging.INFO: "info",
    logging.WARNING: "warning",
    logging.ERROR: "error",
    logging.CRITICAL: "fatal",
}
_OWN: Final = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {
    "message",
    "asctime",
    "taskName",
}


def _facts(record: logging.LogRecord) -> dict[str, object]:
    """Return what the record says beside its message: ``extra``, and the traceback."""
    facts = {key: value for key, value in record.__dict__.items() if key not in _OWN}
    if record.exc_info:
        facts["traceback"] = "".join(traceback.format_exception(*record.exc_info)).rstrip()
    return facts


def _time(record: logging.LogRecord) -> str:
    return format_ns(int(record.created * 1e6) * 1000)


class TextFormatter(logging.Formatter):
    """``time="…" level=info msg="…" key=value``; tracebacks follow on lines of their own."""

    def format(self, record: logging.LogRecord) -> str:
        """Render one record."""
        facts = _facts(record)
        trace = facts.pop("traceback", None)
        words = [f'time="{_time(record)}"', f"level={_NAMES.get(record.levelno, 'info')}"]
        words.append(f"msg={_quote(record.getMessage())}")
        words += [f"{key}={_quote(str(value))}" for key, value in facts.items()]
        line = " ".join(words)
        return f"{line}\n{trace}" if trace else line


class JsonFormatter(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        """Render one record."""
        document: dict[str, object] = {
            "time": _time(record),
            "level": _NAMES.get(record.levelno, "info"),
            "msg": record.getMessage(),
            **_facts(record),
        }
        return msgspec.json.encode(document, enc_hook=str).decode()


def _quote(text: str) -> str:
    if text and all(c.isalnum() or c in "-._/@^+" for c in text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'


def set_up(*, level: str, form: str, debug: bool) -> None:
    """Send the log to stderr, in ``form`` text or json, from ``level`` on (``debug``: all of it)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    set_level(level=level, debug=debug)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.captureWarnings(True)  # noqa: FBT003 - the module's signature


def set_level(*, level: str, debug: bool) -> None:
    """Change from which level on records are written."""
    logging.getLogger().setLevel(logging.DEBUG if debug else _LEVELS[level])
