"""``docker load``: receive an archive, plan, put the images in, say so in Docker's words."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

import msgspec

from sampan.base.errors import HostFailure
from sampan.base.faults import point
from sampan.base.ids import short_id
from sampan.base.threads import blocking
from sampan.images.archive import Archive
from sampan.images.compression import Limits
from sampan.images.content import ContentStore, Hold
from sampan.images.docker_archive import MANIFEST_FILE, plan_docker
from sampan.images.errors import InvalidArchive
from sampan.images.groups import together
from sampan.images.install import Installer
from sampan.images.oci_archive import plan_layout
from sampan.images.planned import PlannedImage
from sampan.images.progress import layer_progress, stream_line
from sampan.images.store import ImageStore
from sampan.images.v1 import REPOSITORIES_FILE, plan_v1
from sampan.oci.layout import INDEX_FILE
from sampan.oci.platform import Platform
from sampan.wire.system import Progress

_log = logging.getLogger(__name__)
_BATCH: Final = 1 << 20  # bytes handed to the receiving thread at once


class Loader:
    """Loads archives for one image service. ``loaded`` is called with the ID of each image put in."""

    def __init__(
        self,
        content: ContentStore,
        installer: Installer,
        store: ImageStore,
        loaded: Callable[[str], None],
        limits: Limits | None = None,
    ) -> None:
        self._content = content
        self._installer = installer
        self._store = store
        self._loaded = loaded
        self._limits = limits

    async def load(
        self,
        source: AsyncIterator[bytes],
        progress: Callable[[Progress], None],
        *,
        quiet: bool,
        platform: Platform | None,
    ) -> None:
        """Put in the images of the archive ``source``. Raises InvalidArchive and what documents raise.

        Each image is put in whole or not at all; those before a bad one stay.
        """
        async with self._installer.session() as hold:
            try:
                archive = Archive(self._content, hold, self._limits)  # a cancelled thread's would be lost
                try:
                    await _receive(archive, source)
                    point("images.load.received")
                    planned = await blocking(plan, archive, platform)
                    await self._install(planned, hold, progress, quiet=quiet)
                finally:
                    await blocking(archive.close)
            except OSError as error:
                raise HostFailure(f"cannot load the archive: {error.strerror or error}") from error

    async def _install(
        self,
        planned: Sequence[PlannedImage],
        hold: Hold,
        progress: Callable[[Progress], None],
        *,
        quiet: bool,
    ) -> None:
        for entry in planned:
            show = None if quiet else layer_progress(progress)
            installed = await self._installer.install(entry.image, entry.names, hold, show)
            for reference, old in zip(entry.names, installed.replaced, strict=True):
                if old is not None and old != installed.id:
                    progress(
                        stream_line(
                            f"The image {reference.familiar} already exists, "
                            f"renaming the old one with ID {old} to empty string"
                        )
                    )
                progress(stream_line(f"Loaded image: {reference.familiar}"))
            if not entry.names:
                progress(stream_line(f"Loaded image ID: {installed.id}"))
            self._loaded(installed.id)
            _log.info("image loaded", extra={"image": short_id(installed.id)})
        self._link(planned)

    def _link(self, planned: Sequence[PlannedImage]) -> None:
        """Remember which images were made from which, as far as the archive says so and can be right."""
        by_id = {str(entry.image.id): entry.image for entry in planned}
        for entry in planned:
            record = self._store.get(entry.image.id)
            if not entry.parent or record is None or record.parent == entry.parent:
                continue
            above, below = entry.image.config.history, by_id[entry.parent].config.history
            if (above or below) and (len(above) != len(below) + 1 or above[: len(below)] != below):
                raise InvalidArchive(f"image {entry.parent} is not a valid parent for {record.id}")
            self._store.put(msgspec.structs.replace(record, parent=entry.parent), durable=False)


async def _receive(archive: Archive, source: AsyncIterator[bytes]) -> None:
    """Feed ``source`` to ``archive`` in batches worth a change of thread; the next one comes meanwhile."""
    feeding: asyncio.Task[None] | None = None
    batch: list[bytes] = []
    size = 0
    async with together() as group:
        async for piece in source:
            batch.append(piece)
            size += len(piece)
            if size >= _BATCH:
                if feeding is not None:
                    await feeding
                feeding = group.create_task(blocking(_feed, archive, batch))
                batch, size = [], 0
        if feeding is not None:
            await feeding
    await blocking(_feed, archive, batch)
    await blocking(archive.finish)


def _feed(archive: Archive, batch: Sequence[bytes]) -> None:
    for piece in batch:
        archive.feed(piece)


def plan(archive: Archive, platform: Platform | None) -> list[PlannedImage]:
    """Return the images of a received archive; which files it has says of which shape it is. Blocking.

    ======================================  ==============================================
    manifest.json                           Docker since 1.10, since 25 an OCI layout too
    index.json                              an OCI layout
    repositories                            Docker before 1.10
    ======================================  ==============================================
    """
    if (document := archive.read(MANIFEST_FILE)) is not None:
        return plan_docker(archive, document, platform)
    if (document := archive.read(INDEX_FILE)) is not None:
        return plan_layout(archive, document, platform)
    if (document := archive.read(REPOSITORIES_FILE)) is not None:
        return plan_v1(archive, document, platform)
    raise InvalidArchive(f"invalid archive: does not contain a {MANIFEST_FILE}")
