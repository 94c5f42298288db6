"""Docker's multiplexed stream: the output of a container without a terminal, as attach and logs carry it.

A frame is one byte for the stream (1 stdout, 2 stderr), three of padding, the size as 4 bytes big-endian, and
that many bytes of data. Source: Engine API, "Attach to a container", stream format.
"""

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

        Raises ClientError for a stream that is none of Docker's, StreamFailed for an error the daemon sent
        in it.
        """
        out: list[tuple[int, list[bytes]]] = []
        start, size = 0, len(data)
        while start < size:
            if not self._left:
                if not self._head and size - start >= _HEAD:
                    head = data[start : start + _HEAD]
                else:
                    head = self._head + data[start : start + _HEAD - len(self._head)]
                start += len(head) - len(self._head)
                if len(head) < _HEAD:
                    self._head = head
                    break
                self._head = b""
                self._stream = head[0]
                self._left = int.from_bytes(head[4:], "big")
                if self._stream > _SYSTEM_ERROR:
                    raise ClientError(f"Unrecognized input header: {self._stream}")
                continue
            piece = data[start : start + self._left]
            start += len(piece)
            self._left -= len(piece)
            stream = self._stream
            if stream == _SYSTEM_ERROR:
                raise StreamFailed(f"error from daemon in stream: {piece.decode(errors='replace')}")
            if stream == STDIN:
                stream = STDOUT
            if out and out[-1][0] == stream:
                out[-1][1].append(piece)
            else:
                out.append((stream, [piece]))
        return [(stream, b"".join(pieces)) for stream, pieces in out]


def split(chunks: "Iterable[bytes]", *, multiplexed: bool) -> "Iterator[tuple[int, bytes]]":
    """Yield the pieces of a stream as (STDOUT | STDERR, bytes); all of a raw one is STDOUT."""
    if not multiplexed:
        for chunk in chunks:
            yield STDOUT, chunk
        return
    frames = Frames()
    for chunk in chunks:
        yield from frames.feed(chunk)
