"""Content management: tags, manifests and blobs are deleted. Spec: "Content Management"."""

import logging

from sampan.api.response import Answer
from sampan.distribution.exchange import Request, nothing
from sampan.distribution.store import Store
from sampan.distribution.target import parse_digest, parse_reference
from sampan.oci.digest import Digest

_log = logging.getLogger(__name__)


class Management:
    """Takes out of the store; the bytes go with the last repository that has them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def manifest(self, request: Request) -> Answer:
        """DELETE a manifest, with its tags, or a tag alone. Raises ManifestUnknown, NameUnknown."""
        reference = parse_reference(request.target.last)
        if isinstance(reference, Digest):
            self._store.remove_manifest(request.repository, reference)
        else:
            self._store.remove_tag(request.repository, reference)
        _log.info("deleted", extra={"repository": request.repository, "reference": str(reference)})
        return nothing(202, {})

    async def blob(self, request: Request) -> Answer:
        """DELETE a blob. Raises BlobUnknown, NameUnknown."""
        digest = parse_digest(request.target.last)
        self._store.remove_blob(request.repository, digest)
        _log.info("deleted", extra={"repository": request.repository, "digest": str(digest)})
        return nothing(202, {})
