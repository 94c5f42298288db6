"""One repository of a registry: manifests, blobs and tags, as the OCI distribution specification has them.

Documents are verified here; blobs are streamed, and verified by whoever writes them down. Registries speak
OCI distribution 1.1 or Docker's registry API V2, which differ in nothing that is used here.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urljoin, urlsplit

import msgspec

from sampan.base.errors import NotImplementedHere
from sampan.oci.descriptor import MAX_DOCUMENT, Descriptor
from sampan.oci.digest import Digest, InvalidDigest
from sampan.oci.media_types import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    DOCKER_SCHEMA1,
    INDEXES,
    MANIFESTS,
    OCI_INDEX,
    OCI_MANIFEST,
)
from sampan.registry.auth import Authorizer
from sampan.registry.errors import (
    BadAnswer,
    ConnectionFailed,
    NoCredentials,
    NotTLS,
    refusal,
)
from sampan.registry.settings import Endpoint
from sampan.registry.transport import MAX_ERROR, Answer, Content, Transport, is_same_origin

_ACCEPT: Final = ", ".join(
    (DOCKER_MANIFEST, DOCKER_INDEX, OCI_MANIFEST, OCI_INDEX, *sorted(DOCKER_SCHEMA1), "*/*")
)
_ATTEMPTS: Final = 3  # for small requests; downloads and uploads have their own count
_MAX_TAGS: Final = 100_000
_MAX_PAGES: Final = 1000


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest or index as it arrived; ``descriptor`` names its type, digest and size."""

    descriptor: Descriptor
    data: bytes


class _Tags(msgspec.Struct):
    tags: list[str] | None = None


class _Shape(msgspec.Struct, rename="camel"):
    media_type: str = ""
    schema_version: int = 2
    manifests: msgspec.Raw = msgspec.Raw(b"")


