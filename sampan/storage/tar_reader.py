"""Reads a tar archive from a stream: one entry after the other, each with its data.

A stream is anything with ``read(n)``; it is never sought, and may give less than was asked for. What is in
the archive is not trusted: sizes are only believed as far as data really comes.
"""

import os
from collections.abc import Iterator
from typing import Final, NoReturn, Protocol

from sampan.storage.tar_header import (
    BLOCK,
    CONTIGUOUS,
    DIRECTORY,
    FILE,
    GNU_LONG_LINK,
    GNU_LONG_NAME,
    GNU_SPARSE,
    PAX_GLOBAL,
    PAX_HEADER,
    SPECIAL_LIMIT,
    BadArchive,
    Entry,
    apply_pax,
    check_sparse,
    decode_header,
    decode_old_sparse,
    decode_pax,
    decode_sparse_block,
    is_end,
    shown,
    sparse_map,
)

_CHUNK: Final = 1 << 20
_HOLE: Final = 1 << 16
_ZEROS: Final = bytes(_HOLE)
_SPECIAL: Final = frozenset({GNU_LONG_NAME, GNU_LONG_LINK, PAX_HEADER, PAX_GLOBAL})
_MAX_ID: Final = (1 << 32) - 2  # the last one means "leave it as it is" to chown(2)


