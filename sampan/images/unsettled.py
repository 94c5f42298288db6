"""What was written and verified, and is not known to be on the disk yet: blobs and layers.

Nobody waits for the disk to get an image. Its row is written with one more row for each of its pieces that is
unsettled, in one transaction; then the file systems are flushed in the background, and those rows go:

    table unsettled    id: "blob <digest>" or "layer <chainID>"    document: the boot in which it was written

Rows of this boot say nothing bad: what a process has written outlives it. Rows of another boot tell which
pieces a power cut may have damaged; ``recovery`` looks at those, and at nothing else.
"""

import asyncio
import itertools
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from sampan.base.errors import EngineError
from sampan.base.faults import point
from sampan.base.state import StateDB
from sampan.base.tasks import Tasks
from sampan.base.threads import apart

_log = logging.getLogger(__name__)
TABLE: Final = "unsettled"
_BLOB: Final = "blob "
_LAYER: Final = "layer "
_QUIET_S: Final = 5.0  # the disk is left to others until nothing new has come for so long,
_LATEST_S: Final = 30.0  # but no longer than this: the kernel itself would write by then
_FAILED: Final = b"failed"  # stands for a boot that is over


def blob_key(digest: str) -> str:
    """Return the key of a blob."""
    return _BLOB + digest


def layer_key(chain_id: str) -> str:
    """Return the key of a layer's snapshot."""
    return _LAYER + chain_id


def split_keys(keys: Iterable[str]) -> tuple[set[str], set[str]]:
    """Return the digests of blobs and the chainIDs of layers among ``keys``."""
    digests, chains = set(), set()
    for key in keys:
        if key.startswith(_BLOB):
            digests.add(key.removeprefix(_BLOB))
        elif key.startswith(_LAYER):
            chains.add(key.removeprefix(_LAYER))
    return digests, chains


class Unsettled:
    """The unsettled pieces of one data root.

    ``making`` and ``among`` may be used in any thread, the rest on the event loop.
    """

    def __init__(self, state: StateDB, boot: str) -> None:
        self._state = state
        self._boot = boot.encode()
        self._lock = threading.Lock()
        self._clock = itertools.count(1)
        self._busy: Counter[str] = Counter()
        self._written: dict[str, int] = {}  # when each was written, by the clock
        self._rows: set[str] = set()
        self.lost: set[str] = set()
        """The keys whose rows another boot has written; who has seen to them calls ``resolve``."""
        for key, document in state.load(TABLE).items():
            self._rows.add(key)
            if document == self._boot:
                self._written[key] = next(self._clock)
            else:
                self.lost.add(key)

    @contextmanager
    def making(self, key: str) -> Iterator[None]:
        """Take note that ``key`` is written while the block runs, which makes it visible at its end."""
        with self._lock:
            self._busy[key] += 1
        try:
            yield
        finally:
            with self._lock:
                self._written[key] = next(self._clock)
                self._busy[key] -= 1
                if not self._busy[key]:
                    del self._busy[key]

    def among(self, keys: Iterable[str]) -> list[str]:
        """Return those of ``keys`` that are unsettled."""
        with self._lock:
            return [key for key in keys if key in self._written or key in self._busy]

    def note(self, keys: Iterable[str]) -> None:
        """Write a row for each of ``keys`` that is unsettled, in the transaction of whoever needs them."""
        for key in self.among(keys):
            self._state.put(TABLE, key, self._boot)
            self._rows.add(key)

    def now(self) -> int | None:
        """Return the time by which all that is written so far was; None if all is settled."""
        with self._lock:
            return next(self._clock) if self._written else None

    def settle(self, time: int) -> None:
        """Forget what was written before ``time``: it is on the disk."""
        gone = self._take(time) & self._rows
        if not gone:
            return
        with self._state.transaction():
            for key in gone:
                self._state.delete(TABLE, key)
        self._rows -= gone

    def give_up(self, time: int) -> None:
        """Let the next start look at what was written before ``time``: the disk refuses some of it."""
        bad = self._take(time)
        with self._state.transaction(durable=True):
            for key in bad:  # also of those whose image has no row yet
                self._state.put(TABLE, key, _FAILED)
        self._rows |= bad

    def _take(self, time: int) -> set[str]:
        """Take out and return the keys of what was written before ``time``."""
        with self._lock:
            taken = {key for key, when in self._written.items() if when < time and key not in self._busy}
            for key in taken:
                del self._written[key]
        return taken

    def resolve(self) -> None:
        """Forget all that is lost, but for what was made anew since."""
        with self._state.transaction():
            self.note(self.lost)
            for key in self.lost.difference(self.among(self.lost)):
                self._state.delete(TABLE, key)
                self._rows.discard(key)
        self.lost.clear()

    def __len__(self) -> int:
        with self._lock:
            return len(self._written)


class Settler:
    """Brings what is unsettled to the disk, a while after it has come; ``flush`` blocks until it is."""

    def __init__(
        self,
        unsettled: Unsettled,
        flush: Callable[[], None],
        tasks: Tasks,
        *,
        quiet_s: float = _QUIET_S,
        latest_s: float = _LATEST_S,
    ) -> None:
        self._unsettled = unsettled
        self._flush = flush
        self._tasks = tasks
        self._quiet_s = quiet_s
        self._latest_s = latest_s
        self._woken = 0.0
        self._task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Take note that something has come; returns at once."""
        self._woken = asyncio.get_running_loop().time()
        if (self._task is None or self._task.done()) and len(self._unsettled):
            self._task = self._tasks.spawn(self._run(), name="settle")

    async def _run(self) -> None:
        while len(self._unsettled):
            await self._calm()
            await self.settle()

    async def _calm(self) -> None:
        """Wait until nothing has come for a while."""
        loop = asyncio.get_running_loop()
        latest = loop.time() + self._latest_s
        while True:
            wait_s = min(self._woken + self._quiet_s, latest) - loop.time()
            if wait_s <= 0:
                return
            await asyncio.sleep(wait_s)

    async def settle(self) -> None:
        """Bring all that was written so far to the disk."""
        time = self._unsettled.now()
        if time is None:
            return
        try:
            point("images.settle")
            await apart(self._flush)
        except (OSError, EngineError) as error:
            _log.error(
                "images cannot be brought to the disk; the next start looks whether they are whole: %s",
                error,
                extra={"reason": str(error)},
            )
            self._unsettled.give_up(time)
            return
        point("images.settled")
        self._unsettled.settle(time)
