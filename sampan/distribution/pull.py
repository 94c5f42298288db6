"""Pull: manifests and blobs, whole, in part, or whether they are there. Spec: "Pull"."""

from collections.abc import Mapping
from typing import Final, Protocol

from sampan.api.response import Answer, FileResponse, Response
from sampan.distribution.catalogue import ManifestRow
from sampan.distribution.exchange import DIGEST, OCTETS, Request, etag, is_named, nothing
from sampan.distribution.ranges import wanted_range
from sampan.distribution.store import Store
from sampan.distribution.target import parse_digest, parse_reference
from sampan.oci.digest import Digest

_FOR_EVER: Final = "max-age=31536000"  # content that is named by its digest does not change


class Upstream(Protocol):
    """The registry that a cache stands before; it sees to it that the store has what can be had."""

    async def manifest(self, repository: str, reference: Digest | str) -> tuple[ManifestRow, str]:
        """Return what a manifest is, now in the store, and a warning for the client, "" mostly."""

    async def blob(self, request: Request, digest: Digest) -> Answer | None:
        """Answer with a blob that is not here yet; None: by now it is."""


class Pull:
    """Answers for the store; for a cache, ``upstream`` is asked first. ``notices``: see ``Store``."""

    def __init__(self, store: Store, upstream: Upstream | None, *, notices: bool) -> None:
        self._store = store
        self._upstream = upstream
        self._notices = notices

    async def manifest(self, request: Request) -> Answer:
        """GET or HEAD a manifest. Raises ManifestUnknown, DigestInvalid."""
        reference = parse_reference(request.target.last)
        warning = ""
        if self._upstream is None:
            row = self._store.find_manifest(request.repository, reference)
        else:
            row, warning = await self._upstream.manifest(request.repository, reference)
        headers = {DIGEST: str(row.digest), "Etag": etag(row.digest)}
        if warning:
            headers["Warning"] = f'299 - "{warning}"'
        if is_named(request.header("if-none-match"), row.digest):
            return nothing(304, headers)
        if request.method == "HEAD":
            return Response(200, b"", row.media_type, {**headers, "Content-Length": str(row.size)})
        return Response(200, self._store.read_manifest(row), row.media_type, headers)

    async def blob(self, request: Request) -> Answer:
        """GET or HEAD a blob. Raises BlobUnknown, NameUnknown, DigestInvalid, RangeInvalid."""
        digest = parse_digest(request.target.last)
        if self._upstream is not None and (answer := await self._upstream.blob(request, digest)):
            return answer
        if is_named(request.header("if-none-match"), digest):
            self._store.blob_size(request.repository, digest)
            return nothing(304, blob_headers(digest))
        if request.method == "HEAD":
            size = self._store.blob_size(request.repository, digest)
            if self._notices:  # who pushes asks like this, and then relies on it
                self._store.catalogue.notice_blob(request.repository, digest)
            return Response(200, b"", OCTETS, {**blob_headers(digest), "Content-Length": str(size)})
        file, size = self._store.open_blob(request.repository, digest)
        try:
            start, count, status, headers = part_of(request, digest, size)
        except BaseException:
            file.close()
            raise
        return FileResponse(file, start, count, OCTETS, status=status, headers=headers)


def blob_headers(digest: Digest) -> dict[str, str]:
    """Return what an answer with a blob says of it."""
    return {
        DIGEST: str(digest),
        "Etag": etag(digest),
        "Accept-Ranges": "bytes",
        "Cache-Control": _FOR_EVER,
    }


def part_of(request: Request, digest: Digest, size: int) -> tuple[int, int, int, Mapping[str, str]]:
    """Return from where, how much, with what status and headers a blob is sent. Raises RangeInvalid."""
    headers = blob_headers(digest)
    wanted = request.header("range")
    condition = request.header("if-range")
    found = None
    if wanted and request.method == "GET" and (not condition or condition == etag(digest)):
        found = wanted_range(wanted, size)
    if found is None:
        return 0, size, 200, headers
    start, count = found
    return start, count, 206, {**headers, "Content-Range": f"bytes {start}-{start + count - 1}/{size}"}
