"""Notices when somebody takes away or changes what the engine made on the host. Event loop only.

Between changes there is nothing to do: the kernel reports links, addresses, routing and nftables by netlink
and kernel settings by inotify. What nobody reports (another mount of /proc, a report that was lost) is found
by a look every minute.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from sampan.base.tasks import Tasks
from sampan.kernel import inotify
from sampan.kernel.linkevents import LinkEvents
from sampan.kernel.nft import RulesetEvents
from sampan.networks.apply import sysctl_path

_log = logging.getLogger(__name__)
_SETTLE_S: Final = 0.1  # a firewall's reload, a bridge's removal are bursts of changes
_SETTLE_MOST_S: Final = 1.0  # where somebody keeps changing what the engine puts back
_QUIET_S: Final = 10.0
_PERIOD_S: Final = 60.0
_XTABLES_LOCK: Final = Path("/run/xtables.lock")  # held by whoever changes the old iptables
_CLOSED: Final = inotify.CLOSE_WRITE | inotify.CLOSE_NOWRITE


class HostWatch:
    """Calls ``look`` a moment after a change that may concern the engine, one call at a time.

    ``owns`` tells whether a link of that name is wanted; ``own`` is the name under which the engine's own
    transactions of nftables are reported.
    """

    def __init__(self, look: Callable[[], Awaitable[bool]], owns: Callable[[str], bool], own: str) -> None:
        self._look = look
        self._owns = owns
        self._tasks = Tasks("network watch")
        self._loop = asyncio.get_running_loop()
        self._delay = _SETTLE_S
        self._last = self._loop.time()
        self._busy = False
        self._again = False
        self._timer: asyncio.TimerHandle | None = None
        self._files = inotify.Inotify()
        self._watched: dict[str, int] = {}
        self._lock = -1
        self._links = LinkEvents()
        self._ruleset = RulesetEvents(own)
        for source, read in (
            (self._links, self._read_links),
            (self._ruleset, self._read_ruleset),
            (self._files, self._read_files),
        ):
            self._loop.add_reader(source.fileno(), read)
        self._periodic = self._loop.call_later(_PERIOD_S, self._tick)
        self._watch_lock()

    async def close(self) -> None:
        """Stop watching."""
        for source in (self._links, self._ruleset, self._files):
            self._loop.remove_reader(source.fileno())
            source.close()
        self._periodic.cancel()
        if self._timer is not None:
            self._timer.cancel()
        await self._tasks.close()

    def follow(self, keys: Iterable[str]) -> None:
        """Watch the kernel settings ``keys``, too."""
        for key in keys:
            with suppress(OSError):
                self._watched[key] = self._files.add(sysctl_path(key), inotify.MODIFY)

    def forget(self, keys: Iterable[str]) -> None:
        """Watch the kernel settings ``keys`` no longer; their links may be gone."""
        for key in keys:
            if (watch := self._watched.pop(key, None)) is not None:
                with suppress(OSError):
                    self._files.remove(watch)

    def look_soon(self) -> None:
        """Call ``look`` in a moment."""
        if self._busy:
            self._again = True
        elif self._timer is None:
            if self._loop.time() - self._last > _QUIET_S:
                self._delay = _SETTLE_S
            self._timer = self._loop.call_later(self._delay, self._start)

    def _start(self) -> None:
        self._timer = None
        self._busy = True
        self._tasks.spawn(self._run(), name="look at the host")

    async def _run(self) -> None:
        if self._lock >= 0:  # what the engine itself does there is no news
            self._files.remove(self._lock)
            self._lock = -1
        try:
            drifted = await self._look()
        finally:
            self._busy = False
            self._last = self._loop.time()
            self._watch_lock()
        if drifted:
            self._delay = min(2 * self._delay, _SETTLE_MOST_S)
        if self._again:
            self._again = False
            self.look_soon()

    def _watch_lock(self) -> None:
        with suppress(OSError):
            self._lock = self._files.add(_XTABLES_LOCK, _CLOSED)

    def _tick(self) -> None:
        self._periodic = self._loop.call_later(_PERIOD_S, self._tick)
        self.look_soon()

    def _read_links(self) -> None:
        try:
            losses = self._links.read()
        except OSError as error:
            _log.debug("link events lost", extra={"error": str(error)})
            self.look_soon()
            return
        if any(not loss.link or self._owns(loss.link) for loss in losses):
            self.look_soon()

    def _read_ruleset(self) -> None:
        if self._ruleset.read():
            self.look_soon()

    def _read_files(self) -> None:
        current = {*self._watched.values(), self._lock}
        for event in self._files.read():
            if event.mask & inotify.OVERFLOW or (event.watch in current and event.mask != inotify.IGNORED):
                self.look_soon()
