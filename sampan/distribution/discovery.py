"""Content discovery: tags, referrers and repositories, page by page. Spec: "Content Discovery"."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol
from urllib.parse import quote, urlencode

import msgspec

from sampan.api.response import Answer, Response
from sampan.distribution.errors import BadRequestHere, NameUnknown
from sampan.distribution.exchange import Request
from sampan.distribution.store import Store
from sampan.distribution.target import parse_digest
from sampan.oci.descriptor import MAX_DOCUMENT
from sampan.oci.digest import Digest
from sampan.oci.media_types import OCI_INDEX

_PAGE: Final = 10_000  # entries of a list that nobody has limited
_JSON: Final = "application/json"
_HEAD: Final = b'{"schemaVersion":2,"mediaType":"' + OCI_INDEX.encode() + b'","manifests":['


class Lists(Protocol):
    """The lists of the registry that a cache stands before."""

    async def tags(self, repository: str) -> Sequence[str] | None:
        """Return all tags, sorted; None: ask the store."""

    async def referrers(self, repository: str, subject: Digest) -> Iterable[tuple[str, str, bytes]] | None:
        """Return digest, artifact type and entry of all referrers, by digest; None: ask the store."""


class Discovery:
    """Answers for the store; for a cache, ``upstream`` is asked first."""

    def __init__(self, store: Store, upstream: Lists | None) -> None:
        self._store = store
        self._upstream = upstream

    async def tags(self, request: Request) -> Answer:
        """GET the tags of a repository. Raises NameUnknown."""
        repository, limit, last = request.repository, _limit(request), request.query.text("last")
        all_tags = await self._upstream.tags(repository) if self._upstream is not None else None
        if all_tags is not None:
            found = [tag for tag in all_tags if tag > last][: limit + 1]
        else:
            found = self._store.catalogue.tags(repository, last, limit + 1)
            if not found and not self._store.catalogue.exists(repository):
                raise NameUnknown(detail={"name": repository})
        headers = _next_page(request, f"/v2/{repository}/tags/list", found, limit)
        return _json({"name": repository, "tags": found[:limit]}, headers)

    async def repositories(self, request: Request) -> Answer:
        """GET the repositories that have manifests."""
        limit, last = _limit(request), request.query.text("last")
        found = self._store.catalogue.repositories(last, limit + 1)
        return _json({"repositories": found[:limit]}, _next_page(request, "/v2/_catalog", found, limit))

    async def referrers(self, request: Request) -> Answer:
        """GET the manifests whose subject is a digest, whether that is here or not."""
        repository, subject = request.repository, parse_digest(request.target.last)
        # A plus sign that nobody has encoded arrives as a space, of which a media type has none.
        kind, last = request.query.text("artifactType").replace(" ", "+"), request.query.text("last")
        entries: Iterable[tuple[str, bytes]]
        theirs = await self._upstream.referrers(repository, subject) if self._upstream is not None else None
        if theirs is not None:
            entries = [
                (digest, entry)
                for digest, artifact_type, entry in theirs
                if digest > last and kind in {"", artifact_type}
            ]
        else:
            entries = self._store.catalogue.referrers(repository, subject, last, kind)
        headers = {"OCI-Filters-Applied": "artifactType"} if kind else {}
        page, behind = _page(entries)
        if behind:
            query = urlencode({"artifactType": kind, "last": behind} if kind else {"last": behind})
            headers["Link"] = f'</v2/{repository}/referrers/{subject}?{query}>; rel="next"'
        return Response(200, _HEAD + b",".join(page) + b"]}", OCI_INDEX, headers)


def _page(entries: Iterable[tuple[str, bytes]]) -> tuple[list[bytes], str]:
    """Return as many entries as one index may hold, and the last one's digest if there are more."""
    page: list[bytes] = []
    size, behind = len(_HEAD) + 2, ""
    for digest, entry in entries:
        size += len(entry) + 1
        if page and size > MAX_DOCUMENT:
            return page, behind
        page.append(entry)
        behind = digest
    return page, ""


def _limit(request: Request) -> int:
    text = request.query.text("n")
    if not text:
        return _PAGE
    if not (text.isascii() and text.isdigit()):
        raise BadRequestHere(f"n must be a number from 0, not {text[:80]!r}")
    return min(int(text[:9]), _PAGE)


def _next_page(request: Request, path: str, found: Sequence[str], limit: int) -> Mapping[str, str]:
    if limit == 0 or len(found) <= limit:
        return {}
    return {"Link": f'<{path}?n={limit}&last={quote(found[limit - 1], safe="")}>; rel="next"'}


def _json(document: object, headers: Mapping[str, str]) -> Response:
    return Response(200, msgspec.json.encode(document) + b"\n", _JSON, headers)
