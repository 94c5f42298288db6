"""What a registry reads in manifests."""

import json

import pytest
from support.registry_server import OCI_INDEX, OCI_MANIFEST, digest, index, manifest

from sampan.distribution.documents import parse_manifest
from sampan.distribution.errors import ManifestInvalid
from sampan.oci.media_types import DOCKER_INDEX, DOCKER_MANIFEST, DOCKER_SCHEMA1

CONFIG, LAYER, OTHER = (digest(text) for text in (b"config", b"layer", b"other"))


def changed(data: bytes, **members: object) -> bytes:
    """Return a document with some members changed, or (None) left out."""
    document = {**json.loads(data), **members}
    return json.dumps({key: value for key, value in document.items() if value is not None}).encode()


def test_an_image() -> None:
    found = parse_manifest(OCI_MANIFEST, manifest(CONFIG, [(LAYER, 1), (LAYER, 1)]))
    assert (found.media_type, found.blobs, found.manifests) == (OCI_MANIFEST, (CONFIG, LAYER), ())
    assert (found.subject, found.artifact_type) == ("", "application/vnd.oci.image.config.v1+json")


def test_an_index() -> None:
    child = manifest(CONFIG, [])
    found = parse_manifest(OCI_INDEX, index(child, artifactType="a/b"))
    assert (found.blobs, found.manifests, found.artifact_type) == ((), (digest(child),), "a/b")


@pytest.mark.parametrize(
    "stated", ["", "application/json", "application/octet-stream", OCI_MANIFEST + " ;x=y"]
)
def test_the_type_is_in_the_document(stated: str) -> None:
    assert parse_manifest(stated, manifest(CONFIG, [])).media_type == OCI_MANIFEST


def test_the_type_is_nowhere_in_the_document() -> None:
    image, many = (changed(data, mediaType=None) for data in (manifest(CONFIG, []), index()))
    assert parse_manifest(DOCKER_MANIFEST, image).media_type == DOCKER_MANIFEST
    assert parse_manifest(DOCKER_INDEX, many).media_type == DOCKER_INDEX
    assert parse_manifest("", image).media_type == OCI_MANIFEST
    assert parse_manifest("", many).media_type == OCI_INDEX


def test_what_go_writes_for_nothing() -> None:
    data = changed(manifest(CONFIG, []))[:-1] + b',"annotations":null,"subject":null}'
    assert parse_manifest(OCI_MANIFEST, data).subject == ""


@pytest.mark.parametrize(
    ("stated", "data", "words"),
    [
        (OCI_INDEX, manifest(CONFIG, []), "but the manifest says mediaType"),
        ("text/plain", changed(manifest(CONFIG, []), mediaType=None), "unsupported media type"),
        (min(DOCKER_SCHEMA1), b'{"schemaVersion":1}', "schema 1 is not supported"),
        ("", b'{"schemaVersion":1,"fsLayers":[]}', "schema 1 is not supported"),
        (OCI_MANIFEST, changed(manifest(CONFIG, []), schemaVersion=3), "schemaVersion must be 2"),
        (OCI_MANIFEST, changed(manifest(CONFIG, []), manifests=[]), "an index as well"),
        (OCI_MANIFEST, changed(manifest(CONFIG, []), config=None), "no config"),
        (OCI_INDEX, changed(index(), layers=[]), "an image manifest as well"),
        (OCI_INDEX, changed(index(), manifests=None), "no manifests"),
        (OCI_MANIFEST, manifest("sha384:" + "0" * 96, []), "unsupported digest algorithm"),
        (OCI_MANIFEST, manifest("md5:00", []), "unsupported digest algorithm"),
        (OCI_MANIFEST, manifest(CONFIG, [(digest(b"%d" % n), 1) for n in range(4097)]), "more than 4096"),
        (OCI_MANIFEST, b"\x00", "invalid manifest"),
    ],
)
def test_what_is_refused(stated: str, data: bytes, words: str) -> None:
    with pytest.raises(ManifestInvalid, match=words):
        parse_manifest(stated, data)


def test_layers_of_others() -> None:
    kind = "application/vnd.oci.image.layer.nondistributable.v1.tar"
    data = changed(manifest(CONFIG, []), layers=[{"mediaType": kind, "digest": OTHER, "size": 1}])
    found = parse_manifest(OCI_MANIFEST, data)
    assert (found.blobs, found.elsewhere) == ((CONFIG,), (OTHER,))


def test_the_entry_among_referrers() -> None:
    data = manifest(
        CONFIG, [], subject={"mediaType": "a/b", "digest": OTHER, "size": 9}, annotations={"a": "b"}
    )
    found = parse_manifest(OCI_MANIFEST, data)
    assert found.subject == OTHER
    assert json.loads(found.referrer(found.blobs[0], 7)) == {
        "mediaType": OCI_MANIFEST,
        "size": 7,
        "digest": CONFIG,
        "artifactType": "application/vnd.oci.image.config.v1+json",
        "annotations": {"a": "b"},
    }
