"""Blobs on their way from a registry: each is fetched once, however many pulls want it, and goes on where an
earlier try stopped.

What has come is hashed and written by a thread while the next bytes arrive; readers follow the growing file,
and see its end only when the whole was found right.
"""

import asyncio
import io
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import BinaryIO, Final, cast

from sampan.base.errors import EngineError, HostFailure, Unavailable
from sampan.base.faults import point
from sampan.base.tasks import Tasks
from sampan.base.threads import blocking
from sampan.images.content import ContentStore
from sampan.images.slots import Slots
from sampan.oci.descriptor import Descriptor
from sampan.oci.digest import Digest
from sampan.registry.errors import BadAnswer, ConnectionFailed, Refused, RefusedUnavailable
from sampan.registry.repository import Repository
from sampan.registry.transport import Answer, Backoff

_log = logging.getLogger(__name__)
_BATCH: Final = 512 << 10  # bytes handed to the writing thread at once
_STEP: Final = 64 << 10  # bytes for which a reader is woken
_TICK_S: Final = 0.1
_ADVANCE: Final = 1 << 20  # bytes after which a broken connection counts as the first one again

Show = Callable[[str, int, int], None]  # what happens ("Downloading"), bytes so far, bytes in all


class Download:
    """One blob being fetched into its partial file; the methods of the file's side run in threads."""

    def __init__(self, content: ContentStore, descriptor: Descriptor) -> None:
        self.digest = Digest(descriptor.digest)
        self.size = descriptor.size
        self.urls = descriptor.urls
        self.path = content.partial(self.digest)
        self.users = 0
        self.shown: tuple[str, int, int] = ("Waiting", 0, 0)
        self.watchers: list[Show] = []
        self._content = content
        self._hasher = self.digest.hasher()
        self._file = -1
        self._changed = threading.Condition()
        self._available = 0
        self._verified = False
        self._suspect = False
        self.error: BaseException | None = None
        self._kept = False

    def show(self, action: str, current: int = 0, total: int = 0) -> None:
        """Tell the watchers what happens."""
        self.shown = (action, current, total)
        for watcher in list(self.watchers):
            watcher(action, current, total)

    # The file's side. Blocking.

    def begin(self) -> int:
        """Open the file and hash what an earlier try has left; return how many bytes that is."""
        if self._file < 0:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with self._changed:
                self._file = file
            if os.fstat(self._file).st_size > self.size:
                os.ftruncate(self._file, 0)
            while piece := os.read(self._file, _BATCH):
                self._hasher.update(piece)
                self._advance(len(piece))
        return self._available

    def restart(self) -> None:
        """Begin again from the first byte."""
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        self._hasher = self.digest.hasher()
        self._advance(-self._available)

    def write(self, pieces: Sequence[bytes]) -> None:
        """Append ``pieces``. Raises BadAnswer if that is more than there should be."""
        for piece in pieces:
            if self._available + len(piece) > self.size:
                raise BadAnswer(f"blob {self.digest} is longer than {self.size} bytes")
            self._hasher.update(piece)
            view = memoryview(piece)
            while view:
                view = view[os.write(self._file, view) :]
            self._advance(len(piece))

    def _advance(self, count: int) -> None:
        with self._changed:
            self._available += count
            self._changed.notify_all()

    def verify(self) -> None:
        """Let the readers see the end. Raises BadAnswer, and forgets the bytes, if they are wrong."""
        if self._hasher.digest() != self.digest:
            self.path.unlink(missing_ok=True)
            raise BadAnswer(f"filesystem layer verification failed for digest {self.digest}")
        with self._changed:
            self._verified = True
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """Let the readers fail."""
        with self._changed:
            self.error = self.error or error
            self._changed.notify_all()

    @property
    def has_all(self) -> bool:
        """Whether as many bytes have come as there should be, right or wrong."""
        return self._available == self.size

    def suspect(self) -> None:
        """Somebody could not go on with the bytes so far: unless all is found right, they are forgotten."""
        self._suspect = True

    def close(self) -> None:
        """Give the file back; who reads it has a descriptor of their own."""
        if self._suspect and not self._verified:
            self.path.unlink(missing_ok=True)
        with self._changed:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def descriptor(self) -> int:
        """Return a descriptor of the file for somebody who has waited for bytes of it."""
        with self._changed:
            if self._file >= 0:
                return os.dup(self._file)
            try:
                return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:  # another pull has kept it
                return os.open(self._content.path(self.digest), os.O_RDONLY | os.O_CLOEXEC)

    def keep(self) -> Digest:
        """Make the file a blob of the content store."""
        with self._changed:
            if not self._kept and self._content.size(self.digest) is None:
                self._content.adopt(self.path, self.digest)
            self._kept = True
        return self.digest

    def wait_for(self, reader: "Following", count: int) -> int:
        """Return how many bytes there are, at least ``count`` unless it ends before; wait for them.

        Raises what has ended the download, or BrokenPipeError if the reader was told to stop.
        """
        with self._changed:
            while True:
                if reader.stopped:
                    raise BrokenPipeError("nobody wants this layer any more")
                if self.error is not None:
                    raise self.error
                if self._verified or (self._available >= count and count <= self.size):
                    return self._available
                self._changed.wait()

    def stop(self, readers: Sequence["Following"]) -> None:
        """Wake ``readers`` and let them fail."""
        with self._changed:
            for reader in readers:
                reader.stopped = True
            self._changed.notify_all()


