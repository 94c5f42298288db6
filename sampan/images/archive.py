"""An image archive on its way in: every file of it lands once, hashed, a rename away from the store.

    <data-root>/tmp/image-work-<random>/<n>     a file of the archive

Files of any size go straight to disk files of their own while the archive arrives; small ones, the documents,
stay in memory. So a layer of the archive becomes a blob by a rename: its bytes are written once.
"""

import io
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from sampan.images.compression import MAGIC_BYTES, Decompressor, Limits, detect
from sampan.images.content import ContentStore, Hold
from sampan.images.errors import InvalidArchive
from sampan.images.tarstream import TarStream
from sampan.kernel.fs import remove_tree
from sampan.oci.descriptor import MAX_DOCUMENT
from sampan.oci.digest import CANONICAL, Digest, Hasher, InvalidDigest
from sampan.storage.tar_header import CONTIGUOUS, FILE, HARD_LINK, SYMBOLIC_LINK, Entry

MAX_ENTRIES: Final = 1 << 16
MAX_DOCUMENTS: Final = 64 << 20  # bytes read of all documents of an archive, each time counted
MAX_LINKS: Final = 40  # as the kernel's own limit for symbolic links in a path
_IN_MEMORY: Final = 64 << 10
_MEMORY_LIMIT: Final = 8 << 20


@dataclass(slots=True)
class Member:
    """A file of the archive: in ``data``, at ``path``, or ``stored`` (it is a blob of the store)."""

    name: str
    size: int
    digest: Digest | None = None
    data: bytes | None = None
    path: Path | None = None
    stored: bool = False


@dataclass(slots=True)
class _Tree:
    """Names of the archive, cleaned: no ``.``, no ``..``, no slash in front."""

    files: dict[str, Member] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)  # symbolic link → its target as written


