"""What is not on the disk yet: who is told, when it is forgotten, and what comes of it after a power cut."""

import asyncio
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from support.image_archives import FakeStorage, config, digest, docker_old, layer, stream

from sampan.base.events import EventBus
from sampan.base.faults import arm, disarm
from sampan.base.state import StateDB
from sampan.base.tasks import Tasks
from sampan.images.service import ImagesService
from sampan.images.unsettled import TABLE, Settler, Unsettled, blob_key, layer_key
from sampan.oci.config import chain_id

BASE, TOP, OTHER = layer("base"), layer("top"), layer("other")
ONE, TWO = config([BASE, TOP]), config([BASE, OTHER])
CHAIN = chain_id([digest(BASE), digest(TOP)])


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateDB]:
    with closing(StateDB(tmp_path / "state.db")) as found:
        yield found


def written(unsettled: Unsettled, key: str) -> None:
    with unsettled.making(key):
        pass


def now(unsettled: Unsettled) -> int:
    time = unsettled.now()
    assert time is not None
    return time


def test_what_is_written_is_unsettled_until_a_later_flush(state: StateDB) -> None:
    unsettled = Unsettled(state, "boot")
    assert unsettled.now() is None
    with unsettled.making("a"):
        early = unsettled.now()
        assert unsettled.among(["a", "b"]) == ["a"]
    assert early is None
    before = now(unsettled)
    written(unsettled, "b")
    unsettled.note(["a", "b", "c"])
    assert state.load(TABLE) == {"a": b"boot", "b": b"boot"}
    unsettled.settle(before)
    assert unsettled.among(["a", "b"]) == ["b"]
    assert state.load(TABLE) == {"b": b"boot"}
    unsettled.settle(now(unsettled))
    assert state.load(TABLE) == {}
    assert len(unsettled) == 0


def test_a_flush_does_not_settle_what_is_written_again_meanwhile(state: StateDB) -> None:
    unsettled = Unsettled(state, "boot")
    written(unsettled, "a")
    unsettled.note(["a"])
    before = now(unsettled)
    with unsettled.making("a"):
        unsettled.settle(before)
        assert unsettled.among(["a"]) == ["a"]
    unsettled.settle(before)
    assert unsettled.among(["a"]) == ["a"]
    assert state.load(TABLE) == {"a": b"boot"}


def test_rows_of_this_boot_are_settled_and_those_of_another_are_in_doubt(state: StateDB) -> None:
    first = Unsettled(state, "boot")
    written(first, "a")
    first.note(["a"])
    again = Unsettled(state, "boot")
    assert (again.among(["a"]), again.lost) == (["a"], set())
    another = Unsettled(state, "another")
    assert (another.among(["a"]), another.lost) == ([], {"a"})
    written(another, "a")
    another.resolve()
    assert state.load(TABLE) == {"a": b"another"}
    third = Unsettled(state, "third")
    third.resolve()
    assert state.load(TABLE) == {}


def settle(unsettled: Unsettled, storage: FakeStorage) -> None:
    async def main() -> None:
        tasks = Tasks("test")
        settler = Settler(unsettled, storage.flush, tasks, quiet_s=0, latest_s=0)
        settler.wake()
        await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})
        await tasks.close()

    asyncio.run(main())


def test_the_settler_flushes_once_for_all(state: StateDB) -> None:
    unsettled, storage = Unsettled(state, "boot"), FakeStorage()
    written(unsettled, "a")
    written(unsettled, "b")
    unsettled.note(["a", "b"])
    settle(unsettled, storage)
    assert storage.flushed == 1
    assert state.load(TABLE) == {}


def test_what_the_disk_refuses_is_looked_at_by_the_next_start(
    state: StateDB, caplog: pytest.LogCaptureFixture
) -> None:
    unsettled = Unsettled(state, "boot")
    written(unsettled, "a")
    written(unsettled, "early")  # its image is still on its way
    unsettled.note(["a"])
    arm("images.settle")
    try:
        settle(unsettled, FakeStorage())
    finally:
        disarm("images.settle")
    assert "cannot be brought to the disk" in caplog.text
    assert Unsettled(state, "boot").lost == {"a", "early"}


class Users:
    """One container of one image."""

    def __init__(self, image: str) -> None:
        self._image = image

    def containers_of(self, image_id: str) -> list[tuple[str, bool]]:
        return [("c1", False)] if image_id == self._image else []

    def users_of_images(self, ignoring: Collection[str] = ()) -> Mapping[str, int]:
        return {self._image: 1}


