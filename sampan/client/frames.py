"""Docker's multiplexed stream: the output of a container without a terminal, as attach and logs carry it.

A frame is one byte for the stream (1 stdout, 2 stderr), three of padding, the size as 4 bytes big-endian, and
that many bytes of data. Source: Engine API, "Attach to a container", stream format.
"""

from _struct import Struct  # ``struct`` is a file more to load

from sampan.client.errors import ClientError, StreamFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Final

STDIN: "Final" = 0
STDOUT: "Final" = 1
STDERR: "Final" = 2
_SYSTEM_ERROR: "Final" = 3
_HEAD: "Final" = 8
_unpack: "Final" = Struct(">BxxxI").unpack_from

MULTIPLEXED: "Final" = "application/vnd.docker.multiplexed-stream"
RAW: "Final" = "application/vnd.docker.raw-stream"


class Frames:
    """Takes the stream in pieces of any size and gives the data back by stream.

    Data of a frame is passed on as it comes, so that a long frame need not be held; neighbours of one stream
    are joined.
    """

    __slots__ = ("_head", "_left", "_stream")

    def __init__(self) -> None:
        self._head = b""
        self._stream = STDOUT
        self._left = 0

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Return what ``data`` brought, in order, as (STDOUT | STDERR, bytes).

        Raises ClientError for a stream that is none of Docker's, StreamFailed for an error that came in it.
        """
        out: list[tuple[int, bytes]] = []
        pieces: list[bytes] = []
        current = self._stream
        if self._head:
            data, self._head = self._head + data, b""
        at, size, left = 0, len(data), self._left
        while at < size:
            if not left:
                if size - at < _HEAD:
                    self._head = data[at:]
                    break
                stream, left = _unpack(data, at)
                at += _HEAD
                if stream != current:
                    if pieces:
                        out.append(_joined(current, pieces))
                        pieces = []
                    if stream > _SYSTEM_ERROR:
                        raise ClientError(f"Unrecognized input header: {stream}")
                    current = stream
                continue
            end = at + left
            piece = data[at:end]
            pieces.append(piece)
            left -= len(piece)
            at = end
        self._stream, self._left = current, left
        if pieces:
            out.append(_joined(current, pieces))
        return out


def _joined(stream: int, pieces: list[bytes]) -> tuple[int, bytes]:
    data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    if stream == _SYSTEM_ERROR:
        raise StreamFailed(f"error from daemon in stream: {data.decode(errors='replace')}")
    return stream or STDOUT, data  # what Docker calls stdin is written out like stdout


def split(chunks: "Iterable[bytes]", *, multiplexed: bool) -> "Iterator[tuple[int, bytes]]":
    """Yield the pieces of a stream as (STDOUT | STDERR, bytes); all of a raw one is STDOUT."""
    if not multiplexed:
        for chunk in chunks:
            yield STDOUT, chunk
        return
    frames = Frames()
    for chunk in chunks:
        yield from frames.feed(chunk)
