"""OCI layouts in an archive: nested indexes, the choice among platforms, and what comes with an image."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from sampan.base.errors import EngineError, NotFound, NotImplementedHere
from sampan.images.archive import Archive
from sampan.images.errors import InvalidArchive
from sampan.images.install import NewImage, NewLayer
from sampan.images.planned import ArchiveBlob, PlannedImage, check_os, no_platform
from sampan.oci.config import ImageConfig, parse_config
from sampan.oci.descriptor import Descriptor
from sampan.oci.digest import Digest
from sampan.oci.layout import INDEX_FILE, LAYOUT_FILE, blob_path, image_name, is_attestation, parse_layout
from sampan.oci.manifest import MAX_MANIFESTS, Index, Manifest, parse_index, parse_manifest
from sampan.oci.media_types import (
    CONFIGS,
    DOCKER_SCHEMA1,
    INDEXES,
    MANIFESTS,
    is_encrypted,
    is_layer,
)
from sampan.oci.platform import Platform, compatible, host, strict
from sampan.oci.reference import Reference, parse_tagged

_MAX_DEPTH = 8


@dataclass(frozen=True, slots=True)
class CameWith:
    """What a layout knows about an image beyond its configuration and layers."""

    manifest: Descriptor | None = None
    index: Descriptor | None = None
    kept: Sequence[ArchiveBlob] = ()


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A manifest of the layout, below the entry ``top`` of its ``index.json``."""

    descriptor: Descriptor
    top: Descriptor
    manifest: Manifest


@dataclass(slots=True)
class _Layout:
    """The documents of a layout, read once."""

    archive: Archive
    manifests: int = 0
    skipped: list[str] = field(default_factory=list)

    def blob(self, descriptor: Descriptor) -> ArchiveBlob | None:
        """Return a blob of the archive, None if it was left out. Raises InvalidArchive if it is another."""
        member = self.archive.find(blob_path(Digest(descriptor.digest)))
        if member is None:
            return None
        blob = ArchiveBlob(self.archive, member)
        if blob.digest != descriptor.digest or blob.size != descriptor.size:
            raise InvalidArchive(
                f"invalid archive: blob {descriptor.digest} has {blob.size} bytes, "
                f"its descriptor says {descriptor.size}"
            )
        return blob

    def walk(self, descriptor: Descriptor, top: Descriptor, depth: int = 0) -> Iterator[_Candidate]:
        """Yield the image manifests at and below ``descriptor`` whose blobs are there."""
        self.manifests += 1
        if self.manifests > MAX_MANIFESTS or depth > _MAX_DEPTH:
            raise InvalidArchive("invalid archive: its indexes are nested too deeply, or list too much")
        if descriptor.media_type in DOCKER_SCHEMA1:
            raise NotImplementedHere(f"{descriptor.digest} is a schema 1 manifest, which is not supported")
        if is_attestation(descriptor):
            return
        if descriptor.media_type in INDEXES:
            for entry in self.index(descriptor).manifests:
                yield from self.walk(entry, top, depth + 1)
        elif descriptor.media_type in MANIFESTS:
            blob = self.blob(descriptor)
            if blob is None:
                self.skipped.append(descriptor.digest)
                return
            manifest = parse_manifest(blob.read())
            if manifest.config.media_type in CONFIGS:
                yield _Candidate(descriptor, top, manifest)
            else:
                self.skipped.append(descriptor.digest)
        else:
            self.skipped.append(descriptor.digest)

    def index(self, descriptor: Descriptor) -> Index:
        """Return an index that must be there."""
        blob = self.blob(descriptor)
        if blob is None:
            raise InvalidArchive(f"invalid archive: blob {descriptor.digest} is missing")
        return parse_index(blob.read())

    def missing(self, manifest: Manifest) -> str | None:
        """Return the digest of a blob of the image that is not in the archive."""
        for descriptor in (manifest.config, *manifest.layers):
            if self.blob(descriptor) is None:
                return descriptor.digest
        return None

    def reachable(self, top: Descriptor) -> dict[str, ArchiveBlob]:
        """Return every blob at and below ``top`` that is in the archive, by digest."""
        found: dict[str, ArchiveBlob] = {}
        pending = [top]
        while pending:
            descriptor = pending.pop()
            if descriptor.digest in found or (blob := self.blob(descriptor)) is None:
                continue
            found[descriptor.digest] = blob
            if descriptor.media_type in INDEXES:
                pending.extend(parse_index(blob.read()).manifests)
            elif descriptor.media_type in MANIFESTS:
                manifest = parse_manifest(blob.read())
                pending += [manifest.config, *manifest.layers]
        return found

    def came_with(self, candidate: _Candidate) -> CameWith:
        """Return what belongs to the image of ``candidate`` beside its configuration and layers."""
        own = {candidate.manifest.config.digest, *(layer.digest for layer in candidate.manifest.layers)}
        blobs = self.reachable(candidate.top)
        return CameWith(
            candidate.descriptor,
            candidate.top if candidate.top.media_type in INDEXES else None,
            [blob for digest, blob in blobs.items() if digest not in own],
        )


