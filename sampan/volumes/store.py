"""Which volumes there are: one row a volume in ``state.db``, table ``volumes``; the memory image is read."""

from collections.abc import Iterator
from typing import Final

import msgspec

from sampan.base.state import StateDB

_TABLE: Final = "volumes"
ROW_VERSION: Final = 2


class Record(msgspec.Struct, rename="pascal"):
    """A volume as it stands in ``state.db``.

    ``incoming`` names a folder beside the volumes that is complete and about to become this one's.
    ``snapshot_of`` makes it read-only; ``copied_ns`` is when the copying of its content began.
    """

    name: str
    driver: str
    created_at: str
    labels: dict[str, str] | None = None
    options: dict[str, str] | None = None
    incoming: str = ""
    snapshot_of: str = ""
    copied_ns: int = 0
    version: int = ROW_VERSION


class VolumeStore:
    """The rows. Writes survive a power cut."""

    def __init__(self, state: StateDB) -> None:
        self._state = state
        decoder = msgspec.json.Decoder(Record)
        self._rows = {name: decoder.decode(row) for name, row in state.load(_TABLE).items()}

    def __iter__(self) -> Iterator[Record]:
        return iter(list(self._rows.values()))

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def get(self, name: str) -> Record | None:
        """Return the row, None without one."""
        return self._rows.get(name)

    def put(self, record: Record) -> None:
        """Insert or replace one row."""
        self._state.put(_TABLE, record.name, msgspec.json.encode(record), durable=True)
        self._rows[record.name] = record

    def delete(self, name: str) -> None:
        """Remove one row; nothing there is no error."""
        self._state.delete(_TABLE, name, durable=True)
        self._rows.pop(name, None)

    def move(self, name: str, record: Record) -> None:
        """Put ``record``, a volume by another name, in the place of the row ``name``, at once."""
        with self._state.transaction(durable=True):
            self._state.delete(_TABLE, name)
            self._state.put(_TABLE, record.name, msgspec.json.encode(record))
        self._rows.pop(name, None)
        self._rows[record.name] = record
