"""What a registry refuses, with the codes and statuses of the OCI distribution spec, "Error Codes"."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from sampan.base.errors import EngineError

_NONE: Final[Mapping[str, str]] = {}


class RegistryError(EngineError):
    """A refusal. ``code`` and ``status`` are the class's; ``detail`` is any JSON, ``headers`` go with it."""

    code: ClassVar[str] = "UNKNOWN"
    status: ClassVar[int] = 500
    words: ClassVar[str] = "unknown error"

    def __init__(self, message: str = "", *, detail: Any = None, headers: Mapping[str, str] = _NONE) -> None:
        super().__init__(message or self.words)
        self.detail = detail
        self.headers = headers


class BlobUnknown(RegistryError):
    """The repository does not have the blob."""

    code, status, words = "BLOB_UNKNOWN", 404, "blob unknown to registry"


class UploadInvalid(RegistryError):
    """A request for an upload makes no sense."""

    code, status, words = "BLOB_UPLOAD_INVALID", 400, "blob upload invalid"


class UploadBusy(UploadInvalid):
    """Another request is writing to the upload."""

    status, words = 409, "another request is writing to this upload"


class OutOfOrder(UploadInvalid):
    """A chunk does not begin where the upload ends."""

    status, words = 416, "the chunk does not begin where the upload ends"


class UploadUnknown(RegistryError):
    """There is no such upload."""

    code, status, words = "BLOB_UPLOAD_UNKNOWN", 404, "blob upload unknown to registry"


class DigestInvalid(RegistryError):
    """A digest cannot be checked, or is not that of what came."""

    code, status, words = "DIGEST_INVALID", 400, "provided digest did not match uploaded content"


class ManifestBlobUnknown(RegistryError):
    """A manifest names what the repository does not have."""

    code, status = "MANIFEST_BLOB_UNKNOWN", 404
    words = "manifest references a manifest or blob unknown to registry"


class ManifestInvalid(RegistryError):
    """A document is no manifest that is taken here."""

    code, status, words = "MANIFEST_INVALID", 400, "manifest invalid"


class ManifestTooLarge(ManifestInvalid):
    """A manifest is longer than is taken."""

    status = 413


class ManifestChanged(ManifestInvalid):
    """The tag is not what the client made a condition (If-Match, If-None-Match)."""

    status, words = 412, "the tag stands for another manifest by now"


class ManifestUnknown(RegistryError):
    """The repository does not have the manifest."""

    code, status, words = "MANIFEST_UNKNOWN", 404, "manifest unknown"  # in the words of docker-registry


class NameInvalid(RegistryError):
    """The name of a repository, or a tag, breaks the grammar."""

    code, status, words = "NAME_INVALID", 400, "invalid repository name"


class NameUnknown(RegistryError):
    """There is no such repository."""

    code, status, words = "NAME_UNKNOWN", 404, "repository name not known to registry"


class SizeInvalid(RegistryError):
    """A body is not as long as was said."""

    code, status, words = "SIZE_INVALID", 400, "provided length did not match content length"


class BlobTooLarge(SizeInvalid):
    """A blob is longer than is taken."""

    status = 413


class RangeInvalid(SizeInvalid):
    """There is no such range in the blob."""

    status, words = 416, "the blob has no such range"


class AuthenticationRequired(RegistryError):
    """Nobody, or nobody known, asks."""

    code, status, words = "UNAUTHORIZED", 401, "authentication required"


class Denied(RegistryError):
    """The caller may not have it."""

    code, status, words = "DENIED", 403, "requested access to the resource is denied"


class Unsupported(RegistryError):
    """The registry does not do that, or not as it is set up."""

    code, status, words = "UNSUPPORTED", 405, "the operation is unsupported"


class BadRequestHere(Unsupported):
    """A parameter cannot be read."""

    status = 400


class TooManyTags(BadRequestHere):
    """A request names more tags than are taken at once."""

    status = 414


class TooManyRequests(RegistryError):
    """Come again later."""

    code, status, words = "TOOMANYREQUESTS", 429, "too many requests"


class UpstreamUnavailable(RegistryError):
    """The registry behind this cache does not answer, and the cache does not have what was asked for."""

    status, words = 503, "the upstream registry does not answer"


class DiskFull(RegistryError):
    """There is no room left where the registry keeps its content."""

    status, words = 507, "no space left on the registry's disk"
