"""Manifest lists that are being put together, as Docker's client keeps them beside its settings.

    <settings>/manifests/<list>/<manifest>      an image of the list, a JSON document (``Entry``)

Both names are references with ``/`` as ``_`` and ``:`` as ``-``, so that Docker's client and this one go on
with each other's lists.
"""

import binascii
import os

import msgspec

from sampan.client.config import read_file, write_file
from sampan.client.errors import ClientError
from sampan.oci.descriptor import Descriptor
from sampan.oci.media_types import DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from sampan.oci.platform import Platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Final

# What can be told of a platform: the pairs that Docker's client takes.
_SYSTEMS: "Final" = {
    "darwin": "386 amd64 arm arm64",
    "dragonfly": "amd64",
    "freebsd": "386 amd64 arm",
    "linux": "386 amd64 arm arm64 mips64 mips64le ppc64le riscv64 s390x",
    "netbsd": "386 amd64 arm",
    "openbsd": "386 amd64 arm",
    "plan9": "386 amd64",
    "solaris": "amd64",
    "windows": "386 amd64 arm arm64",
}


class Entry(msgspec.Struct, frozen=True):
    """One image of a list: what it is called, what it is, and its manifest as it came."""

    ref: str
    descriptor: Descriptor
    raw: bytes

    @property
    def manifest(self) -> "Any":
        """The manifest as JSON, its fields in the order in which they came."""
        return msgspec.json.decode(self.raw)

    @property
    def platform(self) -> Platform:
        """What the image is for."""
        return self.descriptor.platform or Platform("", "")


class _Stored(msgspec.Struct, rename="pascal"):
    ref: str
    descriptor: Descriptor
    raw: str


def is_known(platform: Platform) -> bool:
    """Tell whether an entry of a list may be for ``platform``."""
    return platform.architecture in _SYSTEMS.get(platform.os, "").split()


class ManifestLists:
    """The lists below the folder of the settings. Raises ClientError for files that cannot be used."""

    def __init__(self, settings: str) -> None:
        self._folder = f"{settings}/manifests"

    def get(self, name: str) -> "list[Entry]":
        """Return the entries of the list ``name`` by their names; none if there is no such list."""
        folder = f"{self._folder}/{_file_name(name)}"
        try:
            names = sorted(os.listdir(folder))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise ClientError(f"open {folder}: {(error.strerror or '').lower()}") from error
        return [_read(f"{folder}/{entry}") for entry in names]

    def find(self, name: str, manifest: str) -> "Entry | None":
        """Return one entry of the list ``name``, None if it has none."""
        path = f"{self._folder}/{_file_name(name)}/{_file_name(manifest)}"
        return _read(path) if os.path.exists(path) else None

    def save(self, name: str, entry: Entry) -> None:
        """Keep an entry, in the place of an older one."""
        path = f"{self._folder}/{_file_name(name)}/{_file_name(entry.ref)}"
        try:
            write_file(path, msgspec.json.encode(render_entry(entry)))
        except OSError as error:
            raise ClientError(f"open {path}: {(error.strerror or '').lower()}") from error

    def remove(self, name: str) -> None:
        """Forget a list; none is fine."""
        import shutil

        shutil.rmtree(f"{self._folder}/{_file_name(name)}", ignore_errors=True)


def _file_name(reference: str) -> str:
    return reference.removeprefix("docker.io/").replace(":", "-").replace("/", "_")


def _read(path: str) -> Entry:
    try:
        stored = msgspec.json.decode(read_file(path), type=_Stored)
        return Entry(stored.ref, stored.descriptor, binascii.a2b_base64(stored.raw))
    except OSError as error:
        raise ClientError(f"open {path}: {(error.strerror or '').lower()}") from error
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ClientError(f"{path} holds no manifest: {error}") from error


def render_entry(entry: Entry) -> "dict[str, Any]":
    """Return an entry as ``inspect --verbose`` shows it and the file keeps it."""
    kind = "OCIManifest" if entry.descriptor.media_type == OCI_MANIFEST else "SchemaV2Manifest"
    return {
        "Ref": entry.ref,
        "Descriptor": _descriptor(entry.descriptor, "digest", "size"),
        "Raw": binascii.b2a_base64(entry.raw, newline=False).decode(),
        kind: entry.manifest,
    }


def render_list(entries: "Sequence[Entry]") -> bytes:
    """Return the manifest list of ``entries``, as it is shown and pushed: three spaces a level.

    It is an OCI index if the first image is OCI's.
    """
    first = entries[0].descriptor.media_type if entries else DOCKER_MANIFEST
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX if first == OCI_MANIFEST else DOCKER_INDEX,
        "manifests": [_descriptor(entry.descriptor, "size", "digest") for entry in entries],
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=3)


def _descriptor(descriptor: Descriptor, *order: str) -> "dict[str, Any]":
    full: dict[str, Any] = msgspec.to_builtins(descriptor)
    shown: dict[str, Any] = {name: full[name] for name in ("mediaType", *order)}
    if platform := full.get("platform"):
        names = ("architecture", "os", "os.version", "os.features", "variant")
        shown["platform"] = {name: platform[name] for name in names if name in platform}
    return shown
