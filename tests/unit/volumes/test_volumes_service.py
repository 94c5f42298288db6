"""The volumes domain on a folder of the test's: rows, names, users, and what a restart finds."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support.loops import on_loop

from sampan.base.errors import Conflict, InvalidParameter, NotFound
from sampan.base.events import EventBus
from sampan.base.plugins import PluginFolders
from sampan.base.state import StateDB
from sampan.daemon.trees import StorageTrees
from sampan.volumes.copies import VolumeCopies
from sampan.volumes.service import VolumesService


class Users:
    def __init__(self) -> None:
        self.using: dict[str, list[str]] = {}

    def containers_using(self, volume: str) -> list[str]:
        return self.using.get(volume, [])

    @asynccontextmanager
    async def frozen(self, volume: str) -> AsyncIterator[None]:
        yield


class Place:
    """A data root whose service can be opened again and again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "volumes"
        self.users = Users()
        self._state: StateDB | None = None

    def open(self) -> VolumesService:
        self.close()
        self._state = StateDB(self.root / "state.db")
        nowhere = PluginFolders(self.root / "none", ())
        service = VolumesService(
            self.root, self.root / "exec", self._state, EventBus(), StorageTrees(), plugins=nowhere
        )
        service.users = self.users
        return service

    def close(self) -> None:
        if self._state is not None:
            self._state.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


@on_loop
async def test_volumes_are_made_once_and_found_again(place: Place) -> None:
    volumes = place.open()
    made = await volumes.create("web", labels={"a": "b"})
    assert await volumes.create("web", labels={"other": ""}) == made
    anonymous = await volumes.create()
    assert len(anonymous.name) == 64
    assert anonymous.labels == {"com.docker.volume.anonymous": ""}
    volumes = place.open()
    await volumes.recover({})
    assert volumes.find("web") == made
    assert [volume.name for volume in volumes.list_volumes({"label": ["a"]})] == ["web"]
    with pytest.raises(NotFound, match='create x1: error looking up volume plugin no: plugin "no" not found'):
        await volumes.create("x1", driver="no")
    with pytest.raises(Conflict, match="create web: volume name must be unique"):
        await volumes.create("web", driver="no")
    with pytest.raises(InvalidParameter, match='create x1: invalid option: "no"'):
        await volumes.create("x1", options={"no": ""})
    assert not (place.folder / "x1").exists()


@on_loop
async def test_rows_of_the_first_version_are_read(place: Place) -> None:
    place.open()
    state = StateDB(place.root / "state.db")
    state.put(
        "volumes",
        "old",
        b'{"Name":"old","Driver":"local","Mountpoint":"/gone/old/_data","CreatedAt":"2024-01-01T00:00:00Z",'
        b'"Labels":{"a":"b"},"Scope":"local","Options":null}',
    )
    state.close()
    found = place.open().find("old")
    assert (found.mountpoint, found.labels) == (f"{place.folder}/old/_data", {"a": "b"})


@on_loop
async def test_a_volume_in_use_stays(place: Place) -> None:
    volumes = place.open()
    await volumes.create("web")
    place.users.using["web"] = ["one", "two"]
    with pytest.raises(Conflict) as caught:
        await volumes.remove("web")
    assert str(caught.value) == "remove web: volume is in use - [one, two]"
    assert await volumes.prune({"all": ["1"]}) == ([], 0)
    place.users.using.clear()
    async with volumes.held("web", "backup"):
        with pytest.raises(Conflict, match=r"remove web: volume is in use - \[backup \w+\]"):
            await volumes.remove("web")
    (place.folder / "web/_data/f").write_bytes(b"12345")
    assert await volumes.prune({}) == ([], 0)
    assert await volumes.prune({"all": ["1"]}) == (["web"], 5)
    assert list(place.folder.iterdir()) == []
    with pytest.raises(NotFound, match="get web: no such volume"):
        await volumes.remove("web")
    await volumes.remove("web", force=True)


@on_loop
async def test_what_a_crash_left_is_finished_or_undone(place: Place) -> None:
    volumes = place.open()
    await volumes.create("keep")
    await volumes.create("going")
    await volumes.create("again")
    (place.folder / "going").rename(place.folder / ".gone-going.abc")
    (place.folder / ".gone-again.abc").mkdir()
    (place.folder / ".new-abc/_data").mkdir(parents=True)
    (place.folder / "found/_data").mkdir(parents=True)
    (place.folder / "no-volume").mkdir()
    volumes = place.open()
    await volumes.recover({"keep": {"c1"}, "gone": {"c2"}})
    assert [volume.name for volume in volumes.list_volumes({})] == ["again", "found", "keep"]
    names = sorted(entry.name for entry in place.folder.iterdir())
    assert names == ["again", "found", "keep", "no-volume"]
    assert volumes.mounted_by("keep") == {"c1"}
    await volumes.release("c1")
    assert volumes.mounted_by("keep") == set()


@on_loop
async def test_copies(place: Place) -> None:
    volumes = place.open()
    copies = VolumeCopies(volumes)
    await volumes.create("web")
    (place.folder / "web/_data/f").write_text("x")
    made = await copies.clone("web", "copy")
    assert (made.name, made.size) == ("copy", 1)
    assert (place.folder / "copy/_data/f").read_text() == "x"
    with pytest.raises(Conflict, match="clone copy: volume name must be unique"):
        await copies.clone("web", "copy")
    with pytest.raises(Conflict, match="clone web: volume name must be unique"):
        await copies.clone("web", "web")
    with pytest.raises(NotFound, match="get none: no such volume"):
        await copies.clone("none", "copy2")
    snapshot = await copies.snapshot("web", "kept")
    assert (await volumes.mount("kept", "c1")).read_only
    assert not (await volumes.mount("web", "c1")).read_only
    await volumes.release("c1")
    assert [(c.path, c.kind) for c in await copies.diff("web")] == []
    (place.folder / "web/_data/f").write_text("y")
    assert [(c.path, c.kind) for c in await copies.diff("web", snapshot.name)] == [("/f", 0)]
    await copies.rename("web", "new")
    assert (place.folder / "new/_data/f").read_text() == "y"
    archive = b"".join([piece async for piece in await copies.backup("new", compression="gzip")])

    async def pieces(data: bytes) -> AsyncIterator[bytes]:
        for at in range(0, len(data), 50):
            yield data[at : at + 50]

    await copies.restore("back", pieces(archive))
    assert (place.folder / "back/_data/f").read_text() == "y"
    with pytest.raises(InvalidParameter):
        await copies.restore("bad", pieces(archive[:-20]))
    with pytest.raises(InvalidParameter, match="unknown compression lzma"):
        await copies.backup("new", compression="lzma")
    assert sorted(entry.name for entry in place.folder.iterdir()) == ["back", "copy", "kept", "new"]
    await copies.close()
    await volumes.close()
