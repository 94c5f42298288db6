"""What a request is about: the paths of the specification, "Endpoints", taken apart. Pure.

The name of a repository may contain any of the words that follow it, so a path is read from its end.
"""

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from sampan.distribution.errors import DigestInvalid, ManifestInvalid, ManifestUnknown, NameInvalid
from sampan.oci.digest import Digest, InvalidDigest
from sampan.oci.reference import MAX_PATH, is_path, is_tag

MANIFEST: Final = "manifest"
BLOB: Final = "blob"
UPLOADS: Final = "uploads"
UPLOAD: Final = "upload"
TAGS: Final = "tags"
REFERRERS: Final = "referrers"
CATALOG: Final = "catalog"
BASE: Final = "base"

_BASES: Final = frozenset({"/v2", "/v2/"})
_ALGORITHMS: Final = ("sha256", "sha512")


@dataclass(frozen=True, slots=True)
class Target:
    """``kind`` is one of the names above; ``last`` what follows it: a reference, digest or session."""

    kind: str
    repository: str = ""
    last: str = ""


def parse_target(path: str) -> Target | None:
    """Parse a request's path, still percent-encoded. None: nothing of ours. Raises NameInvalid."""
    if "%" in path:
        path = unquote(path)
    if path in _BASES:
        return Target(BASE)
    if not path.startswith("/v2/"):
        return None
    if path == "/v2/_catalog":
        return Target(CATALOG)
    found = _split(path[4:].split("/"))
    if found is not None:
        check_name(found.repository)
    return found


def _split(words: list[str]) -> Target | None:
    if len(words) >= 4 and words[-3:-1] == ["blobs", "uploads"]:
        return Target(UPLOAD if words[-1] else UPLOADS, "/".join(words[:-3]), words[-1])
    if len(words) < 3:
        return None
    name, kind, last = "/".join(words[:-2]), words[-2], words[-1]
    if kind == "blobs" and last == "uploads":
        return Target(UPLOADS, name)
    if kind == "tags" and last == "list":
        return Target(TAGS, name)
    known = {"manifests": MANIFEST, "blobs": BLOB, "referrers": REFERRERS}.get(kind)
    return Target(known, name, last) if known else None


def check_name(name: str) -> None:
    """Raise NameInvalid unless ``name`` follows the grammar and clients can say it."""
    if not is_path(name):
        raise NameInvalid(detail={"name": name[:MAX_PATH]})
    if len(name) > MAX_PATH:
        raise NameInvalid(f"repository name must not be more than {MAX_PATH} characters")


def parse_digest(text: str) -> Digest:
    """Return a digest of an algorithm that blobs are stored by. Raises DigestInvalid."""
    try:
        digest = Digest(text)
    except InvalidDigest as error:
        raise DigestInvalid(str(error), detail={"digest": text[:200]}) from error
    if digest.algorithm not in _ALGORITHMS:
        raise DigestInvalid("unsupported digest algorithm", detail={"digest": text[:200]})
    return digest


def parse_algorithm(text: str) -> str:
    """Return the name of an algorithm that blobs are stored by. Raises DigestInvalid."""
    if text not in _ALGORITHMS:
        raise DigestInvalid("unsupported digest algorithm", detail={"algorithm": text[:64]})
    return text


def parse_reference(text: str) -> Digest | str:
    """Return a digest or a tag. Raises DigestInvalid, ManifestUnknown: nothing has another name."""
    if ":" in text:
        return parse_digest(text)
    if not is_tag(text):
        raise ManifestUnknown("this is no tag", detail={"reference": text[:200]})
    return text


def parse_new_tag(text: str) -> str:
    """Return a tag that shall be given. Raises ManifestInvalid."""
    if not is_tag(text):
        raise ManifestInvalid("invalid tag", detail={"tag": text[:200]})
    return text
