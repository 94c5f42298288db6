"""Which snapshots a driver has: one directory each, with a record in it, and the same in memory.

    <home>/<name>/snapshot.json     {"key": …, "kind": …, "parent": …}; the rest of <name>/ is the driver's
    <home>/.new-<random>/           a snapshot being made; renamed to <name> when whole
    <home>/.gone-<random>/          a snapshot being removed; renamed away before the first file goes

``<name>`` is the key with ``:`` as ``-``. Renames make every step whole or absent. The records are few and
are read once, when the catalogue is opened; only this process writes them.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import msgspec

from sampan.base import faults
from sampan.base.errors import HostFailure, InvalidParameter
from sampan.kernel.fs import is_ext4_without_journal, remove_tree, spread_children
from sampan.kernel.mount import mounts, umount
from sampan.storage.driver import (
    KEY_LIMIT,
    LAYER_WORK,
    Kind,
    Snapshot,
    SnapshotExists,
    SnapshotInUse,
    SnapshotNotFound,
)
from sampan.storage.groups import Groups

_RECORD: Final = "snapshot.json"
_NEW: Final = ".new-"
_GONE: Final = ".gone-"
_KEY_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-:")


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept about a snapshot; what follows ``parent`` belongs to the driver that sets it.

    ``project`` is a project quota, 0 for none. ``size`` is in bytes.
    """

    key: str
    kind: Kind
    parent: str | None = None
    link: str = ""
    ready_ns: int = 0
    project: int = 0
    size: int = 0


_decoder = msgspec.json.Decoder(Record)
_encoder = msgspec.json.Encoder()


def has_snapshots(home: str) -> bool:
    """Return whether there is any snapshot in ``home``, without opening it."""
    with suppress(FileNotFoundError):
        return any(os.path.exists(os.path.join(home, name, _RECORD)) for name in os.listdir(home))
    return False


