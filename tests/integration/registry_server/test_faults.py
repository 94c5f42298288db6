"""Our registry where things go wrong: killed, out of room, cut off, lied to. Whole or absent, no rest."""

import http.client
import json
import os
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.registry_checks import DATA, after, patch, pull, refused
from support.registry_server import OCI_INDEX, OCI_MANIFEST, OCTETS, SampanRegistry, digest, index, manifest
from support.registry_server import sampan_registry as serving

pytestmark = pytest.mark.root
GONE = (ConnectionError, http.client.HTTPException)
BIG = os.urandom(1 << 20) * 12


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[SampanRegistry]:
    with serving(tmp_path) as running:
        yield running


@pytest.mark.parametrize("point", ["upload.written", "blob.linked", "blob.adopted", "manifest.stored"])
def test_killed_in_the_middle(registry: SampanRegistry, point: str) -> None:
    registry.stop()
    registry.start(environment={"SAMPAN_FAULTS": f"distribution.{point}=kill"})
    with pytest.raises(GONE):
        push_in_chunks(registry)
    assert registry.wait() == -9
    registry.start()
    reply = pull(registry, "a", "blobs", digest(DATA))
    assert (reply.status, reply.body) == (200, DATA) or reply.status == 404
    assert pull(registry, "a", "manifests", "1").status == 404
    sessions = [path.name for path in registry.leftovers()]
    for session in sessions:  # the upload goes on where it was
        location = f"/v2/a/blobs/uploads/{session}"
        assert registry.ask("GET", location).headers["range"] == f"0-{len(DATA) - 1}"
        assert registry.ask("PUT", after(location, digest(DATA))).status == 201
    assert len(sessions) == (1 if point in {"upload.written", "blob.linked"} else 0)
    assert registry.push_image("a", "1", content=DATA)
    assert registry.leftovers() == []
    assert pull(registry, "a", "blobs", digest(DATA)).body == DATA


def push_in_chunks(registry: SampanRegistry) -> None:
    location = registry.begin("a")
    patch(registry, location, DATA, 0)
    registry.ask("PUT", after(location, digest(DATA)))
    registry.push_image("a", "1", content=DATA)


def test_an_upload_goes_on_after_a_restart(registry: SampanRegistry) -> None:
    location = patch(registry, registry.begin("a"), DATA[:999], 0).headers["location"]
    other = registry.begin("b")
    registry.kill()
    registry.start()
    location = patch(registry, location, DATA[999:], 999).headers["location"]
    assert registry.ask("PUT", after(location, digest(DATA))).status == 201
    assert registry.ask("PUT", after(other, digest(DATA)), DATA, OCTETS).status == 201


def test_the_disk_is_full(tmp_path: Path) -> None:
    small = tmp_path / "root"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=10m", "tmpfs", small], check=True)
    try:
        with serving(tmp_path) as registry:
            for reply in (
                registry.ask("POST", f"/v2/a/blobs/uploads/?digest={digest(BIG)}", BIG, OCTETS),
                registry.ask("PUT", after(registry.begin("a"), digest(BIG)), BIG, OCTETS),
                patch(registry, registry.begin("a"), BIG),
            ):
                assert reply.status == 507
                assert reply.document["errors"][0]["message"] == "no space left on the registry's disk"
                assert registry.leftovers() == []
                assert registry.blobs() == set()
            registry.push_image("a", "1", content=DATA)
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_client_cut_off_goes_on(registry: SampanRegistry) -> None:
    location = registry.begin("a")
    host, port = registry.host.split(":")
    with socket.create_connection((host, int(port))) as plain:
        head = f"PATCH {location} HTTP/1.1\r\nHost: r\r\nContent-Length: {len(DATA)}\r\n\r\n"
        plain.sendall(head.encode() + DATA[:5000])
    reply = registry.ask("GET", location)
    deadline = time.monotonic() + 20
    while reply.headers["range"] != "0-4999" and time.monotonic() < deadline:
        reply = registry.ask("GET", location)
    location = patch(registry, location, DATA[5000:], 5000).headers["location"]
    assert registry.ask("PUT", after(location, digest(DATA))).status == 201


