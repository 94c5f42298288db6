"""Descriptors, manifests, indexes, configurations and layouts against the specification's own cases."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from support.shared import shared, table

from sampan.oci import config, descriptor, layout, manifest, media_types
from sampan.oci.config import chain_id, chain_ids, format_created, parse_config
from sampan.oci.descriptor import Descriptor, InvalidDocument

SHA = "sha256:" + "0" * 64


def accepts(parse: Callable[[bytes], object], document: str) -> bool:
    try:
        parse(document.encode())
    except InvalidDocument:
        return False
    return True


@pytest.mark.parametrize(
    ("name", "parse"),
    [
        ("config", config.check_config),
        ("descriptor", descriptor.parse_descriptor),
        ("index", manifest.parse_index),
        ("layout", layout.parse_layout),
        ("manifest", manifest.parse_manifest),
    ],
)
def test_tables(name: str, parse: Callable[[bytes], object]) -> None:
    for row in table(f"oci/{name}"):
        assert accepts(parse, row["document"]) is row["valid"], row["document"]


@pytest.mark.parametrize("row", table("oci/chain_id"), ids=str)
def test_chain_ids(row: dict[str, Any]) -> None:
    assert chain_ids(row["diff_ids"]) == row["chain_ids"]
    if row["diff_ids"]:
        assert chain_id(row["diff_ids"]) == row["chain_ids"][-1]
    else:
        with pytest.raises(ValueError, match="no chainID"):
            chain_id(row["diff_ids"])


REFUSED = {  # what that suite's own lenient reader takes, and why the specification does not
    "internal__image__schema1-to-oci1.json": "the size is -1",
    "internal__image__schema1-to-schema2.json": "the size is -1",
    "internal__manifest__ociv1.artifact.json": "the digest is empty",
    "internal__manifest__ociv1nomime.artifact.json": "the digest is empty",
}


def test_real_documents() -> None:
    for path in sorted(shared("data/images/manifests/containers-image").iterdir()):
        text = path.read_bytes()
        try:
            value = json.loads(text)
        except ValueError:
            value = {}
        if "config" in value and "layers" in value:
            parse: Callable[[bytes], object] = manifest.parse_manifest
        elif "manifests" in value:
            parse = manifest.parse_index
        elif "rootfs" in value:
            parse = parse_config
        else:
            assert any(word in path.name for word in ("schema1", "v2s1", "non-json", "artifact")), path.name
            continue
        assert accepts(parse, text.decode()) is (path.name not in REFUSED), path.name


def test_confusing_documents_are_refused() -> None:
    one = {"mediaType": media_types.OCI_LAYER, "size": 1, "digest": SHA}
    both = {"schemaVersion": 2, "config": one, "layers": [one], "manifests": []}
    assert not accepts(manifest.parse_manifest, json.dumps(both))
    assert not accepts(manifest.parse_index, json.dumps(both))
    many = {"schemaVersion": 2, "config": one, "layers": [one] * (manifest.MAX_LAYERS + 1)}
    with pytest.raises(InvalidDocument, match="501 layers are more than 500"):
        manifest.parse_manifest(json.dumps(many).encode())
    deep = b'{"schemaVersion":2,"annotations":' + b"[" * 100_000
    assert not accepts(manifest.parse_index, deep.decode())
    with pytest.raises(InvalidDocument, match="are more than"):
        manifest.parse_index(b" " * (descriptor.MAX_DOCUMENT + 1))


def test_config_as_docker_reads_it() -> None:
    text = {
        "os": None, "created": None, "rootfs": {"type": "layers", "diff_ids": None}, "history": None,
        "config": {"Env": None, "Cmd": ["sh"]}, "author": None,
    }  # fmt: skip
    found = parse_config(json.dumps(text).encode())
    assert found.platform.os == "linux"
    assert json.loads(bytes(found.config)) == {"Cmd": ["sh"]}
    with pytest.raises(InvalidDocument, match="invalid image JSON, no RootFS key"):
        parse_config(b'{"os":"linux"}')
    with pytest.raises(InvalidDocument, match="too many non-empty layers in History section"):
        parse_config(b'{"rootfs":{"type":"layers","diff_ids":[]},"history":[{}]}')
    for bad in (
        b"",
        b"[]",
        b"null",
        b"{",
        b'{"rootfs":{"type":"layers","diff_ids":["x"]}}',
        b'{"rootfs":{"type":"x"}}',
    ):
        with pytest.raises(InvalidDocument):
            parse_config(bad)


def test_rendered_documents() -> None:
    blob = Descriptor(media_types.OCI_CONFIG, SHA, 3)
    text = manifest.render_manifest(blob, [Descriptor(media_types.OCI_LAYER, SHA, 4)])
    assert json.loads(text) == {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "config": {"mediaType": media_types.OCI_CONFIG, "digest": SHA, "size": 3},
        "layers": [{"mediaType": media_types.OCI_LAYER, "digest": SHA, "size": 4}],
    }
    assert manifest.parse_manifest(text).config == blob
    assert manifest.parse_manifest(manifest.render_manifest(blob, [])).layers == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z"),
        ("2024-01-01T00:00:00.000Z", "2024-01-01T00:00:00Z"),
        ("2018-10-13T15:43:31.200-04:00", "2018-10-13T15:43:31.2-04:00"),
        ("soon.x", "soon.x"),
        ("", ""),
    ],
)
def test_format_created(text: str, expected: str) -> None:
    assert format_created(text) == expected


def test_layout_names() -> None:
    def named(**annotations: str) -> str:
        keys = {"ref": layout.REF_NAME, "image": layout.IMAGE_NAME}
        return layout.image_name(
            Descriptor(
                media_types.OCI_MANIFEST, SHA, 1, annotations={keys[k]: v for k, v in annotations.items()}
            )
        )

    assert named(image="docker.io/library/a:1", ref="1") == "docker.io/library/a:1"
    assert named(ref="sample:latest") == "sample:latest"
    assert named(ref="latest") == ""
    assert named() == ""
    assert layout.blob_path(SHA) == "blobs/sha256/" + "0" * 64


def test_layer_types() -> None:
    for media_type in (
        media_types.OCI_LAYER_ZSTD,
        media_types.DOCKER_LAYER_GZIP,
        media_types.DOCKER_LAYER + ".zstd",
    ):
        assert media_types.is_layer(media_type)
    encrypted = media_types.OCI_LAYER_GZIP + "+encrypted"
    assert media_types.is_encrypted(encrypted)
    assert not media_types.is_layer(encrypted)
    for other in (
        media_types.OCI_CONFIG,
        media_types.OCI_LAYER + "+invalid-suffix",
        "application/octet-stream",
    ):
        assert not media_types.is_layer(other)
