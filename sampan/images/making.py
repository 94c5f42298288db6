"""New images made here: of a container's changes (commit), and of an archive of a whole tree (import).

The layer becomes a blob first; its digest is its diffID, unless the archive came compressed, and then it is
kept as it came. The configuration is written last, since it names the layer.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from sampan import __version__
from sampan.base import times
from sampan.images.compression import MAGIC_BYTES, Compression, Decompressor, Limits, Readable, detect
from sampan.images.content import ContentStore, Hold
from sampan.images.install import NewImage, NewLayer
from sampan.images.planned import LAYER_TYPES, StoredBlob
from sampan.images.store import ImageRecord
from sampan.oci.config import ImageConfig, parse_config
from sampan.oci.digest import CANONICAL, Digest, Hasher
from sampan.oci.media_types import OCI_LAYER
from sampan.oci.platform import Platform, host
from sampan.wire.containers import ContainerConfig

_PIECE: Final = 1 << 20
_EMPTY: Final = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"  # a tar of nothing
# What of a container's configuration is the image's: the rest is about the one container.
_PORTABLE: Final = (
    "User ExposedPorts Env Cmd Healthcheck ArgsEscaped Volumes WorkingDir Entrypoint OnBuild Labels "
    "StopSignal StopTimeout Shell"
).split()


@dataclass(frozen=True, slots=True)
class Commit:
    """What an image of a container's changes is to say; ``ran`` is the container's own configuration."""

    config: ContainerConfig
    container: str
    ran: ContainerConfig
    author: str = ""
    comment: str = ""


def write_layer(content: ContentStore, hold: Hold, pieces: Iterator[bytes]) -> NewLayer | None:
    """Store the layer tar that comes in ``pieces``; None if there is nothing in it. Blocking."""
    with content.ingest() as ingest:
        for piece in pieces:
            ingest.write(piece)
        digest = ingest.digest()
        if digest == _EMPTY:
            return None
        hold.add(digest)
        ingest.commit()
    return NewLayer(digest, StoredBlob(content, digest, ingest.size), OCI_LAYER)


def receive_layer(
    content: ContentStore, hold: Hold, source: Readable, limits: Limits | None = None
) -> NewLayer:
    """Store the archive ``source``, of any compression, as it comes. Blocking.

    Raises InvalidArchive, TooLarge for a compressed stream that is not well.
    """
    with content.ingest() as ingest:
        head = b""
        while len(head) < MAGIC_BYTES and (piece := source.read(_PIECE)):
            head += piece
        compression = detect(head)
        inside = Hasher(CANONICAL)
        decompressor = Decompressor(compression, inside.update, "the archive", limits)
        piece = head
        while piece:
            ingest.write(piece)
            if compression is not Compression.NONE:
                decompressor.feed(piece)
            piece = source.read(_PIECE)
        digest = ingest.digest()
        if compression is not Compression.NONE:
            decompressor.finish()
        diff_id = digest if compression is Compression.NONE else inside.digest()
        hold.add(digest)
        ingest.commit()
    return NewLayer(diff_id, StoredBlob(content, digest, ingest.size), LAYER_TYPES[compression])


def plan_commit(
    content: ContentStore,
    base: tuple[ImageRecord, ImageConfig] | None,
    layer: NewLayer | None,
    commit: Commit,
) -> NewImage:
    """Return the image of ``commit``: the layers of ``base``, and ``layer`` on top if there is one."""
    layers: list[NewLayer] = []
    history: list[dict[str, Any]] = []
    platform = host()
    if base is not None:
        record, config = base
        platform = config.platform
        layers = stored_layers(content, record)
        history = [msgspec.to_builtins(step) for step in config.history]
    if layer is not None:
        layers.append(layer)
    created = times.now()
    command = commit.ran.cmd
    history.append(
        _without_empty(
            {
                "created": created,
                "author": commit.author,
                "created_by": command if isinstance(command, str) else " ".join(command or ()),
                "comment": commit.comment,
                "empty_layer": layer is None,
            }
        )
    )
    more = {
        "author": commit.author,
        "container": commit.container,
        "container_config": msgspec.to_builtins(commit.ran),
        "comment": commit.comment,
    }
    parent = base[0].id if base is not None else ""
    return _image(platform, created, commit.config, layers, history, more, parent=parent)


def plan_import(layer: NewLayer, platform: Platform, config: ContainerConfig, comment: str) -> NewImage:
    """Return the image of one layer."""
    created = times.now()
    history = [{"created": created, "comment": comment}]
    return _image(platform, created, config, [layer], history, {"comment": comment})


def stored_layers(content: ContentStore, record: ImageRecord) -> list[NewLayer]:
    """Return the layers of an image that is there."""
    return [
        NewLayer(
            Digest(layer.diff_id), StoredBlob(content, Digest(layer.digest), layer.size), layer.media_type
        )
        for layer in record.layers
    ]


def _image(
    platform: Platform,
    created: str,
    config: ContainerConfig,
    layers: Sequence[NewLayer],
    history: Sequence[Mapping[str, Any]],
    more: Mapping[str, Any],
    *,
    parent: str = "",
) -> NewImage:
    run = {name: value for name, value in msgspec.to_builtins(config).items() if name in _PORTABLE}
    document = msgspec.json.encode(
        {
            **_without_empty(
                {
                    "architecture": platform.architecture,
                    "variant": platform.variant,
                    "os": platform.os,
                    "os.version": platform.os_version,
                    "created": created,
                    "docker_version": f"sampan {__version__}",
                    **more,
                }
            ),
            "config": _without_empty(run),
            "rootfs": {"type": "layers", "diff_ids": [str(layer.diff_id) for layer in layers]},
            "history": list(history),
        }
    )
    return NewImage(document, parse_config(document), layers, parent=parent)


def _without_empty(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}
