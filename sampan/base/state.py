"""``state.db``: the rows that survive a restart, in one SQLite file.

Each domain's ``store.py`` owns one table of documents keyed by id; the memory image there is the read path,
so this module only writes, deletes and loads whole tables. Calls are made from the event loop's thread: a
write takes about 15 µs (WAL, ``synchronous=NORMAL``) and about 0.2 ms with ``durable=True``, which survives a
power cut. ``sync`` makes what was written before as durable, and may be waited for in a thread. The log is
given its room beforehand: what ends while the disk is full can still be recorded.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from sampan.base.errors import HostFailure

SCHEMA_VERSION: Final = 1
_LOG_SIZE: Final = 1024 * (4096 + 24)  # SQLite begins anew at the front once there are 1000 pages


class StateDB:
    """Tables of ``(id TEXT PRIMARY KEY, document BLOB)``.

    Raises HostFailure if the file was written by a newer schema or cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            found = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        except sqlite3.Error as error:
            raise HostFailure(f"cannot open {path}: {error}") from error
        if found > SCHEMA_VERSION:
            self._db.close()
            raise HostFailure(f"{path} has schema {found}, this version knows {SCHEMA_VERSION}")
        self._log_path = f"{path}-wal"
        self._log: int | None = None
        _reserve(self._log_path)
        self._tables: set[str] = set()
        self._durable = False
        if found != SCHEMA_VERSION:
            try:
                self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            except sqlite3.Error as error:
                self._db.close()
                raise HostFailure(f"cannot write {path}: {error}") from error

    def _table(self, table: str) -> str:
        if table not in self._tables:
            if not table.isidentifier():
                raise ValueError(f"bad table name {table!r}")
            try:
                self._db.execute(
                    f"CREATE TABLE IF NOT EXISTS {table} "
                    "(id TEXT PRIMARY KEY, document BLOB NOT NULL) WITHOUT ROWID"
                )
            except sqlite3.Error as error:
                raise HostFailure(f"state database: {error}") from error
            self._tables.add(table)
        return table

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[None]:
        """Make the writes of the block one unit; ``durable`` waits until they are on the disk."""
        try:
            self._set_durable(durable=durable)
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise HostFailure(f"state database: {error}") from error
        try:
            yield
        except BaseException:
            if self._db.in_transaction:  # some errors roll it back by themselves
                self._db.execute("ROLLBACK")
            raise
        try:
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise HostFailure(f"state database: {error}") from error

    def put(self, table: str, key: str, document: bytes, *, durable: bool = False) -> None:
        """Insert or replace one row."""
        name = self._table(table)
        self._write(f"INSERT OR REPLACE INTO {name} VALUES (?, ?)", (key, document), durable)  # noqa: S608 - checked

    def delete(self, table: str, key: str, *, durable: bool = False) -> None:
        """Remove one row; a row that is not there is no error."""
        name = self._table(table)
        self._write(f"DELETE FROM {name} WHERE id = ?", (key,), durable)  # noqa: S608 - checked identifier

    def load(self, table: str) -> dict[str, bytes]:
        """Return every row of ``table`` as ``{id: document}``."""
        return dict(self._db.execute(f"SELECT id, document FROM {self._table(table)}"))  # noqa: S608 - checked

    def sync(self) -> None:
        """Wait until all that was written so far would survive a power cut. Blocks; for any thread.

        It does what SQLite does after a commit with ``synchronous=FULL``: the log is flushed. Whatever has
        moved on from the log is on the disk already (sqlite.org/wal.html, "Checkpointing").
        """
        try:
            if self._log is None:
                self._log = os.open(self._log_path, os.O_RDONLY | os.O_CLOEXEC)
            os.fdatasync(self._log)
        except OSError as error:
            raise HostFailure(f"state database: {error}") from error

    def verify(self) -> list[str]:
        """Return what is wrong with the file, a sentence each; SQLite's own check."""
        try:
            found = [str(row[0]) for row in self._db.execute("PRAGMA integrity_check(20)")]
        except sqlite3.Error as error:
            return [str(error)]
        return [] if found == ["ok"] else found

    def close(self) -> None:
        """Checkpoint the log and close the file."""
        if self._log is not None:
            os.close(self._log)
            self._log = None
        self._db.close()

    def _write(self, statement: str, values: tuple[object, ...], durable: bool) -> None:  # noqa: FBT001
        if not self._db.in_transaction:
            self._set_durable(durable=durable)
        self._execute(statement, values)  # a statement alone is a transaction

    def _set_durable(self, *, durable: bool) -> None:
        if durable != self._durable:
            self._execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}", ())
            self._durable = durable

    def _execute(self, statement: str, values: tuple[object, ...]) -> None:
        try:
            self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise HostFailure(f"state database: {error}") from error


def _reserve(log: str) -> None:
    """Take the room of the whole log now; where there is none, writes fail when they come to it."""
    with suppress(OSError):
        handle = os.open(log, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.posix_fallocate(handle, 0, _LOG_SIZE)
        finally:
            os.close(handle)
