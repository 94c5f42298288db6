"""The content store: blobs by digest, exactly as they arrived or were made, verified on the way in.

    <data-root>/content/blobs/<algorithm>/<hex>     a blob; complete, or not there
    <data-root>/content/partial/<algorithm>-<hex>   the beginning of a blob that was being fetched
    <data-root>/tmp/image-…                         blobs on their way in, and out

A blob appears by one rename, after it was hashed. Nobody waits until it is on the disk where its being
``unsettled`` is remembered; elsewhere it is flushed before it appears. Who needs a blob that no image
names yet holds it first and looks for it then; ``sweep`` removes what is neither live nor held, so the two
never race. Blocking; safe to use from any thread.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from sampan.base.errors import HostFailure, InvalidParameter
from sampan.images.errors import BlobNotFound, WrongDigest
from sampan.images.unsettled import Unsettled, blob_key
from sampan.kernel.fs import remove_tree, sync_filesystem
from sampan.oci.descriptor import MAX_DOCUMENT
from sampan.oci.digest import CANONICAL, Digest, Hasher

_BLOB: Final = "image-blob-"
_FOLDER: Final = "image-work-"
_OURS: Final = (_BLOB, _FOLDER)
_ALGORITHMS: Final = ("sha256", "sha512")
_PARTIAL_S: Final = 7 * 86400.0  # what nobody has gone on with for so long is dropped


class ContentStore:
    """The blobs below ``root`` (the data root). Raises HostFailure if the folders cannot be made.

    ``tidy``: remove what an earlier process has left half-done; not where another one is at work.
    ``unsettled`` takes note of blobs that are not known to be on the disk; without it all of them are.
    """

    def __init__(self, root: Path, *, tidy: bool = True, unsettled: Unsettled | None = None) -> None:
        self._unsettled = unsettled
        self._blobs = root / "content" / "blobs"
        self._partial = root / "content" / "partial"
        self.temporary = root / "tmp"
        self._held: Counter[str] = Counter()
        self._lock = threading.Lock()
        try:
            for folder in (
                *(self._blobs / algorithm for algorithm in _ALGORITHMS),
                self._partial,
                self.temporary,
            ):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if tidy:
                self._tidy()
        except OSError as error:
            raise HostFailure(f"cannot open the content store {self._blobs}: {error.strerror}") from error

    def _tidy(self) -> None:
        for left in self.temporary.iterdir():
            if left.name.startswith(_OURS):
                remove_tree(left)
        self.forget_partials(_PARTIAL_S)

    def path(self, digest: Digest) -> Path:
        """Return where the blob lies, or would lie. Raises InvalidParameter for sha384."""
        if digest.algorithm not in _ALGORITHMS:
            raise InvalidParameter(f"blobs are stored by sha256 or sha512, not by {digest.algorithm}")
        return self._blobs / digest.algorithm / digest.encoded

    def partial(self, digest: Digest) -> Path:
        """Return where the beginning of the blob lies, or would lie, while it is fetched."""
        self.path(digest)
        return self._partial / f"{digest.algorithm}-{digest.encoded}"

    def forget_partials(self, age_s: float, busy: Collection[str] = ()) -> int:
        """Remove beginnings of blobs that are ``age_s`` old and not ``busy``; return their bytes."""
        freed = 0
        limit = time.time() - age_s
        for path in self._partial.iterdir():
            if path.name.replace("-", ":", 1) in busy:
                continue
            with suppress(FileNotFoundError):
                found = path.stat()
                if found.st_mtime <= limit:
                    path.unlink()
                    freed += found.st_size
        return freed

    def partials(self, busy: Collection[str] = ()) -> list[tuple[str, int]]:
        """Return digest and size of each beginning of a blob that is not ``busy``."""
        found = []
        for path in sorted(self._partial.iterdir()):
            digest = path.name.replace("-", ":", 1)
            with suppress(FileNotFoundError):
                if digest not in busy:
                    found.append((digest, path.stat().st_size))
        return found

    def forget_partial(self, digest: str) -> bool:
        """Remove the beginning of a blob; return False if there is none."""
        try:
            (self._partial / Path(digest.replace(":", "-", 1)).name).unlink()
        except FileNotFoundError:
            return False
        return True

    def put(self, data: bytes, digest: Digest) -> None:
        """Store a document that was verified as ``digest``."""
        if self.size(digest) is None:
            with self.ingest(digest.algorithm) as ingest:
                ingest.write(data)
                ingest.commit(expected=digest)

    def size(self, digest: Digest) -> int | None:
        """Return the size of the blob in bytes, or None if it is not there."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def open(self, digest: Digest) -> BinaryIO:
        """Open the blob for reading. Raises BlobNotFound."""
        try:
            return self.path(digest).open("rb", buffering=0)
        except FileNotFoundError:
            raise BlobNotFound(digest) from None

    def read(self, digest: Digest, limit: int = MAX_DOCUMENT) -> bytes:
        """Return a document. Raises BlobNotFound, or WrongDigest if it is longer than ``limit`` bytes."""
        with self.open(digest) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise WrongDigest(f"blob {digest} is longer than {limit} bytes")
        return data

    @contextmanager
    def holding(self, digests: Iterable[str] = ()) -> "Iterator[Hold]":
        """Keep ``digests``, and what is added to the hold, from being swept while the block runs."""
        hold = Hold(self._held, self._lock)
        try:
            for digest in digests:
                hold.add(digest)
            yield hold
        finally:
            hold.release()

    def temporary_file(self) -> Path:
        """Return the name of a file that may become a blob; it goes at the next start if it is left."""
        return self.temporary / f"{_BLOB}{os.urandom(8).hex()}"

    def temporary_folder(self) -> Path:
        """Make a folder for files that may become blobs; it goes at the next start if it is left."""
        folder = self.temporary / f"{_FOLDER}{os.urandom(8).hex()}"
        folder.mkdir(mode=0o700)
        return folder

    def ingest(self, algorithm: str = CANONICAL) -> "Ingest":
        """Start writing a new blob."""
        return Ingest(self, algorithm)

    def add(self, data: bytes, *, durable: bool = False) -> Digest:
        """Store a document and return its digest; ``durable`` as for ``adopt``."""
        digest = Digest.of(data)
        if self.size(digest) is None:
            with self.ingest() as ingest:
                ingest.write(data)
                ingest.commit(expected=digest, durable=durable)
        return digest

    def adopt(self, path: Path, digest: Digest, *, durable: bool = False) -> None:
        """Move the file ``path``, already hashed as ``digest``, into the store.

        ``durable``: it is on the disk on return, also where that is left for later. The file is gone
        afterwards, also when the blob was there before.
        """
        target = self.path(digest)
        if target.exists():
            path.unlink()
            return
        path.chmod(0o600)
        later = self._unsettled if not durable else None
        if later is None:
            _sync(path)
        with later.making(blob_key(digest)) if later is not None else nullcontext():
            path.rename(target)
        if later is None:
            _sync(target.parent)

    def flush(self) -> None:
        """Wait until all blobs are on the disk."""
        sync_filesystem(self._blobs)

    def put_back(self, digest: Digest) -> None:
        """Make a blob, which no image needs, one that is being fetched: the next pull need not fetch it."""
        with suppress(FileNotFoundError):
            self.path(digest).rename(self.partial(digest))

    def remove(self, digest: Digest) -> None:
        """Remove a blob whoever needs it; one that is not there is no error."""
        with suppress(FileNotFoundError):
            self.path(digest).unlink()

    def sweep(self, live: Collection[str], candidates: Iterable[str] | None = None) -> "Swept":
        """Take the blobs out that are neither ``live`` nor held, among ``candidates`` (None: all).

        They are out at once; ``remove`` then gives their space back, which takes longer.
        """
        swept = Swept()
        for digest in self.digests() if candidates is None else candidates:
            with self._lock, suppress(FileNotFoundError):
                if digest in live or self._held[digest]:
                    continue
                path = self.path(Digest(digest))
                size = path.stat().st_size
                gone = self.temporary_file()
                path.rename(gone)
                swept.paths.append(gone)
                swept.size += size
        return swept

    def held(self) -> list[str]:
        """Return the digests that somebody keeps from being swept."""
        with self._lock:
            return [digest for digest, count in self._held.items() if count]

    def disk_size(self, digest: Digest) -> int:
        """Return the bytes that a blob takes on the disk, 0 if it is not there."""
        try:
            return self.path(digest).stat().st_blocks * 512
        except FileNotFoundError:
            return 0

    def digests(self) -> list[Digest]:
        """Return the digests of all blobs; files with other names are ignored."""
        found = []
        for algorithm in _ALGORITHMS:
            for path in (self._blobs / algorithm).iterdir():
                with suppress(InvalidParameter):
                    found.append(Digest(f"{algorithm}:{path.name}"))
        return found


