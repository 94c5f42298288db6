"""Notices what others do to nftables: their firewalls come and go, and one may flush the whole ruleset."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from sampan.kernel import nft
from sampan.networks.firewall.rules import TABLE

_log = logging.getLogger(__name__)
_SETTLE_S: Final = 0.2  # a firewall's reload is a burst of changes


class FirewallWatch:
    """Calls ``changed(lost)`` a moment after a change by others; ``lost``: the engine's own table is gone.

    The table for IPv6 comes and goes with the networks that need it, and whoever flushes it flushes both.
    The engine's own changes count as well where they are in tables of others: to look again is harmless.
    """

    def __init__(self, changed: Callable[[bool], None]) -> None:
        self._changed = changed
        self._events = nft.RulesetEvents()
        self._lost = False
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._events.fileno(), self._read)

    def close(self) -> None:
        """Stop watching."""
        self._loop.remove_reader(self._events.fileno())
        if self._timer is not None:
            self._timer.cancel()
        self._events.close()

    def _read(self) -> None:
        try:
            events = self._events.read()
        except OSError as error:  # some changes were lost: look at everything
            _log.debug("nftables events lost", extra={"error": str(error)})
            self._lost = True
            events = [(nft.NEWTABLE, 0, "")]
        foreign = False
        for kind, family, table in events:
            if table != TABLE:
                foreign = True
            elif kind in {nft.NEWTABLE, nft.DELTABLE} and family != nft.NFPROTO_IPV6:
                self._lost = kind == nft.DELTABLE
        if (foreign or self._lost) and self._timer is None:
            self._timer = self._loop.call_later(_SETTLE_S, self._settle)

    def _settle(self) -> None:
        self._timer = None
        lost, self._lost = self._lost, False
        self._changed(lost)