class Engine:
    """An image service whose machine can be cut off."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.storage = FakeStorage()
        self.users = Users("")
        self._open()

    def _open(self) -> None:
        self.state = StateDB(self.root / "state.db")
        self.images = ImagesService(self.root, self.storage, self.state, EventBus())
        self.images.users = self.users

    def load(self, archive: bytes) -> None:
        asyncio.run(self.images.load(stream(archive), lambda line: None))

    def unsettled(self) -> set[str]:
        return set(self.state.load(TABLE))

    def restart(self, *, cut: bool) -> None:
        """Start anew; ``cut``: on a machine that was started anew too."""
        self.state.close()
        if cut:
            with closing(sqlite3.connect(self.root / "state.db")) as rows, rows:
                rows.execute(f"UPDATE {TABLE} SET document = ?", (b"another",))  # noqa: S608 - our own name
        self.storage.applied = 0
        self._open()
        asyncio.run(self.images.recover())

    def blob(self, digest: str) -> Path:
        return self.root / "content/blobs/sha256" / digest.removeprefix("sha256:")

    def names(self) -> list[str]:
        return sorted(tag for image in self.images.list(all=True, filters={}) for tag in image.repo_tags)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    found = Engine(tmp_path)
    found.load(docker_old((ONE, [BASE, TOP], ["one:1"])))
    found.load(docker_old((TWO, [BASE, OTHER], ["two:1"])))
    yield found
    found.state.close()


def test_an_image_comes_with_rows_for_all_that_is_unsettled(engine: Engine) -> None:
    one = {blob_key(digest(data)) for data in (ONE, BASE, TOP)} | {layer_key(digest(BASE)), layer_key(CHAIN)}
    assert one < engine.unsettled()
    assert len(engine.unsettled()) == 5 + 3


def test_the_end_of_the_daemon_alone_puts_nothing_in_doubt(engine: Engine) -> None:
    engine.blob(digest(TOP)).write_bytes(b"")  # not looked at
    engine.restart(cut=False)
    assert engine.names() == ["one:1", "two:1"]
    assert engine.storage.applied == 0
    assert len(engine.unsettled()) == 8


def test_after_a_power_cut_layers_are_unpacked_again(engine: Engine) -> None:
    engine.restart(cut=True)
    assert engine.names() == ["one:1", "two:1"]
    assert engine.storage.applied == 3  # the shared one once
    assert engine.unsettled() == {
        layer_key(chain) for chain in engine.images.chains_in_use()
    }  # written anew; the blobs were read


def test_an_image_with_a_damaged_blob_goes_and_its_good_blobs_wait_for_a_pull(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    engine.blob(digest(TOP)).write_bytes(TOP[:-1])
    engine.restart(cut=True)
    assert engine.names() == ["two:1"]
    assert "image one:1 was not on the disk when the machine stopped" in caplog.text
    assert CHAIN not in engine.storage.snapshots
    assert not engine.blob(digest(ONE)).exists()
    assert not engine.blob(digest(TOP)).exists()
    assert engine.blob(digest(BASE)).read_bytes() == BASE
    engine.load(docker_old((ONE, [BASE, TOP], ["one:1"])))
    assert engine.names() == ["one:1", "two:1"]


def test_a_damaged_layer_that_images_share_takes_all_of_them(engine: Engine) -> None:
    engine.blob(digest(BASE)).unlink()
    engine.restart(cut=True)
    assert engine.names() == []
    assert engine.storage.snapshots == {}
    assert list((engine.root / "content/blobs/sha256").iterdir()) == []
    partial = {path.name for path in (engine.root / "content/partial").iterdir()}
    assert partial == {digest(data).replace(":", "-") for data in (TOP, OTHER)}
    assert engine.unsettled() == set()


def test_a_container_keeps_the_row_of_its_image_but_no_damaged_layer(engine: Engine) -> None:
    engine.users = Users(digest(ONE))
    engine.blob(digest(TOP)).write_bytes(b"x")
    engine.storage.bases.add(CHAIN)
    engine.restart(cut=True)
    assert engine.names() == ["two:1"]
    assert CHAIN not in engine.storage.snapshots
    assert CHAIN in engine.images.chains_in_use()
    engine.load(docker_old((ONE, [BASE, TOP], ["one:1"])))
    assert CHAIN in engine.storage.snapshots
    engine.storage.bases.clear()


@pytest.mark.parametrize("step", ["images.recovery.rows"])
def test_a_recovery_that_is_broken_off_begins_anew(engine: Engine, step: str) -> None:
    engine.blob(digest(TOP)).write_bytes(b"x")
    arm(step)
    try:
        with pytest.raises(Exception, match=step):
            engine.restart(cut=True)
    finally:
        disarm(step)
    engine.restart(cut=True)
    assert engine.names() == ["two:1"]
    assert engine.unsettled() == {layer_key(chain) for chain in engine.images.chains_in_use()}