def test_nothing_is_left_of_a_post_cut_off(registry: SampanRegistry) -> None:
    host, port = registry.host.split(":")
    with socket.create_connection((host, int(port))) as plain:
        head = (
            f"POST /v2/a/blobs/uploads/?digest={digest(DATA)} HTTP/1.1\r\nHost: r\r\nContent-Length: 99\r\n"
        )
        plain.sendall(head.encode() + b"\r\nhalf")
        while not registry.leftovers():
            pass
    while registry.leftovers():
        pass
    refused(pull(registry, "a", "blobs", digest(DATA)), 404)


def test_who_speaks_tls_is_answered_at_once(registry: SampanRegistry) -> None:
    host, port = registry.host.split(":")
    with socket.create_connection((host, int(port)), 20) as plain:
        plain.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")
        assert plain.recv(100).startswith(b"HTTP/1.1 400 ")


def test_slow_clients_are_in_nobodys_way(registry: SampanRegistry) -> None:
    registry.push_blob("a", BIG)
    host, port = registry.host.split(":")
    slow = []
    for text in ("GET /v2/", f"GET /v2/a/blobs/{digest(BIG)} HTTP/1.1\r\nHost: r\r\n\r\n") * 8:
        slow.append(socket.create_connection((host, int(port))))
        slow[-1].sendall(text.encode())
    assert pull(registry, "a", "blobs", digest(BIG)).body == BIG
    for plain in slow:
        plain.close()
    assert registry.push_image("a", "1")


def test_a_download_is_finished_before_the_end(registry: SampanRegistry) -> None:
    registry.push_blob("a", BIG)
    connection = registry.connect()
    connection.request("GET", f"/v2/a/blobs/{digest(BIG)}")
    answer = connection.getresponse()
    first = answer.read(1)
    ending = threading.Thread(target=registry.stop)
    ending.start()
    assert first + answer.read() == BIG
    connection.close()
    ending.join(30)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"schemaVersion":1}',
        b'{"schemaVersion":2}',
        b'{"schemaVersion":2,"config":{"mediaType":"a/b","digest":"sha256:00","size":1},"layers":[]}',
        b'{"schemaVersion":2,"config":{"mediaType":"a/b","digest":"%b","size":-1},"layers":[]}'
        % digest(b"").encode(),
        b"[" * 100_000,
        b'{"schemaVersion":2,"layers":' + b"[" * 100_000,
        json.dumps({**json.loads(manifest(digest(b""), [])), "manifests": []}).encode(),
        manifest(digest(b""), [(digest(str(n).encode()), 1) for n in range(5000)]),
        manifest(digest(b""), [], subject={"mediaType": "a/b", "digest": "md5:00", "size": 1}),
    ],
)
def test_what_is_no_manifest(registry: SampanRegistry, data: bytes) -> None:
    registry.push_blob("a", b"")
    reply = registry.ask("PUT", "/v2/a/manifests/1", data, {"Content-Type": OCI_MANIFEST})
    refused(reply, 400, "MANIFEST_INVALID")
    assert registry.blobs() == {digest(b"")}


def test_layers_that_live_elsewhere_need_not_be_here(registry: SampanRegistry) -> None:
    config = registry.push_blob("a", b"{}")
    kinds = (
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    )
    document = json.loads(manifest(config, []))
    document["layers"] = [{"mediaType": kind, "digest": digest(kind.encode()), "size": 3} for kind in kinds]
    registry.push_manifest("a", "1", json.dumps(document).encode())


def test_a_blob_larger_than_is_taken(tmp_path: Path) -> None:
    with serving(tmp_path, "127.0.0.1:0", f"--max-blob-size={len(DATA)}") as registry:
        registry.push_blob("a", DATA)
        too_large = DATA + b"x"
        for body in (too_large, [too_large[:100], too_large[100:]]):
            reply = registry.ask("PUT", after(registry.begin("a"), digest(too_large)), body, OCTETS)
            refused(reply, 413, "SIZE_INVALID")
        assert registry.leftovers() == []


