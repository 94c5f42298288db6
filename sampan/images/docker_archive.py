"""``docker save`` archives with a ``manifest.json``: the old layout (``<id>/layer.tar``) and that since 25.

Since 25 the archive is an OCI layout as well. ``manifest.json`` is what counts, as in Docker; the layout adds
the manifest and index that the image came with, so that they can be given away again byte for byte.
"""

from collections.abc import Mapping

import msgspec
from msgspec import field

from sampan.images.archive import Archive
from sampan.images.errors import InvalidArchive
from sampan.images.install import NewImage, NewLayer
from sampan.images.oci_archive import CameWith, identify
from sampan.images.planned import ArchiveBlob, PlannedImage, check_os, no_platform
from sampan.oci.config import ImageConfig, parse_config
from sampan.oci.digest import Digest
from sampan.oci.manifest import MAX_LAYERS, MAX_MANIFESTS
from sampan.oci.platform import Platform, strict
from sampan.oci.reference import InvalidReference, Reference, parse_normalized

MANIFEST_FILE = "manifest.json"


class _Item(msgspec.Struct):
    """One image of ``manifest.json``."""

    config: str = field(name="Config")
    repo_tags: list[str] | None = field(default=None, name="RepoTags")
    layers: list[str] | None = field(default=None, name="Layers")
    parent: str | None = field(default=None, name="Parent")


_ITEMS = msgspec.json.Decoder(list[_Item] | None)


def plan_docker(archive: Archive, document: bytes, platform: Platform | None) -> list[PlannedImage]:
    """Return the images of an archive whose ``manifest.json`` is ``document``.

    With ``platform``, those of other platforms are left out. Raises InvalidArchive and what documents raise.
    """
    try:
        items = _ITEMS.decode(document)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidArchive(f"invalid archive: failed to decode {MANIFEST_FILE}: {error}") from error
    if items is None:
        raise InvalidArchive("invalid manifest, manifest cannot be null (but can be [])")
    if len(items) > MAX_MANIFESTS:
        raise InvalidArchive(f"invalid manifest, {len(items)} images are more than {MAX_MANIFESTS}")
    matcher = strict(platform) if platform is not None else None
    came_with = identify(archive)
    planned: list[PlannedImage] = []
    for item in items:
        text = _find(archive, item.config, "configuration").read()
        config = parse_config(text)
        check_os(config.platform)
        if matcher is None or matcher.matches(config.platform):
            planned.append(_plan(archive, item, text, config, came_with))
    if items and not planned and platform is not None:
        raise no_platform(platform)
    known = {str(entry.image.id) for entry in planned}
    return [_with_known_parent(entry, known) for entry in planned]


def _plan(
    archive: Archive, item: _Item, text: bytes, config: ImageConfig, layouts: Mapping[str, CameWith]
) -> PlannedImage:
    paths = item.layers or []
    diff_ids = config.rootfs.diff_ids
    if len(paths) > MAX_LAYERS or len(paths) != len(diff_ids):
        raise InvalidArchive(
            f"invalid manifest, layers length mismatch: expected {len(paths)}, got {len(diff_ids)}"
        )
    layers = []
    for path, diff_id in zip(paths, diff_ids, strict=True):
        blob = _find(archive, path, "layer")
        layers.append(NewLayer(Digest(diff_id), blob, blob.layer_type()))
    came_with = layouts.get(Digest.of(text), CameWith())
    image = NewImage(text, config, layers, came_with.manifest, came_with.index, came_with.kept)
    return PlannedImage(image, [_name(tag) for tag in item.repo_tags or ()], item.parent or "")


def _find(archive: Archive, path: str, what: str) -> ArchiveBlob:
    member = archive.find(path)
    if member is None:
        raise InvalidArchive(f"invalid archive: {what} {path!r} named in {MANIFEST_FILE} is not in it")
    return ArchiveBlob(archive, member)


def _name(text: str) -> Reference:
    reference = parse_normalized(text)
    if not reference.tag or reference.digest:
        raise InvalidReference(f'invalid tag "{text}"')
    return reference


def _with_known_parent(entry: PlannedImage, known: set[str]) -> PlannedImage:
    """Drop a parent that is not in the same archive."""
    if entry.parent in known and entry.parent != entry.image.id:
        return entry
    return PlannedImage(entry.image, entry.names)