class Source(Protocol):
    """Where an archive comes from; b"" is its end."""

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes."""


class TarReader:
    """Iterates over the entries of the archive in ``source``.

    The data of an entry is taken by ``chunks`` or ``copy_to`` before the next one is asked for; what is not
    taken is skipped. Every method raises BadArchive if the archive is malformed or breaks off.

    As with Docker, values of global pax headers are not applied, and an archive ends at the end of the stream
    as well as at two blocks of zeros; what follows those is not looked at (``drain`` reads it away).
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._buffer = b""
        self._at = 0
        self._left = 0  # bytes of the present entry's data not yet taken
        self._padding = 0
        self._name = b""
        self._ended = False

    def __iter__(self) -> Iterator[Entry]:
        while (entry := self.next()) is not None:
            yield entry

    def next(self) -> Entry | None:
        """Return the next entry, or None at the end of the archive."""
        if self._ended:
            return None
        self._skip(self._left + self._padding)
        self._left = self._padding = 0
        long_name = long_link = b""
        records: list[tuple[bytes, bytes]] = []
        while True:
            block = self._take_block()
            if block is None or is_end(block):
                if long_name or long_link or records:
                    raise BadArchive("unexpected end of the archive after an extended header")
                if block is not None:
                    following = self._take_block()
                    if following is not None and not is_end(following):
                        raise BadArchive("invalid tar header")
                self._ended = True
                return None
            entry = decode_header(block)
            self._name = entry.name
            if entry.type not in _SPECIAL:
                break
            data = self._special(entry)
            if entry.type == PAX_HEADER:
                records = decode_pax(data)
            elif entry.type == GNU_LONG_NAME:
                long_name = data.split(b"\0", 1)[0]
            elif entry.type == GNU_LONG_LINK:
                long_link = data.split(b"\0", 1)[0]
            else:
                decode_pax(data)
        if long_name:
            entry.name = long_name
        if long_link:
            entry.link = long_link
        sparse = apply_pax(entry, records) if records else {}
        self._name = entry.name
        self._left = entry.size
        self._padding = -entry.size % BLOCK
        if entry.type == GNU_SPARSE:
            self._read_old_map(block, entry)
        elif sparse:
            self._read_pax_map(sparse, entry)
        if entry.type == CONTIGUOUS:
            entry.type = FILE
        if entry.type == FILE and entry.name.endswith(b"/"):
            entry.type = DIRECTORY
        if not (0 <= entry.uid <= _MAX_ID and 0 <= entry.gid <= _MAX_ID):
            raise BadArchive(f"{shown(entry.name)}: owner out of range")
        if b"\0" in entry.name or b"\0" in entry.link:
            raise BadArchive(f"{shown(entry.name)}: a name with a NUL in it")
        return entry

    def chunks(self) -> Iterator[memoryview]:
        """Yield the data of the present entry as it is in the stream (of a sparse file without holes)."""
        while self._left:
            if self._at == len(self._buffer):
                self._refill()
            piece = memoryview(self._buffer)[self._at : self._at + self._left]
            self._at += len(piece)
            self._left -= len(piece)
            yield piece

    def copy_to(self, fd: int, entry: Entry) -> None:
        """Write the data of ``entry``, the present one, into the empty file ``fd``.

        What the archive calls a hole becomes one, and so do long runs of zeros: layers are not written with
        sparse maps, and need not be.
        """
        if self._left <= len(self._buffer) - self._at and entry.sparse is None and self._left < _HOLE:
            end = self._at + self._left  # as most files are: small, and all of it there
            data = memoryview(self._buffer)[self._at : end]
            self._at, self._left = end, 0
            if (written := os.write(fd, data)) != len(data):
                _write_at(fd, written, data[written:])
            return
        offset = 0
        for piece in self.chunks():
            for start, part in self._placed(entry, offset, piece):
                _write_with_holes(fd, start, part)
            offset += len(piece)
        os.ftruncate(fd, entry.length)

    @staticmethod
    def _placed(entry: Entry, taken: int, piece: memoryview) -> Iterator[tuple[int, memoryview]]:
        """Cut ``piece``, which comes after ``taken`` bytes of data, up by its places in the file."""
        if entry.sparse is None:
            yield taken, piece
            return
        before = 0
        for offset, count in entry.sparse:
            skip = max(taken - before, 0)
            if skip < count and piece:
                part = piece[: count - skip]
                yield offset + skip, part
                piece = piece[len(part) :]
                taken += len(part)
            before += count

    def drain(self) -> None:
        """Read the stream to its end, so that whoever feeds it has seen all of it."""
        self._buffer, self._at = b"", 0
        while self._source.read(_CHUNK):
            pass

    def _special(self, entry: Entry) -> bytes:
        if entry.size > SPECIAL_LIMIT:
            raise BadArchive(f"{shown(entry.name)}: extended header of {entry.size} bytes is too long")
        data = self._take(entry.size)
        self._skip(-entry.size % BLOCK)
        return data

    def _read_old_map(self, block: bytes, entry: Entry) -> None:
        pairs, entry.length, more = decode_old_sparse(block, entry.name)
        while more:
            if len(pairs) > SPECIAL_LIMIT // 24:
                raise BadArchive(f"{shown(entry.name)}: sparse map is too long")
            found, more = decode_sparse_block(self._take(BLOCK), entry.name)
            pairs += found
        entry.type = FILE
        entry.sparse = check_sparse(pairs, entry)

    def _read_pax_map(self, sparse: dict[bytes, bytes], entry: Entry) -> None:
        try:
            length = int(sparse.get(b"realsize") or sparse.get(b"size") or b"0")
        except ValueError:
            raise BadArchive(f"{shown(entry.name)}: bad sparse map") from None
        entry.name = self._name = sparse.get(b"name") or entry.name
        entry.length = length
        if b"major" not in sparse:
            text = sparse.get(b"map", b"")
            entry.sparse = sparse_map(text.split(b",") if text else [], entry)
            return
        if (sparse[b"major"], sparse.get(b"minor")) != (b"1", b"0"):
            raise BadArchive(f"{shown(entry.name)}: unknown sparse format")
        numbers: list[bytes] = []
        rest, wanted = b"", 1
        while len(numbers) < wanted:
            if self._left < BLOCK or len(numbers) > SPECIAL_LIMIT // 8:
                raise BadArchive(f"{shown(entry.name)}: bad sparse map")
            *lines, rest = (rest + self._take(BLOCK)).split(b"\n")
            self._left -= BLOCK
            numbers += lines
            if numbers and wanted == 1:
                wanted += 2 * (int(numbers[0]) if numbers[0].isdigit() else SPECIAL_LIMIT)
        entry.size = self._left
        entry.sparse = sparse_map(numbers[1:wanted], entry)

    def _take_block(self) -> bytes | None:
        """Return the next block, None at the end of the stream (between two blocks only)."""
        start = self._at
        if len(self._buffer) - start >= BLOCK:
            self._at = start + BLOCK
            return self._buffer[start : start + BLOCK]
        self._name = b""
        if start == len(self._buffer):
            self._buffer, self._at = self._source.read(_CHUNK), 0
            if not self._buffer:
                return None
        return self._take(BLOCK)

    def _take(self, size: int) -> bytes:
        while len(self._buffer) - self._at < size:
            more = self._source.read(_CHUNK)
            if not more:
                self._break_off()
            self._buffer = self._buffer[self._at :] + more
            self._at = 0
        start = self._at
        self._at += size
        return self._buffer[start : self._at]

    def _skip(self, size: int) -> None:
        while size > (held := len(self._buffer) - self._at):
            size -= held
            self._refill()
        self._at += size

    def _refill(self) -> None:
        self._buffer, self._at = self._source.read(_CHUNK), 0
        if not self._buffer:
            self._break_off()

    def _break_off(self) -> NoReturn:
        where = f"in {shown(self._name)}" if self._name else "between two entries"
        raise BadArchive(f"unexpected end of the archive {where}")


def _write_with_holes(fd: int, offset: int, data: memoryview) -> None:
    """Write ``data`` at ``offset`` of a file that ends before it, leaving out stretches of zeros.

    A stretch is what lies between two multiples of ``_HOLE`` in the file.
    """
    start = at = 0
    while at < len(data):
        end = min(at + _HOLE - (offset + at) % _HOLE, len(data))
        if data[at] == data[end - 1] == 0 and data[at:end].tobytes() == _ZEROS[: end - at]:
            _write_at(fd, offset + start, data[start:at])
            start = end
        at = end
    _write_at(fd, offset + start, data[start:])


def _write_at(fd: int, offset: int, data: memoryview) -> None:
    while data:
        written = os.pwrite(fd, data, offset)
        offset += written
        data = data[written:]
