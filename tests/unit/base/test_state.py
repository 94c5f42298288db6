"""The state database: rows, transactions, and what it says when the file cannot be had."""

import os
import sqlite3
from pathlib import Path

import pytest

from sampan.base.errors import HostFailure
from sampan.base.state import SCHEMA_VERSION, StateDB


def test_rows_survive_a_restart(tmp_path: Path) -> None:
    state = StateDB(tmp_path / "state.db")
    state.put("things", "a", b"1")
    state.put("things", "a", b"2", durable=True)
    state.sync()
    state.put("things", "b", b"3")
    state.delete("things", "b")
    state.delete("things", "c")
    state.close()
    again = StateDB(tmp_path / "state.db")
    assert again.load("things") == {"a": b"2"}
    assert again.load("others") == {}
    again.close()


def test_a_transaction_is_written_as_a_whole(tmp_path: Path) -> None:
    state = StateDB(tmp_path / "state.db")
    with state.transaction():
        state.put("things", "a", b"1")
        state.put("others", "b", b"2")

    def fail_half_way() -> None:
        with state.transaction(durable=True):
            state.put("things", "a", b"9")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert (state.load("things"), state.load("others")) == ({"a": b"1"}, {"b": b"2"})
    state.close()


def test_rows_are_there_after_a_crash(tmp_path: Path) -> None:
    state = StateDB(tmp_path / "state.db")
    for number in range(3000):  # more than the log holds
        state.put("things", str(number), bytes(1000))
    for name in ("state.db", "state.db-wal"):
        (tmp_path / f"copy{name.removeprefix('state')}").write_bytes((tmp_path / name).read_bytes())
    state.close()
    copy = StateDB(tmp_path / "copy.db")
    assert len(copy.load("things")) == 3000
    copy.close()


def test_the_log_has_its_room_from_the_first_moment(tmp_path: Path) -> None:
    state = StateDB(tmp_path / "state.db")
    log = tmp_path / "state.db-wal"
    before = log.stat()
    assert before.st_blocks * 512 >= before.st_size > 4_000_000
    for number in range(3000):
        state.put("things", str(number % 10), os.urandom(1000))
    assert log.stat().st_size == before.st_size
    state.close()


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "state.db") as newer:
        newer.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    newer.close()
    with pytest.raises(HostFailure, match=f"has schema {SCHEMA_VERSION + 1}"):
        StateDB(tmp_path / "state.db")


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"garbage" * 1000)
    with pytest.raises(HostFailure, match="cannot open"):
        StateDB(tmp_path / "state.db")
    with pytest.raises(HostFailure, match="cannot open"):
        StateDB(tmp_path / "nosuch" / "state.db")
