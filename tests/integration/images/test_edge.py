"""Odd and hostile archives of other projects: each is loaded rightly or refused with one clear error.

An archive that the table does not know (a part of the collection is kept elsewhere) must do either. Layers
that are no archives of images are also loaded as the layer of one.
"""

import io
import os
import tarfile
from pathlib import Path

import pytest
from support.image_archives import config, docker_old
from support.image_lab import Lab
from support.shared import shared

from sampan.base.errors import EngineError
from sampan.base.outflow import in_memory

pytestmark = pytest.mark.root

NO_IMAGE = (
    "invalid archive: does not contain a manifest.json"  # Docker's words for a tar that is something else
)
V1 = "an archive of Docker before 1.10: Docker 28 still converts it"

# name → the images it gives, or the error; and why
EXPECTED: dict[str, tuple[list[str] | str, str]] = {
    "claircore/bad_name.tar": (NO_IMAGE, "a layer"),
    "claircore/concat.tar": (NO_IMAGE, "a layer"),
    "claircore/oddlayer.tar": (NO_IMAGE, "a layer without the zeros at its end"),
    "claircore/whiteout.layer": (NO_IMAGE, "a layer"),
    "claircore/whiteout_advanced.layer": (NO_IMAGE, "a layer"),
    "claircore/whiteout_opaque.layer": (NO_IMAGE, "a layer"),
    "go-containerregistry/content.tar": (NO_IMAGE, "a layer"),
    "go-containerregistry/hello-world-v25.tar": ([], "Docker 25; no tags, and an index whose list is null"),
    "go-containerregistry/no_manifest.tar": (["bazel/v1/tarball:test_image"], V1),
    "go-containerregistry/overwritten_file.tar": (["bazel/pkg/v1/mutate:overwritten_file"], "old Docker"),
    "go-containerregistry/test_bundle.tar": ('invalid tag "test_image_2"', "a name without a tag"),
    "go-containerregistry/test_image_1.tar": (["bazel/v1/tarball:test_image_1"], "old Docker"),
    "go-containerregistry/test_link.tar": (
        ["bazel/v1/tarball:test_image_1", "bazel/v1/tarball:test_image_3"],
        "two images, one made from the other, a layer by a symbolic link",
    ),
    "go-containerregistry/whiteout_dir.tar": (["localhost:5000/whiteout:latest"], "layers packed by gzip"),
    "go-containerregistry/whiteout_image.tar": (["bazel/pkg/v1/mutate:whiteout_image"], "old Docker"),
    "moby/46af0962ab5afeb5ce6740d4d91652e69206fc991fd5328c1a94d364ad00e457__layer.tar": (NO_IMAGE, "a layer"),
    "moby/511136ea3c5a64f264b78b5433614aec563103b4d4702f3ba7d4d2698e22c158__layer.tar": (NO_IMAGE, "a layer"),
    "moby/collision__collision-0.tar": (NO_IMAGE, "a layer"),
    "moby/collision__collision-1.tar": (NO_IMAGE, "a layer"),
    "moby/collision__collision-2.tar": (NO_IMAGE, "a layer"),
    "moby/collision__collision-3.tar": (NO_IMAGE, "a layer"),
    "moby/emptyLayer.tar": (["matthughes/library-centos:6-2015.03.20"], V1 + "; a layer.tar of no bytes"),
    "moby/xattr__layer.tar": (NO_IMAGE, "a layer"),
    "osv-scalibr/image/empty.tar": (NO_IMAGE, "nothing but zeros"),
    "osv-scalibr/image/symlink-attack.tar": (["symlink-attack:latest"], "links that lead out stay links"),
    "osv-scalibr/image/symlink-basic.tar": (["symlink-basic:latest"], "old Docker"),
    "osv-scalibr/image/symlink-dangling.tar": (["dangling-symlinks:latest"], "links need no target"),
    "osv-scalibr/image/symlink-depth-exceeded.tar": (["symlink-depth-exceeded:latest"], "links to links"),
    "osv-scalibr/image/two-files.tar": (["two-files:latest"], "old Docker"),
    "osv-scalibr/unpack/basic.tar": (["basic:latest"], "old Docker"),
    "osv-scalibr/unpack/dangling-symlinks.tar": (["dangling-symlinks:latest"], "links need no target"),
    "osv-scalibr/unpack/escape.tar": (NO_IMAGE, "a layer that tries to leave"),
    "osv-scalibr/unpack/permissions.tar": (["permissions:latest"], "old Docker"),
    "osv-scalibr/unpack/symlinks.tar": (["symlinks:latest"], "old Docker"),
    "stereoscope/invalid_file": ("invalid image index: Input data was truncated", "an empty index.json"),
    "stereoscope/multiplatform_oci_dir": (["multi-platform:latest"], "an index in an index"),
    "stereoscope/no_manifests": ("missing required field `manifests`", "a manifest in index.json's place"),
    "stereoscope/valid-oci.tar": (["sample:latest"], "an OCI layout with a whole name"),
    "stereoscope/valid_manifest": ("its name promises another", "a blob without content"),
    "stereoscope/valid_oci_dir": ([], "an OCI layout with bare tags, which are no names"),
}


