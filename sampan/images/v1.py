"""``docker save`` archives from before Docker 1.10: ``<id>/json``, ``<id>/layer.tar`` and ``repositories``.

Each folder is an image with one layer over its parent's. As in Docker 28, it becomes a configuration of
today, whose digest is the image ID; the old ids are forgotten.
"""

from typing import Any, Final

import msgspec

from sampan.images.archive import Archive
from sampan.images.errors import InvalidArchive
from sampan.images.install import NewImage, NewLayer
from sampan.images.planned import ArchiveBlob, PlannedImage, check_os, no_platform
from sampan.oci.config import parse_config
from sampan.oci.digest import is_identifier
from sampan.oci.manifest import MAX_LAYERS
from sampan.oci.platform import Platform, strict
from sampan.oci.reference import Reference, parse_normalized

REPOSITORIES_FILE: Final = "repositories"
_DROPPED: Final = ("id", "parent", "Size", "parent_id", "layer_id", "throwaway")


def plan_v1(archive: Archive, document: bytes, platform: Platform | None) -> list[PlannedImage]:
    """Return the images of an archive with the ``repositories`` file ``document``, parents first."""
    try:
        repositories = msgspec.json.decode(document, type=dict[str, dict[str, str]])
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidArchive(f"invalid archive: failed to decode {REPOSITORIES_FILE}: {error}") from error
    matcher = strict(platform) if platform is not None else None
    made: dict[str, _Made] = {}
    names: dict[str, list[Reference]] = {}
    for name, tags in repositories.items():
        for tag, old_id in tags.items():
            names.setdefault(old_id, []).append(parse_normalized(name).with_tag(tag))
    for old_id in sorted({*names, *_folders(archive)}):
        if not is_identifier(old_id):
            raise InvalidArchive(f"invalid archive: invalid target ID: {old_id}")
        for link in _line(archive, old_id):
            made.setdefault(link.old_id, link)
    planned: dict[str, PlannedImage] = {}
    for old_id in made:
        _build(archive, old_id, made, planned, names)
    found = [
        entry for entry in planned.values() if matcher is None or matcher.matches(entry.image.config.platform)
    ]
    if planned and not found and platform is not None:
        raise no_platform(platform)
    return found


class _Made:
    """One old image: its document, and the id of the one below it."""

    __slots__ = ("document", "old_id", "parent")

    def __init__(self, old_id: str, document: dict[str, Any]) -> None:
        self.old_id = old_id
        self.document = document
        parent = document.get("parent") or ""
        if not isinstance(parent, str) or (parent and not is_identifier(parent)):
            raise InvalidArchive(f"invalid archive: image {old_id} has the parent {parent!r}")
        self.parent: str = parent


def _folders(archive: Archive) -> set[str]:
    return {
        folder
        for folder, _, name in (path.partition("/") for path in archive.names())
        if name == "json" and is_identifier(folder)
    }


def _line(archive: Archive, old_id: str) -> list[_Made]:
    """Return the image and all below it, base first."""
    line: list[_Made] = []
    seen: set[str] = set()
    while old_id:
        if old_id in seen or len(line) == MAX_LAYERS:
            raise InvalidArchive(f"invalid archive: image {old_id} is its own ancestor, or has too many")
        seen.add(old_id)
        text = archive.read(f"{old_id}/json")
        if text is None:
            raise InvalidArchive(f"invalid archive: {old_id}/json is not in it")
        try:
            document = msgspec.json.decode(text, type=dict[str, Any])
        except (msgspec.DecodeError, RecursionError) as error:
            raise InvalidArchive(f"invalid archive: failed to decode {old_id}/json: {error}") from error
        line.append(_Made(old_id, document))
        old_id = line[-1].parent
    return line[::-1]


def _build(
    archive: Archive,
    old_id: str,
    made: dict[str, _Made],
    planned: dict[str, PlannedImage],
    names: dict[str, list[Reference]],
) -> None:
    """Add the planned image of ``old_id``; its parent is there already."""
    link = made[old_id]
    below = planned[link.parent] if link.parent else None
    member = archive.find(f"{old_id}/layer.tar")
    if member is None:
        raise InvalidArchive(f"invalid archive: {old_id}/layer.tar is not in it")
    blob = ArchiveBlob(archive, member)
    layers = [
        *(below.image.layers if below is not None else ()),
        NewLayer(blob.digest, blob, blob.layer_type()),
    ]
    history = [*(below.image.config.history if below is not None else ()), _history(link.document)]
    document = {
        key: value for key, value in link.document.items() if key not in _DROPPED and value is not None
    }
    document["rootfs"] = {"type": "layers", "diff_ids": [str(layer.diff_id) for layer in layers]}
    document["history"] = msgspec.to_builtins(history)
    text = msgspec.json.encode(document, order="sorted")
    config = parse_config(text)
    check_os(config.platform)
    parent = str(below.image.id) if below is not None else ""
    planned[old_id] = PlannedImage(NewImage(text, config, layers), names.get(old_id, []), parent)


def _history(document: dict[str, Any]) -> dict[str, Any]:
    """Return what the old document says about how its layer came about."""
    ran = document.get("container_config")
    command = ran.get("Cmd") if isinstance(ran, dict) else None
    words = [str(word) for word in command] if isinstance(command, list) else []
    entry = {
        "created": document.get("created"),
        "author": document.get("author"),
        "created_by": " ".join(words),
        "comment": document.get("comment"),
    }
    return {key: value for key, value in entry.items() if isinstance(value, str) and value}
