"""What a registry keeps: rows ahead of files, and uploads that are nobody's in between."""

import asyncio
import errno
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from support.registry_server import OCI_MANIFEST, digest, manifest

from sampan.base import faults
from sampan.base.errors import HostFailure
from sampan.distribution import uploads as module
from sampan.distribution.catalogue import Catalogue, ManifestRow
from sampan.distribution.collect import plan_collection
from sampan.distribution.errors import BlobUnknown, DigestInvalid, DiskFull, UploadBusy, UploadUnknown
from sampan.distribution.store import Store, disk_trouble
from sampan.distribution.uploads import Upload, Uploads
from sampan.oci.digest import Digest

DATA = b"some bytes"
BLOB = Digest(digest(DATA))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = Store(tmp_path / "root")
    yield found
    found.close()


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for each in data:
        yield each


def add(store: Store, repository: str, data: bytes) -> Digest:
    """Add a blob and return its digest."""
    path = store.content.temporary_file()
    path.write_bytes(data)
    asyncio.run(store.add_blob(repository, Digest.of(data), path))
    return Digest.of(data)


def add_manifest(store: Store, repository: str, data: bytes, *tags: str, subject: str = "") -> Digest:
    row = ManifestRow(Digest.of(data), OCI_MANIFEST, len(data), subject)
    asyncio.run(store.add_manifest(repository, row, data, tags))
    return row.digest


def test_a_row_without_a_file_is_nothing(store: Store) -> None:
    store.catalogue.link_blob("a", BLOB)
    with pytest.raises(BlobUnknown):
        store.open_blob("a", BLOB)
    assert not store.mount("b", BLOB, "a")
    assert not store.catalogue.has_blob("b", BLOB)


def test_a_file_stays_while_a_row_names_it(store: Store) -> None:
    add(store, "a", DATA)
    assert store.mount("b", BLOB, "")
    store.remove_blob("a", BLOB)
    assert store.drop(BLOB) == 0
    assert store.blob_size("b", BLOB) == len(DATA)
    store.remove_blob("b", BLOB)
    assert store.content.size(BLOB) is None


def test_a_blob_that_cannot_be_stored_is_no_blob(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store.content, "adopt", full)
    with pytest.raises(DiskFull):
        add(store, "a", DATA)
    assert not store.catalogue.has_blob("a", BLOB)


def test_trouble_with_the_disk() -> None:
    with pytest.raises(HostFailure, match="cannot write: Input/output error"), disk_trouble():
        raise OSError(errno.EIO, "Input/output error")
    with pytest.raises(DiskFull), disk_trouble():
        raise HostFailure("registry.db: database or disk is full")
    with pytest.raises(HostFailure, match="locked"), disk_trouble():
        raise HostFailure("registry.db: database is locked")


def test_a_newer_catalogue_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    Catalogue(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(HostFailure, match="has schema 99, this version knows 1"):
        Catalogue(path)


def test_pages(store: Store) -> None:
    data = manifest(digest(b""), [])
    for name in ("b", "a", "c/d"):
        add_manifest(store, name, data, "1", "B", "a")
    catalogue = store.catalogue
    assert catalogue.repositories("", 2) == ["a", "b"]
    assert catalogue.repositories("b", 2) == ["c/d"]
    assert catalogue.tags("a", "", 9) == ["1", "B", "a"]
    assert catalogue.tags("a", "1", 1) == ["B"]
    assert not catalogue.exists("c")


def test_an_upload(store: Store) -> None:
    async def scene() -> None:
        sessions = Uploads(store, 0, 60)
        upload = sessions.begin("a", "sha256")
        async with sessions.writing(upload):
            await sessions.receive(upload, pieces(DATA[:3], DATA[3:]))
        again = Uploads(store, 0, 60).find("a", upload.id)  # another server, which hashes what is there
        assert again.size == len(DATA)
        with pytest.raises(UploadUnknown):
            sessions.find("b", upload.id)
        await sessions.finish(upload, Digest.of(DATA, "sha512"))
        with pytest.raises(UploadUnknown):
            sessions.find("a", upload.id)

    asyncio.run(scene())
    assert store.blob_size("a", Digest.of(DATA, "sha512")) == len(DATA)
    assert list(store.uploads.iterdir()) == []
    assert store.catalogue.uploads() == []


def test_a_wrong_digest_ends_an_upload(store: Store) -> None:
    async def scene() -> None:
        sessions = Uploads(store, 0, 60)
        upload = sessions.begin("a", "sha256")
        with pytest.raises(DigestInvalid):
            await sessions.finish(upload, BLOB)

    asyncio.run(scene())
    assert list(store.uploads.iterdir()) == []


def test_one_writer_at_a_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BUSY_S", 0.01)

    async def scene() -> None:
        sessions = Uploads(store, 0, 60)
        upload = sessions.begin("a", "sha256")
        async with sessions.writing(upload):
            with pytest.raises(UploadBusy):
                async with sessions.writing(upload):
                    pass
            sessions.cancel(upload)
        with pytest.raises(UploadUnknown):
            async with sessions.writing(upload):
                pass

    asyncio.run(scene())


def test_a_failed_write_counts_for_nothing(store: Store) -> None:
    async def scene() -> None:
        sessions = Uploads(store, 0, 60)
        upload = sessions.begin("a", "sha256")
        await upload.receive(pieces(DATA[:4]), 0)
        faults.arm("distribution.upload.written")
        try:
            with pytest.raises(faults.InjectedFault):
                await upload.receive(pieces(b"lost"), 0)
        finally:
            faults.disarm("distribution.upload.written")
        assert upload.path.read_bytes() == DATA[:4]
        await upload.receive(pieces(DATA[4:]), 0)
        await sessions.finish(upload, BLOB)

    asyncio.run(scene())


def test_what_nobody_goes_on_with(store: Store) -> None:
    async def scene() -> Upload:
        return Uploads(store, 0, 60).begin("a", "sha256")

    upload = asyncio.run(scene())
    (store.uploads / "stranger").touch()
    upload.path.unlink()
    sessions = Uploads(store, 0, 60)
    assert list(store.uploads.iterdir()) == []
    with pytest.raises(UploadUnknown):
        sessions.find("a", upload.id)


def test_what_a_collection_may_take(store: Store) -> None:
    used, loose = add(store, "a", b"used"), add(store, "a", b"loose")
    tagged = add_manifest(store, "a", manifest(used, []), "1")
    untagged = add_manifest(store, "a", manifest(used, [], annotations={"a": "b"}))
    about = add_manifest(store, "a", manifest(used, [], annotations={"c": "d"}), subject=tagged)
    later, earlier = time.time() + 5, time.time() - 5
    plan = plan_collection(store, later, untagged=False)
    assert (plan.manifests, plan.blobs) == ([], [("a", loose)])
    plan = plan_collection(store, later, untagged=True)
    assert (plan.manifests, plan.blobs) == ([("a", untagged)], [("a", loose)])
    plan = plan_collection(store, earlier, untagged=True)
    assert (plan.manifests, plan.blobs) == ([], [])
    store.remove_tag("a", "1")
    plan = plan_collection(store, later, untagged=True)
    assert {digest_ for _, digest_ in plan.manifests} == {tagged, untagged, about}
    assert not store.catalogue.remove_old_manifest("a", tagged, earlier)
    assert store.catalogue.remove_old_manifest("a", tagged, later)
