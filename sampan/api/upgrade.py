"""From an attach or exec request to the raw connection that it asks for."""

from collections.abc import Awaitable, Callable
from typing import Final

from sampan.api.hijack import Stream
from sampan.api.request import Request
from sampan.api.response import MULTIPLEXED_STREAM, RAW_STREAM, Hijack
from sampan.api.versions import Version

_UPGRADE: Final = {"Connection": "Upgrade", "Upgrade": "tcp"}


def stream_type(version: Version, *, tty: bool) -> str:
    """Return the media type of a process's output: frames, or as it is when it has a terminal."""
    return MULTIPLEXED_STREAM if not tty and version >= (1, 42) else RAW_STREAM


def hijack(request: Request, run: Callable[[Stream], Awaitable[None]], *, tty: bool) -> Hijack:
    """Hand the connection to ``run``: by 101 to clients that ask to upgrade, by 200 to old ones."""
    if request.upgrades:
        return Hijack(run, stream_type(request.version, tty=tty), upgrade=_UPGRADE)
    return Hijack(run)