def plan_layout(archive: Archive, document: bytes, platform: Platform | None) -> list[PlannedImage]:
    """Return the images of a layout whose ``index.json`` is ``document``.

    Entries of one name, or of none, are one image for several platforms: that of this host is taken (its
    best match), or of ``platform``; the blobs of the others come along. Raises InvalidArchive, NotFound if
    there is none for ``platform``, and what documents raise.
    """
    if (version := archive.read(LAYOUT_FILE)) is not None:
        parse_layout(version)
    layout = _Layout(archive)
    groups: dict[str, list[Descriptor]] = {}
    for descriptor in parse_index(document).manifests:
        groups.setdefault(image_name(descriptor), []).append(descriptor)
    planned: list[PlannedImage] = []
    for name, tops in groups.items():
        candidates = [candidate for top in tops for candidate in layout.walk(top, top)]
        planned += [_plan(layout, candidate, name) for candidate in _choose(layout, candidates, platform)]
    if not planned and platform is not None:
        raise no_platform(platform)
    if not planned:
        what = f"; {layout.skipped[0]} is none" if layout.skipped else ""
        raise InvalidArchive(f"invalid archive: there is no image in it{what}")
    return planned


def _choose(layout: _Layout, candidates: Sequence[_Candidate], wanted: Platform | None) -> list[_Candidate]:
    """Return the manifests of the best platform: several only if one platform has several images."""
    complete = [candidate for candidate in candidates if layout.missing(candidate.manifest) is None]
    if candidates and not complete:
        missing = layout.missing(candidates[0].manifest)
        raise InvalidArchive(f"invalid archive: blob {missing} is missing")
    items = [(_platform(layout, candidate), candidate) for candidate in complete]
    matcher = strict(wanted) if wanted is not None else compatible(host())
    matching = [item for item in items if matcher.matches(item[0])]
    if not matching:
        if wanted is not None or not items:
            return []
        if len({platform.normalized() for platform, _ in items}) > 1:
            there = ", ".join(sorted({str(platform) for platform, _ in items}))
            raise NotFound(
                f"no image for {host()} found in the archive, it has {there}: choose one by platform"
            )
        matching = items  # made for another machine, but nothing else is there: Docker loads it too
    best = matcher.best_first(matching)
    first = best[0][0].normalized()
    unique = {item.descriptor.digest: item for platform, item in best if platform.normalized() == first}
    return list(unique.values())


def _platform(layout: _Layout, candidate: _Candidate) -> Platform:
    described = candidate.descriptor.platform
    return described if described is not None else _config(layout, candidate)[1].platform


def _config(layout: _Layout, candidate: _Candidate) -> tuple[bytes, ImageConfig]:
    text = _need(layout, candidate.manifest.config).read()
    return text, parse_config(text)


def _plan(layout: _Layout, candidate: _Candidate, name: str) -> PlannedImage:
    text, config = _config(layout, candidate)
    check_os(config.platform)
    manifest = candidate.manifest
    if len(manifest.layers) != len(config.rootfs.diff_ids):
        raise InvalidArchive(
            f"invalid manifest, layers length mismatch: expected {len(manifest.layers)}, "
            f"got {len(config.rootfs.diff_ids)}"
        )
    layers = []
    for descriptor, diff_id in zip(manifest.layers, config.rootfs.diff_ids, strict=True):
        if is_encrypted(descriptor.media_type):
            raise NotImplementedHere(f"layer {descriptor.digest} is encrypted, and this engine has no keys")
        if not is_layer(descriptor.media_type):
            raise InvalidArchive(f"invalid archive: {descriptor.media_type} is no layer of a file system")
        layers.append(NewLayer(Digest(diff_id), _need(layout, descriptor), descriptor.media_type))
    came_with = layout.came_with(candidate)
    image = NewImage(text, config, layers, came_with.manifest, came_with.index, came_with.kept)
    return PlannedImage(image, [_name(name)] if name else [])


def _need(layout: _Layout, descriptor: Descriptor) -> ArchiveBlob:
    blob = layout.blob(descriptor)
    if blob is None:
        raise InvalidArchive(f"invalid archive: blob {descriptor.digest} is missing")
    return blob


def _name(text: str) -> Reference:
    reference = parse_tagged(text)
    return reference if reference.tag else reference.name_only().with_default_tag()


def identify(archive: Archive) -> dict[str, CameWith]:
    """Return what the layout in a Docker archive knows about images, by ID; little if it is broken."""
    found: dict[str, CameWith] = {}
    document = archive.read(INDEX_FILE)
    if document is None:
        return found
    layout = _Layout(archive)
    with suppress(EngineError):  # manifest.json is what counts here
        for top in parse_index(document).manifests:
            for candidate in layout.walk(top, top):
                image_id = candidate.manifest.config.digest
                if image_id not in found and layout.missing(candidate.manifest) is None:
                    found[image_id] = layout.came_with(candidate)
    return found
