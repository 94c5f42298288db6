"""Blobs on their way in: sessions that outlive a connection, and the server.

A session is a row and a file; the file holds what has arrived, in order, and nothing else. Its hash runs
along while the server lives and is made up for from the file after a restart. Sessions that nobody has
written to for a while are removed, and so are, at the start, files without a row and rows without a file.
"""

import asyncio
import logging
import os
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from sampan.base import faults
from sampan.base.threads import blocking
from sampan.distribution.catalogue import UploadRow
from sampan.distribution.errors import (
    BlobTooLarge,
    DigestInvalid,
    TooManyRequests,
    UploadBusy,
    UploadUnknown,
)
from sampan.distribution.store import Store, disk_trouble
from sampan.oci.digest import Digest, Hasher

_log = logging.getLogger(__name__)
_MOST: Final = 4096  # sessions at a time
_BATCH: Final = 1 << 20  # bytes that are worth a change of thread
_READ: Final = 1 << 20
_BUSY_S: Final = 10.0  # a connection that broke takes a moment to be noticed
_LATER_S: Final = 60


class Upload:
    """One session; ``size`` is how many bytes of it are here. Written under ``Uploads.writing`` only."""

    def __init__(self, row: UploadRow, path: Path, size: int) -> None:
        self.id = row.id
        self.repository = row.repository
        self.algorithm = row.algorithm
        self.path = path
        self.size = size
        self.touched = row.since
        self.lock = asyncio.Lock()
        self._hasher: Hasher | None = Hasher(row.algorithm) if not size else None

    async def receive(self, body: AsyncIterator[bytes], limit: int) -> None:
        """Append what ``body`` yields; what has arrived stays also if it breaks off.

        Raises BlobTooLarge behind ``limit`` bytes (0: none), DiskFull, HostFailure.
        """
        pieces: list[bytes] = []
        size = 0
        try:
            async for piece in body:
                pieces.append(piece)
                size += len(piece)
                if limit and self.size + size > limit:
                    raise BlobTooLarge(f"a blob may have {limit} bytes at most")
                if size >= _BATCH:
                    pieces, batch, size = [], pieces, 0
                    await self._append(batch)
        finally:
            self.touched = time.time()
            if pieces and not (limit and self.size + size > limit):
                await self._append(pieces)

    async def _append(self, pieces: Sequence[bytes]) -> None:
        with disk_trouble():
            await blocking(self._write, pieces)

    def _write(self, pieces: Sequence[bytes]) -> None:
        hasher = self._hasher = self._hasher or hash_file(self.path, self.algorithm)
        try:
            with self.path.open("r+b", buffering=0) as file:
                file.seek(self.size)
                for piece in pieces:
                    hasher.update(piece)
                    view = memoryview(piece)
                    while view:
                        view = view[file.write(view) :]
            faults.point("distribution.upload.written")
        except BaseException:
            self._hasher = None  # it is ahead of what counts
            os.truncate(self.path, self.size)
            raise
        self.size += sum(map(len, pieces))

    async def digest(self, algorithm: str) -> Digest:
        """Return the digest of what is here."""
        if algorithm == self.algorithm and self._hasher is not None:
            return self._hasher.digest()
        with disk_trouble():
            return (await blocking(hash_file, self.path, algorithm)).digest()


def hash_file(path: Path, algorithm: str) -> Hasher:
    """Return the running hash of a file's bytes."""
    hasher = Hasher(algorithm)
    with path.open("rb", buffering=0) as file:
        while data := file.read(_READ):
            hasher.update(data)
    return hasher


class Uploads:
    """The sessions of a registry. A blob has ``limit`` bytes at most (0: any number)."""

    def __init__(self, store: Store, limit: int, timeout_s: float) -> None:
        self._store = store
        self._limit = limit
        self._timeout_s = timeout_s
        self._sessions: dict[str, Upload] = {}
        for row in store.catalogue.uploads():
            path = store.uploads / row.id
            try:
                self._sessions[row.id] = Upload(row, path, path.stat().st_size)
            except FileNotFoundError:
                store.catalogue.remove_upload(row.id)
        for path in store.uploads.iterdir():
            if path.name not in self._sessions:
                path.unlink()
        for session in self._sessions.values():
            session.touched = max(session.touched, session.path.stat().st_mtime)
        self.expire()

    def begin(self, repository: str, algorithm: str) -> Upload:
        """Begin a session. Raises TooManyRequests, DiskFull."""
        if len(self._sessions) >= _MOST:
            self.expire()
        if len(self._sessions) >= _MOST:
            raise TooManyRequests(
                f"more than {_MOST} uploads are under way", headers={"Retry-After": str(_LATER_S)}
            )
        row = UploadRow(str(uuid.uuid4()), repository, algorithm, time.time())
        path = self._store.uploads / row.id
        with disk_trouble():
            self._store.catalogue.add_upload(row)
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            except BaseException:
                self._store.catalogue.remove_upload(row.id)
                raise
        upload = self._sessions[row.id] = Upload(row, path, 0)
        return upload

    def find(self, repository: str, session: str) -> Upload:
        """Return a session. Raises UploadUnknown."""
        upload = self._sessions.get(session)
        if upload is None or upload.repository != repository:
            raise UploadUnknown(detail={"upload": session[:64]})
        return upload

    @asynccontextmanager
    async def writing(self, upload: Upload) -> AsyncIterator[None]:
        """Keep other requests from the session while the block runs. Raises UploadBusy, UploadUnknown."""
        try:
            async with asyncio.timeout(_BUSY_S):
                await upload.lock.acquire()
        except TimeoutError:
            raise UploadBusy from None
        try:
            self.find(upload.repository, upload.id)
            yield
        finally:
            upload.lock.release()

    async def receive(self, upload: Upload, body: AsyncIterator[bytes]) -> None:
        """Append what ``body`` yields. Where the disk is full the session is given up, which makes room."""
        try:
            await upload.receive(body, self._limit)
        except BaseException as error:
            if getattr(error, "status", 0) in {413, 507}:
                self.cancel(upload)
            raise

    async def finish(self, upload: Upload, digest: Digest) -> None:
        """Make the session's bytes the blob ``digest``. Raises DigestInvalid; the session is over anyway."""
        found = await upload.digest(digest.algorithm)
        if found != digest:
            self.cancel(upload)
            raise DigestInvalid(detail={"digest": str(digest), "found": str(found)})
        try:
            await self._store.add_blob(upload.repository, digest, upload.path)
        finally:
            self.cancel(upload)

    def cancel(self, upload: Upload) -> None:
        """End a session and remove its bytes."""
        if self._sessions.pop(upload.id, None) is not None:
            upload.path.unlink(missing_ok=True)
            with suppress(Exception):  # the disk may be full: the next start finds a row without a file
                self._store.catalogue.remove_upload(upload.id)

    def expire(self) -> int:
        """Cancel the sessions that nobody has written to for too long; return how many."""
        limit = time.time() - self._timeout_s
        old = [each for each in self._sessions.values() if each.touched <= limit and not each.lock.locked()]
        for upload in old:
            self.cancel(upload)
        if old:
            _log.info("uploads given up", extra={"count": len(old)})
        return len(old)
