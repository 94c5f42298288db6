"""Taking a tar apart while it arrives: the outer archive of ``docker load``, not the layers inside.

Bytes in, calls out, no I/O. It reads what archives of images are made of (ustar, GNU long names, pax names
and sizes) and refuses what would change its meaning if it were skipped (sparse files, broken headers). A tar
ends at two zero blocks; what follows is ignored.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from sampan.images.errors import InvalidArchive

BLOCK: Final = 512
MAX_EXTENSION: Final = 1 << 20  # bytes of one pax header or long name
_ZERO: Final = bytes(BLOCK)
_OCTAL: Final = frozenset(b"01234567")


class EntryKind(Enum):
    """What an entry of the archive is, as far as images care."""

    FILE = "file"
    LINK = "hard link"
    SYMLINK = "symbolic link"
    OTHER = "other"  # directories, devices: nothing to load from


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: ``size`` bytes of content follow it; ``target`` is where a link points."""

    name: str
    kind: EntryKind
    size: int = 0
    target: str = ""


class EntrySink(Protocol):
    """Who takes the entries: ``begin``, any number of ``data``, ``end``, one entry after the other."""

    def begin(self, entry: Entry) -> None: ...

    def data(self, piece: memoryview) -> None: ...

    def end(self) -> None: ...


class TarStream:
    """Splits a tar stream into entries. Raises InvalidArchive; what the sink raises goes through."""

    def __init__(self, sink: EntrySink) -> None:
        self._sink = sink
        self._head = bytearray()  # a header block that has not come whole
        self._left = 0  # bytes of content still to come
        self._padding = 0
        self._extension: bytearray | None = None  # the content of a pax header or long name
        self._extension_type = 0
        self._pax: dict[str, str] = {}
        self._global: dict[str, str] = {}
        self._entry: Entry | None = None
        self._zeros = 0
        self._ended = False
        self.started = False

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next part of the stream."""
        view = memoryview(data)
        while view and not self._ended:
            if self._left:
                view = self._content(view)
            elif self._padding:
                skip = min(self._padding, len(view))
                self._padding -= skip
                view = view[skip:]
            elif not self._head and len(view) >= BLOCK:
                self._header(bytes(view[:BLOCK]))
                view = view[BLOCK:]
            else:
                take = BLOCK - len(self._head)
                self._head += view[:take]
                view = view[take:]
                if len(self._head) == BLOCK:
                    block = bytes(self._head)
                    self._head.clear()
                    self._header(block)

    def finish(self) -> None:
        """The stream has ended. Raises InvalidArchive if that was in the middle of an entry."""
        if self._left or self._head or self._extension is not None or self._pax:
            where = f" in {self._entry.name}" if self._entry else ""
            raise InvalidArchive(f"archive/tar: unexpected EOF{where}")

    def _content(self, view: memoryview) -> memoryview:
        piece = view[: self._left]
        self._left -= len(piece)
        if self._extension is None:
            self._sink.data(piece)
        else:
            self._extension += piece
        if not self._left:
            if self._extension is None:
                self._close()
            else:
                extension, self._extension = bytes(self._extension), None
                self._extend(extension)
        return view[len(piece) :]

    def _close(self) -> None:
        self._entry = None
        self._sink.end()

    def _header(self, block: bytes) -> None:
        if block == _ZERO:
            self._zeros += 1
            self._ended = self._zeros == 2
            return
        if self._zeros or not _checksum_fits(block):
            raise InvalidArchive("archive/tar: invalid tar header")
        self.started = True
        size = _number(block[124:136])
        kind = block[156]
        if kind in b"xgLK":
            if size > MAX_EXTENSION:
                raise InvalidArchive("archive/tar: header field too long")
            self._extension, self._extension_type = bytearray(), kind
            self._left, self._padding = size, -size % BLOCK
            if not size:
                self._extension = None
                self._extend(b"")
            return
        self._begin(block, kind, size)

    def _begin(self, block: bytes, kind: int, size: int) -> None:
        pax = {**self._global, **self._pax}
        self._pax = {}
        if kind == ord("S") or any(key.startswith("GNU.sparse.") for key in pax):
            raise InvalidArchive("archive/tar: sparse files are not supported in an image archive")
        name = pax.get("path") or _name(block)
        if "size" in pax:
            size = _decimal(pax["size"])
        match kind:
            case 0x30 | 0 | 0x37:  # '0', old tars' NUL, '7' (contiguous)
                entry_kind = EntryKind.OTHER if name.endswith("/") else EntryKind.FILE
            case 0x31:
                entry_kind, size = EntryKind.LINK, 0
            case 0x32:
                entry_kind, size = EntryKind.SYMLINK, 0
            case _:
                entry_kind = EntryKind.OTHER
                if kind in b"3456":
                    size = 0
        target = pax.get("linkpath") or _text(block[157:257])
        self._entry = Entry(name, entry_kind, size, target)
        self._sink.begin(self._entry)
        self._left, self._padding = size, -size % BLOCK
        if not size:
            self._close()

    def _extend(self, content: bytes) -> None:
        match chr(self._extension_type):
            case "L":
                self._pax["path"] = _text(content)
            case "K":
                self._pax["linkpath"] = _text(content)
            case "x":
                self._pax.update(_records(content))
            case _:
                self._global.update(_records(content))


def _checksum_fits(block: bytes) -> bool:
    """Compare with the sum of the header's bytes, as unsigned or (old tars) as signed numbers."""
    try:
        stored = _number(block[148:156])
    except InvalidArchive:
        return False
    rest = block[:148] + b" " * 8 + block[156:]
    total = sum(rest)
    return stored == total or stored == total - 256 * sum(byte > 127 for byte in rest)


def _number(field: bytes) -> int:
    """Parse an octal field, or a positive base-256 one (GNU)."""
    if field[0] & 0x80:
        if field[0] != 0x80:
            raise InvalidArchive("archive/tar: invalid tar header")
        value = int.from_bytes(field[1:], "big")
        if value >= 1 << 63:
            raise InvalidArchive("archive/tar: invalid tar header")
        return value
    digits = field.strip(b" \0").partition(b"\0")[0].rstrip()
    if not _OCTAL.issuperset(digits):
        raise InvalidArchive("archive/tar: invalid tar header")
    return int(digits or b"0", 8)


def _decimal(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InvalidArchive("archive/tar: invalid tar header")
    return int(text)


def _name(block: bytes) -> str:
    name = _text(block[:100])
    if block[257:263] == b"ustar\0" and (prefix := _text(block[345:500])):
        return f"{prefix}/{name}"
    return name


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _records(content: bytes) -> dict[str, str]:
    """Parse the ``length key=value\\n`` records of a pax header."""
    found: dict[str, str] = {}
    while content:
        digits, space, _ = content.partition(b" ")
        if not space or not digits.isdigit() or len(digits) > 7:
            raise InvalidArchive("archive/tar: invalid tar header")
        length = int(digits)
        record, content = content[len(digits) + 1 : length], content[length:]
        key, equals, value = record.partition(b"=")
        if not equals or record[-1:] != b"\n" or length <= len(digits) + 1:
            raise InvalidArchive("archive/tar: invalid tar header")
        found[key.decode("utf-8", "surrogateescape")] = value[:-1].decode("utf-8", "surrogateescape")
    return found
