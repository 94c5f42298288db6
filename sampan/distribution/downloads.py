"""Blobs on their way from another registry: one download each, however many clients wait for it.

The bytes go to a partial file of the content store and, while they do, from there to the clients. The last
byte is kept back until the whole is verified: no client ever has all of a wrong blob. A download goes on when
its clients have gone, and where it stopped when it is asked for again.
"""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import BinaryIO, Final

from sampan.base.errors import EngineError
from sampan.base.threads import blocking
from sampan.distribution.errors import DiskFull, UpstreamUnavailable
from sampan.distribution.store import Store, disk_trouble
from sampan.distribution.uploads import hash_file
from sampan.oci.digest import Digest, Hasher
from sampan.registry.errors import BadAnswer, ConnectionFailed, Refused, RefusedUnavailable
from sampan.registry.repository import Repository
from sampan.registry.transport import Answer, Backoff

_log = logging.getLogger(__name__)
_READ: Final = 1 << 18
_BATCH: Final = 1 << 18  # bytes that are worth a change of thread


class _Partial:
    """The beginning of a blob on the disk, and its running hash. Blocks."""

    def __init__(self, path: Path, algorithm: str) -> None:
        self.path = path
        self.hasher = Hasher(algorithm)
        self._algorithm = algorithm
        self._file = path.open("ab", buffering=0)
        self.reader = path.open("rb", buffering=0)
        if self.size:  # what an earlier download has left
            self.hasher = hash_file(path, algorithm)

    @property
    def size(self) -> int:
        """How many bytes are here."""
        return self._file.tell()

    def append(self, data: bytes) -> None:
        """Write the bytes that follow."""
        self.hasher.update(data)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]

    def restart(self) -> None:
        """Forget what is here."""
        self._file.truncate(0)
        self._file.seek(0)
        self.hasher = Hasher(self._algorithm)

    def close(self) -> None:
        """Close the file, which stays."""
        self._file.close()
        self.reader.close()


class Download:
    """The blob ``digest`` on its way from ``repository`` into the store; ``run`` is a task of the owner's.

    ``size`` is known once ``begun`` has returned.
    """

    def __init__(self, store: Store, repository: Repository, digest: Digest) -> None:
        self.size = 0
        self._store = store
        self._repository = repository
        self._digest = digest
        self._here = 0  # bytes that a client may have
        self._partial: _Partial | None = None
        self._begun = False
        self._error: EngineError | None = None
        self._news: set[asyncio.Future[None]] = set()

    # --- for the clients

    async def begun(self) -> None:
        """Wait until the size is known. Raises what the upstream registry answers."""
        await self._until(lambda: self._begun)

    def pieces(self, start: int, count: int) -> AsyncGenerator[bytes, None]:
        """Return ``count`` bytes from ``start``, which come as they arrive. To be called once it has begun.

        Raises ConnectionAbortedError later, if something goes wrong: the client's head is out by then.
        """
        if self._partial is not None:
            file: BinaryIO = os.fdopen(os.dup(self._partial.reader.fileno()), "rb", buffering=0)
        else:  # it has ended meanwhile
            file = self._store.content.open(self._digest)
        return self._pieces(file, start, start + count)

    async def _pieces(self, file: BinaryIO, start: int, end: int) -> AsyncGenerator[bytes, None]:
        with file:
            while start < end:
                try:
                    await self._until(lambda at=start: self._here > at)  # type: ignore[misc]
                except EngineError as error:
                    raise ConnectionAbortedError from error
                size = min(_READ, self._here - start, end - start)
                data = await blocking(os.pread, file.fileno(), size, start)
                if not data:
                    raise EOFError(f"blob {self._digest} has become shorter")
                start += len(data)
                yield data

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            if self._error is not None:
                raise self._error
            waiter = asyncio.get_running_loop().create_future()
            self._news.add(waiter)
            try:
                await waiter
            finally:
                self._news.discard(waiter)

    def _tell(self) -> None:
        for waiter in self._news:
            if not waiter.done():
                waiter.set_result(None)

    # --- the work

    async def run(self, name: str) -> None:
        """Fetch and verify the blob and let the local repository ``name`` serve it."""
        path = self._store.content.partial(self._digest)
        try:
            with disk_trouble():
                partial = self._partial = await blocking(_Partial, path, self._digest.algorithm)
                self._here = max(0, partial.size - 1)
                await self._fetch(partial)
                await self._settle(partial, name)
        except EngineError as error:
            self._error = error
            if isinstance(error, DiskFull):
                path.unlink(missing_ok=True)
            _log.warning("download failed", extra={"digest": str(self._digest), "reason": str(error)})
        except BaseException:
            self._error = UpstreamUnavailable("the download was given up")
            raise
        finally:
            if self._partial is not None:
                self._partial.close()
                self._partial = None
            self._tell()

    async def _fetch(self, partial: _Partial) -> None:
        transport = self._repository.transport
        backoff = Backoff(transport.settings.max_attempts, transport.sleep)
        while True:
            try:
                await self._ask(partial)
            except (ConnectionFailed, RefusedUnavailable) as error:
                if (isinstance(error, ConnectionFailed) and error.refused) or not backoff.more:
                    raise
                await backoff.wait()
            except Refused as error:
                if error.status != 416 or not partial.size:
                    raise
                self._restart(partial)  # what is here is no beginning of it
            else:
                return

    async def _ask(self, partial: _Partial) -> None:
        start = partial.size
        async with self._repository.blob(self._digest, start) as (begins, answer):
            if start and not begins:
                self._restart(partial)
                start = 0
            self._take_size(start, answer)
            pieces: list[bytes] = []
            size = 0
            try:
                async for piece in answer.chunks():
                    pieces.append(piece)
                    size += len(piece)
                    if size >= _BATCH:
                        batch, pieces, size = pieces, [], 0
                        await self._write(partial, batch)
            finally:  # also what came before it broke off
                if pieces:
                    await self._write(partial, pieces)
        if partial.size < self.size:
            raise ConnectionFailed(f"blob {self._digest}: unexpected EOF")

    def _take_size(self, start: int, answer: Answer) -> None:
        length = answer.headers.get("content-length", "")
        if not length.isdigit():
            raise BadAnswer(f"blob {self._digest}: the upstream registry does not say how long it is")
        size = start + int(length)
        if self._begun and size != self.size:
            raise BadAnswer(f"blob {self._digest}: its size was {self.size} and is {size} now")
        self.size, self._begun = size, True
        self._tell()

    def _restart(self, partial: _Partial) -> None:
        if self._begun and self._here:
            raise BadAnswer(f"blob {self._digest}: the upstream registry cannot go on where it stopped")
        partial.restart()
        self._here = 0

    async def _write(self, partial: _Partial, pieces: list[bytes]) -> None:
        await blocking(partial.append, b"".join(pieces))
        self._here = max(0, min(partial.size, self.size - 1))
        self._tell()

    async def _settle(self, partial: _Partial, name: str) -> None:
        found = partial.hasher.digest()
        if found != self._digest or partial.size != self.size:
            partial.path.unlink(missing_ok=True)
            raise BadAnswer(f"blob {self._digest}: verification failed, got {found}")
        await self._store.add_blob(name, self._digest, partial.path)
        self._here = self.size
