"""An image service on real storage, for tests as root."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from support.image_archives import stream

from sampan.base.events import EventBus
from sampan.base.state import StateDB
from sampan.images.service import ImagesService
from sampan.storage.service import StorageService
from sampan.wire.system import Progress


class Lab:
    """A data root with storage, state and images; closed and opened again at will."""

    def __init__(self, root: Path, driver: str = "overlay2") -> None:
        self.root = root
        self.driver = driver
        self.storage = StorageService(root / "storage", driver=driver)
        self.state = StateDB(root / "state.db")
        self.images = ImagesService(root, self.storage, self.state, EventBus())

    def reopen(self) -> None:
        """Start anew, as a daemon after its end."""
        self.state.close()
        self.storage = StorageService(self.root / "storage", driver=self.driver)
        self.state = StateDB(self.root / "state.db")
        self.images = ImagesService(self.root, self.storage, self.state, EventBus())
        self.storage.recover(self.images.chains_in_use())

    def load(self, source: bytes | Path, *, platform: str | None = None) -> str:
        """Load an archive and return what was said."""
        pieces = stream(source) if isinstance(source, bytes) else read(source)
        said: list[Progress] = []
        asyncio.run(self.images.load(pieces, said.append, quiet=True, platform=platform))
        return "".join(line.stream for line in said)

    def remove_all(self) -> None:
        """Remove every image."""
        while summaries := self.images.list(all=True, filters={}):
            parents = {summary.parent_id for summary in summaries}
            for summary in summaries:
                if summary.id not in parents:
                    asyncio.run(self.images.remove(summary.id, force=True, prune=False))

    def left(self) -> list[str]:
        """Return what is left of blobs, snapshots and temporary files."""
        blobs = [path.name for path in (self.root / "content" / "blobs").glob("*/*")]
        temporary = [path.name for path in (self.root / "tmp").iterdir()]
        return blobs + temporary + [snapshot.key for snapshot in self.storage.driver.walk()]


async def read(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(1 << 18):
            yield piece