class Following(io.RawIOBase):
    """A file that is being written, read as if it were whole."""

    def __init__(self, download: Download) -> None:
        super().__init__()
        self.stopped = False
        self._download = download
        self._at = 0
        self._fd = -1
        self._ended = False

    def read(self, size: int = -1, /) -> bytes:
        """Return at most ``size`` bytes, waiting for some; b"" at the verified end."""
        if size < 0:
            raise ValueError("a layer is not read at once")
        try:
            there = self._download.wait_for(self, self._at + max(1, min(size, _STEP, self._left())))
        except BaseException:
            self._ended = True  # the download's own fault, or this reader was told to stop
            raise
        if self._fd < 0:
            self._fd = self._download.descriptor()
        data = os.pread(self._fd, min(size, max(0, there - self._at)), self._at)
        self._at += len(data)
        self._ended = self._ended or not data
        return data

    def _left(self) -> int:
        return self._download.size - self._at

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to ``offset``."""
        if whence:
            raise ValueError("only from the beginning")
        self._at = offset
        return offset

    @property
    def given_up(self) -> bool:
        """Whether its reader has closed it of their own will, before the end."""
        return self.closed and not self._ended and not self.stopped

    def tell(self) -> int:
        """Return where the next read begins."""
        return self._at

    def close(self) -> None:
        """Give the file back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        super().close()


class Incoming:
    """A blob that is being fetched, as one pull sees it: a source of the installer."""

    def __init__(self, download: Download, task: "asyncio.Task[None]") -> None:
        self._download = download
        self._task = task
        self._readers: list[Following] = []
        self.digest = download.digest
        self.size = download.size

    def open(self) -> BinaryIO:
        """Open the blob; reading waits for what has not come yet."""
        reader = Following(self._download)
        self._readers.append(reader)
        return cast("BinaryIO", reader)

    async def finished(self) -> None:
        """Wait until the blob is whole. Raises what has ended its download instead."""
        await asyncio.wait([self._task])
        if self._download.error is not None:
            raise self._download.error

    async def unreadable(self) -> None:
        """Take note that the bytes so far made no sense, if it was this blob that was being read.

        Raises what is wrong with it, if all of it has come.
        """
        if self._download.has_all:
            await self.finished()
        elif any(reader.given_up for reader in self._readers):
            self._download.suspect()

    def keep(self) -> Digest:
        """Move the blob, which must be whole, into the content store."""
        return self._download.keep()

    def abort(self) -> None:
        """Let whoever reads it for this pull fail."""
        self._download.stop(self._readers)


