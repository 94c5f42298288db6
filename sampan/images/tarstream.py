"""Taking a tar apart while it arrives: the outer archive of ``docker load``, not the layers inside.

Bytes in, calls out, no I/O; the headers are decoded by ``storage.tar_header``. A tar ends at two zero blocks;
what follows is ignored. Sparse files are refused: no archive of images has any.
"""

from typing import Final, Protocol

from sampan.storage.tar_header import (
    BLOCK,
    GNU_LONG_LINK,
    GNU_LONG_NAME,
    GNU_SPARSE,
    PAX_GLOBAL,
    PAX_HEADER,
    SPECIAL_LIMIT,
    BadArchive,
    Entry,
    apply_pax,
    decode_header,
    decode_pax,
    is_end,
    shown,
)

_SPECIAL: Final = frozenset({GNU_LONG_NAME, GNU_LONG_LINK, PAX_HEADER, PAX_GLOBAL})


class EntrySink(Protocol):
    """Who takes the entries: ``begin``, any number of ``data``, ``end``, one entry after the other."""

    def begin(self, entry: Entry) -> None: ...

    def data(self, piece: memoryview) -> None: ...

    def end(self) -> None: ...


class TarStream:
    """Splits a tar stream into entries. Raises BadArchive; what the sink raises goes through."""

    def __init__(self, sink: EntrySink) -> None:
        self._sink = sink
        self._head = bytearray()  # a header block that has not come whole
        self._left = 0  # bytes of content still to come
        self._padding = 0
        self._name = b""
        self._special: Entry | None = None  # the extended header whose content is coming
        self._special_data = bytearray()
        self._long_name = b""
        self._long_link = b""
        self._records: list[tuple[bytes, bytes]] = []
        self._zeros = 0

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next part of the stream."""
        view = memoryview(data)
        while view and self._zeros < 2:
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
        """The stream has ended. Raises BadArchive if that was in the middle of an entry."""
        if self._left or self._head or self._long_name or self._long_link or self._records:
            where = f"in {shown(self._name)}" if self._name else "between two entries"
            raise BadArchive(f"unexpected end of the archive {where}")

    def _content(self, view: memoryview) -> memoryview:
        piece = view[: self._left]
        self._left -= len(piece)
        if self._special is None:
            self._sink.data(piece)
        else:
            self._special_data += piece
        if not self._left:
            self._close()
        return view[len(piece) :]

    def _close(self) -> None:
        """The content of the present entry is complete."""
        if self._special is None:
            self._name = b""
            self._sink.end()
            return
        special, self._special = self._special, None
        data = bytes(self._special_data)
        self._special_data.clear()
        if special.type == GNU_LONG_NAME:
            self._long_name = data.partition(b"\0")[0]
        elif special.type == GNU_LONG_LINK:
            self._long_link = data.partition(b"\0")[0]
        elif special.type == PAX_HEADER:
            self._records = decode_pax(data)

    def _header(self, block: bytes) -> None:
        if is_end(block):
            self._zeros += 1
            return
        if self._zeros:
            raise BadArchive("invalid tar header")
        entry = decode_header(block)
        if entry.type in _SPECIAL:
            if entry.size > SPECIAL_LIMIT:
                raise BadArchive(f"{shown(entry.name)}: extended header of {entry.size} bytes is too long")
            self._special = entry
        else:
            entry.name = self._long_name or entry.name
            entry.link = self._long_link or entry.link
            if entry.type == GNU_SPARSE or (self._records and apply_pax(entry, self._records)):
                raise BadArchive(f"{shown(entry.name)}: sparse files are not taken in an image archive")
            self._long_name = self._long_link = b""
            self._records = []
            self._name = entry.name
            self._sink.begin(entry)
        self._left, self._padding = entry.size, -entry.size % BLOCK
        if not self._left:
            self._close()