def archives() -> dict[str, bytes]:
    """Return every archive by name; folders are layouts, put into a tar here."""
    found = {}
    top = shared("data/images/edge")
    for path in sorted(top.rglob("*")):
        if path.suffix in {".tar", ".layer"}:
            found[str(path.relative_to(top))] = path.read_bytes()
        elif path.name == "index.json":
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode="w") as archive:
                archive.add(path.parent, arcname=".")
            found[str(path.parent.relative_to(top))] = buffer.getvalue()
    return found


ARCHIVES = archives()


@pytest.fixture
def outside(tmp_path: Path) -> object:
    """Fail if anything appears where a layer that escapes would write."""

    def names() -> list[list[Path]]:
        return [
            sorted(Path(place).iterdir()) for place in ("/", "/etc", "/usr/share", "/var", tmp_path.parent)
        ]

    before = names()
    yield
    assert names() == before
    for path in ("/escape", "/trampoline", "/tmp/poc.txt", "/tmp/escape", "/poc.txt"):
        assert not os.path.lexists(path)


@pytest.mark.usefixtures("outside")
@pytest.mark.parametrize("name", ARCHIVES)
def test_as_an_archive(lab: Lab, name: str) -> None:
    expected = EXPECTED.get(name, (None, ""))[0]
    if isinstance(expected, str):
        with pytest.raises(EngineError) as caught:
            lab.load(ARCHIVES[name])
        assert expected in str(caught.value)
        assert lab.left() == []
        return
    try:
        said = lab.load(ARCHIVES[name])
    except EngineError:
        if expected is not None:
            raise
        return
    assert "Loaded image" in said
    if expected is not None:
        tags = [tag for summary in lab.images.list(all=True, filters={}) for tag in summary.repo_tags]
        assert sorted(tags) == expected


@pytest.mark.usefixtures("outside")
@pytest.mark.parametrize("name", [name for name in ARCHIVES if name.endswith((".tar", ".layer"))])
def test_as_a_layer(lab: Lab, name: str) -> None:
    data = ARCHIVES[name]
    said = lab.load(docker_old((config([data]), [data], ["odd:layer"])))
    assert said == "Loaded image: odd:layer\n"


def test_escaping_layer_stays_inside(lab: Lab) -> None:
    data = ARCHIVES["osv-scalibr/unpack/escape.tar"]
    lab.load(docker_old((config([data]), [data], ["escape:1"])))
    chain_id = lab.images.find("escape:1").chain_id
    assert chain_id is not None
    with tarfile.open(fileobj=io.BytesIO(b"".join(in_memory(lab.storage.export(chain_id))))) as tree:
        names = {member.name for member in tree}
    assert "trampoline" in names
    assert not Path("/tmp/poc.txt").exists()
