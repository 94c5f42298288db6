"""The pieces that every kind of archive is read into: blobs of an archive, and images planned from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

from sampan.base.errors import NotFound, NotImplementedHere
from sampan.images.archive import Archive, Member
from sampan.images.compression import MAGIC_BYTES, Compression, detect
from sampan.images.content import ContentStore
from sampan.images.errors import InvalidArchive
from sampan.images.install import NewImage
from sampan.oci.digest import Digest
from sampan.oci.media_types import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD
from sampan.oci.platform import Platform
from sampan.oci.reference import Reference

LAYER_TYPES: Final = {
    Compression.NONE: OCI_LAYER,
    Compression.GZIP: OCI_LAYER_GZIP,
    Compression.ZSTD: OCI_LAYER_ZSTD,
    Compression.XZ: OCI_LAYER + "+xz",  # no registry knows these two: they are packed anew for a push
    Compression.BZIP2: OCI_LAYER + "+bzip2",
}


@dataclass(frozen=True, slots=True)
class PlannedImage:
    """An image found in an archive: what to put in, what to call it, and from which image it was made."""

    image: NewImage
    names: Sequence[Reference] = ()
    parent: str = ""


class ArchiveBlob:
    """A member of an archive as a blob on its way into the content store."""

    __slots__ = ("_archive", "_member", "digest", "size")

    def __init__(self, archive: Archive, member: Member) -> None:
        if member.digest is None:
            raise InvalidArchive(f"invalid archive: {member.name} is incomplete")
        self._archive = archive
        self._member = member
        self.digest: Digest = member.digest
        self.size: int = member.size

    def open(self) -> BinaryIO:
        """Open the blob, wherever it is by now."""
        return self._archive.open(self._member)

    def keep(self) -> Digest:
        """Move the blob into the content store."""
        return self._archive.keep(self._member)

    def read(self) -> bytes:
        """Return the whole of a document. Raises InvalidArchive if it is too long for one."""
        return self._archive.read_member(self._member)

    def layer_type(self) -> str:
        """Return the media type of a layer by its first bytes."""
        with self.open() as file:
            return LAYER_TYPES[detect(file.read(MAGIC_BYTES))]


class StoredBlob:
    """A blob that is in the content store already."""

    __slots__ = ("_content", "digest", "size")

    def __init__(self, content: ContentStore, digest: Digest, size: int) -> None:
        self._content = content
        self.digest: Digest = digest
        self.size: int = size

    def open(self) -> BinaryIO:
        """Open the blob."""
        return self._content.open(self.digest)

    def keep(self) -> Digest:
        """Nothing is left to do."""
        return self.digest


def no_platform(platform: Platform) -> NotFound:
    """Return the error for an archive without an image for ``platform``."""
    return NotFound(f"no images providing the requested platform {platform.long_text()} found")


def check_os(platform: Platform) -> None:
    """Raise NotImplementedHere for an image that no container here could run."""
    if platform.os != "linux":
        raise NotImplementedHere(f"cannot load {platform.os} image on linux")
