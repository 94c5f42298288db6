"""Archives that try to get out, to lie or to break off: they end inside the root, or are refused whole."""

import asyncio
import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from support.layers import Layer
from support.trees import describe

from sampan.base.errors import HostFailure, InvalidParameter
from sampan.kernel.mount import Mount, mount, umount
from sampan.storage.service import StorageService

pytestmark = pytest.mark.root

BASE = Layer().dir("d").add("d/old", b"old").add("file", b"file").link("safe", "d").bytes()


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that no archive may touch."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_text("secret")
    (folder / "dir").mkdir()
    (folder / "dir/file").write_text("file")
    os.utime(folder, ns=(5, 5))
    return folder


def tree(storage: StorageService, key: str) -> dict[str, dict[str, Any]]:
    async def look() -> dict[str, dict[str, Any]]:
        await storage.prepare("look", key)
        try:
            return describe(await storage.mount("look"), times=False)
        finally:
            await storage.remove("look")

    return asyncio.run(look())


def apply(
    storage: StorageService, layer: Layer | bytes, parent: str | None = None
) -> dict[str, dict[str, Any]]:
    data = layer if isinstance(layer, bytes) else layer.bytes()
    storage.apply("sha256:test", parent, io.BytesIO(data))
    return tree(storage, "sha256:test")


@pytest.fixture(params=["alone", "over another layer"])
def parent(request: pytest.FixtureRequest, storage: StorageService) -> str | None:
    """What the hostile layer stands on."""
    if request.param == "alone":
        return None
    storage.apply("sha256:base", None, io.BytesIO(BASE))
    return "sha256:base"


@pytest.mark.parametrize(
    "name",
    [
        "../escaped",
        "../../../../../../escaped",
        "/escaped",
        "//escaped",
        "d/../../escaped",
        "./../escaped",
        "x/..//escaped",
    ],
)
def test_names_end_in_the_root(
    storage: StorageService, parent: str | None, name: str, tmp_path: Path
) -> None:
    found = apply(storage, Layer().add(name, b"x"), parent)
    assert found["escaped"]["text"] == "x"
    assert not (tmp_path / "escaped").exists()
    assert not Path("/escaped").exists()


def test_links_lead_nowhere_outside(storage: StorageService, parent: str | None, outside: Path) -> None:
    before, status = describe(outside), outside.stat()
    up = "../" * 40
    layer = (
        Layer()
        .link("abs", str(outside))
        .add("abs/one", b"x")
        .link("up", f"{up}{str(outside)[1:]}")
        .add("up/secret", b"overwritten")
        .link("secret", f"{outside}/secret")
        .add("secret", b"mine")  # replaces the link
        .link("s2", f"{outside}/secret")
        .hard("s3", "s2")  # a hard link to the link itself
        .add("s3", b"mine")
        .link("chain1", "chain2/dir")
        .link("chain2", str(outside))
        .add("chain1/file", b"x")
        .add("abs/.wh.secret")
        .add("up/dir/.wh..wh..opq")
        .link("dir", str(outside))
        .dir("dir", mode=0o700)  # a directory of its own
        .link("fifo", f"{outside}/secret")
        .add("fifo", kind=tarfile.FIFOTYPE)
    )
    found = apply(storage, layer, parent)
    assert describe(outside) == before
    assert outside.stat() == status
    inside = str(outside)[1:]
    assert found[f"{inside}/one"]["text"] == "x"
    assert found[f"{inside}/dir/file"]["text"] == "x"
    assert found["secret"]["text"] == "mine"
    assert found["dir"]["type"] == "dir"
    assert found["fifo"]["type"] == "fifo"


@pytest.mark.parametrize("by", ["link", "whiteout and link", "file and link", "hard link to a link"])
def test_a_known_directory_becomes_a_link(
    storage: StorageService, parent: str | None, outside: Path, by: str
) -> None:
    before = describe(outside)
    layer = Layer().dir("d", mode=0o711).dir("d/sub").add("d/sub/a", b"a").link("away", str(outside))
    if by == "whiteout and link":
        layer.add(".wh.d").link("d", str(outside))
    elif by == "file and link":
        layer.add("d", b"").link("d", str(outside))
    elif by == "link":
        layer.link("d", str(outside))
    else:
        layer.hard("d", "away")
    layer.add("d/evil", b"x").dir("d/dir", mode=0o777).add("d/secret", b"x").hard("copy", "d/evil")
    found = apply(storage, layer, parent)
    assert describe(outside) == before
    inside = str(outside)[1:]
    assert found["d"]["to"] == str(outside)
    assert found[f"{inside}/evil"]["text"] == "x"
    assert found[f"{inside}/dir"]["mode"] == "0777"


def test_a_link_on_the_way_is_swapped_while_it_is_known(
    storage: StorageService, parent: str | None, outside: Path
) -> None:
    before = describe(outside)
    layer = (
        Layer()
        .dir("one")
        .dir("two")
        .link("way", "one")
        .add("way/a", b"a")
        .link("way", "two")
        .add("way/b", b"b")
    )
    layer.link("way", str(outside)).add("way/c", b"c").add(".wh.way").add("way/d", b"d")
    found = apply(storage, layer, parent)
    assert describe(outside) == before
    assert found["one/a"]["text"] == "a"
    assert found["two/b"]["text"] == "b"
    assert "one/b" not in found


