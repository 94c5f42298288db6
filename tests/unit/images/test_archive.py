"""The outer archive: split one byte at a time, names that lead nowhere else, limits."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.image_archives import digest, tar

from sampan.images import archive as module
from sampan.images.archive import Archive, clean
from sampan.images.content import ContentStore, Hold
from sampan.images.errors import InvalidArchive
from sampan.oci.digest import Digest
from sampan.storage.tar_header import BadArchive

BIG = b"big" * 100_000
LONG = "/".join(["a" * 60] * 5)


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path)


@pytest.fixture
def hold(store: ContentStore) -> Iterator[Hold]:
    with store.holding() as hold:
        yield hold


def received(store: ContentStore, hold: Hold, data: bytes, step: int = 1 << 20) -> Archive:
    found = Archive(store, hold)
    try:
        for at in range(0, len(data), step):
            found.feed(data[at : at + step])
        found.finish()
    except BaseException:
        found.close()
        raise
    return found


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("step", [1, 511, 512, 4096, 1 << 20])
def test_every_format_in_every_step(store: ContentStore, hold: Hold, format_: int, step: int) -> None:
    long = LONG[:150] if format_ == tarfile.USTAR_FORMAT else LONG
    data = tar(
        [("./a", b"one"), (long, b"two" * 300), ("empty", b""), ("link", "a"), ("../../up", b"three")],
        format=format_,
    )
    found = received(store, hold, data + b"rubbish behind the end", step)
    for name in ("a", "/a", "./x/../a", "link"):
        assert found.read(name) == b"one"
    assert (found.read(long), found.read("empty")) == (b"two" * 300, b"")
    assert found.read("up") == found.read("../up") == b"three"
    assert found.names() == ["a", clean(long), "empty", "up"]
    found.close()
    assert not list(store.temporary.iterdir())


def test_big_files_become_blobs_by_a_rename(store: ContentStore, hold: Hold) -> None:
    found = received(store, hold, tar([("layer.tar", BIG), ("small", b"x")]), 1000)
    member = found.find("layer.tar")
    assert member is not None
    assert member.path is not None
    inode = member.path.stat().st_ino
    assert member.digest == digest(BIG)
    reader = found.open(member)
    assert found.keep(member) == found.keep(member) == digest(BIG)
    assert store.path(Digest.of(BIG)).stat().st_ino == inode
    with reader, found.open(member) as again:
        assert reader.read() == again.read() == BIG
    small = found.find("small")
    assert small is not None
    assert store.read(found.keep(small)) == b"x"
    assert set(hold.digests()) == {digest(BIG), digest(b"x")}
    found.close()


def test_blobs_that_are_there_are_not_written_again(store: ContentStore, hold: Hold) -> None:
    store.add(BIG)
    found = received(store, hold, tar([(f"blobs/sha256/{digest(BIG)[7:]}", BIG)]))
    member = found.find(f"blobs/sha256/{digest(BIG)[7:]}")
    assert member is not None
    assert member.stored
    assert found.keep(member) == digest(BIG)
    with found.open(member) as file:
        assert file.read() == BIG
    found.close()


def test_sha512_names(store: ContentStore, hold: Hold) -> None:
    expected = Digest.of(b"x", "sha512")
    found = received(store, hold, tar([(f"blobs/sha512/{expected.encoded}", b"x")]))
    member = found.find(f"blobs/sha512/{expected.encoded}")
    assert member is not None
    assert found.keep(member) == expected
    found.close()


def test_links_stay_inside(store: ContentStore, hold: Hold) -> None:
    files: list[tuple[str, bytes | str]] = [
        ("d/file", b"x"), ("abs", "/d/file"), ("up", "../../../../d/file"), ("dir", "d"), ("away", "/etc/x"),
        ("d/back", "../dir/file"), ("loop", "loop"), ("one", "two"), ("two", "one"), ("dot", "./d/./file"),
    ]  # fmt: skip
    found = received(store, hold, tar(files))
    for name in ("abs", "up", "dir/file", "d/back", "dot", "dir/back", "dir/../d/file"):
        assert found.read(name) == b"x", name
    for name in ("away", "d", "dir", "nothing", "d/file/x", "", ".."):
        assert found.find(name) is None, name
    for name in ("loop", "one", "two/x"):
        with pytest.raises(InvalidArchive, match="too many levels of symbolic links"):
            found.find(name)
    found.close()


def test_hard_links_and_later_entries(store: ContentStore, hold: Hold) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as writer:
        for name, kind, target, content in (
            ("a", tarfile.REGTYPE, "", b"old"), ("b", tarfile.LNKTYPE, "./a", b""),
            ("a", tarfile.REGTYPE, "", b"new"), ("dir/", tarfile.DIRTYPE, "", b""),
            ("c", tarfile.FIFOTYPE, "", b""),
        ):  # fmt: skip
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = kind, target, len(content)
            writer.addfile(member, io.BytesIO(content))
    found = received(store, hold, buffer.getvalue())
    assert (found.read("a"), found.read("b")) == (b"new", b"new")
    assert found.names() == ["a"]
    found.close()


def test_broken_archives(store: ContentStore, hold: Hold) -> None:
    whole = tar([("file", BIG), (LONG, b"x")])
    for data in (whole[:600], whole[: len(BIG)], whole[:-9000], b"x" * 512, whole[:512] + b"y" * 4096):
        with pytest.raises((BadArchive, InvalidArchive)):
            received(store, hold, data + (b"y" * 512 if len(data) == 512 else b""))
    sparse = bytearray(tar([("file", b"x")]))
    sparse[156] = ord("S")
    sparse[148:156] = b"        "
    sparse[148:156] = b"%06o\0 " % sum(sparse[:512])
    with pytest.raises(BadArchive, match="sparse files are not taken"):
        received(store, hold, bytes(sparse))
    assert not list(store.temporary.iterdir())


def test_limits(store: ContentStore, hold: Hold, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ENTRIES", 3)
    with pytest.raises(InvalidArchive, match="more than 3 entries"):
        received(store, hold, tar([(str(n), b"") for n in range(4)]))
    monkeypatch.setattr(module, "MAX_DOCUMENT", 200_000)
    found = received(store, hold, tar([("manifest.json", BIG)]))
    with pytest.raises(InvalidArchive, match=r"manifest\.json has more than 200000 bytes"):
        found.read("manifest.json")
    found.close()


def test_small_files_do_not_fill_the_memory(
    store: ContentStore, hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MEMORY_LIMIT", 100)
    found = received(store, hold, tar([(str(n), b"x" * 40) for n in range(5)]))
    members = [found.find(str(n)) for n in range(5)]
    assert [member is not None and member.data is None for member in members] == [
        False,
        False,
        True,
        True,
        True,
    ]
    assert found.read("4") == b"x" * 40
    found.close()


@pytest.mark.parametrize(
    ("name", "expected"),
    [("", ""), ("/", ""), ("..", ""), ("a/../..", ""), ("./a//b/", "a/b"), ("a/../b", "b"), ("/../x", "x")],
)
def test_clean(name: str, expected: str) -> None:
    assert clean(name) == expected
