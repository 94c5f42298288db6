"""The storage drivers; their order is the order of automatic choice."""

from typing import Final

from sampan.storage.driver import SnapshotDriver
from sampan.storage.drivers.overlay2 import Overlay2
from sampan.storage.drivers.vfs import Vfs

DRIVERS: Final[tuple[type[SnapshotDriver], ...]] = (Overlay2, Vfs)
