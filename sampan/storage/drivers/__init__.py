"""The storage drivers; their order is the order of automatic choice.

What stands behind vfs, which can do with everything, is used only if it is asked for by name: a pool on loop
devices is nothing to find oneself with.
"""

from typing import Final

from sampan.storage.driver import SnapshotDriver
from sampan.storage.drivers.aufs import Aufs
from sampan.storage.drivers.btrfs import Btrfs
from sampan.storage.drivers.devicemapper import DeviceMapper
from sampan.storage.drivers.fuse_overlayfs import FuseOverlayfs
from sampan.storage.drivers.overlay2 import Overlay2
from sampan.storage.drivers.vfs import Vfs
from sampan.storage.drivers.zfs import Zfs

DRIVERS: Final[tuple[type[SnapshotDriver], ...]] = (
    Overlay2,
    Btrfs,
    Zfs,
    Aufs,
    FuseOverlayfs,
    Vfs,
    DeviceMapper,
)
