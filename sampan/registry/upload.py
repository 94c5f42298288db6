"""Sending a blob: small ones in one request, others in a session that goes on after a broken connection."""

from collections.abc import AsyncIterator, Callable
from typing import Final

from sampan.registry.errors import ConnectionFailed, Refused, RefusedNotFound, RefusedUnavailable
from sampan.registry.repository import Repository
from sampan.registry.transport import Backoff, Content

Reader = Callable[[int, int], AsyncIterator[bytes]]  # from this byte, this many
_SMALL: Final = 1 << 20  # bytes of a blob that is sent in one request
_PART: Final = 8 << 20  # bytes of a part where a registry refuses the whole


class Upload:
    """One blob of ``size`` bytes on its way; ``session``: the URL of an upload that was begun already.

    ``progress`` is called with the bytes sent so far. A registry that finds the whole too large for one
    request gets it in parts.
    """

    def __init__(
        self,
        repository: Repository,
        digest: str,
        size: int,
        read: Reader,
        progress: Callable[[int], None],
        session: str = "",
    ) -> None:
        self._repository = repository
        self._digest = digest
        self._size = size
        self._read = read
        self._progress = progress
        self._session = session
        self._at = 0
        self._sure = True  # the registry has as many bytes as we think
        self._part = size

    async def run(self) -> None:
        """Send the blob. Raises Refused, ConnectionFailed, BadAnswer."""
        backoff = Backoff(self._repository.attempts, self._repository.transport.sleep)
        while True:
            try:
                await self._send()
            except Refused as error:
                if error.status == 413 and self._part > _PART:
                    self._part = _PART
                elif isinstance(error, RefusedUnavailable | RefusedNotFound) and backoff.more:
                    await backoff.wait()  # 404: the session is gone
                else:
                    raise
                self._session = ""
            except ConnectionFailed as error:
                if error.refused or not backoff.more:
                    raise
                await backoff.wait()
                self._sure = False
            else:
                self._progress(self._size)
                return

    async def _send(self) -> None:
        repository, size = self._repository, self._size
        if not self._session:
            self._session, self._at, self._sure = await repository.begin_upload(), 0, True
        if size <= min(_SMALL, self._part):
            content = Content(lambda: self._read(0, size), size)
            session, self._session = self._session, ""
            await repository.finish_upload(session, self._digest, content)
            return
        if not self._sure:
            self._at, self._session = await repository.resume_upload(self._session)
            self._sure = True
        while self._at < size:
            start, count = self._at, min(self._part, size - self._at)
            self._sure = False
            content = Content(lambda at=start, n=count: self._counted(at, n), count)  # type: ignore[misc]
            self._session = await repository.send_part(self._session, start, content)
            self._at, self._sure = start + count, True
        await repository.finish_upload(self._session, self._digest)

    async def _counted(self, start: int, count: int) -> AsyncIterator[bytes]:
        async for piece in self._read(start, count):
            yield piece
            start += len(piece)
            self._progress(start)
