"""The containers of this daemon: in memory for reading, in ``state.db`` for the next start."""

import logging
from collections.abc import Iterator
from typing import Final

import msgspec

from sampan.base.errors import HostFailure
from sampan.base.state import StateDB
from sampan.base.threads import blocking
from sampan.containers.container import Container, Row
from sampan.containers.errors import AmbiguousId, ContainerNotFound, NameInUse

_log = logging.getLogger(__name__)
_TABLE: Final = "containers"


class ContainerStore:
    """Rows by id and by name. A name belongs to one container from ``reserve`` on."""

    def __init__(self, state: StateDB) -> None:
        self._state = state
        self._encoder = msgspec.json.Encoder()
        self._containers: dict[str, Container] = {}
        self._names: dict[str, str] = {}
        decoder = msgspec.json.Decoder(Row)
        for document in state.load(_TABLE).values():
            row = decoder.decode(document)
            self._containers[row.id] = Container(row)
            self._names[row.name] = row.id

    def __iter__(self) -> Iterator[Container]:
        return iter(list(self._containers.values()))

    def __len__(self) -> int:
        return len(self._containers)

    def names(self) -> dict[str, str]:
        """Return ``{name: id}`` of every container and every name reserved for one."""
        return self._names

    def find(self, name: str) -> Container:
        """Return the container with that id, name (with or without slash) or unique start of an id.

        Raises ContainerNotFound, or AmbiguousId when several ids start so.
        """
        if container := self._containers.get(name):
            return container
        if container := self._containers.get(self._names.get(name.removeprefix("/"), "")):
            return container
        matches = [c for i, c in self._containers.items() if i.startswith(name)] if name else []
        if len(matches) > 1:
            raise AmbiguousId(name)
        if not matches:
            raise ContainerNotFound(name)
        return matches[0]

    def get(self, container_id: str) -> Container | None:
        """Return the container with exactly that id."""
        return self._containers.get(container_id)

    def reserve(self, name: str, container_id: str) -> None:
        """Give ``name`` to ``container_id``. Raises NameInUse."""
        if (owner := self._names.setdefault(name, container_id)) != container_id:
            raise NameInUse(name, owner)

    def release(self, name: str, container_id: str) -> None:
        """Take ``name`` back, if ``container_id`` holds it."""
        if self._names.get(name) == container_id:
            del self._names[name]

    async def add(self, container: Container) -> None:
        """Make ``container`` known, once it is on the disk. Its name is reserved already.

        Raises HostFailure; then no row is left.
        """
        self.save(container)
        try:
            await self.sync(container)
        except BaseException:
            self.erase(container)
            raise
        self._containers[container.id] = container

    async def sync(self, container: Container) -> None:
        """Wait until what was saved of ``container`` would survive a power cut.

        Not for one that is removed when it ends: after a power cut it has ended.
        """
        if not container.row.host.auto_remove:
            await blocking(self._state.sync)

    def save(self, container: Container, *, durable: bool = False) -> None:
        """Write the container's row."""
        self._state.put(_TABLE, container.id, self._encoder.encode(container.row), durable=durable)

    async def sync_all(self) -> None:
        """Wait until all that was saved would survive a power cut."""
        await blocking(self._state.sync)

    def record(self, container: Container) -> bool:
        """Write the container's row after something has happened, which is true even if this fails: False."""
        try:
            self.save(container)
        except HostFailure as error:
            _log.error("state not written", extra={"container": container.id, "error": str(error)})
            return False
        return True

    def hide(self, container: Container) -> None:
        """Let nobody find the container any more, and give its name back; its row stays."""
        self._containers.pop(container.id, None)
        self.release(container.name, container.id)

    def erase(self, container: Container) -> None:
        """Delete the container's row."""
        self._state.delete(_TABLE, container.id)
