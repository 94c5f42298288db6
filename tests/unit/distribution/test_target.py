"""Paths of requests, taken apart."""

import pytest

from sampan.distribution.errors import DigestInvalid, ManifestUnknown, NameInvalid
from sampan.distribution.target import (
    BASE,
    BLOB,
    CATALOG,
    MANIFEST,
    REFERRERS,
    TAGS,
    UPLOAD,
    UPLOADS,
    Target,
    parse_digest,
    parse_reference,
    parse_target,
)
from sampan.oci.digest import Digest

SHA = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/v2", Target(BASE)),
        ("/v2/", Target(BASE)),
        ("/v2/_catalog", Target(CATALOG)),
        ("/v2/a/manifests/1", Target(MANIFEST, "a", "1")),
        (f"/v2/a/b/manifests/{SHA}", Target(MANIFEST, "a/b", SHA)),
        (f"/v2/a/blobs/{SHA}", Target(BLOB, "a", SHA)),
        (f"/v2/a%2Fb/blobs/{SHA.replace(':', '%3A')}", Target(BLOB, "a/b", SHA)),
        ("/v2/a/blobs/uploads/", Target(UPLOADS, "a")),
        ("/v2/a/blobs/uploads", Target(UPLOADS, "a")),
        ("/v2/a/b/blobs/uploads/x-1", Target(UPLOAD, "a/b", "x-1")),
        ("/v2/a/tags/list", Target(TAGS, "a")),
        (f"/v2/a/referrers/{SHA}", Target(REFERRERS, "a", SHA)),
        ("/v2/manifests/blobs/manifests/blobs", Target(MANIFEST, "manifests/blobs", "blobs")),
        ("/v2/tags/list/tags/list", Target(TAGS, "tags/list")),
        ("/v2/blobs/uploads/blobs/uploads/", Target(UPLOADS, "blobs/uploads")),
    ],
)
def test_paths(path: str, target: Target) -> None:
    assert parse_target(path) == target


@pytest.mark.parametrize("path", ["/", "/v1/", "/v2x", "/v2/a", "/v2/a/b", "/v2/a/tags/all", "/v2/x/y/z"])
def test_what_is_nothing_of_ours(path: str) -> None:
    assert parse_target(path) is None


@pytest.mark.parametrize(
    "name", ["A", "..", "../etc", "a/../b", "/a", "a//b", "a/", "%00", "a:1", "é", "x" * 256]
)
def test_bad_names(name: str) -> None:
    with pytest.raises(NameInvalid):
        parse_target(f"/v2/{name}/tags/list")


def test_references() -> None:
    assert parse_reference(SHA) == Digest(SHA)
    assert parse_reference("v1.0_x-Y") == "v1.0_x-Y"
    with pytest.raises(ManifestUnknown):
        parse_reference(".hidden")
    for bad in ("sha256:0", "sha384:" + "0" * 96, "md5:" + "0" * 32, ":"):
        with pytest.raises(DigestInvalid):
            parse_digest(bad)