def test_one_server_a_root(registry: SampanRegistry) -> None:
    second = SampanRegistry(registry.folder)
    with pytest.raises(AssertionError, match="in use by another daemon"):
        second.start()


# --- garbage


def age(registry: SampanRegistry) -> None:
    """Let everything have been pushed two days ago."""
    with sqlite3.connect(registry.root / "registry.db") as db:
        db.execute("UPDATE blobs SET since = since - 172800")
        db.execute("UPDATE manifests SET since = since - 172800")
    db.close()


def test_garbage_is_collected_beside_the_server(registry: SampanRegistry) -> None:
    kept = registry.push_image("a", "1", content=DATA)
    loose = registry.push_blob("a", b"nobody needs this")
    (registry.root / "content/blobs/sha256" / ("0" * 64)).write_bytes(b"what nobody knows")
    assert "0 manifests and 0 blobs removed" in registry.collect()
    assert registry.blobs() == {*needs(kept), loose}
    age(registry)
    said = registry.collect("--dry-run=true")
    assert f"blob a@{loose}\n" in said
    assert "0 manifests and 1 blobs would be removed: 17B" in said
    assert pull(registry, "a", "blobs", loose, "HEAD").status == 200  # somebody means to push with it
    assert "0 manifests and 0 blobs removed" in registry.collect()
    age(registry)
    assert "0 manifests and 1 blobs removed: 17B" in registry.collect()
    assert registry.blobs() == needs(kept)
    assert pull(registry, "a", "blobs", digest(DATA)).body == DATA
    refused(pull(registry, "a", "blobs", loose), 404, "BLOB_UNKNOWN")
    assert "--older-than must be at least 60 seconds beside it" in registry.collect("--older-than=5")


def test_manifests_without_a_tag(registry: SampanRegistry) -> None:
    old = registry.push_image("a", "1", content=b"old")
    new = registry.push_image("a", "1", content=b"new")
    in_index = registry.push_image("a", content=b"part")
    registry.push_manifest("a", digest(in_index), in_index)
    listed = index(in_index)
    registry.push_manifest("a", "many", listed, OCI_INDEX)
    about = {"mediaType": OCI_MANIFEST, "digest": digest(new), "size": len(new)}
    signature = registry.push_image("a", content=b"signature", subject=about)
    registry.push_manifest("a", digest(signature), signature)
    registry.stop()
    age(registry)
    assert "0 manifests and 0 blobs removed" in registry.collect()
    said = registry.collect("--untagged=true")
    assert f"manifest a@{digest(old)}\n" in said
    assert "1 manifests and 1 blobs removed" in said
    registry.start()
    kept = needs(new) | needs(in_index) | needs(signature) | {digest(listed)}
    assert registry.blobs() == kept
    assert pull(registry, "a", "manifests", "1").body == new
    assert pull(registry, "a", "manifests", digest(old)).status == 404
    assert "there is no registry in" in SampanRegistry(registry.folder / "none").collect()


def needs(data: bytes) -> set[str]:
    """Return the digests of a manifest and of what it is made of."""
    document = json.loads(data)
    return {digest(data), document["config"]["digest"], *(each["digest"] for each in document["layers"])}


def test_deleting_gives_the_space_back(registry: SampanRegistry) -> None:
    data = registry.push_image("a", "1", content=DATA)
    registry.push_image("b", "1", content=DATA)
    for name in ("a", "b"):
        for path in (f"manifests/{digest(data)}", f"blobs/{digest(DATA)}"):
            assert registry.ask("DELETE", f"/v2/{name}/{path}").status == 202
        assert (digest(DATA) in registry.blobs()) is (name == "a")
        assert (digest(data) in registry.blobs()) is (name == "a")


def test_memory_does_not_grow_with_blobs(registry: SampanRegistry) -> None:
    large = BIG * 8
    registry.push_blob("a", large)
    for _ in range(2):
        assert pull(registry, "a", "blobs", digest(large)).body == large
    status = Path(f"/proc/{registry.pid}/status").read_text()
    assert int(status.partition("VmHWM:")[2].split()[0]) << 10 < 64 << 20
