"""A thin pool of the device mapper: where it lies, what is in it, and the devices made from it.

    <home>/devicemapper/
      data, metadata     the pool's own devices as sparse files, where no block devices are given
      base.json          the size and the file system of device 0, once it is formatted

A thin device has a number in the pool; it can be used while it is active, as ``<prefix>-<number>``.
"""

import errno
import os
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Final

from sampan.base.errors import HostFailure, InvalidParameter
from sampan.kernel import devmapper
from sampan.kernel.commands import load_modules
from sampan.kernel.devmapper import SECTOR
from sampan.kernel.loop import attach_file
from sampan.storage.options import size_option

DATA_SIZE: Final = 100 << 30
METADATA_SIZE: Final = 2 << 30
BLOCK_SIZE: Final = 64 << 10
_LOW_WATER: Final = 32768  # blocks; Docker's
_HIGHEST: Final = (1 << 24) - 1


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """What a pool says of itself; blocks of data, and of metadata (4 KiB)."""

    metadata_used: int
    metadata_total: int
    data_used: int
    data_total: int
    mode: str  # rw, ro, out_of_data_space, Fail


class ThinPool:
    """The pool of the driver whose directory is ``home``; opened with the first use of the driver."""

    def __init__(self, home: str, options: Mapping[str, str]) -> None:
        self._home = home
        self._folder = os.path.join(home, "devicemapper")
        status = os.stat(home)
        place = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}-{status.st_ino}"
        self.prefix = f"sampan-{place}"
        given = options.get("dm.thinpooldev", "")
        self._given = given.removeprefix("/dev/mapper/")
        self.name = self._given or f"{self.prefix}-pool"
        self.data = options.get("dm.datadev", "")
        self.metadata = options.get("dm.metadatadev", "")
        if bool(self.data) != bool(self.metadata):
            raise InvalidParameter("devicemapper: dm.datadev and dm.metadatadev go together")
        if self.data and self._given:
            raise InvalidParameter("devicemapper: dm.thinpooldev and dm.datadev exclude each other")
        self._data_size = size_option(options, "dm.loopdatasize", DATA_SIZE)
        self._metadata_size = size_option(options, "dm.loopmetadatasize", METADATA_SIZE)
        self.block_size = size_option(options, "dm.blocksize", BLOCK_SIZE)
        if self.block_size % (64 << 10) or not 64 << 10 <= self.block_size <= 1 << 30:
            raise InvalidParameter("devicemapper: dm.blocksize is 64K to 1G, in steps of 64K")

    @property
    def loops(self) -> tuple[str, str] | None:
        """The files that carry data and metadata, None if the pool lies on block devices."""
        if self._given or self.data:
            return None
        return os.path.join(self._folder, "data"), os.path.join(self._folder, "metadata")

    @property
    def base_file(self) -> str:
        """The path of the note on device 0."""
        return os.path.join(self._folder, "base.json")

    def open(self) -> None:
        """Bring the pool up, unless it is; the files are made if they are not there."""
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        if devmapper.exists(self.name):
            devmapper.keep(self.name)
        elif self._given:
            raise HostFailure(f"devicemapper: there is no device {self._given}")
        else:
            with ExitStack() as held:  # a loop device lives as long as it is open: the pool opens it too
                data, metadata = self._devices(held)
                self._create(data, metadata)
        if not (found := devmapper.status(self.name)) or "/" not in found:
            raise HostFailure(f"devicemapper: {self.name} is no working thin pool: {found or 'no status'}")

    def close(self) -> None:
        """Take the pool down, and with it its loop devices; not while a device of it is active."""
        if not self._given and not self.active():
            devmapper.remove(self.name, deferred=True)

    def status(self) -> PoolStatus:
        """Ask the pool. Raises HostFailure if it has failed."""
        words = devmapper.status(self.name).split()
        if len(words) < 5 or "/" not in words[1]:
            raise HostFailure(f"devicemapper: the pool {self.name} has failed: {' '.join(words)}")
        metadata, _, metadata_total = words[1].partition("/")
        data, _, data_total = words[2].partition("/")
        return PoolStatus(int(metadata), int(metadata_total), int(data), int(data_total), words[4])

    def device(self, number: int) -> str:
        """Return the name of the active device ``number``."""
        return f"{self.prefix}-{number}"

    def active(self) -> list[int]:
        """Return the numbers of the devices that are active."""
        found = []
        for name in devmapper.names(self.prefix + "-"):
            number = name.removeprefix(self.prefix + "-")
            if number.isdecimal():
                found.append(int(number))
        return found

    def activate(self, number: int, size: int) -> None:
        """Let the device ``number`` be used, with ``size`` bytes; one that can be already is no error."""
        name = self.device(number)
        if devmapper.exists(name) and devmapper.keep(name):
            return
        devmapper.create(name, size // SECTOR, "thin", f"{devmapper.node(self.name)} {number}")

    def deactivate(self, number: int, *, deferred: bool = True) -> None:
        """Take the device ``number`` out of use, ``deferred``: when its last user goes."""
        devmapper.remove(self.device(number), deferred=deferred)

    def create(self, number: int) -> None:
        """Make the empty device ``number``; OSError EEXIST: there is one."""
        devmapper.message(self.name, f"create_thin {number}")

    def copy(self, number: int, origin: int) -> None:
        """Make the device ``number`` a snapshot of ``origin``; OSError EEXIST: there is one."""
        name = self.device(origin)
        if not devmapper.exists(name):
            devmapper.message(self.name, f"create_snap {number} {origin}")
            return
        devmapper.suspend(name)
        try:
            devmapper.message(self.name, f"create_snap {number} {origin}")
        finally:
            devmapper.resume(name)

    def delete(self, number: int) -> None:
        """Remove the device ``number`` for good; none is no error."""
        if not 0 <= number <= _HIGHEST:
            return
        self.deactivate(number, deferred=False)
        try:
            devmapper.message(self.name, f"delete {number}")
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.ENOENT, errno.EINVAL):
                raise

    def _devices(self, held: ExitStack) -> tuple[str, str]:
        if (files := self.loops) is None:
            return self.data, self.metadata
        paths = []
        for file, size in zip(files, (self._data_size, self._metadata_size), strict=True):
            _make_file(file, size)
            fd, path = attach_file(file)
            held.callback(os.close, fd)
            paths.append(path)
        return paths[0], paths[1]

    def _create(self, data: str, metadata: str) -> None:
        sectors = _size_of(data) // SECTOR
        block = self.block_size // SECTOR
        with suppress(FileNotFoundError):
            if os.path.getsize(self.base_file) == 0:
                os.unlink(self.base_file)
        if not os.path.exists(self.base_file):
            _wipe(metadata)  # a pool that has not even a base is made anew
        features = "2 skip_block_zeroing error_if_no_space"
        table = f"{metadata} {data} {block} {_LOW_WATER} {features}"
        devmapper.create(self.name, sectors - sectors % block, "thin-pool", table)


def has_thin_pools() -> bool:
    """Return whether the kernel can make thin pools; its module is loaded if need be."""
    if "thin-pool" in devmapper.targets():
        return True
    load_modules("dm_mod", "dm_thin_pool")
    return "thin-pool" in devmapper.targets()


def _make_file(path: str, size: int) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(fd).st_size < size:
            os.ftruncate(fd, size)
    finally:
        os.close(fd)


def _size_of(device: str) -> int:
    fd = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.lseek(fd, 0, os.SEEK_END)
    finally:
        os.close(fd)


def _wipe(device: str) -> None:
    """Overwrite where a pool's metadata would begin: the kernel makes it anew then."""
    fd = os.open(device, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.pwrite(fd, bytes(4096), 0)
        os.fsync(fd)
    finally:
        os.close(fd)
