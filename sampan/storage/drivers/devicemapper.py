"""Snapshots as thin devices of a device mapper pool, each with a file system; see also ``own_filesystem``.

Device 0 is formatted once and never mounted by a container; what has no parent is a snapshot of it, all else
of its parent's device. A snapshot's source is the number of its device. The pool (``thin_pool``) lies on two
block devices, or on loop devices over sparse files in the data root, which is for trying things out.
"""

import errno
import fcntl
import os
import struct
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Final

import msgspec

from sampan.base.errors import HostFailure, InvalidParameter
from sampan.base.units import human_size
from sampan.kernel.commands import find_command, run_command
from sampan.kernel.devmapper import node
from sampan.kernel.mount import Mount, mount, mounts, umount
from sampan.storage.catalogue import Record
from sampan.storage.driver import NO_OPTIONS
from sampan.storage.drivers.own_filesystem import OwnFilesystem
from sampan.storage.drivers.thin_pool import ThinPool, has_thin_pools
from sampan.storage.options import size_option

_BASE: Final = 0
_BASE_SIZE: Final = 10 << 30
_MIN_FREE_PERCENT: Final = 10
_FILE_SYSTEMS: Final = ("xfs", "ext4")
_EXT4_RESIZE: Final = 0x40086610  # _IOW('f', 16, __u64), fs/ext4/ext4.h
_EXT4_BLOCK: Final = 4096
_MKFS: Final[Mapping[str, Sequence[str]]] = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-b", str(_EXT4_BLOCK), "-E", "nodiscard"),
    "xfs": ("mkfs.xfs", "-q", "-f", "-K", "-m", "crc=1"),
}
_MOUNT: Final[Mapping[str, tuple[str, ...]]] = {
    "ext4": (
        "noinit_itable",
    ),  # the tables of inodes not used need not be written, which would fill the pool
    "xfs": ("nouuid",),  # every snapshot has the UUID of the base
}


class _Base(msgspec.Struct, frozen=True):
    """What is kept about device 0."""

    size: int
    fs: str