class Downloads:
    """The downloads of one image service, as many at a time as ``slots`` has places."""

    def __init__(self, content: ContentStore, slots: Slots) -> None:
        self._content = content
        self._slots = slots
        self._tasks = Tasks("downloads")
        self._running: dict[str, tuple[Download, asyncio.Task[None]]] = {}

    def digests(self) -> list[str]:
        """Return the digests of what is being fetched."""
        return list(self._running)

    async def close(self) -> None:
        """End all downloads; what has come so far stays for a later one."""
        await self._tasks.close()

    @asynccontextmanager
    async def joined(
        self, descriptor: Descriptor, repositories: Sequence[Repository], show: Show
    ) -> AsyncIterator[Incoming]:
        """Yield the blob ``descriptor`` on its way.

        The download ends with the last of those who have joined it. ``show`` is told what happens.
        """
        running = self._running.get(descriptor.digest)
        if running is None or running[1].done():
            download = Download(self._content, descriptor)
            task = self._tasks.spawn(self._fetch(download, repositories), name=descriptor.digest)
            self._running[descriptor.digest] = download, task
        else:
            download, task = running
            show(*download.shown)
        download.users += 1
        download.watchers.append(show)
        try:
            yield Incoming(download, task)
        finally:
            download.watchers.remove(show)
            download.users -= 1
            if not download.users:
                task.cancel()
                await asyncio.wait([task])
                if self._running.get(descriptor.digest) == (download, task):
                    del self._running[descriptor.digest]

    async def _fetch(self, download: Download, repositories: Sequence[Repository]) -> None:
        """Fetch a blob; what goes wrong is what its readers, and those who wait for ``finished``, get."""
        try:
            async with self._slots.taken():
                await self._fetch_from_any(download, repositories)
                download.show("Verifying Checksum")
                await blocking(download.verify)
                download.show("Download complete")
        except EngineError as error:
            download.fail(error)
        except OSError as error:
            failure = HostFailure(f"cannot write blob {download.digest}: {error.strerror or error}")
            failure.__cause__ = error
            download.fail(failure)
        except BaseException:
            download.fail(Unavailable(f"the download of {download.digest} was stopped"))
            raise
        finally:
            download.close()

    async def _fetch_from_any(self, download: Download, repositories: Sequence[Repository]) -> None:
        for number, repository in enumerate(repositories, 1):
            try:
                await self._fetch_from(download, repository)
            except EngineError as error:
                if number == len(repositories):
                    raise
                _log.warning(
                    "a mirror does not give a blob: %s", error, extra={"registry": repository.endpoint.host}
                )
            else:
                return

    async def _fetch_from(self, download: Download, repository: Repository) -> None:
        def backoff() -> Backoff:
            return Backoff(repository.attempts, repository.transport.sleep)

        waiting = backoff()
        while True:
            start = await blocking(download.begin)
            try:
                await self._attempt(download, repository, start)
            except (ConnectionFailed, RefusedUnavailable) as error:
                have = await blocking(download.begin)
                if have - start >= _ADVANCE:
                    waiting = backoff()
                refused = isinstance(error, ConnectionFailed) and error.refused and not start
                if refused or not waiting.more:
                    raise
                unit = "seconds" if (wait_s := int(waiting.planned_s())) != 1 else "second"
                download.show(f"Retrying in {wait_s} {unit}")
                await waiting.wait()
            else:
                return

    async def _attempt(self, download: Download, repository: Repository, start: int) -> None:
        if start == download.size:
            return
        try:
            async with repository.blob(download.digest, start) as (begins, answer):
                await self._receive(download, answer, start, begins)
        except Refused as error:
            if error.status == 416:
                raise BadAnswer(
                    f"blob {download.digest}: expected {download.size} bytes, got {start}"
                ) from error
            if error.status != 404 or not download.urls:
                raise
            async with repository.foreign_blob(download.urls[0]) as answer:
                await self._receive(download, answer, start, 0)

    async def _receive(self, download: Download, answer: Answer, start: int, begins: int) -> None:
        length = answer.headers.get("content-length", "")
        if length.isdigit() and (whole := begins + int(length)) != download.size:
            raise BadAnswer(
                f"blob {download.digest}: expected {download.size} bytes, the registry has {whole}"
            )
        if begins != start:
            await blocking(download.restart)
        at = begins
        batch: list[bytes] = []
        size = 0
        loop = asyncio.get_running_loop()
        due = 0.0
        try:
            async with aclosing(answer.chunks()) as chunks:
                async for piece in chunks:
                    batch.append(piece)
                    size += len(piece)
                    if size < _BATCH:
                        continue
                    await blocking(download.write, batch)
                    at += size
                    batch, size = [], 0
                    point("images.pull.batch")
                    if (now := loop.time()) >= due:
                        due = now + _TICK_S
                        download.show("Downloading", at, download.size)
        except ConnectionFailed:
            await blocking(download.write, batch)
            raise
        await blocking(download.write, batch)
        if at + size < download.size:
            raise ConnectionFailed(f"blob {download.digest}: unexpected EOF")
        download.show("Downloading", at + size, download.size)
