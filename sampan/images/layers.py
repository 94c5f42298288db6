"""Layers on their way from blobs into snapshots: decompress, hash and apply, side by side.

A compressed layer is read by two threads: one decompresses and hashes (both without the GIL), the other lets
storage apply what comes out. A plain layer whose digest is its diffID has been hashed when it arrived, and is
applied straight from its file. Nothing is committed before the diffID is known to be right.
"""

import asyncio
import queue
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, closing, nullcontext
from typing import BinaryIO, Final, Protocol

from sampan.base.errors import Conflict
from sampan.base.threads import apart
from sampan.images.compression import MAGIC_BYTES, PIECE, Compression, Decompressor, Limits, detect
from sampan.images.errors import WrongDigest
from sampan.images.unsettled import Unsettled, layer_key
from sampan.oci.digest import Digest

_QUEUE: Final = 8  # pieces of at most PIECE bytes between the two threads
_TICK_S: Final = 0.1  # Docker shows progress ten times a second at most


class Sized(Protocol):
    """What storage tells of a layer."""

    @property
    def size(self) -> int:
        """Bytes of the files in it."""


class Measured(Protocol):
    """What a layer takes on the disk, in bytes of blocks."""

    @property
    def disk(self) -> int: ...


class Readable(Protocol):
    """A stream of bytes; b"" is its end."""

    def read(self, size: int, /) -> bytes: ...


class Snapshots(Protocol):
    """The part of the storage service that images use; what is not ``async`` blocks, for threads."""

    @property
    def name(self) -> str: ...

    def exists(self, key: str) -> bool: ...

    def apply(self, chain_id: str, parent: str | None, tar: Readable) -> Sized: ...

    def rebuild(self, chain_id: str, parent: str | None, tar: Readable) -> Sized: ...

    def flush(self) -> None: ...

    async def remove(self, key: str) -> None: ...

    async def discard(self, key: str) -> None: ...

    async def usage(self, key: str) -> Sized: ...

    def measure(self, keys: Iterable[str]) -> Mapping[str, Measured]: ...

    def graph_data(self, key: str) -> dict[str, str]: ...

    def diff(self, key: str, parent: str | None) -> Generator[bytes, None, None]: ...


class LayerSource(Protocol):
    """The bytes of a layer: a blob of the store, or a file that is about to become one."""

    @property
    def digest(self) -> Digest: ...

    @property
    def size(self) -> int: ...

    def open(self) -> BinaryIO: ...


class Layers:
    """Unpacks layers into snapshots once each, and drops snapshots that nobody needs.

    Who works with a chainID leases it first: a leased snapshot is not dropped. ``unsettled`` takes note of
    those that were made.
    """

    def __init__(
        self, snapshots: Snapshots, limits: Limits | None = None, unsettled: Unsettled | None = None
    ) -> None:
        self._snapshots = snapshots
        self._unsettled = unsettled
        self._limits = limits or Limits()
        self._leases: Counter[str] = Counter()
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def leased(self, chain: Sequence[str]) -> AsyncIterator[None]:
        """Keep the snapshots of ``chain`` (which need not exist yet) while the block runs."""
        self._leases.update(chain)
        try:
            yield
        finally:
            self._leases.subtract(chain)
            self._leases += Counter()

    def leases(self) -> list[str]:
        """Return the chainIDs that somebody works with."""
        return list(self._leases)

    async def ensure(
        self,
        chain_id: str,
        parent: str | None,
        diff_id: Digest,
        source: LayerSource,
        progress: Callable[[int, int], None] | None = None,
    ) -> int | None:
        """Unpack ``source`` over snapshot ``parent`` as ``chain_id``; return its size in bytes.

        None says that the snapshot was there already. ``progress`` is called with bytes read and in all.
        Raises WrongDigest if the layer is not that of ``diff_id``, InvalidArchive, TooLarge.
        """
        async with self._locked(chain_id):
            if self._snapshots.exists(chain_id):
                return None
            work = _Unpack(self._snapshots.apply, chain_id, parent, diff_id, source, self._limits)
            with self._making(chain_id):
                if progress is None:
                    return await apart(work.run)
                ticker = _Ticker(work, source.size, progress)
                try:
                    size = await apart(work.run)
                finally:
                    ticker.stop()
            progress(source.size, source.size)
            return size

    async def rebuild(self, chain_id: str, parent: str | None, diff_id: Digest, source: LayerSource) -> None:
        """Unpack ``source`` anew for the snapshot ``chain_id``, which may be damaged; what lies on it stays.

        Raises as ``ensure``; the snapshot is what it was then.
        """
        async with self._locked(chain_id):
            work = _Unpack(self._snapshots.rebuild, chain_id, parent, diff_id, source, self._limits)
            with self._making(chain_id):
                await apart(work.run)

    def _making(self, chain_id: str) -> AbstractContextManager[None]:
        return nullcontext() if self._unsettled is None else self._unsettled.making(layer_key(chain_id))

    async def drop(self, chain: Iterable[str], in_use: Callable[[str], bool]) -> list[str]:
        """Remove the snapshots of ``chain`` (top first) up to the first one that is still needed.

        A container's snapshot on top of one counts too. Returns what was removed.
        """
        removed: list[str] = []
        for chain_id in chain:
            async with self._locked(chain_id):
                if self._leases[chain_id] or in_use(chain_id):
                    break
                if not self._snapshots.exists(chain_id):
                    continue
                try:
                    await self._snapshots.remove(chain_id)
                except Conflict:
                    break
                removed.append(chain_id)
        return removed

    @asynccontextmanager
    async def _locked(self, chain_id: str) -> AsyncIterator[None]:
        lock, users = self._locks.get(chain_id) or (asyncio.Lock(), 0)
        self._locks[chain_id] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks.pop(chain_id)
            if users > 1:
                self._locks[chain_id] = (lock, users - 1)


