import os
import threading
from pathlib import Path

import pytest

from sampan.base.errors import HostFailure, InvalidParameter
from sampan.storage.catalogue import Catalogue, Record
from sampan.storage.driver import Kind, SnapshotExists, SnapshotInUse, SnapshotNotFound


def made(catalogue: Catalogue, key: str, parent: str | None = None, kind: Kind = Kind.ACTIVE) -> None:
    record = Record(key, kind, parent)
    catalogue.create(record, lambda _: record)


def test_a_record_survives(tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    catalogue = Catalogue(home)
    catalogue.create(Record("one", Kind.ACTIVE), lambda _: Record("one", Kind.ACTIVE, link="a7", ready_ns=5))
    catalogue.commit("one", Record("sha256:a", Kind.COMMITTED, link="b"))
    made(catalogue, "two", "sha256:a")
    again = Catalogue(home)
    assert again.find("sha256:a") == Record("sha256:a", Kind.COMMITTED, link="b")
    assert [r.key for r in again.ancestors("two")] == ["two", "sha256:a"]
    assert sorted(os.listdir(home)) == ["sha256-a", "two"]  # noqa: PTH208
    with pytest.raises(SnapshotInUse):
        again.remove("sha256:a")


def test_two_keys_cannot_share_a_directory(tmp_path: Path) -> None:
    catalogue = Catalogue(str(tmp_path))
    made(catalogue, "sha256:a")
    with pytest.raises(SnapshotExists):
        made(catalogue, "sha256-a")
    with pytest.raises(InvalidParameter):
        made(catalogue, "../sha256")


def test_a_filling_that_fails_leaves_nothing(tmp_path: Path) -> None:
    catalogue = Catalogue(str(tmp_path))

    def fill(new: str) -> Record:
        Path(new, "half").write_text("x")
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        catalogue.create(Record("one", Kind.ACTIVE), fill)
    assert list(tmp_path.iterdir()) == []
    made(catalogue, "one")


def test_a_parent_stays_while_a_child_is_being_made(tmp_path: Path) -> None:
    catalogue = Catalogue(str(tmp_path))
    made(catalogue, "one")
    catalogue.commit("one", Record("sha256:a", Kind.COMMITTED))
    started, go_on = threading.Event(), threading.Event()

    def fill(_: str) -> Record:
        started.set()
        assert go_on.wait(10)
        return Record("child", Kind.ACTIVE, "sha256:a")

    thread = threading.Thread(target=catalogue.create, args=(Record("child", Kind.ACTIVE, "sha256:a"), fill))
    thread.start()
    assert started.wait(10)
    with pytest.raises(SnapshotInUse):
        catalogue.remove("sha256:a")
    with pytest.raises(SnapshotExists):
        made(catalogue, "child")
    go_on.set()
    thread.join()
    assert [s.key for s in catalogue.walk()] == ["sha256:a", "child"]


def test_what_is_removed_is_gone_at_once(tmp_path: Path) -> None:
    disposed: list[str] = []
    catalogue = Catalogue(str(tmp_path), dispose=disposed.append)
    made(catalogue, "one")
    assert catalogue.remove("one")
    (gone,) = disposed
    assert Path(gone).is_dir()
    assert not catalogue.remove("one")
    with pytest.raises(SnapshotNotFound):
        catalogue.find("one")
    made(catalogue, "one")
    assert Catalogue(str(tmp_path)).sweep() == [Path(gone).name]


def test_a_commit_cut_off_in_the_middle_is_not_there(tmp_path: Path) -> None:
    made(Catalogue(str(tmp_path)), "one")
    (tmp_path / "one/snapshot.json").write_text('{"key":"sha256:a","kind":"committed"}')
    again = Catalogue(str(tmp_path))
    assert list(again.walk()) == []
    assert again.sweep() == ["one"]


def test_a_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HostFailure, match="cannot open"):
        Catalogue(str(tmp_path / "file"))