class Repository:
    """The repository ``path`` at ``endpoint``.

    Raises Refused for an answer of an error, ConnectionFailed and BadAnswer for none and for a wrong one.
    """

    def __init__(
        self, transport: Transport, endpoint: Endpoint, path: str, authorizer: Authorizer, *, attempts: int
    ) -> None:
        self.endpoint = endpoint
        self.path = path
        self.authorizer = authorizer
        self.transport = transport
        self.attempts = attempts
        self._base = ""
        self._opening = asyncio.Lock()

    # --- asking

    async def open(self) -> str:
        """Find out how the registry is reached and what it wants to be shown; return its base URL."""
        if not self._base:
            async with self._opening:
                if not self._base:
                    self._base = await self._ping()
        return self._base

    async def _ping(self) -> str:
        endpoint = self.endpoint
        failure: ConnectionFailed | BadAnswer | None = None
        for scheme in endpoint.schemes:
            base = f"{scheme}://{endpoint.host}{endpoint.prefix}"
            try:
                async with self.transport.request(
                    "GET", f"{base}/v2/", verify=endpoint.verify, attempts=_ATTEMPTS
                ) as answer:
                    body = await answer.read(MAX_ERROR)
                    if answer.status == 400 and b"HTTPS server" in body and scheme == "http":
                        continue
                    if answer.status == 401:
                        await self._show(f"{base}/v2/", "GET", answer.headers, "")
                    return base
            except (ConnectionFailed, BadAnswer) as error:
                if not isinstance(failure, ConnectionFailed) or isinstance(failure, NotTLS):
                    failure = error
        raise failure or BadAnswer(f"{endpoint.host} is no registry")

    async def _show(self, url: str, method: str, headers: Mapping[str, str], used: str) -> bool:
        """Answer a 401; False: there is no more to show. Raises NoCredentials."""
        try:
            return await self.authorizer.answer(headers.get("www-authenticate", ""), used)
        except NoCredentials:
            raise NoCredentials(method, url) from None

    @asynccontextmanager
    async def request(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        content: Content | None = None,
        *,
        attempts: int = _ATTEMPTS,
        missing: bool = False,
    ) -> AsyncIterator[Answer]:
        """Yield the answer to a request; ``target`` is below the repository, or a whole URL.

        Raises Refused for a status from 400 on; ``missing``: not for 404.
        """
        base = await self.open()
        url = target if "://" in target else f"{base}/v2/{self.path}/{target}"
        tried = False
        while True:
            sent = dict(headers or {})
            used = await self.authorizer.header() if is_same_origin(url, base) else ""
            if used:
                sent["Authorization"] = used
            async with self.transport.request(
                method, url, sent, content, verify=self.endpoint.verify, attempts=attempts
            ) as answer:
                if answer.status == 401 and is_same_origin(url, base) and not tried:
                    body = await self._error_body(answer)
                    tried = bool(used)
                    if await self._show(url, method, answer.headers, used):
                        continue
                    raise refusal(401, body)
                if answer.status < 400 or (missing and answer.status == 404):
                    self.authorizer.accepted()
                    yield answer
                    return
                raise refusal(answer.status, await self._error_body(answer))

    @staticmethod
    async def _error_body(answer: Answer) -> bytes:
        with suppress(ConnectionFailed, BadAnswer):
            return await answer.read(MAX_ERROR)
        return b""

    # --- manifests

    async def manifest(self, reference: str) -> Document:
        """Fetch the manifest or index with this tag or digest, verified.

        Raises BadAnswer if it is not the one asked for, NotImplementedHere for schema 1.
        """
        async with self.request("GET", f"manifests/{reference}", {"Accept": _ACCEPT}) as answer:
            data = await answer.read(MAX_DOCUMENT)
            stated = answer.headers.get("docker-content-digest", "") if ":" not in reference else reference
            media_type = answer.headers.get("content-type", "").partition(";")[0].strip()
        if ":" in reference:
            digest = Digest(reference)
        else:
            digest = Digest.of(data)
            with suppress(InvalidDigest):  # one that cannot be checked says nothing
                digest = Digest(stated)
        found = Digest.of(data, digest.algorithm)
        if found != digest:
            raise BadAnswer(f"manifest verification failed for digest {digest}: got {found}")
        return Document(Descriptor(document_type(media_type, data), str(digest), len(data)), data)

    async def find_manifest(self, reference: str) -> Descriptor | None:
        """Return what the manifest with this tag or digest is, without fetching it; None: it is not there."""
        async with self.request(
            "HEAD", f"manifests/{reference}", {"Accept": _ACCEPT}, missing=True
        ) as answer:
            if answer.status == 404:
                return None
            media_type = answer.headers.get("content-type", "").partition(";")[0].strip()
            digest = answer.headers.get("docker-content-digest", "")
            length = answer.headers.get("content-length", "0")
        if not digest or not length.isdigit():
            return (await self.manifest(reference)).descriptor
        return Descriptor(media_type or OCI_MANIFEST, str(Digest(digest)), int(length))

    async def put_manifest(self, reference: str, media_type: str, data: bytes) -> bool:
        """Store a manifest or index under a tag or its digest.

        Returns whether the registry says that it has listed it with its subject: see ``referrers``.
        """
        async with self.request(
            "PUT", f"manifests/{reference}", {"Content-Type": media_type}, Content.of(data)
        ) as answer:
            await answer.read(MAX_ERROR)
            return bool(answer.headers.get("oci-subject"))

    async def tags(self) -> list[str]:
        """Return all tags, page by page, in the registry's order."""
        found: dict[str, None] = {}
        target = "tags/list"
        for _ in range(_MAX_PAGES):
            async with self.request("GET", target) as answer:
                data = await answer.read(MAX_DOCUMENT)
                link = answer.headers.get("link", "")
                url = answer.url
            try:
                found.update(dict.fromkeys(msgspec.json.decode(data, type=_Tags).tags or ()))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise BadAnswer(f"the list of tags cannot be read: {error}") from error
            if len(found) > _MAX_TAGS:
                raise BadAnswer(f"the repository has more than {_MAX_TAGS} tags")
            following = next_page(link)
            if not following:
                break
            target = urljoin(url, following)
        return list(found)

    # --- blobs, down

    @asynccontextmanager
    async def blob(self, digest: str, start: int = 0) -> AsyncIterator[tuple[int, Answer]]:
        """Yield where the answer's bytes begin (0 if the registry cannot resume) and the answer.

        One attempt: who resumes knows better. Raises Refused; 416 if there is nothing behind ``start``.
        """
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        async with self.request("GET", f"blobs/{digest}", headers, attempts=1) as answer:
            begins = 0
            if answer.status == 206:
                stated = answer.headers.get("content-range", "")
                if not stated.startswith(f"bytes {start}-"):
                    raise BadAnswer(f"blob {digest}: asked for bytes from {start}, got {stated[:80]!r}")
                begins = start
            yield begins, answer

    @asynccontextmanager
    async def foreign_blob(self, url: str) -> AsyncIterator[Answer]:
        """Yield the answer for a blob that a descriptor says is elsewhere; no credentials are shown."""
        async with self.transport.request("GET", url, {"Accept-Encoding": "identity"}) as answer:
            if answer.status >= 400:
                raise refusal(answer.status, await self._error_body(answer))
            yield answer

    async def document(self, descriptor: Descriptor) -> bytes:
        """Fetch a small blob whole, verified. Raises BadAnswer."""
        if descriptor.size > MAX_DOCUMENT:
            raise BadAnswer(f"blob {descriptor.digest} is too large: {descriptor.size} bytes")
        digest = Digest(descriptor.digest)
        async with self.request(
            "GET", f"blobs/{digest}", {"Accept-Encoding": "identity"}, attempts=self.attempts
        ) as answer:
            data = await answer.read(MAX_DOCUMENT)
        if len(data) != descriptor.size:
            raise BadAnswer(f"blob {digest}: expected {descriptor.size} bytes, got {len(data)}")
        if (found := Digest.of(data, digest.algorithm)) != digest:
            raise BadAnswer(f"blob {digest}: verification failed, got {found}")
        return data

    async def has_blob(self, digest: str) -> bool:
        """Tell whether the repository has the blob."""
        async with self.request("HEAD", f"blobs/{digest}", missing=True) as answer:
            return answer.status != 404

    # --- blobs, up

    async def mount(self, digest: str, source: str) -> str:
        """Let the blob of the repository ``source`` be here too; return "" if that worked.

        Otherwise the URL of the upload that the registry has begun instead.
        """
        target = f"blobs/uploads/?mount={digest}&from={quote(source, safe='')}"
        async with self.request("POST", target) as answer:
            await answer.read(MAX_ERROR)
            return "" if answer.status == 201 else self._location(answer)

    async def begin_upload(self) -> str:
        """Begin an upload and return its URL."""
        async with self.request("POST", "blobs/uploads/") as answer:
            await answer.read(MAX_ERROR)
            return self._location(answer)

    async def send_part(self, session: str, start: int, content: Content) -> str:
        """Send the bytes of an upload from ``start``; return its URL from then on. One attempt."""
        count = content.size or 0
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Range": f"{start}-{start + count - 1}",
        }
        async with self.request("PATCH", session, headers, content, attempts=1) as answer:
            await answer.read(MAX_ERROR)
            return self._location(answer)

    async def resume_upload(self, session: str) -> tuple[int, str]:
        """Return how many bytes the registry has of an upload, and its URL from now on."""
        async with self.request("GET", session) as answer:
            await answer.read(MAX_ERROR)
            _, _, last = answer.headers.get("range", "").partition("-")
            return int(last) + 1 if last.isdigit() and last != "0" else 0, self._location(answer)

    async def finish_upload(self, session: str, digest: str, content: Content | None = None) -> None:
        """End an upload, with its only or its last bytes. One attempt."""
        target = session + ("&" if "?" in session else "?") + f"digest={quote(digest, safe='')}"
        headers = {"Content-Type": "application/octet-stream"}
        async with self.request("PUT", target, headers, content, attempts=1) as answer:
            await answer.read(MAX_ERROR)

    def _location(self, answer: Answer) -> str:
        location = answer.headers.get("location", "")
        if not location:
            raise BadAnswer(f"{self.endpoint.host} does not say where to upload to")
        url = urljoin(answer.url, location)
        if urlsplit(url).scheme not in {"http", "https"}:
            raise BadAnswer(f"{self.endpoint.host} wants an upload to {url[:200]!r}")
        return url