class Archive:
    """A received archive, and the folder it lies in until ``close``. Blocking.

    Feed it all, then ``finish``; then ``find`` members by name. The hold keeps blobs of the store that the
    archive repeats (such a member is not written again).
    """

    def __init__(self, store: ContentStore, hold: Hold, limits: Limits | None = None) -> None:
        self._store = store
        self._hold = hold
        self._limits = limits
        self._folder = store.temporary_folder()
        self._tree = _Tree()
        self._tar = TarStream(self)
        self._decompressor: Decompressor | None = None
        self._head = b""
        self._entries = 0
        self._in_memory = 0
        self._documents = 0
        self._member: Member | None = None
        self._hasher: Hasher | None = None
        self._file: BinaryIO | None = None
        self._pieces: list[bytes] = []

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next part of the stream, packed by gzip, zstd, xz, bzip2 or not at all."""
        if self._decompressor is None:
            self._head += data
            if len(self._head) < MAGIC_BYTES:
                return
            self._open(self._head)
        else:
            self._decompressor.feed(data)

    def _open(self, head: bytes) -> None:
        self._decompressor = Decompressor(detect(head), self._tar.feed, "image archive", self._limits)
        self._head = b""
        self._decompressor.feed(head)

    def finish(self) -> None:
        """The stream has ended. Raises InvalidArchive if it was cut off."""
        if self._decompressor is None:
            self._open(self._head)
        if self._decompressor is not None:
            self._decompressor.finish()
        self._tar.finish()

    def close(self) -> None:
        """Remove what is left of the archive."""
        if self._file is not None:
            self._file.close()
            self._file = None
        remove_tree(self._folder)

    # --- the entries, as the tar stream hands them over ---

    def begin(self, entry: Entry) -> None:
        """Start an entry: decide where its content goes."""
        self._entries += 1
        if self._entries > MAX_ENTRIES:
            raise InvalidArchive(f"invalid archive: more than {MAX_ENTRIES} entries")
        name = clean(_text(entry.name))
        self._tree.files.pop(name, None)
        self._tree.links.pop(name, None)
        if entry.type == SYMBOLIC_LINK:
            self._tree.links[name] = _text(entry.link)
        elif entry.type == HARD_LINK:
            self._tree.links[name] = "/" + clean(_text(entry.link))
        elif entry.type in {FILE, CONTIGUOUS} and not entry.name.endswith(b"/"):
            self._begin_file(Member(name, entry.size))

    def _begin_file(self, member: Member) -> None:
        self._member = member
        promised = _promised(member.name)
        if promised is not None:
            self._hold.add(promised)
            if self._store.size(promised) == member.size:
                member.digest, member.stored = promised, True
                return
        self._hasher = Hasher(promised.algorithm if promised else CANONICAL)
        if member.size <= _IN_MEMORY and self._in_memory + member.size <= _MEMORY_LIMIT:
            self._in_memory += member.size
            return
        member.path = self._folder / str(self._entries)
        self._file = member.path.open("xb", buffering=0)

    def data(self, piece: memoryview) -> None:
        """Take content of the entry that was begun."""
        if self._hasher is None:
            return
        self._hasher.update(piece)
        if self._file is None:
            self._pieces.append(bytes(piece))
            return
        while piece:
            piece = piece[self._file.write(piece) :]

    def end(self) -> None:
        """The content of the entry is complete."""
        member, self._member = self._member, None
        if member is None:
            return
        if self._hasher is not None:
            member.digest, self._hasher = self._hasher.digest(), None
            if self._file is not None:
                self._file.close()
                self._file = None
            else:
                member.data, self._pieces = b"".join(self._pieces), []
            promised = _promised(member.name)
            if promised is not None and promised != member.digest:
                raise InvalidArchive(
                    f"invalid archive: {member.name} has digest {member.digest}, its name promises another"
                )
        self._tree.files[member.name] = member

    # --- afterwards ---

    def find(self, name: str) -> Member | None:
        """Return the file that ``name`` leads to inside the archive, through links; None if there is none.

        Names never lead outside: ``..`` stops at the top. Raises InvalidArchive for a cycle of links.
        """
        pending = PurePosixPath("/" + name).parts[:0:-1]
        stack = list(pending)
        at: list[str] = []
        links = 0
        while stack:
            part = stack.pop()
            if part == "..":
                del at[-1:]
                continue
            at.append(part)
            target = self._tree.links.get("/".join(at))
            if target is None:
                continue
            links += 1
            if links > MAX_LINKS:
                raise InvalidArchive(f"invalid archive: too many levels of symbolic links in {name}")
            at = [] if target.startswith("/") else at[:-1]
            stack.extend(reversed([step for step in target.split("/") if step not in {"", "."}]))
        return self._tree.files.get("/".join(at))

    def read(self, name: str) -> bytes | None:
        """Return the document ``name``, or None if it is not there. Raises as ``read_member``."""
        member = self.find(name)
        return None if member is None else self.read_member(member)

    def read_member(self, member: Member) -> bytes:
        """Return a member's content. Raises InvalidArchive if documents may not be that long."""
        self._documents += member.size
        if self._documents > MAX_DOCUMENTS:
            raise InvalidArchive(f"invalid archive: its documents have more than {MAX_DOCUMENTS} bytes")
        if member.data is not None:
            return member.data
        if member.size > MAX_DOCUMENT:
            raise InvalidArchive(f"invalid archive: {member.name} has more than {MAX_DOCUMENT} bytes")
        with self.open(member) as file:
            return file.read(MAX_DOCUMENT + 1)

    def open(self, member: Member) -> BinaryIO:
        """Open a member, wherever it is by now."""
        if member.data is not None:
            return io.BytesIO(member.data)
        if (path := member.path) is not None:
            with suppress(FileNotFoundError):  # another thread moved it into the store just now
                return path.open("rb", buffering=0)
        if member.digest is None:
            raise InvalidArchive(f"invalid archive: {member.name} is not there")
        return self._store.open(member.digest)

    def keep(self, member: Member) -> Digest:
        """Move a member into the content store and return its digest."""
        if member.digest is None:
            raise InvalidArchive(f"invalid archive: {member.name} is not there")
        self._hold.add(member.digest)
        if member.data is not None:
            with self._store.ingest(member.digest.algorithm) as ingest:
                ingest.write(member.data)
                ingest.commit(expected=member.digest)
        elif member.path is not None:
            self._store.adopt(member.path, member.digest)
            member.path, member.stored = None, True
        return member.digest

    def names(self) -> list[str]:
        """Return the names of all files, in the order in which they came."""
        return list(self._tree.files)


def _text(name: bytes) -> str:
    """Return a name as text; one that is no UTF-8 cannot be meant by any document, but is shown in errors."""
    return name.decode(errors="backslashreplace")


def clean(name: str) -> str:
    """Return ``name`` without ``.``, ``..`` and leading slashes; nothing leads above the top."""
    parts: list[str] = []
    for part in name.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in {"", "."}:
            parts.append(part)
    return "/".join(parts)


def _promised(name: str) -> Digest | None:
    """Return the digest that the name of a file in an OCI layout promises."""
    folder, _, encoded = name.rpartition("/")
    algorithm = folder.removeprefix("blobs/")
    if not folder.startswith("blobs/") or algorithm not in {"sha256", "sha512"}:
        return None
    try:
        return Digest(f"{algorithm}:{encoded}")
    except InvalidDigest:
        return None
