"""What the rest of the engine calls to work with volumes.

On disk a volume is ``<data-root>/volumes/<name>/_data``; its row (labels, time) is in ``state.db``, table
``volumes``. Which containers use a volume is asked of whoever owns containers, through ``VolumeUsers``.
"""

import shutil
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from sampan.base.errors import Conflict, HostFailure, InvalidParameter, NotFound
from sampan.base.events import EventBus
from sampan.base.ids import new_id
from sampan.base.state import StateDB
from sampan.base.threads import blocking
from sampan.base.times import now
from sampan.volumes.copy_up import copy_up
from sampan.wire.volumes import Volume

_TABLE: Final = "volumes"
_FIRST: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_REST: Final = _FIRST | frozenset("_.-")
_FILTERS: Final = frozenset({"dangling", "driver", "label", "name"})
_PRUNE_FILTERS: Final = frozenset({"all", "label", "label!"})
ANONYMOUS_LABEL: Final = "com.docker.volume.anonymous"

Filters = Mapping[str, Sequence[str]]


class VolumeNotFound(NotFound):
    def __init__(self, name: str) -> None:
        super().__init__(f"get {name}: no such volume")


class VolumeUsers(Protocol):
    """Knows which containers use a volume."""

    def containers_using(self, volume: str) -> list[str]:
        """Return the ids of the containers that mount ``volume``, running or not."""


class _Nobody:
    def containers_using(self, volume: str) -> list[str]:
        return []


class VolumesService:
    """Named and anonymous volumes of the ``local`` driver. ``root`` is the data root."""

    def __init__(self, root: Path, state: StateDB, events: EventBus) -> None:
        self._root = root / "volumes"
        self._root.mkdir(mode=0o701, parents=True, exist_ok=True)
        self._state = state
        self._events = events
        self.users: VolumeUsers = _Nobody()
        decoder = msgspec.json.Decoder(Volume)
        self._volumes = {name: decoder.decode(row) for name, row in state.load(_TABLE).items()}

    def path(self, name: str) -> str:
        """Return where the data of the volume ``name`` lies, whether it exists or not."""
        return str(self._root / name / "_data")

    def find(self, name: str) -> Volume:
        """Return the volume. Raises VolumeNotFound."""
        if (volume := self._volumes.get(name)) is None:
            raise VolumeNotFound(name)
        return volume

    async def create(
        self,
        name: str = "",
        *,
        driver: str = "",
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Volume:
        """Return the volume ``name``, made if it is not there; without a name, a new anonymous one.

        Raises InvalidParameter for a bad name or options, NotFound for an unknown driver.
        """
        if driver not in ("", "local"):
            raise NotFound(f'error looking up volume plugin {driver}: plugin "{driver}" not found')
        for option in options or {}:
            raise InvalidParameter(f'create {name}: volume option "{option}" is not supported')
        all_labels = dict(labels or {})
        if not name:
            name = new_id()
            all_labels[ANONYMOUS_LABEL] = ""
        elif len(name) < 2 or name[0] not in _FIRST or not _REST.issuperset(name):
            raise InvalidParameter(
                f'create {name}: "{name}" includes invalid characters for a local volume name, only '
                '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. '
                "If you intended to pass a host directory, use absolute path"
            )
        if (found := self._volumes.get(name)) is not None:
            return found
        try:
            Path(self.path(name)).mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as error:
            raise HostFailure(f"create {name}: {error.strerror}") from error
        volume = Volume(name, "local", self.path(name), now(), all_labels or None, "local", None)
        self._state.put(_TABLE, name, msgspec.json.encode(volume), durable=True)
        self._volumes[name] = volume
        self._events.publish("volume", "create", name, {"driver": "local"})
        return volume

    async def mount(self, name: str, container: str, *, subpath: str = "") -> str:
        """Return the path to bind into ``container``; ``subpath`` must stay inside the volume and exist."""
        data = Path(self.find(name).mountpoint)
        data.mkdir(mode=0o755, parents=True, exist_ok=True)
        target = data
        if subpath:
            target = (data / subpath).resolve()
            if not target.is_relative_to(data.resolve()):
                raise InvalidParameter(f"subpath {subpath} leads out of volume {name}")
            if not target.exists():
                raise NotFound(f"cannot access path {target}: no such file or directory")
        attributes = {"container": container, "destination": str(target), "driver": "local"}
        self._events.publish("volume", "mount", name, attributes)
        return str(target)

    async def populate(self, name: str, rootfs: Path, destination: str) -> None:
        """Fill the volume with what the image has at ``destination``, if the volume is empty."""
        await blocking(copy_up, rootfs, destination, Path(self.path(name)))

    def list_volumes(self, filters: Filters) -> list[Volume]:
        """Return the volumes that pass ``filters``, by name. Raises InvalidParameter."""
        for key in filters:
            if key not in _FILTERS:
                raise InvalidParameter(f"invalid filter '{key}'")
        found = sorted(self._volumes.values(), key=lambda volume: volume.name)
        if names := filters.get("name"):
            found = [v for v in found if any(name in v.name for name in names)]
        if drivers := filters.get("driver"):
            found = [v for v in found if v.driver in drivers]
        if labels := filters.get("label"):
            found = [v for v in found if all(_has_label(v, label) for label in labels)]
        if dangling := filters.get("dangling"):
            wanted = dangling[-1].lower() in {"true", "1"}
            found = [v for v in found if wanted != bool(self.users.containers_using(v.name))]
        return found

    async def remove(self, name: str, *, force: bool = False) -> None:
        """Remove the volume and its data. Raises Conflict while a container mounts it, VolumeNotFound."""
        if force and name not in self._volumes:
            return
        volume = self.find(name)
        if users := self.users.containers_using(name):
            raise Conflict(f"remove {name}: volume is in use - [{', '.join(users)}]")
        self._state.delete(_TABLE, name, durable=True)
        del self._volumes[name]
        await blocking(shutil.rmtree, self._root / name, ignore_errors=True)
        self._events.publish("volume", "destroy", name, {"driver": volume.driver})

    async def prune(self, filters: Filters) -> tuple[list[str], int]:
        """Remove unused anonymous volumes (``all``: named ones too); return names and bytes freed."""
        for key in filters:
            if key not in _PRUNE_FILTERS:
                raise InvalidParameter(f"invalid filter '{key}'")
        everything = bool(filters.get("all")) and filters["all"][-1].lower() in {"true", "1"}
        removed, freed = [], 0
        for volume in list(self._volumes.values()):
            if not everything and ANONYMOUS_LABEL not in (volume.labels or {}):
                continue
            if not all(_has_label(volume, label) for label in filters.get("label", ())):
                continue
            if any(_has_label(volume, label) for label in filters.get("label!", ())):
                continue
            if self.users.containers_using(volume.name):
                continue
            freed += await blocking(disk_usage, Path(volume.mountpoint))
            await self.remove(volume.name)
            removed.append(volume.name)
        self._events.publish("volume", "prune", "", {"reclaimed": str(freed)})
        return removed, freed


def disk_usage(folder: Path) -> int:
    """Return the bytes that the files under ``folder`` hold, hard links counted once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for entry in folder.rglob("*"):
        status = entry.lstat()
        if stat.S_ISREG(status.st_mode) and (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            total += status.st_size
    return total


def _has_label(volume: Volume, wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    labels = volume.labels or {}
    return key in labels and (not equals or labels[key] == value)