def document_type(stated: str, data: bytes) -> str:
    """Return the media type of a manifest or index, ``stated`` by the registry and maybe in itself.

    Raises BadAnswer for a document that is neither, NotImplementedHere for schema 1.
    """
    try:
        inside = msgspec.json.decode(data, type=_Shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadAnswer(f"the registry sent a manifest that cannot be read: {error}") from error
    if stated in DOCKER_SCHEMA1 or inside.media_type in DOCKER_SCHEMA1 or inside.schema_version == 1:
        raise NotImplementedHere(
            "Docker Image manifest version 2, schema 1 is not supported: suggest the author of the image to "
            "upgrade it to the OCI format or Docker Image manifest version 2, schema 2"
        )
    known = INDEXES | MANIFESTS
    if stated in known:
        if inside.media_type not in {"", stated}:
            raise BadAnswer(f"mediaType in manifest should be '{stated}' not '{inside.media_type}'")
        return stated
    if inside.media_type in known:
        return inside.media_type
    if inside.media_type:
        raise BadAnswer(f"unsupported manifest media type {inside.media_type}")
    return OCI_INDEX if bytes(inside.manifests) else OCI_MANIFEST


def next_page(link: str) -> str:
    """Return the target of a Link header with ``rel="next"``, "" if there is none (RFC 8288)."""
    target, bracket, parameters = link.partition(">")
    if bracket and target.lstrip().startswith("<") and "next" in parameters:
        return target.lstrip()[1:]
    return ""