@pytest.mark.parametrize(
    "target", ["../../outside/secret", "{outside}/secret", "none", "d", "", "/", "leads/secret"]
)
def test_hard_links_to_what_the_layer_cannot_have(
    storage: StorageService, parent: str | None, outside: Path, target: str
) -> None:
    before = describe(outside)
    layer = Layer().dir("d").link("leads", str(outside)).hard("stolen", target.format(outside=outside))
    with pytest.raises(InvalidParameter, match="stolen: hard link to"):
        storage.apply("sha256:test", parent, layer.stream())
    assert describe(outside) == before
    assert not storage.exists("sha256:test")


def _deep(levels: int) -> Layer:
    return Layer().add("/".join(["d"] * levels) + "/file", b"x")


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Layer().add("n" * 256), "File name too long"),
        (_deep(2500), "File name too long"),
        (Layer().link("a", "b").link("b", "a").add("a/x"), "too many levels of symbolic links"),
        (Layer().link("self", "self").add("self/x"), "too many levels of symbolic links"),
        (Layer().add("f", b"x").add("f/below", b"x"), "f is not a directory"),
        (Layer().add("."), "the root is a directory"),
        (Layer().link("/", "x"), "the root is a directory"),
        (Layer().add("a\0b", pax={"path": "a\0b"}), "NUL"),
        (Layer().link("l", ""), "l: "),
        (Layer().link("l", "t" * 5000), "l: File name too long"),
        (Layer().add("x", kind=b"M"), "x: unhandled tar header type 77"),
        (Layer().add("x", kind=b"V"), "x: unhandled tar header type 86"),
        (Layer().add("dev", kind=tarfile.CHRTYPE, device=(2097151, 2097151)), "dev: "),
        (Layer().add(".wh."), "a whiteout of nothing"),
        (Layer().add("d/.wh.."), "a whiteout of nothing"),
        (Layer().add(".wh..."), "a whiteout of nothing"),
        (Layer().add("x", pax={"SCHILY.xattr.user.": "v"}), "x: "),
        (Layer().add("x", pax={"size": "99999999999999999999"}), "x: bad value"),
        (Layer().add("x", pax={"GNU.sparse.map": "0,0", "GNU.sparse.size": str(2**63)}), "x: "),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_what_cannot_be_is_refused_whole(
    storage: StorageService, parent: str | None, layer: Layer, message: str
) -> None:
    good = Layer().add("before", b"x").bytes()[:1024]
    with pytest.raises(InvalidParameter, match=message):
        storage.apply("sha256:test", parent, io.BytesIO(good + layer.bytes()))
    assert not storage.exists("sha256:test")
    assert {s.key for s in storage.driver.walk()} == ({parent} if parent else set())


def test_an_archive_that_breaks_off_anywhere(storage: StorageService) -> None:
    data = Layer().dir("dir").add("dir/one", b"x" * 3000).add("two", b"y", pax={"comment": "z"}).bytes()
    end = len(data.rstrip(b"\0"))
    for cut in range(100, end, 397):
        try:
            storage.apply("sha256:test", None, io.BytesIO(data[:cut]))
        except InvalidParameter as error:
            assert "unexpected end of the archive" in str(error)  # noqa: PT017 - some cuts are ends
            assert not storage.exists("sha256:test")
        else:
            assert cut % 512 == 0
            asyncio.run(storage.remove("sha256:test"))


def test_a_size_that_never_comes_takes_no_space(storage: StorageService, tmp_path: Path) -> None:
    header = bytearray(tarfile.TarInfo("huge").tobuf())
    header[124:136] = b"\x80\0\0\0\x7f" + b"\xff" * 7
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    with pytest.raises(InvalidParameter, match="unexpected end of the archive in huge"):
        storage.apply("sha256:test", None, io.BytesIO(bytes(header) + b"x" * 100_000))
    assert not storage.exists("sha256:test")


def test_a_full_disk(storage: StorageService, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount(Mount("tmpfs", "tmpfs", str(small), ("size=4m",)))
    try:
        service = StorageService(small, driver=storage.name)
        free = os.statvfs(small).f_bfree
        for size in (10_000_000, 3_000_000):
            layer = Layer().add("big", os.urandom(size))
            if size > 4_000_000:
                with pytest.raises(HostFailure, match="cannot unpack big: No space left on device"):
                    service.apply("sha256:big", None, layer.stream())
                assert not service.exists("sha256:big")
                assert os.statvfs(small).f_bfree >= free - 2
            else:
                service.apply("sha256:big", None, layer.stream())
    finally:
        umount(small)


def test_a_stream_that_fails(storage: StorageService) -> None:
    class Failing(io.RawIOBase):
        def read(self, size: int = -1, /) -> bytes:
            raise OSError("the wire was cut")

    with pytest.raises(HostFailure, match="the wire was cut"):
        storage.apply("sha256:test", None, Failing())
    assert not storage.exists("sha256:test")


def test_thousands_of_directories_with_few_descriptors(storage: StorageService) -> None:
    layer = Layer()
    for number in range(700):
        layer.dir(f"d{number}")
    for number in range(700):
        layer.add(f"d{number}/x/file", b"x").link(f"l{number}", f"d{699 - number}/x")
    for number in range(0, 700, 7):
        layer.add(f"l{number}/through", b"t").hard(f"h{number}", f"l{number}/file")
    found = apply(storage, layer)
    assert found["d692/x/through"]["text"] == "t"
    assert found["h7"]["text"] == "x"
    assert sum(1 for e in found.values() if e["type"] == "file") == 900
