"""Images as the API shows them: inspect, list entries and history. Pure: rows and documents in, wire out."""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import UNSET

from sampan.base import times
from sampan.images.install import container_config
from sampan.images.store import ImageRecord
from sampan.oci.config import ImageConfig, format_created
from sampan.oci.reference import Reference
from sampan.wire.containers import ContainerConfig, GraphDriver
from sampan.wire.images import (
    HistoryEntry,
    ImageMetadata,
    ImageRootFS,
    ImageSummary,
    InspectedImage,
    OCIDescriptor,
    PortableConfig,
)


def tags(references: Sequence[Reference]) -> list[str]:
    """Return the familiar names with tags."""
    return [reference.familiar for reference in references if reference.tag]


def digests(references: Sequence[Reference]) -> list[str]:
    """Return the familiar names with digests."""
    return [reference.familiar for reference in references if reference.digest]


def inspected(
    record: ImageRecord,
    config: ImageConfig,
    run: ContainerConfig | None,
    references: Sequence[Reference],
    graph: GraphDriver,
) -> InspectedImage:
    """Return everything about an image, the fields that only old versions of the API have included."""
    comment = config.comment or (config.history[-1].comment if config.history else "")
    return InspectedImage(
        id=record.id,
        repo_tags=tags(references),
        repo_digests=digests(references),
        parent=record.parent,
        comment=comment,
        docker_version=config.docker_version,
        author=config.author,
        config=run or ContainerConfig(),
        architecture=config.architecture,
        os=config.platform.os,
        size=record.size,
        graph_driver=graph,
        root_fs=ImageRootFS(
            config.rootfs.type or "layers",
            [str(diff_id) for diff_id in config.rootfs.diff_ids] if config.rootfs.diff_ids else UNSET,
        ),
        metadata=ImageMetadata(times.format_ns(record.tagged_ns) if record.tagged_ns else times.ZERO),
        created=format_created(config.created) if config.created else UNSET,
        variant=config.variant or UNSET,
        os_version=config.os_version or UNSET,
        virtual_size=record.size,
        container=config.container or UNSET,
        container_config=container_config(config.container_config) or ContainerConfig(),
        descriptor=_descriptor(record),
    )


def _descriptor(record: ImageRecord) -> OCIDescriptor | msgspec.UnsetType:
    found = record.index or record.manifest
    return UNSET if found is None else msgspec.convert(msgspec.to_builtins(found), OCIDescriptor)


def portable(config: ContainerConfig) -> PortableConfig:
    """Return the part of a container configuration that images have from API 1.50 on."""
    return PortableConfig(
        user=config.user,
        exposed_ports=config.exposed_ports or None,
        env=config.env,
        entrypoint=_words(config.entrypoint),
        cmd=_words(config.cmd),
        volumes=config.volumes or None,
        working_dir=config.working_dir,
        labels=config.labels or None,
        stop_signal=config.stop_signal or "",
        args_escaped=bool(config.args_escaped),
        healthcheck=config.healthcheck,
        on_build=config.on_build or None,
        shell=config.shell or None,
    )


def _words(value: list[str] | str | None) -> list[str] | None:
    return [value] if isinstance(value, str) else value or None


def summarized(
    record: ImageRecord, references: Sequence[Reference], *, shared_size: int = -1, containers: int = -1
) -> ImageSummary:
    """Return the list entry of an image under ``references``, those of its names that are to be shown."""
    return ImageSummary(
        id=record.id,
        parent_id=record.parent,
        repo_tags=tags(references),
        repo_digests=digests(references),
        created=(record.created_ns or 0) // 10**9,
        size=record.size,
        labels=record.labels,
        shared_size=shared_size,
        containers=containers,
    )


def history(
    config: ImageConfig, record: ImageRecord, lineage: Sequence[tuple[str, list[str]]]
) -> list[HistoryEntry]:
    """Return the history of an image, newest first.

    ``lineage`` has ID and tags of the image and of those it was made from: the newest entries carry them.
    """
    sizes = iter([layer.unpacked for layer in record.layers])
    entries = [
        HistoryEntry(
            id="<missing>",
            created=_seconds(entry.created),
            created_by=entry.created_by,
            tags=None,
            size=0 if entry.empty_layer else next(sizes),
            comment=entry.comment,
        )
        for entry in config.history
    ]
    entries.reverse()
    for entry, (image_id, names) in zip(entries, lineage, strict=False):
        entry.id = image_id
        entry.tags = names or None
    return entries


def _seconds(text: str | None) -> int:
    try:
        return times.parse_ns(text) // 10**9 if text else 0
    except (ValueError, OverflowError):
        return 0


def shared_sizes(records: Mapping[str, ImageRecord]) -> dict[str, int]:
    """Return for each image how many bytes of its layers other images have too."""
    users: dict[str, int] = {}
    for record in records.values():
        for layer in record.layers:
            users[layer.chain_id] = users.get(layer.chain_id, 0) + 1
    return {
        image_id: sum(layer.unpacked for layer in record.layers if users[layer.chain_id] > 1)
        for image_id, record in records.items()
    }
