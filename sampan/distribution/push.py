"""Push: blobs at once, in chunks or from another repository, and manifests. Spec: "Push"."""

import logging
from collections.abc import Sequence
from typing import Final

from sampan.api.body import BodyTooLarge
from sampan.api.response import Answer
from sampan.base.tasks import Tasks
from sampan.distribution.catalogue import ManifestRow
from sampan.distribution.documents import Manifest, parse_manifest
from sampan.distribution.errors import (
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestChanged,
    ManifestTooLarge,
    OutOfOrder,
    SizeInvalid,
    TooManyTags,
)
from sampan.distribution.exchange import DIGEST, Request, blob_url, etag, is_named, nothing
from sampan.distribution.ranges import chunk_range, upload_range
from sampan.distribution.store import Store
from sampan.distribution.target import check_name, parse_algorithm, parse_digest, parse_new_tag
from sampan.distribution.uploads import Upload, Uploads
from sampan.oci.descriptor import MAX_DOCUMENT
from sampan.oci.digest import CANONICAL, Digest

_log = logging.getLogger(__name__)
_MOST_TAGS: Final = 100  # of one request


class Push:
    """Changes the store. What has begun to change it is finished also when the client goes away."""

    def __init__(self, store: Store, uploads: Uploads, tasks: Tasks) -> None:
        self._store = store
        self._uploads = uploads
        self._tasks = tasks

    # --- blobs

    async def begin(self, request: Request) -> Answer:
        """POST: begin an upload, mount a blob, or take a whole one."""
        query, repository = request.query, request.repository
        if mounted := query.text("mount"):
            digest, source = parse_digest(mounted), query.text("from")
            if source:
                check_name(source)
            if self._store.mount(repository, digest, source):
                return self._created(repository, digest)
            return self._accepted(self._uploads.begin(repository, digest.algorithm))
        if text := query.text("digest"):
            digest = parse_digest(text)
            if request.head.length != 0 or Digest.of(b"", digest.algorithm) == digest:
                return await self._at_once(request, digest)
            return self._accepted(self._uploads.begin(repository, digest.algorithm))
        algorithm = parse_algorithm(query.text("digest-algorithm", CANONICAL))
        return self._accepted(self._uploads.begin(repository, algorithm))

    async def _at_once(self, request: Request, digest: Digest) -> Answer:
        upload = self._uploads.begin(request.repository, digest.algorithm)
        try:
            async with self._uploads.writing(upload):
                await self._uploads.receive(upload, aiter(request.body))
        except BaseException:
            self._uploads.cancel(upload)  # nobody knows its name
            raise
        await self._tasks.finish(self._finish(upload, digest), name="finish an upload")
        return self._created(request.repository, digest)

    async def status(self, request: Request) -> Answer:
        """GET or HEAD an upload."""
        upload = self._find(request)
        return nothing(204, self._place(upload))

    async def append(self, request: Request) -> Answer:
        """PATCH: take the next chunk."""
        upload = self._find(request)
        async with self._uploads.writing(upload):
            await self._receive(request, upload)
        return self._accepted(upload)

    async def finish(self, request: Request) -> Answer:
        """PUT: take the last chunk, if there is one, and make the upload a blob."""
        upload = self._find(request)
        text = request.query.text("digest")
        if not text:
            raise DigestInvalid("the digest of the blob is missing")
        digest = parse_digest(text)
        if request.head.length != 0:
            async with self._uploads.writing(upload):
                await self._receive(request, upload)
        await self._tasks.finish(self._finish(upload, digest), name="finish an upload")
        return self._created(request.repository, digest)

    async def cancel(self, request: Request) -> Answer:
        """DELETE: forget an upload."""
        upload = self._find(request)
        async with self._uploads.writing(upload):
            self._uploads.cancel(upload)
        return nothing(204, {})

    def _find(self, request: Request) -> Upload:
        return self._uploads.find(request.repository, request.target.last)

    async def _receive(self, request: Request, upload: Upload) -> None:
        stated = request.header("content-range")
        count = request.head.length
        if stated:
            start, count = chunk_range(stated)
            if start != upload.size:
                raise OutOfOrder(headers=self._place(upload))
            if request.head.length not in {None, count}:
                raise SizeInvalid(f"Content-Range has {count} bytes, Content-Length {request.head.length}")
        before = upload.size
        await self._uploads.receive(upload, aiter(request.body))
        if count not in {None, upload.size - before}:
            raise SizeInvalid(f"{count} bytes were announced, {upload.size - before} came")

    async def _finish(self, upload: Upload, digest: Digest) -> None:
        async with self._uploads.writing(upload):
            await self._uploads.finish(upload, digest)
        _log.info("blob pushed", extra={"repository": upload.repository, "digest": str(digest)})

    @staticmethod
    def _place(upload: Upload) -> dict[str, str]:
        return {
            "Location": f"/v2/{upload.repository}/blobs/uploads/{upload.id}",
            "Range": upload_range(upload.size),
            "Docker-Upload-Uuid": upload.id,
        }

    def _accepted(self, upload: Upload) -> Answer:
        return nothing(202, self._place(upload))

    @staticmethod
    def _created(repository: str, digest: Digest) -> Answer:
        return nothing(201, {"Location": blob_url(repository, digest), DIGEST: str(digest)})

    # --- manifests

    async def manifest(self, request: Request) -> Answer:
        """PUT a manifest under a tag or its digest, there with further tags."""
        repository, last = request.repository, request.target.last
        reference = parse_digest(last) if ":" in last else parse_new_tag(last)
        tags = self._tags(request, reference)
        data = await self._document(request)
        digest = Digest.of(data, reference.algorithm if isinstance(reference, Digest) else CANONICAL)
        if isinstance(reference, Digest) and digest != reference:
            raise DigestInvalid(detail={"digest": str(reference), "found": str(digest)})
        manifest = parse_manifest(request.header("content-type"), data)
        self._check_needs(repository, manifest)
        self._check_condition(request, reference)
        row = ManifestRow(
            digest,
            manifest.media_type,
            len(data),
            manifest.subject,
            manifest.artifact_type,
            manifest.referrer(digest, len(data)) if manifest.subject else b"",
        )
        await self._tasks.finish(
            self._store.add_manifest(repository, row, data, tags), name="store a manifest"
        )
        _log.info(
            "manifest pushed",
            extra={"repository": repository, "digest": str(digest), "tags": ",".join(tags)},
        )
        headers = {
            "Location": f"/v2/{repository}/manifests/{digest}",
            DIGEST: str(digest),
            "Etag": etag(digest),
        }
        if manifest.subject:
            headers["OCI-Subject"] = manifest.subject
        if isinstance(reference, Digest) and tags:
            headers["OCI-Tag"] = ", ".join(tags)
        return nothing(201, headers)

    @staticmethod
    def _tags(request: Request, reference: Digest | str) -> Sequence[str]:
        if not isinstance(reference, Digest):
            return [reference]
        tags = list(dict.fromkeys(request.query.all("tag")))
        if len(tags) > _MOST_TAGS:
            raise TooManyTags(f"{len(tags)} tags are more than {_MOST_TAGS}")
        return [parse_new_tag(tag) for tag in tags]

    @staticmethod
    async def _document(request: Request) -> bytes:
        too_large = ManifestTooLarge(f"a manifest may have {MAX_DOCUMENT} bytes at most")
        if (request.head.length or 0) > MAX_DOCUMENT:
            raise too_large
        try:
            return await request.body.document(MAX_DOCUMENT)
        except BodyTooLarge:
            raise too_large from None

    def _check_needs(self, repository: str, manifest: Manifest) -> None:
        """Raise ManifestBlobUnknown unless the repository has what the manifest is made of."""
        catalogue, size = self._store.catalogue, self._store.content.size
        with catalogue.exclusive():  # one transaction, however many they are
            missing = [
                each
                for each in manifest.blobs
                if not catalogue.claim_blob(repository, each) or size(each) is None
            ]
            missing += [
                each
                for each in manifest.manifests
                if not (catalogue.claim_manifest(repository, each) or catalogue.claim_blob(repository, each))
            ]
        if missing:
            raise ManifestBlobUnknown(detail=[{"digest": str(each)} for each in missing[:100]])

    def _check_condition(self, request: Request, reference: Digest | str) -> None:
        """Raise ManifestChanged if the tag is not what the client thinks."""
        wanted, unwanted = request.header("if-match"), request.header("if-none-match")
        if not (wanted or unwanted):
            return
        row = self._store.catalogue.find_manifest(request.repository, reference)
        if wanted and (row is None or not is_named(wanted, row.digest)):
            raise ManifestChanged
        if unwanted and row is not None and is_named(unwanted, row.digest):
            raise ManifestChanged
