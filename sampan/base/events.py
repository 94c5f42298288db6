"""The engine's event bus: what ``GET /events`` shows, and how lower layers tell upper ones.

Events go up: a service publishes, whoever is above subscribes. The bus keeps the last ``HISTORY`` events for
``since``; a subscriber that does not read is cut off rather than allowed to hold memory.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

HISTORY: Final = 256
_BACKLOG: Final = 4096


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the event stream; ``type`` is container, image, network, volume, daemon, …"""

    type: str
    action: str
    actor: str
    attributes: Mapping[str, str]
    time_ns: int = field(default_factory=time.time_ns)
    scope: str = "local"


class Subscription:
    """A reader's queue of events; iterate it. It ends when the bus closes or the reader lags too far."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue(_BACKLOG)

    def offer(self, event: Event | None) -> bool:
        """Queue ``event`` (None: the end); return False if the reader is too far behind."""
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            return False
        return True

    async def __aiter__(self) -> AsyncIterator[Event]:
        while (event := await self._queue.get()) is not None:
            yield event


class EventBus:
    """Publishes events to any number of subscribers. Must be used from the event loop's thread."""

    def __init__(self) -> None:
        self._history: deque[Event] = deque(maxlen=HISTORY)
        self._subscribers: set[Subscription] = set()

    def publish(
        self, type_: str, action: str, actor: str, attributes: Mapping[str, str] | None = None
    ) -> Event:
        """Record an event of now and hand it to every subscriber."""
        event = Event(type_, action, actor, dict(attributes or {}))
        self._history.append(event)
        for subscriber in [s for s in self._subscribers if not s.offer(event)]:
            self._subscribers.discard(subscriber)
        return event

    def history(self) -> list[Event]:
        """Return the events still remembered, oldest first."""
        return list(self._history)

    @contextmanager
    def subscribe(self) -> Iterator[Subscription]:
        """Yield a subscription that gets every event published inside the block."""
        subscription = Subscription()
        self._subscribers.add(subscription)
        try:
            yield subscription
        finally:
            self._subscribers.discard(subscription)

    def close(self) -> None:
        """End every subscription."""
        for subscriber in self._subscribers:
            subscriber.offer(None)
        self._subscribers.clear()