@dataclass(slots=True)
class Swept:
    """Blobs taken out of the store, ``size`` bytes together."""

    paths: list[Path] = field(default_factory=list)
    size: int = 0

    def remove(self) -> None:
        """Remove their files."""
        for path in self.paths:
            path.unlink(missing_ok=True)


class Hold:
    """Digests that one piece of work keeps from being swept."""

    def __init__(self, held: Counter[str], lock: threading.Lock) -> None:
        self._all = held
        self._lock = lock
        self._mine: Counter[str] = Counter()

    def add(self, digest: str) -> None:
        """Hold one more; the blob need not exist yet."""
        with self._lock:
            self._all[digest] += 1
            self._mine[digest] += 1

    def digests(self) -> list[str]:
        """Return what is held."""
        with self._lock:
            return list(self._mine)

    def release(self) -> None:
        """Hold nothing any more."""
        with self._lock:
            self._all -= self._mine
            self._mine.clear()


class Ingest:
    """A blob on its way in: write, then commit. Leaving the block without a commit leaves nothing behind."""

    def __init__(self, store: ContentStore, algorithm: str) -> None:
        self._store = store
        self._hasher = Hasher(algorithm)
        self._path: Path | None = store.temporary_file()
        self._file = self._path.open("xb", buffering=0)
        self.size = 0

    def write(self, data: bytes | memoryview) -> None:
        """Append ``data``."""
        self._hasher.update(data)
        view = memoryview(data)
        self.size += len(view)
        while view:
            view = view[self._file.write(view) :]

    def digest(self) -> Digest:
        """Return the digest of what was written so far."""
        return self._hasher.digest()

    def commit(
        self, *, expected: str | None = None, size: int | None = None, durable: bool = False
    ) -> Digest:
        """Verify and publish the blob; return its digest. ``durable`` as for ``ContentStore.adopt``.

        Raises WrongDigest if the bytes written are not those of ``expected``, or not ``size`` many.
        """
        digest = self._hasher.digest()
        if size is not None and size != self.size:
            raise WrongDigest(f"wrong size: expected {size} bytes, got {self.size}")
        if expected is not None and expected != digest:
            raise WrongDigest(f"wrong digest: expected {expected}, got {digest}")
        self._file.close()
        if self._path is None:
            raise ValueError("this ingest is over")
        self._store.adopt(self._path, digest, durable=durable)
        self._path = None
        return digest

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None


def _sync(path: Path) -> None:
    """Bring a file, or a folder's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
