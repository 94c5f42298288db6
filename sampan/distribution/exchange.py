"""A request as the registry sees it, and the answers that are alike everywhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sampan.api.body import Body
from sampan.api.http1 import Head
from sampan.api.query import Query
from sampan.api.response import Response
from sampan.distribution.target import Target
from sampan.oci.digest import Digest

OCTETS: Final = "application/octet-stream"
DIGEST: Final = "Docker-Content-Digest"


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks; names in ``headers`` are in lower case."""

    head: Head
    body: Body
    target: Target
    query: Query

    @property
    def method(self) -> str:
        """The method, in upper case as it came."""
        return self.head.method

    @property
    def repository(self) -> str:
        """The name of the repository."""
        return self.target.repository

    def header(self, name: str) -> str:
        """Return a header's value, "" if there is none."""
        return self.head.headers.get(name, "")


def nothing(status: int, headers: Mapping[str, str]) -> Response:
    """Answer with headers alone."""
    return Response(status, headers=headers)


def blob_url(repository: str, digest: Digest) -> str:
    """Return where a blob is pulled from."""
    return f"/v2/{repository}/blobs/{digest}"


def is_named(header: str, digest: Digest) -> bool:
    """Tell whether an If-Match, If-None-Match or If-Range header names the entity tag of ``digest``."""
    tags = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return "*" in tags or etag(digest) in tags


def etag(digest: Digest) -> str:
    """Return the entity tag of content."""
    return f'"{digest}"'
