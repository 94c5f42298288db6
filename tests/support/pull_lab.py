"""An image service that pulls from registries on loopback into a storage that only remembers."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from support.image_archives import FakeStorage, stream

from sampan.base.events import EventBus
from sampan.base.state import StateDB
from sampan.images.compression import Limits
from sampan.images.service import ImagesService
from sampan.registry.auth import NOBODY, Credentials
from sampan.registry.service import Registries
from sampan.registry.settings import RegistrySettings
from sampan.wire.system import Progress


class PullLab:
    """A data root; every call is a daemon's life of its own. ``slept`` has the waits between attempts."""

    def __init__(self, root: Path, settings: RegistrySettings | None = None) -> None:
        self.root = root
        self.limits: Limits | None = None
        self.settings = settings or RegistrySettings()
        self.storage = FakeStorage()
        self.slept: list[float] = []
        self.said: list[Progress] = []
        self.environment: dict[str, str] = {}

    def run(self, work: Callable[[ImagesService], Awaitable[None]]) -> None:
        """Run ``work`` with a service that is closed afterwards."""

        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)

        async def scene() -> None:
            registries = Registries(self.settings, self.environment)
            registries.transport.sleep = sleep
            state = StateDB(self.root / "state.db")
            images = ImagesService(
                self.root, self.storage, state, EventBus(), registries=registries, limits=self.limits
            )
            try:
                await work(images)
            finally:
                await images.close()
                await registries.close()
                state.close()

        asyncio.run(scene())

    def pull(self, name: str, *, platform: str | None = None, credentials: Credentials = NOBODY) -> list[str]:
        """Pull and return what was said, as Docker's client prints it without a terminal."""
        self.said = []
        self.run(
            lambda images: images.pull(name, self.said.append, platform=platform, credentials=credentials)
        )
        return lines(self.said)

    def push(self, name: str, tag: str = "", *, credentials: Credentials = NOBODY) -> list[str]:
        """Push and return what was said."""
        self.said = []
        self.run(lambda images: images.push(name, tag, self.said.append, credentials=credentials))
        return lines(self.said)

    def load(self, archive: bytes) -> None:
        """Load an archive."""
        self.run(lambda images: images.load(stream(archive), lambda line: None, quiet=True))

    def remove_all(self) -> None:
        """Remove every image."""

        async def remove(images: ImagesService) -> None:
            for summary in images.list(all=True, filters={}):
                await images.remove(summary.id, force=True, prune=False)

        self.run(remove)

    def images(self) -> dict[str, tuple[list[str], list[str]]]:
        """Return tags and digests of all images by ID."""
        found: dict[str, tuple[list[str], list[str]]] = {}

        async def look(images: ImagesService) -> None:
            for summary in images.list(all=True, filters={}):
                found[summary.id] = (list(summary.repo_tags), list(summary.repo_digests))

        self.run(look)
        return found

    def blobs(self) -> set[str]:
        """Return the digests of all whole blobs."""
        return {f"sha256:{path.name}" for path in (self.root / "content/blobs/sha256").iterdir()}

    def partials(self) -> dict[str, int]:
        """Return the sizes of the beginnings of blobs that wait for the next pull, by digest."""
        folder = self.root / "content/partial"
        return {path.name.replace("-", ":", 1): path.stat().st_size for path in folder.iterdir()}

    def leftovers(self) -> list[str]:
        """Return the temporary files that are left."""
        return [path.name for path in (self.root / "tmp").iterdir()]


def lines(said: list[Progress]) -> list[str]:
    """Return the lines without progress bars."""
    return [
        f"{line.id}: {line.status}" if line.id else line.status
        for line in said
        if line.status and not line.progress
    ]
