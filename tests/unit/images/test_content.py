"""The content store: verified on the way in, swept of what nobody needs, safe from both sides at once."""

import threading
from pathlib import Path

import pytest

from sampan.base.errors import HostFailure, InvalidParameter
from sampan.images.content import ContentStore
from sampan.images.errors import BlobNotFound, WrongDigest
from sampan.oci.digest import Digest

HELLO = Digest.of(b"hello")


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path)


def left(store: ContentStore) -> list[Path]:
    return list(store.temporary.iterdir())


def test_add_read_and_again(store: ContentStore) -> None:
    assert store.size(HELLO) is None
    assert store.add(b"hello") == store.add(b"hello") == HELLO
    assert (store.size(HELLO), store.read(HELLO), store.digests()) == (5, b"hello", [HELLO])
    assert store.path(HELLO).stat().st_mode & 0o777 == 0o600
    assert not left(store)


def test_ingest_in_pieces_and_by_sha512(store: ContentStore) -> None:
    expected = Digest.of(b"hello", "sha512")
    with store.ingest("sha512") as ingest:
        ingest.write(b"hel")
        ingest.write(memoryview(b"lo"))
        assert ingest.digest() == expected
        assert ingest.commit(expected=expected, size=5) == expected
    assert store.read(expected) == b"hello"
    assert not left(store)


def test_wrong_bytes_are_refused(store: ContentStore) -> None:
    with store.ingest() as ingest:
        ingest.write(b"hellO")
        with pytest.raises(WrongDigest, match=f"wrong digest: expected {HELLO}, got sha256:"):
            ingest.commit(expected=HELLO)
    with store.ingest() as ingest:
        ingest.write(b"hello")
        with pytest.raises(WrongDigest, match="wrong size: expected 4 bytes, got 5"):
            ingest.commit(size=4)
    with store.ingest() as ingest:
        ingest.write(b"not committed")
    assert not store.digests()
    assert not left(store)


def test_what_is_not_there(store: ContentStore) -> None:
    with pytest.raises(BlobNotFound):
        store.read(HELLO)
    with pytest.raises(InvalidParameter, match="not by sha384"):
        store.path(Digest.of(b"", "sha384"))
    store.add(b"hello")
    with pytest.raises(WrongDigest, match="longer than 4 bytes"):
        store.read(HELLO, limit=4)


def test_adopt(store: ContentStore) -> None:
    for _ in range(2):
        path = store.temporary_file()
        path.write_bytes(b"hello")
        store.adopt(path, HELLO)
        assert not path.exists()
    assert store.read(HELLO) == b"hello"


def test_sweep(store: ContentStore) -> None:
    live, held, dead = (store.add(text) for text in (b"live", b"held", b"dead"))
    (store.path(dead).parent / "strange").write_bytes(b"")
    with store.holding([held]) as hold:
        assert hold.digests() == [held]
        swept = store.sweep({live})
        assert swept.size == 4
        swept.remove()
        assert set(store.digests()) == {live, held}
    store.sweep(set(), [held, dead]).remove()
    assert store.digests() == [live]
    assert not left(store)


def test_holds_count(store: ContentStore) -> None:
    store.add(b"hello")
    with store.holding([HELLO]):
        with store.holding() as hold:
            hold.add(HELLO)
            hold.add(HELLO)
        store.sweep(set()).remove()
        assert store.size(HELLO) == 5


def test_leftovers_go_when_it_is_opened(tmp_path: Path) -> None:
    store = ContentStore(tmp_path)
    store.temporary_file().write_bytes(b"x")
    (store.temporary_folder() / "x").write_bytes(b"x")
    other = store.temporary / "of-somebody-else"
    other.write_bytes(b"")
    ContentStore(tmp_path)
    assert left(store) == [other]


def test_unusable_root(tmp_path: Path) -> None:
    (tmp_path / "content").write_bytes(b"")
    with pytest.raises(HostFailure, match="cannot open the content store"):
        ContentStore(tmp_path)


def test_many_writers_of_the_same_blob(store: ContentStore) -> None:
    data = b"x" * 100_000
    failures: list[Exception] = []

    def work() -> None:
        try:
            for _ in range(5):
                with store.ingest() as ingest:
                    ingest.write(data)
                    ingest.commit(expected=Digest.of(data))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert store.digests() == [Digest.of(data)]
    assert not left(store)