class _Ticker:
    """Reports how far an unpacking thread is, until stopped."""

    def __init__(self, work: "_Unpack", total: int, progress: Callable[[int, int], None]) -> None:
        self._work = work
        self._total = total
        self._progress = progress
        self._shown = 0
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(_TICK_S, self._tick)

    def _tick(self) -> None:
        self._timer = self._loop.call_later(_TICK_S, self._tick)
        if (current := min(self._work.consumed(), self._total)) != self._shown:
            self._shown = current
            self._progress(current, self._total)

    def stop(self) -> None:
        """Report no more."""
        self._timer.cancel()


class _Unpack:
    """One layer being unpacked by ``apply``, in the thread that calls ``run``."""

    def __init__(
        self,
        apply: Callable[[str, str | None, Readable], Sized],
        chain_id: str,
        parent: str | None,
        diff_id: Digest,
        source: LayerSource,
        limits: Limits,
    ) -> None:
        self._apply = apply
        self._chain_id = chain_id
        self._parent = parent
        self._diff_id = diff_id
        self._source = source
        self._limits = limits
        self._file: BinaryIO | None = None

    def consumed(self) -> int:
        """Return how many bytes of the source were read so far. May be called from any thread."""
        file = self._file
        try:
            return file.tell() if file is not None else 0
        except ValueError:  # closed meanwhile
            return 0

    def run(self) -> int:
        """Unpack; return the layer's size in bytes."""
        with self._source.open() as file:
            self._file = file
            head = file.read(MAGIC_BYTES)
            file.seek(0)
            compression = detect(head)
            if compression is Compression.NONE and self._source.digest.algorithm == self._diff_id.algorithm:
                if self._source.digest != self._diff_id:
                    raise wrong_diff_id(self._diff_id, self._source.digest)
                return self._apply(self._chain_id, self._parent, file).size
            what = f"layer {self._source.digest}"
            with closing(_Pipeline(file, compression, self._diff_id, self._limits, what)) as stream:
                return self._apply(self._chain_id, self._parent, stream).size


def wrong_diff_id(expected: str, got: str) -> WrongDigest:
    """Return the error for a layer that is not the one its configuration names."""
    return WrongDigest(f'invalid diffID for layer: expected "{expected}", got "{got}"')


class _Pipeline:
    """The uncompressed tar of a layer as a file to read, decompressed and hashed by a thread of its own.

    The last read raises WrongDigest, instead of saying that the file ends, if the whole has another digest.
    """

    def __init__(
        self, file: BinaryIO, compression: Compression, expected: Digest, limits: Limits, what: str
    ) -> None:
        self._file = file
        self._expected = expected
        self._queue: queue.Queue[bytes | memoryview | BaseException | None] = queue.Queue(_QUEUE)
        self._rest: bytes | memoryview = b""
        self._ended = False
        self._stopped = False
        self._hasher = expected.hasher()
        self._decompressor = Decompressor(compression, self._pass, what, limits)
        self._thread = threading.Thread(target=self._run, name="layer", daemon=True)
        self._thread.start()

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes, less where it suits; b"" at the end."""
        piece = self._rest or self._next()
        self._rest = b""
        if len(piece) > size:
            self._rest = memoryview(piece)[size:]
            piece = piece[:size]
        return bytes(piece)

    def _next(self) -> bytes | memoryview:
        if self._ended:
            return b""
        item = self._queue.get()
        if item is None:
            self._ended = True
            found = self._hasher.digest()
            if found != self._expected:
                raise wrong_diff_id(self._expected, found)
            return b""
        if isinstance(item, BaseException):
            self._ended = True
            raise item
        return item

    def close(self) -> None:
        """Stop the thread and wait for it."""
        self._stopped = True
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=0.02)
            except queue.Empty:
                self._thread.join(0.02)

    def _pass(self, piece: bytes | memoryview) -> None:
        self._hasher.update(piece)
        self._queue.put(piece)
        if self._stopped:
            raise _Stopped

    def _run(self) -> None:
        try:
            while data := self._file.read(PIECE):
                self._decompressor.feed(data)
            self._decompressor.finish()
        except _Stopped:
            return
        except BaseException as error:  # raised again in the thread that reads
            self._queue.put(error)
            return
        self._queue.put(None)


class _Stopped(Exception):
    """The reader has gone away."""