class Catalogue:
    """The snapshots below one directory ``home``, which is created if it is not there.

    Raises HostFailure if ``home`` cannot be used.
    """

    def __init__(
        self,
        home: str,
        *,
        others: frozenset[str] = frozenset(),
        dispose: Callable[[str], None] = remove_tree,
    ) -> None:
        """``others`` names entries of ``home`` that are no snapshots.

        ``dispose`` removes a snapshot's directory and what it stands for, which may be half there.
        """
        self.home = home
        self._dispose = dispose
        self._lock = threading.RLock()
        self._records: dict[str, Record] = {}
        self._names: set[str] = set()  # of directories taken: two keys must not share one
        self._children: dict[str, int] = {}
        self._broken: list[str] = []
        try:
            os.makedirs(home, mode=0o700, exist_ok=True)
            spread_children(home)
            self._groups = Groups(choosy=is_ext4_without_journal(home))
            for name in sorted(os.listdir(home)):
                if name not in others:
                    self._load(name)
        except OSError as error:
            raise HostFailure(f"cannot open {home}: {error.strerror}") from error

    def find(self, key: str) -> Record:
        """Return the record of ``key``; raises SnapshotNotFound."""
        try:
            return self._records[key]
        except KeyError:
            raise SnapshotNotFound(key) from None

    def __contains__(self, key: object) -> bool:
        return key in self._records

    def path(self, key: str, *below: str) -> str:
        """Return the path of the snapshot's directory, or of something in it."""
        return os.path.join(self.home, _directory(key), *below)

    def ancestors(self, key: str | None) -> Iterator[Record]:
        """Yield ``key`` and what it stands on, nearest first; nothing for None."""
        while key is not None:
            record = self.find(key)
            yield record
            key = record.parent

    def walk(self) -> Iterator[Snapshot]:
        """Yield every snapshot, parents before children."""
        with self._lock:
            records = dict(self._records)
        seen: set[str] = set()
        for key in records:
            stack = []
            at: str | None = key
            while at is not None and at in records and at not in seen:
                seen.add(at)
                stack.append(records[at])
                at = records[at].parent
            for record in reversed(stack):
                yield Snapshot(record.key, record.kind, record.parent)

    def create(self, record: Record, fill: Callable[[str], Record]) -> None:
        """Make the snapshot of ``record``: ``fill`` is given a new directory and returns the record to keep.

        The key and the parent are held from the start, so neither can be taken or removed meanwhile. Raises
        as ``SnapshotDriver.prepare``; whatever ``fill`` raises goes through and leaves nothing behind.
        """
        _check_key(record.key)
        with self._lock:
            if record.parent is not None and self.find(record.parent).kind is not Kind.COMMITTED:
                raise SnapshotInUse(f"snapshot {record.parent} is not committed")
            self._reserve(record)
        new = os.path.join(self.home, _NEW + os.urandom(8).hex())
        try:
            if record.key.startswith(LAYER_WORK):
                self._groups.make(new)
            else:
                os.mkdir(new, 0o700)
            record = fill(new)
            _write(os.path.join(new, _RECORD), record)
            faults.point("storage.create")
            os.rename(new, self.path(record.key))
        except BaseException:
            with self._lock:
                self._release(record)
            self._dispose(new)
            raise
        self._records[record.key] = record  # only now can it be found

    def commit(self, key: str, record: Record) -> None:
        """Make the active snapshot ``key`` the committed one ``record`` (its parent stays)."""
        _check_key(record.key)
        with self._lock:
            old = self.find(key)
            if old.kind is not Kind.ACTIVE:
                raise SnapshotInUse(f"snapshot {key} is not active")
            self._reserve(record)
            try:
                self._replace(key, record)
                faults.point("storage.commit")
                os.rename(self.path(key), self.path(record.key))
            except BaseException:
                self._release(record)
                with suppress(OSError):
                    self._replace(key, old)
                raise
            self._records[record.key] = record
            del self._records[key]
            self._release(old)

    @contextmanager
    def scratch(self) -> Iterator[str]:
        """Yield a new empty directory, on the same file system as the snapshots, that goes with the block."""
        path = os.path.join(self.home, _NEW + os.urandom(8).hex())
        os.mkdir(path, 0o700)
        try:
            yield path
        finally:
            remove_tree(path)

    def remove(self, key: str, *, force: bool = False) -> bool:
        """Remove ``key`` and dispose of its directory; return False if there is no such key.

        Raises SnapshotInUse if it has children, unless ``force`` leaves them without it.
        """
        if (gone := self._take(key, force=force)) is None:
            return False
        self._dispose(gone)
        return True

    def _take(self, key: str, *, force: bool) -> str | None:
        """Forget ``key`` and return the directory that is left to remove, or None if there is no such key."""
        with self._lock:
            if (record := self._records.get(key)) is None:
                return None
            if self._children.get(key) and not force:
                raise SnapshotInUse(f"snapshot {key} has children")
            gone = os.path.join(self.home, _GONE + os.urandom(8).hex())
            with suppress(FileNotFoundError):
                if record.kind is Kind.COMMITTED:
                    self._groups.freed(os.stat(self.path(key)).st_ino)
                os.rename(self.path(key), gone)
            del self._records[key]
            self._release(record)
        faults.point("storage.remove")
        return gone

    def sweep(self) -> list[str]:
        """Remove half-made and half-removed snapshots and broken records; return their directories' names.

        Must not run beside other calls: it belongs to the start.
        """
        removed = []
        for name in os.listdir(self.home):
            if name.startswith((_NEW, _GONE)) or name in self._broken:
                path = os.path.join(self.home, name)
                _unmount_all(path)
                self._dispose(path)
                removed.append(name)
        self._broken.clear()
        return removed

    def _replace(self, key: str, record: Record) -> None:
        path = self.path(key, _RECORD)
        _write(path + ".tmp", record)
        os.rename(path + ".tmp", path)

    def _load(self, name: str) -> None:
        if name.startswith("."):
            return
        try:
            with open(os.path.join(self.home, name, _RECORD), "rb") as file:
                record = _decoder.decode(file.read())
        except (OSError, msgspec.DecodeError):
            self._broken.append(name)
            return
        if _directory(record.key) != name:
            # cut off between the two steps of a commit: it is still what its directory says
            self._broken.append(name)
            return
        self._reserve(record)
        self._records[record.key] = record

    def _reserve(self, record: Record) -> None:
        """Take the key's name and hold the parent."""
        name = _directory(record.key)
        if name in self._names:
            raise SnapshotExists(record.key)
        self._names.add(name)
        if record.parent is not None:
            self._children[record.parent] = self._children.get(record.parent, 0) + 1

    def _release(self, record: Record) -> None:
        self._names.remove(_directory(record.key))
        if record.parent is not None:
            self._children[record.parent] -= 1


def _unmount_all(path: str) -> None:
    """Unmount everything at ``path`` and below."""
    real = os.path.realpath(path)
    for target in reversed([m.target for m in mounts()]):
        if target == real or target.startswith(real + "/"):
            umount(target, lazy=True)


def _directory(key: str) -> str:
    return key.replace(":", "-")


def _check_key(key: str) -> None:
    if not key or len(key) > KEY_LIMIT or not key[0].isalnum() or not _KEY_CHARACTERS.issuperset(key):
        raise InvalidParameter(f"{key!r} cannot name a snapshot")


def _write(path: str, record: Record) -> None:
    with open(path, "wb", buffering=0) as file:
        file.write(_encoder.encode(record))


def folder_of(key: str) -> str:
    """Return the name of the directory of the snapshot ``key``."""
    return _directory(key)
