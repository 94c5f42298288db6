"""Telling compressed streams apart by their first bytes, and unpacking them in bounded pieces.

Data is pushed in and pushed on to a sink, at most PIECE bytes at a time, however much a few compressed bytes
expand to. The libraries release the GIL while they work. gzip is read by isal (twice as fast), by zlib where
isal is missing; zstandard, lzma and bz2 are imported when their first stream comes.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import IO, Any, Final, Protocol, cast

from sampan.images.errors import InvalidArchive, TooLarge

Sink = Callable[[bytes | memoryview], None]
PIECE: Final = 1 << 20
MAGIC_BYTES: Final = 6
_GZIP_WINDOW: Final = 31  # zlib.h: 15 bits, plus 16 for gzip's head and end
_READ: Final = 1 << 16
_STEP: Final = 1 << 10  # compressed bytes unpacked at once: whatever comes of them is held in memory
_GZIP_STEP: Final = 1 << 13  # they become 8 MiB at most (RFC 1951 ends at 1:1032)
_MAX_WINDOW: Final = 1 << 27  # bytes; what `zstd --long` makes


class Compression(Enum):
    """How a stream is compressed; the value is what error messages call it."""

    NONE = "tar"
    GZIP = "gzip"
    ZSTD = "zstd"
    XZ = "xz"
    BZIP2 = "bzip2"


_STEPS: Final = {Compression.NONE: _READ, Compression.GZIP: _GZIP_STEP}
_MAGIC: Final = (
    (b"\x1f\x8b\x08", Compression.GZIP),
    (b"\x28\xb5\x2f\xfd", Compression.ZSTD),
    (b"\xfd7zXZ\x00", Compression.XZ),
    (b"BZh", Compression.BZIP2),
)


def detect(head: bytes) -> Compression:
    """Return the compression of a stream that begins with ``head`` (MAGIC_BYTES bytes are enough)."""
    for magic, compression in _MAGIC:
        if head.startswith(magic):
            return compression
    if len(head) >= 4 and head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F:
        return Compression.ZSTD  # a skippable frame comes first (RFC 8878, 3.1.2)
    return Compression.NONE


@dataclass(frozen=True, slots=True)
class Limits:
    """How far data may expand: anything up to ``floor`` bytes, beyond that ``ratio`` times its size."""

    floor: int = 4 << 30
    ratio: int = 250

    def check(self, compression: Compression, what: str, taken: int, given: int) -> None:
        """Raise TooLarge if ``taken`` bytes of ``what`` may not become ``given``."""
        if given > self.floor and given > self.ratio * taken:
            raise TooLarge(
                f"{what}: {taken} bytes of {compression.value} expand to {given} bytes, "
                f"over {self.ratio} times their size"
            )


class Decompressor:
    """Unpacks one stream into ``sink``: ``feed`` it all, then ``finish``.

    Raises InvalidArchive for corrupt or truncated data, TooLarge beyond ``limits``; ``what`` names the stream
    in messages. Whatever the sink raises goes through.
    """

    def __init__(self, compression: Compression, sink: Sink, what: str, limits: Limits | None = None) -> None:
        self._compression = compression
        self._sink = sink
        self._what = what
        self._limits = limits or Limits()
        self.bytes_in = 0
        self.bytes_out = 0
        self._codec = _codec(compression, self._pass)

    def feed(self, data: bytes | memoryview) -> None:
        """Unpack the next part of the stream."""
        self.bytes_in += len(data)
        try:
            self._codec.feed(data)
        except _Corrupt as error:
            raise InvalidArchive(f"{self._what}: {self._compression.value}: {error}") from error.__cause__

    def finish(self) -> None:
        """The stream has ended: raise InvalidArchive if it was cut off."""
        if not self._codec.complete():
            raise InvalidArchive(f"{self._what}: {self._compression.value}: unexpected EOF")

    def _pass(self, piece: bytes | memoryview) -> None:
        self.bytes_out += len(piece)
        self._limits.check(self._compression, self._what, self.bytes_in, self.bytes_out)
        self._sink(piece)


class Inflated:
    """An archive of any compression as the plain file to read. Raises as ``Decompressor``."""

    def __init__(self, source: "Readable", what: str, limits: Limits | None = None) -> None:
        self._source = source
        self._what = what
        self._limits = limits or Limits()
        self._pieces: deque[memoryview] = deque()
        self._decompressor: Decompressor | None = None
        self._reader: _ZstdReader | None = None
        self._waiting: bytes | memoryview = b""
        self._step = _READ
        self._ended = False

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes, less where it suits; b"" at the end."""
        while not self._pieces and not self._ended and self._reader is None:
            self._fill()
        if self._reader is not None:
            return self._reader.read(size)
        if not self._pieces:
            return b""
        piece = self._pieces.popleft()
        if len(piece) > size:
            self._pieces.appendleft(piece[size:])
            piece = piece[:size]
        return bytes(piece)

    def _fill(self) -> None:
        data = self._waiting or self._source.read(_READ)
        if self._decompressor is None:
            while 0 < len(data) < MAGIC_BYTES and (more := self._source.read(_READ)):
                data = bytes(data) + more
            compression = detect(bytes(data[:MAGIC_BYTES]))
            if compression is Compression.ZSTD:
                self._reader = _ZstdReader(bytes(data), self._source, self._what, self._limits)
                return
            self._step = _STEPS.get(compression, _STEP)
            self._decompressor = Decompressor(compression, self._take, self._what, self._limits)
        if data:
            view = memoryview(data)
            self._waiting = view[self._step :]
            self._decompressor.feed(view[: self._step])
        else:
            self._ended = True
            self._decompressor.finish()

    def _take(self, piece: bytes | memoryview) -> None:
        self._pieces.append(memoryview(bytes(piece)))


