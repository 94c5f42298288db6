"""Snapshots as zfs datasets, clones of their parents'; for the rest see ``own_filesystem``.

    <fs>/<source>            a dataset with a file system, ``mountpoint=legacy``
    <fs>/<source>@layer      what children are clones of, made with the first child

``<fs>`` is the dataset that the data root lies on, or the option ``zfs.fsname``. All is done by the command
``zfs``; a limit is the dataset's ``quota``.
"""

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final

from sampan.base.errors import HostFailure, InvalidParameter
from sampan.kernel.commands import CommandFailed, find_command, run_command
from sampan.kernel.mount import Mount, MountInfo, mounts
from sampan.storage.catalogue import Record
from sampan.storage.driver import NO_OPTIONS
from sampan.storage.drivers.own_filesystem import OwnFilesystem

_PREFIX: Final = "sampan-"
_LAYER: Final = "@layer"


class Zfs(OwnFilesystem):
    """The driver ``zfs``; see the module, and ``SnapshotDriver`` for its contract."""

    name: ClassVar[str] = "zfs"
    options: ClassVar[Mapping[str, str]] = {
        "zfs.fsname": "the dataset to make snapshots in, instead of the one that the data root lies on",
        "zfs.mountopt": "options to mount with, separated by commas",
    }

    def __init__(self, root: Path, options: Mapping[str, str] = NO_OPTIONS) -> None:
        super().__init__(root, options)
        self._fs = options.get("zfs.fsname") or _dataset_of(root)
        self._options = tuple(o for o in options.get("zfs.mountopt", "").split(",") if o)
        self._lock = threading.Lock()

    @classmethod
    def supported(cls, root: Path, options: Mapping[str, str] = NO_OPTIONS) -> str | None:
        if find_command("zfs") is None:
            return "the command zfs is not installed (Debian: apt install zfsutils-linux zfs-dkms)"
        if not os.path.exists("/dev/zfs"):
            return "this kernel has no zfs (modprobe zfs)"
        name = options.get("zfs.fsname") or _dataset_of(root)
        if not name:
            return f"{root} does not lie on zfs, and no zfs.fsname is given"
        try:
            _zfs("list", "-H", "-o", "name", "-t", "filesystem", name)
        except HostFailure as error:
            return str(error)
        return None

    def check_size(self, size: int) -> None:
        """Every dataset can be limited."""

    def sweep(self) -> list[str]:
        removed = super().sweep()
        used = {self._catalogue.find(snapshot.key).link for snapshot in self._catalogue.walk()}
        for name in _zfs("list", "-H", "-r", "-d", "1", "-o", "name", self._fs).splitlines():
            source = name.rpartition("/")[2]
            if source.startswith(_PREFIX) and source not in used:
                self._destroy_source(source)
                removed.append(name)
        return removed

    def describe(self, key: str) -> dict[str, str]:
        record = self._catalogue.find(key)
        return {
            "Dataset": self._dataset(self._source(record).link),
            "Mountpoint": self._catalogue.path(key, "merged"),
        }

    def status(self) -> list[tuple[str, str]]:
        pool = self._fs.partition("/")[0]
        found = _zfs("get", "-H", "-p", "-o", "value", "used,available,quota,compression", self._fs)
        used, available, quota, compression = found.split("\n")[:4]
        return [
            ("Zpool", pool),
            ("Zpool Health", _health(pool)),
            ("Parent Dataset", self._fs),
            ("Space Used By Parent", used),
            ("Space Available", available),
            ("Parent Quota", "no" if quota in ("0", "none") else quota),
            ("Compression", compression),
        ]

    def _filesystem(self, record: Record, target: str, *, readonly: bool) -> Mount:
        options = ("ro", *self._options) if readonly else self._options
        return Mount("zfs", self._dataset(record.link), target, options)

    def _fresh_source(self) -> str:
        return _PREFIX + os.urandom(8).hex()

    def _create_source(self, source: str, parent: Record | None, size: int) -> int:
        settings = ["-o", "mountpoint=legacy"]
        if size:
            settings += ["-o", f"quota={size}"]
        if parent is None:
            _zfs("create", *settings, "-o", "acltype=posix", "-o", "xattr=sa", self._dataset(source))
            return size
        layer = self._dataset(parent.link) + _LAYER
        with self._lock:
            if not _exists(layer):
                _zfs("snapshot", layer)
        _zfs("clone", *settings, layer, self._dataset(source))
        return size

    def _destroy_source(self, source: str) -> None:
        name = self._dataset(source)
        if _exists(name):
            _zfs("destroy", "-r", name)

    def _dataset(self, source: str) -> str:
        return f"{self._fs}/{source}"


def _dataset_of(root: Path) -> str:
    """Return the dataset that the directory ``root`` lies on, "" if it is on no zfs."""
    real = os.path.realpath(root)
    found: MountInfo | None = None
    for m in mounts():
        inside = real == m.target or real.startswith(m.target.rstrip("/") + "/")
        if inside and (found is None or len(m.target) >= len(found.target)):
            found = m
    return found.source if found is not None and found.type == "zfs" else ""


def _health(pool: str) -> str:
    try:
        return run_command("zpool", "list", "-H", "-o", "health", pool).strip()
    except OSError:
        return "not available"


def _exists(name: str) -> bool:
    try:
        _zfs("list", "-H", "-o", "name", "-t", "all", name)
    except _NoDataset:
        return False
    return True


class _NoDataset(HostFailure):
    """There is no dataset of that name."""


def _zfs(*arguments: str) -> str:
    """Run ``zfs`` and return what it says. Raises HostFailure with its own words; InvalidParameter: quota."""
    try:
        return run_command("zfs", *arguments)
    except CommandFailed as error:
        if "does not exist" in error.words:
            raise _NoDataset(error.words) from error
        if "size is less than current used" in error.words or "bad numeric value" in error.words:
            raise InvalidParameter(error.words) from error
        raise HostFailure(f"zfs {arguments[0]}: {error.words}") from error
    except OSError as error:
        raise HostFailure(f"zfs: {error.strerror}") from error