class DeviceMapper(OwnFilesystem):
    """The driver ``devicemapper``; see the module, and ``SnapshotDriver`` for its contract."""

    name: ClassVar[str] = "devicemapper"
    others: ClassVar[frozenset[str]] = frozenset({"devicemapper"})
    options: ClassVar[Mapping[str, str]] = {
        "dm.thinpooldev": "a thin pool that is there already",
        "dm.datadev": "a block device for the pool's data",
        "dm.metadatadev": "a block device for the pool's metadata",
        "dm.loopdatasize": "size of the file for data, where no device is given (100G)",
        "dm.loopmetadatasize": "size of the file for metadata, where no device is given (2G)",
        "dm.blocksize": "size of the pool's blocks (64K)",
        "dm.basesize": "size of each snapshot's file system (10G)",
        "dm.fs": "file system of the snapshots, xfs or ext4 (xfs, where it can be made)",
        "dm.mkfsarg": "more arguments for mkfs",
        "dm.mountopt": "more options to mount with, separated by commas",
        "dm.min_free_space": "share of the pool that must be free to make a snapshot (10%)",
        "dm.override_udev_sync_check": "nothing: udev is not needed",
        "dm.use_deferred_removal": "true: a device goes with its last user",
        "dm.use_deferred_deletion": "false: a device is removed when it is not in use",
    }

    def __init__(self, root: Path, options: Mapping[str, str] = NO_OPTIONS) -> None:
        super().__init__(root, options)
        self._lock = threading.Lock()
        self._free = _percent(options.get("dm.min_free_space", f"{_MIN_FREE_PERCENT}%"))
        self._fs = options.get("dm.fs") or next((f for f in _FILE_SYSTEMS if _can_make(f)), "ext4")
        if self._fs not in _FILE_SYSTEMS:
            raise InvalidParameter(f"devicemapper: unsupported filesystem {self._fs}")
        for key, value in (("dm.use_deferred_removal", "true"), ("dm.use_deferred_deletion", "false")):
            if options.get(key, value) != value:
                raise InvalidParameter(f"devicemapper: {key} can only be {value}")
        self._mkfs_arguments = options.get("dm.mkfsarg", "").split()
        self._more = tuple(o for o in options.get("dm.mountopt", "").split(",") if o)
        self._pool = ThinPool(self._catalogue.home, options)
        try:
            self._pool.open()
            try:
                wanted = size_option(options, "dm.basesize", _BASE_SIZE)
                self._base = self._find_base(wanted, explicit="dm.basesize" in options)
            except BaseException:
                self._pool.close()
                raise
        except OSError as error:
            raise HostFailure(
                f"devicemapper: cannot open the pool: {error.strerror} ({error.filename})"
            ) from error
        numbers = (int(r.link) for s in self._catalogue.walk() if (r := self._catalogue.find(s.key)).link)
        self._next = max([_BASE, *numbers]) + 1

    @classmethod
    def supported(cls, root: Path, options: Mapping[str, str] = NO_OPTIONS) -> str | None:
        if not has_thin_pools():
            return "this kernel has no device mapper with thin pools (modprobe dm_thin_pool)"
        wanted = options.get("dm.fs", "")
        if not any(_can_make(fs) for fs in _FILE_SYSTEMS if wanted in ("", fs)):
            return f"there is no program to make a file system, mkfs.{wanted or 'ext4'}"
        return None

    def close(self) -> None:
        """See ``HoldsHost``."""
        with suppress(OSError):
            for number in self._idle():
                self._pool.deactivate(number, deferred=False)
            self._pool.close()

    def check_size(self, size: int) -> None:
        if size < self._base.size:
            least = human_size(self._base.size)
            raise InvalidParameter(f"devmapper: Container size cannot be smaller than {least}")

    def sweep(self) -> list[str]:
        removed = super().sweep()
        known = {self._catalogue.find(snapshot.key).link for snapshot in self._catalogue.walk()}
        for number in self._idle():
            self._pool.deactivate(number, deferred=False)
            if number != _BASE and str(number) not in known:
                self._pool.delete(number)
                removed.append(self._pool.device(number))
        return removed

    def describe(self, key: str) -> dict[str, str]:
        source = self._source(self._catalogue.find(key))
        return {
            "DeviceId": source.link,
            "DeviceName": self._pool.device(int(source.link)),
            "DeviceSize": str(source.size),
        }

    def status(self) -> list[tuple[str, str]]:
        pool = self._pool
        status = pool.status()
        block = pool.block_size
        loops = pool.loops
        lines = [
            ("Pool Name", pool.name),
            ("Pool Blocksize", human_size(block)),
            ("Base Device Size", human_size(self._base.size)),
            ("Backing Filesystem", self._base.fs),
            ("Udev Sync Supported", "false"),
        ]
        if pool.data:
            lines += [("Data file", pool.data), ("Metadata file", pool.metadata)]
        if loops:
            lines += [("Data loop file", loops[0]), ("Metadata loop file", loops[1])]
        metadata_block = 4096
        return [
            *lines,
            ("Data Space Used", human_size(status.data_used * block)),
            ("Data Space Total", human_size(status.data_total * block)),
            ("Data Space Available", human_size((status.data_total - status.data_used) * block)),
            ("Metadata Space Used", human_size(status.metadata_used * metadata_block)),
            ("Metadata Space Total", human_size(status.metadata_total * metadata_block)),
            (
                "Metadata Space Available",
                human_size((status.metadata_total - status.metadata_used) * metadata_block),
            ),
            ("Thin Pool Minimum Free Space", human_size(status.data_total * block * self._free // 100)),
            ("Deferred Removal Enabled", "true"),
            ("Deferred Deletion Enabled", "false"),
            ("Deferred Deleted Device Count", "0"),
        ]

    def _filesystem(self, record: Record, target: str, *, readonly: bool) -> Mount:
        options = (*_MOUNT[self._base.fs], *self._more)
        source = node(self._pool.device(int(record.link)))
        return Mount(self._base.fs, source, target, ("ro", *options) if readonly else options)

    def _fresh_source(self) -> str:
        with self._lock:
            number = self._next
            self._next += 1
        self._pool.delete(number)  # left by a crash, perhaps
        return str(number)

    def _create_source(self, source: str, parent: Record | None, size: int) -> int:
        origin, old = (int(parent.link), parent.size) if parent is not None else (_BASE, self._base.size)
        if size and size < old:
            least = human_size(old)
            raise InvalidParameter(f"devmapper: Container size cannot be smaller than {least}")
        with self._lock:
            self._check_room()
            self._pool.copy(int(source), origin)
        if not size or size == old:
            return old
        size -= size % _EXT4_BLOCK
        self._grow(int(source), size)
        return size

    def _destroy_source(self, source: str) -> None:
        self._pool.delete(int(source))

    def _bring_up(self, record: Record) -> None:
        self._pool.activate(int(record.link), record.size)

    def _bring_down(self, record: Record) -> None:
        self._pool.deactivate(int(record.link))

    def _idle(self) -> list[int]:
        """Return the numbers of the active devices that are mounted nowhere in this namespace."""
        used = {os.path.basename(m.source) for m in mounts()}
        return [number for number in self._pool.active() if self._pool.device(number) not in used]

    def _check_room(self) -> None:
        """Raise HostFailure, in Docker's words, if the pool is as good as full."""
        status = self._pool.status()
        if status.mode not in ("rw", "out_of_data_space"):
            raise HostFailure(f"devmapper: the thin pool {self._pool.name} is in mode {status.mode}")
        pairs = (
            ("data", "", status.data_used, status.data_total),
            ("metadata", "metadata ", status.metadata_used, status.metadata_total),
        )
        for kind, space, used, total in pairs:
            free, least = total - used, total * self._free // 100
            if free < least:
                raise HostFailure(
                    f"devmapper: Thin Pool has {free} free {kind} blocks which is less than minimum required "
                    f"{least} free {kind} blocks. Create more free {space}space in thin pool or use "
                    f"dm.min_free_space option to change behavior"
                )

    def _find_base(self, wanted: int, *, explicit: bool) -> _Base:
        """Return what device 0 is, making it if it is not there."""
        with suppress(FileNotFoundError), open(self._pool.base_file, "rb") as file:
            base = msgspec.json.decode(file.read(), type=_Base)
            if not explicit or wanted == base.size:
                return base
            if wanted < base.size:
                raise InvalidParameter(
                    f"devmapper: Base device size {human_size(wanted)} cannot be smaller than "
                    f"{human_size(base.size)}"
                )
            self._base = base
            self._grow(_BASE, wanted)
            return self._keep_base(_Base(wanted, base.fs))
        self._pool.delete(_BASE)
        self._pool.create(_BASE)
        self._pool.activate(_BASE, wanted)
        try:
            command = [*_MKFS[self._fs], *self._mkfs_arguments, node(self._pool.device(_BASE))]
            _run(command)
        finally:
            self._pool.deactivate(_BASE, deferred=False)
        return self._keep_base(_Base(wanted, self._fs))

    def _keep_base(self, base: _Base) -> _Base:
        path = self._pool.base_file
        with open(path + ".tmp", "wb") as file:
            file.write(msgspec.json.encode(base))
            file.flush()
            os.fsync(file.fileno())
        os.rename(path + ".tmp", path)
        return base

    def _grow(self, number: int, size: int) -> None:
        """Let the file system of device ``number``, which is not active, fill ``size`` bytes."""
        self._pool.activate(number, size)
        try:
            with self._catalogue.scratch() as scratch:
                device = node(self._pool.device(number))
                mount(Mount(self._base.fs, device, scratch, _MOUNT[self._base.fs]))
                try:
                    _fill_device(self._base.fs, scratch, size)
                finally:
                    umount(scratch)
        finally:
            self._pool.deactivate(number, deferred=False)


def _fill_device(fs: str, mounted: str, size: int) -> None:
    if fs == "xfs":
        _run(["xfs_growfs", "-d", mounted])
        return
    fd = os.open(mounted, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _EXT4_RESIZE, struct.pack("=Q", size // _EXT4_BLOCK))
    except OSError as error:
        if error.errno == errno.EPERM:
            raise InvalidParameter(f"ext4 cannot grow to {human_size(size)}") from error
        raise
    finally:
        os.close(fd)


def _can_make(fs: str) -> bool:
    return find_command(_MKFS[fs][0]) is not None


def _percent(text: str) -> int:
    number = text.removesuffix("%")
    if not text.endswith("%") or not number.isdecimal() or int(number) > 100:
        raise InvalidParameter(f"devmapper: Invalid min_free_space {text}: a percentage, as 10%")
    return int(number)


def _run(command: Sequence[str]) -> None:
    try:
        run_command(*command)
    except OSError as error:
        raise HostFailure(f"{command[0]}: {error.strerror}") from error
