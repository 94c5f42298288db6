"""``stats``: what containers use, once or again and again."""

import time

from sampan.base.errors import EngineError, NotFound
from sampan.cli.errors import CommandError
from sampan.cli.format import FormatError, Formatter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from sampan.cli.app import App
    from sampan.cli.parser import Parsed
    from sampan.client.session import Exchange

    Json = dict[str, Any]

_INTERVAL_S: "Final" = 1.0
_HOME, _CLEAR_LINE, _CLEAR_REST = "\x1b[H", "\x1b[K", "\x1b[J"


def stats(app: "App", parsed: "Parsed") -> None:
    """Print the figures of the containers named, or of those that run."""
    flags = parsed.flags
    source = flags["format"] or app.config.text("statsFormat")
    streams = not flags["no-stream"]
    watch = Watch(app, parsed.args, everything=flags["all"])
    try:
        formatter = Formatter("stats", source, trunc=not flags["no-trunc"])
        watch.sample()
        if streams:
            app.write("\x1b[2J")
            _show(app, formatter.render([waiting(name) for name in watch.names()]), over=True)
        while True:
            time.sleep(_INTERVAL_S)
            watch.sample()
            _show(app, formatter.render(watch.entries()), over=streams)
            if not streams or (not watch.names() and not flags["all"] and parsed.args):
                return
    except FormatError as error:
        raise CommandError(str(error)) from error


def _show(app: "App", text: str, *, over: bool) -> None:
    """Print a table; ``over`` the one before."""
    if over:
        lines = text.split("\n")
        text = _HOME + "".join(f"{line}{_CLEAR_LINE}\n" for line in lines[:-1]) + lines[-1] + _CLEAR_REST
    app.write(text)


class Watch:
    """The newest figures of several containers, and those before. Without names: of all that run."""

    def __init__(self, app: "App", names: list[str], *, everything: bool) -> None:
        self._app = app
        self._given = names
        self._everything = everything
        self._before: dict[str, Json] = {}
        self._now: dict[str, Json] = {}

    def names(self) -> list[str]:
        """Return what is looked at, in the order in which it is shown."""
        return list(self._now)

    def sample(self) -> None:
        """Ask for new figures. Raises what a named container is missing for, the first time."""
        first = not self._now
        self._before = self._now
        names = self._given or [
            container["Id"] for container in self._app.client.containers(all=self._everything)
        ]
        asked = [(name, self._app.client.begin_stats(name)) for name in names]
        self._now = {}
        for name, exchange in asked:
            found = self._result(exchange, may_be_gone=not self._given or not first)
            if found is not None:
                self._now[name] = found

    def _result(self, exchange: "Exchange", *, may_be_gone: bool) -> "Json | None":
        try:
            result: Json | None = exchange.result()
        except NotFound:
            if not may_be_gone:
                raise
            return None
        except EngineError:
            return None
        return result

    def entries(self) -> "list[Json]":
        """Return the items to show, see ``rows.stats``."""
        return [entry(name, now, self._before.get(name)) for name, now in self._now.items()]


def waiting(name: str) -> "Json":
    """Return the item of a container of which there are no figures yet."""
    return {"Container": name, "Name": "", "ID": "", "IsInvalid": True}


def entry(name: str, now: "Json", before: "Json | None") -> "Json":
    """Work out the item of one container from two samples, as Docker's client does."""
    memory = now.get("memory_stats") or {}
    limit = memory.get("limit") or 0
    used = memory_used(memory)
    reads, writes = block_io(now)
    networks = (now.get("networks") or {}).values()
    return {
        "Container": name,
        "Name": now.get("name") or "",
        "ID": now.get("id") or "",
        "CPUPercentage": cpu_percentage(now.get("cpu_stats") or {}, (before or {}).get("cpu_stats") or {}),
        "Memory": used,
        "MemoryLimit": limit,
        "MemoryPercentage": used / limit * 100 if limit else 0.0,
        "NetworkRx": sum(network["rx_bytes"] for network in networks),
        "NetworkTx": sum(network["tx_bytes"] for network in networks),
        "BlockRead": reads,
        "BlockWrite": writes,
        "PidsCurrent": (now.get("pids_stats") or {}).get("current") or 0,
    }


def memory_used(memory: "Json") -> int:
    """Return the bytes in use without the page cache that could go at once."""
    usage: int = memory.get("usage") or 0
    details = memory.get("stats") or {}
    name = "total_inactive_file" if "total_inactive_file" in details else "inactive_file"  # v1, v2
    cached: int = details.get(name) or 0
    return usage - cached if cached < usage else usage


def cpu_percentage(now: "Json", before: "Json") -> float:
    """Return the share of one processor that was used between two samples, in percent."""
    usage = now.get("cpu_usage") or {}
    used = (usage.get("total_usage") or 0) - ((before.get("cpu_usage") or {}).get("total_usage") or 0)
    passed = (now.get("system_cpu_usage") or 0) - (before.get("system_cpu_usage") or 0)
    online: int = now.get("online_cpus") or len(usage.get("percpu_usage") or ())
    return used / passed * online * 100 if used > 0 and passed > 0 else 0.0


def block_io(now: "Json") -> tuple[int, int]:
    """Return the bytes read from and written to block devices."""
    read = written = 0
    for operation in (now.get("blkio_stats") or {}).get("io_service_bytes_recursive") or ():
        kind = operation.get("op", "")[:1].lower()
        if kind == "r":
            read += operation["value"]
        elif kind == "w":
            written += operation["value"]
    return read, written