class _ZstdReader:
    """Zstandard frames that begin with ``head``, of which only as much is unpacked as is asked for."""

    def __init__(self, head: bytes, source: "Readable", what: str, limits: Limits) -> None:
        import zstandard

        self._error = zstandard.ZstdError
        self._head = head
        self._source = source
        self._what = what
        self._limits = limits
        self._taken = self._given = 0
        self._reader = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).stream_reader(
            cast("IO[bytes]", _Pull(self._next)), read_size=_READ, read_across_frames=True
        )

    def read(self, size: int) -> bytes:
        try:
            piece = self._reader.read(min(size, PIECE))
        except self._error as error:
            raise InvalidArchive(f"{self._what}: {Compression.ZSTD.value}: {error}") from error
        self._given += len(piece)
        self._limits.check(Compression.ZSTD, self._what, self._taken, self._given)
        return piece

    def _next(self, size: int) -> bytes:
        piece, self._head = self._head or self._source.read(size), b""
        self._taken += len(piece)
        return piece


class _Pull:
    """The file that zstandard reads."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self.read = read


class Readable(Protocol):
    """A stream of bytes; b"" is its end."""

    def read(self, size: int, /) -> bytes: ...


class _Corrupt(Exception):
    """The library refused the data."""


class _Codec(Protocol):
    def feed(self, data: bytes | memoryview) -> None: ...

    def complete(self) -> bool: ...


def _codec(compression: Compression, sink: Sink) -> _Codec:
    match compression:
        case Compression.NONE:
            return _Plain(sink)
        case Compression.GZIP:
            return _Gzip(sink)
        case Compression.ZSTD:
            return _Zstd(sink)
    return _Members(compression, sink)


class _Plain:
    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def feed(self, data: bytes | memoryview) -> None:
        self._sink(data)

    def complete(self) -> bool:
        return True


class _Gzip:
    """Concatenated gzip members, with nothing but zeros behind them (RFC 1952, 2.2)."""

    def __init__(self, sink: Sink) -> None:
        self._zlib, self._error = gzip_library()
        self._sink = sink
        self._member: Any = None
        self._started = False

    def feed(self, data: bytes | memoryview) -> None:
        while data:
            if self._member is None:
                if self._started and data[0] == 0:
                    data = bytes(data).lstrip(b"\0")
                    continue
                self._member = self._zlib.decompressobj(31)
                self._started = True
            try:
                piece = self._member.decompress(data, PIECE)
            except self._error as error:
                raise _Corrupt(str(error)) from error
            if piece:
                self._sink(piece)
            if self._member.eof:
                data = self._member.unused_data
                self._member = None
            else:
                data = self._member.unconsumed_tail

    def complete(self) -> bool:
        return self._started and self._member is None


class _Zstd:
    """Zstandard frames, skippable ones too."""

    def __init__(self, sink: Sink) -> None:
        import zstandard

        self._error = zstandard.ZstdError
        self._sink = sink
        self._writer = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).stream_writer(
            cast("IO[bytes]", _Writable(sink)), write_size=PIECE
        )

    def feed(self, data: bytes | memoryview) -> None:
        try:
            self._writer.write(data)
        except self._error as error:
            raise _Corrupt(str(error)) from error

    def complete(self) -> bool:
        return True  # a frame that was cut off shows in what it holds: a tar without its end, a wrong diffID


class _Writable:
    """The file that zstandard writes into."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def write(self, data: bytes | memoryview) -> int:
        self._sink(bytes(data))
        return len(data)


class _Members:
    """Concatenated xz or bzip2 streams."""

    def __init__(self, compression: Compression, sink: Sink) -> None:
        self._new: Callable[[], Any]
        if compression is Compression.XZ:
            import lzma

            self._error: tuple[type[Exception], ...] = (lzma.LZMAError,)
            self._new = lambda: lzma.LZMADecompressor(memlimit=256 << 20)
        else:
            import bz2

            self._error = (OSError, ValueError)
            self._new = bz2.BZ2Decompressor
        self._sink = sink
        self._member: Any = None
        self._started = False

    def feed(self, data: bytes | memoryview) -> None:
        while data:
            if self._member is None:
                if self._started and not bytes(data).strip(b"\0"):
                    return  # padding
                self._member = self._new()
                self._started = True
            piece = self._decompress(data)
            while True:
                if piece:
                    self._sink(piece)
                if self._member.eof or self._member.needs_input:
                    break
                piece = self._decompress(b"")
            if not self._member.eof:
                return
            data = self._member.unused_data
            self._member = None

    def _decompress(self, data: bytes | memoryview) -> bytes:
        try:
            piece: bytes = self._member.decompress(data, PIECE)
        except self._error as error:
            raise _Corrupt(str(error)) from error
        return piece

    def complete(self) -> bool:
        return self._started and self._member is None


def gzip_library() -> tuple[Any, Any]:
    """Return the faster of the gzip libraries that are here, and its error."""
    try:
        from isal import isal_zlib

        return isal_zlib, isal_zlib.error
    except ImportError:
        import zlib

        return zlib, zlib.error
