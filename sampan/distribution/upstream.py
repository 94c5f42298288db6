"""The registry that a cache stands before: asked when it has to be, once for everybody who waits.

A manifest by tag is compared with the upstream's every time (HEAD, which has no rate limit where there is
one); by digest it comes from the store once it is there. When the upstream does not answer, the store does.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final
from urllib.parse import urljoin

import msgspec

from sampan.api.response import Answer as HTTPAnswer
from sampan.api.response import Response, StreamResponse
from sampan.base.errors import EngineError, InvalidParameter, NotImplementedHere
from sampan.base.tasks import Tasks
from sampan.distribution.catalogue import ManifestRow
from sampan.distribution.documents import Referrer, parse_manifest
from sampan.distribution.downloads import Download
from sampan.distribution.errors import (
    BlobUnknown,
    Denied,
    ManifestInvalid,
    ManifestUnknown,
    NameUnknown,
    RegistryError,
    TooManyRequests,
    UpstreamUnavailable,
)
from sampan.distribution.exchange import OCTETS, Request
from sampan.distribution.pull import blob_headers, part_of
from sampan.distribution.store import Store
from sampan.oci.descriptor import MAX_DOCUMENT
from sampan.oci.digest import Digest
from sampan.registry.auth import Authorizer, Credentials
from sampan.registry.errors import BadAnswer, ConnectionFailed, Refused, RefusedUnavailable
from sampan.registry.repository import Repository, next_page
from sampan.registry.settings import Endpoint
from sampan.registry.transport import Transport

_log = logging.getLogger(__name__)
_KEPT: Final = 256  # repositories whose tokens are remembered
_MAX_PAGES: Final = 100
_PATIENCE_S: Final = 10.0  # for an upstream that the store can stand in for
_REST_S: Final = 10.0  # an upstream that has not answered is left alone that long, if the store can stand in
_STALE: Final = "the upstream registry does not answer: this is what it had when it last did"


class _Referrers(msgspec.Struct):
    manifests: list[Referrer]


class Upstream:
    """The registry at ``endpoint``, asked with ``credentials`` through ``transport``."""

    def __init__(
        self, store: Store, transport: Transport, endpoint: Endpoint, credentials: Credentials, tasks: Tasks
    ) -> None:
        self._store = store
        self._transport = transport
        self._endpoint = endpoint
        self._credentials = credentials
        self._tasks = tasks
        self._repositories: dict[str, Repository] = {}
        self._downloads: dict[Digest, Download] = {}
        self._manifests: dict[tuple[str, str], asyncio.Task[ManifestRow]] = {}
        self._down_until = 0.0

    async def close(self) -> None:
        """Close the connections that are kept."""
        await self._transport.close()

    def _repository(self, name: str) -> Repository:
        found = self._repositories.pop(name, None)
        if found is None:
            scopes = [f"repository:{name}:pull"]
            authorizer = Authorizer(self._transport, self._credentials, scopes, verify=self._endpoint.verify)
            attempts = self._transport.settings.max_attempts
            found = Repository(self._transport, self._endpoint, name, authorizer, attempts=attempts)
        self._repositories[name] = found  # the last one used is the last one forgotten
        if len(self._repositories) > _KEPT:
            del self._repositories[next(iter(self._repositories))]
        return found

    # --- manifests

    async def manifest(self, repository: str, reference: Digest | str) -> tuple[ManifestRow, str]:
        """Return what a manifest is, now in the store, and a warning for the client, "" mostly.

        Raises ManifestUnknown, Denied, UpstreamUnavailable.
        """
        stored = self._store.catalogue.find_manifest(repository, reference)
        if stored is not None and self._store.content.size(stored.digest) is None:
            stored = None
        if stored is not None and isinstance(reference, Digest):
            return stored, ""
        if stored is not None and time.monotonic() < self._down_until:
            return stored, _STALE
        try:
            async with asyncio.timeout(_PATIENCE_S if stored is not None else None):
                return await self._current(repository, reference, stored), ""
        except (TimeoutError, ConnectionFailed, RefusedUnavailable, BadAnswer) as error:
            if stored is None:
                raise _translated(error, ManifestUnknown()) from error
            _log.warning("upstream does not answer", extra={"reason": str(error)})
            self._down_until = time.monotonic() + _REST_S
            return stored, _STALE
        except (EngineError, InvalidParameter) as error:
            if isinstance(error, Refused) and error.status == 404 and isinstance(reference, str):
                self._store.catalogue.remove_tag(repository, reference)
            raise _translated(error, ManifestUnknown(detail={"reference": str(reference)})) from error

    async def _current(
        self, repository: str, reference: Digest | str, stored: ManifestRow | None
    ) -> ManifestRow:
        key = (repository, str(reference))
        task = self._manifests.get(key)
        if task is None:
            work = self._fetch_manifest(repository, reference, stored)
            task = self._manifests[key] = self._tasks.begin(work, name=f"fetch {repository} {reference}")
            task.add_done_callback(lambda _: self._manifests.pop(key, None))
        return await asyncio.shield(task)

    async def _fetch_manifest(
        self, repository: str, reference: Digest | str, stored: ManifestRow | None
    ) -> ManifestRow:
        theirs = self._repository(repository)
        if isinstance(reference, str):
            found = await theirs.find_manifest(reference)
            if found is None:
                raise ManifestUnknown(detail={"reference": reference})
            if stored is not None and stored.digest == found.digest:
                return stored
            with suppress(InvalidParameter):  # one that cannot be checked says nothing
                known = self._store.catalogue.find_manifest(repository, Digest(found.digest))
                if known is not None and self._store.content.size(known.digest) is not None:
                    data = self._store.read_manifest(known)
                    await self._store.add_manifest(repository, known, data, [reference])
                    return known
        document = await theirs.manifest(str(reference))
        digest = Digest(document.descriptor.digest)
        manifest = parse_manifest(document.descriptor.media_type, document.data)
        row = ManifestRow(
            digest,
            manifest.media_type,
            len(document.data),
            manifest.subject,
            manifest.artifact_type,
            manifest.referrer(digest, len(document.data)) if manifest.subject else b"",
        )
        tags = [] if isinstance(reference, Digest) else [reference]
        await self._store.add_manifest(repository, row, document.data, tags)
        _log.info("manifest cached", extra={"repository": repository, "reference": str(reference)})
        return row

    # --- blobs

    async def blob(self, request: Request, digest: Digest) -> HTTPAnswer | None:
        """Answer with a blob that is not here yet; None: by now it is.

        Raises BlobUnknown, Denied, UpstreamUnavailable.
        """
        repository, store = request.repository, self._store
        linked = store.catalogue.has_blob(repository, digest)
        if linked and store.content.size(digest) is not None:
            return None
        try:
            here = digest in self._downloads or store.content.size(digest) is not None
            size = await self._blob_size(repository, digest) if here or request.method == "HEAD" else None
            if store.content.size(digest) is not None:
                store.catalogue.link_blob(repository, digest)
                return None
            if request.method == "HEAD" and size is not None:
                return Response(200, b"", OCTETS, {**blob_headers(digest), "Content-Length": str(size)})
            download = self._download(repository, digest)
            await download.begun()
        except EngineError as error:
            raise _translated(error, BlobUnknown(detail={"digest": str(digest)})) from error
        start, count, status, headers = part_of(request, digest, download.size)
        pieces = download.pieces(start, count)
        return StreamResponse(pieces, OCTETS, status=status, headers=headers, length=count)

    def _download(self, repository: str, digest: Digest) -> Download:
        download = self._downloads.get(digest)
        if download is None:
            download = Download(self._store, self._repository(repository), digest)
            self._downloads[digest] = download
            task = self._tasks.spawn(download.run(repository), name=f"fetch {digest}")
            task.add_done_callback(lambda _: self._downloads.pop(digest, None))
        return download

    async def _blob_size(self, repository: str, digest: Digest) -> int:
        """Ask whether the repository there has the blob: that it is here for another one says nothing."""
        async with self._repository(repository).request("HEAD", f"blobs/{digest}") as answer:
            length = answer.headers.get("content-length", "")
            if not length.isdigit():
                raise BadAnswer("the upstream registry does not say how long the blob is")
            return int(length)

    # --- lists

    async def tags(self, repository: str) -> Sequence[str] | None:
        """Return all tags, sorted; None: ask the store. Raises NameUnknown, Denied, UpstreamUnavailable."""
        try:
            return sorted(await self._repository(repository).tags())
        except EngineError as error:
            if _is_away(error) and self._store.catalogue.exists(repository):
                return None
            raise _translated(error, NameUnknown(detail={"name": repository})) from error

    async def referrers(self, repository: str, subject: Digest) -> Iterable[tuple[str, str, bytes]] | None:
        """Return digest, artifact type and entry of all referrers, by digest; None: ask the store.

        From the upstream's list, or from the tag that stands for it where there is no such list.
        """
        theirs = self._repository(repository)
        listed: list[Referrer] = []
        target = f"referrers/{subject}"
        try:
            for _ in range(_MAX_PAGES):
                async with theirs.request("GET", target, missing=True) as answer:
                    data = await answer.read(MAX_DOCUMENT) if answer.status == 200 else b""
                    following, url = next_page(answer.headers.get("link", "")), answer.url
                data = data or await self._referrers_tag(theirs, subject)
                listed += msgspec.json.decode(data, type=_Referrers).manifests
                if not following:
                    break
                target = urljoin(url, following)
        except msgspec.DecodeError:
            return []  # the specification's words: "the client SHOULD assume there are no referrers"
        except EngineError as error:
            if _is_away(error):
                return None
            raise _translated(error, NameUnknown(detail={"name": repository})) from error
        entries = {each.digest: (each.artifact_type, msgspec.json.encode(each)) for each in listed}
        return [(digest, *entries[digest]) for digest in sorted(entries)]

    @staticmethod
    async def _referrers_tag(theirs: Repository, subject: Digest) -> bytes:
        tag = f"{subject.algorithm}-{subject.encoded[:64]}"
        async with theirs.request("GET", f"manifests/{tag}", {"Accept": "*/*"}, missing=True) as answer:
            return await answer.read(MAX_DOCUMENT) if answer.status == 200 else b'{"manifests":[]}'


def _is_away(error: BaseException) -> bool:
    return isinstance(error, TimeoutError | ConnectionFailed | RefusedUnavailable | BadAnswer)


def _translated(error: BaseException, unknown: RegistryError) -> RegistryError:
    """Return what a client is told of ``error``; ``unknown``: of a 404."""
    if isinstance(error, RegistryError):
        return error
    if isinstance(error, Refused):
        if error.status == 404:
            return unknown
        if error.status == 429:
            return TooManyRequests(f"upstream: {error}", headers={"Retry-After": "60"})
        if error.status in {401, 403}:
            return Denied(f"upstream: {error}")
    if isinstance(error, NotImplementedHere):
        return ManifestInvalid(str(error))
    return UpstreamUnavailable(f"upstream: {str(error) or 'it does not answer'}")
