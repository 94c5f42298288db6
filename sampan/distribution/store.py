"""The content of a registry: blobs in a content store, and which repository may serve which.

<root>/lock               held by the server; there is one at most
<root>/registry.db        see ``catalogue``
<root>/content/blobs/…    see ``images.content``; also the bytes of manifests
<root>/content/partial/…  beginnings of blobs that a cache fetches
<root>/uploads/<id>       blobs that clients send, see ``uploads``
<root>/tmp/               wiped at start
"""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from sampan.base import faults
from sampan.base.errors import HostFailure
from sampan.base.threads import blocking
from sampan.distribution.catalogue import Catalogue, ManifestRow
from sampan.distribution.errors import BlobUnknown, DiskFull, ManifestUnknown, NameUnknown
from sampan.images.content import ContentStore
from sampan.images.errors import BlobNotFound
from sampan.oci.digest import Digest


class Store:
    """The content below ``root``. ``tidy``: remove what an earlier server has left half-done.

    Raises HostFailure if it cannot be used.
    """

    def __init__(self, root: Path, *, tidy: bool = True) -> None:
        self.content = ContentStore(root, tidy=tidy)
        self.catalogue = Catalogue(root / "registry.db")
        self.uploads = root / "uploads"
        try:
            self.uploads.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise HostFailure(f"cannot use {self.uploads}: {error.strerror}") from error

    def close(self) -> None:
        """Close the catalogue."""
        self.catalogue.close()

    # --- blobs

    def blob_size(self, repository: str, digest: Digest) -> int:
        """Return the size of a blob. Raises BlobUnknown, NameUnknown."""
        size = self.content.size(digest) if self.catalogue.has_blob(repository, digest) else None
        if size is None:
            raise self._missing(repository, BlobUnknown(detail={"digest": str(digest)}))
        return size

    def open_blob(self, repository: str, digest: Digest) -> tuple[BinaryIO, int]:
        """Open a blob; return it and its size. Raises BlobUnknown, NameUnknown."""
        self.blob_size(repository, digest)
        try:
            file = self.content.open(digest)
        except BlobNotFound as error:
            raise BlobUnknown(detail={"digest": str(digest)}) from error
        return file, os.fstat(file.fileno()).st_size

    async def add_blob(self, repository: str, digest: Digest, path: Path) -> None:
        """Make the file ``path``, hashed as ``digest``, a blob of the repository; durable on return.

        The file is gone afterwards. Raises DiskFull, HostFailure.
        """
        had = self.catalogue.has_blob(repository, digest)
        self.catalogue.link_blob(repository, digest)
        faults.point("distribution.blob.linked")
        try:
            with disk_trouble():
                await blocking(self.content.adopt, path, digest)
        except BaseException:
            if not had and self.content.size(digest) is None:
                self.catalogue.unlink_blob(repository, digest)
            raise
        faults.point("distribution.blob.adopted")

    def mount(self, repository: str, digest: Digest, source: str) -> bool:
        """Let the repository serve a blob that ``source`` ("": any) may serve; False: nobody has it."""
        catalogue = self.catalogue
        known = catalogue.has_blob(source, digest) if source else catalogue.is_known(digest)
        if not known or self.content.size(digest) is None:
            return False
        had = catalogue.has_blob(repository, digest)
        catalogue.link_blob(repository, digest)
        if self.content.size(digest) is not None:
            return True
        if not had:  # a collection was faster
            catalogue.unlink_blob(repository, digest)
        return False

    def remove_blob(self, repository: str, digest: Digest) -> None:
        """Take a blob from a repository; its bytes go with the last one. Raises BlobUnknown, NameUnknown."""
        self.blob_size(repository, digest)
        self.catalogue.unlink_blob(repository, digest)
        self.drop(digest)

    # --- manifests

    async def add_manifest(self, repository: str, row: ManifestRow, data: bytes, tags: Sequence[str]) -> None:
        """Store a manifest that was verified, and let ``tags`` stand for it; durable on return."""
        with disk_trouble():
            await blocking(self.content.put, data, row.digest)
            faults.point("distribution.manifest.stored")
            self.catalogue.put_manifest(repository, row, tags)
            if self.content.size(row.digest) is None:  # a collection came between
                await blocking(self.content.put, data, row.digest)

    def find_manifest(self, repository: str, reference: Digest | str) -> ManifestRow:
        """Return what a manifest is. Raises ManifestUnknown, also where there is no repository."""
        row = self.catalogue.find_manifest(repository, reference)
        if row is None:
            raise ManifestUnknown(detail={"reference": str(reference)})
        return row

    def read_manifest(self, row: ManifestRow) -> bytes:
        """Return a manifest's bytes. Raises ManifestUnknown."""
        try:
            return self.content.read(row.digest)
        except BlobNotFound as error:
            raise ManifestUnknown(detail={"reference": str(row.digest)}) from error

    def remove_manifest(self, repository: str, digest: Digest) -> None:
        """Remove a manifest and its tags. Raises ManifestUnknown, NameUnknown."""
        if not self.catalogue.remove_manifest(repository, digest):
            raise self._missing(repository, ManifestUnknown(detail={"reference": str(digest)}))
        self.drop(digest)

    def remove_tag(self, repository: str, tag: str) -> None:
        """Remove a tag. Raises ManifestUnknown, NameUnknown."""
        if not self.catalogue.remove_tag(repository, tag):
            raise self._missing(repository, ManifestUnknown(detail={"reference": tag}))

    # ---

    def drop(self, digest: Digest) -> int:
        """Remove the bytes of what no repository has any more; return how many they were."""
        with self.catalogue.exclusive():
            if self.catalogue.in_use(digest):
                return 0
            size = self.content.size(digest) or 0
            self.content.path(digest).unlink(missing_ok=True)
            return size

    def _missing(self, repository: str, otherwise: BlobUnknown | ManifestUnknown) -> Exception:
        if self.catalogue.exists(repository):
            return otherwise
        return NameUnknown(detail={"name": repository})


@contextmanager
def disk_trouble() -> Iterator[None]:
    """Turn what a full or broken disk does to the block into DiskFull or HostFailure."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DiskFull from error
        raise HostFailure(f"the registry cannot write: {error.strerror}") from error
    except HostFailure as error:
        if "full" in str(error):  # SQLite's words
            raise DiskFull from error
        raise
