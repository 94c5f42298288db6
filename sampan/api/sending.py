"""Sending a piece of a file to a client: by the kernel (sendfile) over a plain socket, else in pieces."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import BinaryIO, Final

from sampan.base.threads import blocking

_PIECE: Final = 1 << 20  # bytes at a time: others get their turn in between
_READ: Final = 1 << 18  # bytes in memory, where TLS wants them there
_STALLED_S: Final = 300.0  # a client that takes no piece in that time is gone, or means harm


async def send_file(
    transport: asyncio.Transport,
    file: BinaryIO,
    offset: int,
    count: int,
    drain: Callable[[], Awaitable[None]],
) -> None:
    """Send ``count`` bytes of ``file`` from ``offset``; ``drain`` waits for room in the transport's buffer.

    Raises ConnectionError when the client is gone or takes nothing; EOFError when the file is too short.
    """
    plain = transport.get_extra_info("socket") is not None  # what TLS is spoken on is nobody else's
    try:
        while count:
            async with asyncio.timeout(_STALLED_S):
                if plain:
                    sent = await _by_kernel(transport, file, offset, min(count, _PIECE))
                else:
                    sent = await _copied(transport, file, offset, min(count, _READ))
                    await drain()
            if not sent:
                raise EOFError(f"the file ends {count} bytes too early")
            offset += sent
            count -= sent
    except TimeoutError:
        raise ConnectionResetError("the client takes nothing") from None


async def _by_kernel(transport: asyncio.Transport, file: BinaryIO, offset: int, size: int) -> int:
    if transport.is_closing():
        raise ConnectionResetError
    return await asyncio.get_running_loop().sendfile(transport, file, offset, size, fallback=False)


async def _copied(transport: asyncio.Transport, file: BinaryIO, offset: int, size: int) -> int:
    data = await blocking(os.pread, file.fileno(), size, offset)
    transport.write(data)
    return len(data)
