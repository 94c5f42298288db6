"""Where the runtime is run: in the host's mount namespace, or in a view without what piles up there.

crun copies every mount that it sees, twice, and reads the whole table. The host has two mounts of each
running container, its root file system and its network namespace; a view (``kernel/mount_view.py``) has none
of them, and the shim gives each start the two that it needs. A container that wants a directory of the host's
is started among the host's mounts as ever: whatever is mounted below that directory has to be seen.
"""

import asyncio
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from sampan.base.threads import blocking
from sampan.kernel.mount import is_mount_point, mount_id, mounts
from sampan.kernel.mount_view import holders, open_view

_log = logging.getLogger(__name__)
_NETWORK: Final = "network"
_NONE: Final = -1


class _Mount(msgspec.Struct, frozen=True):
    source: str = ""


class _Root(msgspec.Struct, frozen=True):
    path: str


class _Namespace(msgspec.Struct, frozen=True):
    type: str
    path: str = ""


class _Linux(msgspec.Struct, frozen=True, rename="camel"):
    namespaces: Sequence[_Namespace] = ()
    rootfs_propagation: str = ""


class _Document(msgspec.Struct, frozen=True):
    root: _Root
    mounts: Sequence[_Mount] = ()
    linux: _Linux = _Linux()


class View:
    """The view for one service. ``needed`` are the directories with bundles, root file systems and state.

    ``hidden`` is a mount that the runtime must not see.
    """

    def __init__(self, needed: Sequence[Path], hidden: str | None) -> None:
        self._needed = [os.path.realpath(path) for path in needed]
        self._hidden = hidden
        self._lock = asyncio.Lock()
        self._descriptor: int | None = None
        self._ids: frozenset[int] = frozenset()
        self._decoder = msgspec.json.Decoder(_Document)

    async def open(self) -> int | None:
        """Return the view's descriptor, made at the first call; None if it cannot be made."""
        if self._descriptor is None:
            async with self._lock:
                if self._descriptor is None:
                    await blocking(self._make)
        return self._descriptor if self._descriptor != _NONE else None

    def _make(self) -> None:
        try:
            self._ids = frozenset(holders(mounts(), self._needed).values())
            self._descriptor = open_view(self._needed, self._hidden)  # kept even if the caller was cancelled
        except OSError as error:
            _log.warning("no mount namespace for runtimes", extra={"reason": str(error)})
            self._descriptor = _NONE

    def trees(self, spec: bytes, bundle: Path) -> list[str] | None:
        """Return the mounts that the container of ``spec`` needs beside the view's; None: it needs all.

        ``bundle`` belongs to the engine: its files are where they seem to be.
        """
        document = self._decoder.decode(spec)
        if document.linux.rootfs_propagation:
            return None
        own = f"{bundle}/"
        sources = (entry.source for entry in document.mounts if entry.source.startswith("/"))
        if not all(self._shows(source, trusted=source.startswith(own)) for source in sources):
            return None
        places = [document.root.path]
        places += [space.path for space in document.linux.namespaces if space.type == _NETWORK and space.path]
        return [place for place in places if is_mount_point(place)]

    def _shows(self, source: str, *, trusted: bool) -> bool:
        """Tell whether the view has the file ``source``. A directory counts as missing: see above."""
        try:
            if Path(source).is_dir():
                return False
            return trusted or (os.path.realpath(source) == source and mount_id(source) in self._ids)
        except OSError:
            return False

    def close(self) -> None:
        """Give the view back; runtimes at work keep it."""
        if self._descriptor not in (None, _NONE):
            os.close(self._descriptor)
        self._descriptor = _NONE
