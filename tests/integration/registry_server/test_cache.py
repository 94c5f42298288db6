"""Our registry as a pull-through cache of another: fresh, verified, once for everybody, and there alone."""

import contextlib
import http.client
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.fault_registry import Asked, FaultRegistry, Reply
from support.registries import PASSWORD, USER
from support.registry_checks import pull, refused
from support.registry_server import OCI_INDEX, OCI_MANIFEST, SampanRegistry, digest, index, manifest
from support.registry_server import sampan_registry as serving

pytestmark = pytest.mark.root
LAYER = os.urandom(3 << 20)


@pytest.fixture
def faulty() -> Iterator[FaultRegistry]:
    with FaultRegistry() as found:
        yield found


@contextlib.contextmanager
def cache_of(folder: Path, host: str, *flags: str) -> Iterator[SampanRegistry]:
    with serving(folder / "cache", "127.0.0.1:0", f"--proxy=http://{host}", *flags) as registry:
        yield registry


def test_a_tag_is_fresh_and_a_digest_is_kept(faulty: FaultRegistry, tmp_path: Path) -> None:
    first = faulty.add_image("a/b", "1", [LAYER])
    with cache_of(tmp_path, faulty.host) as cache:
        assert pull(cache, "a/b", "manifests", "1").headers["docker-content-digest"] == first.manifest
        for digest_ in (*first.layers, first.id):
            assert digest(pull(cache, "a/b", "blobs", digest_).body) == digest_
        faulty.asked.clear()
        assert pull(cache, "a/b", "manifests", first.manifest).status == 200
        assert digest(pull(cache, "a/b", "blobs", first.layers[0]).body) == first.layers[0]
        assert faulty.asked == []
        assert pull(cache, "a/b", "manifests", "1").headers["docker-content-digest"] == first.manifest
        assert [asked.method for asked in faulty.asked] == ["HEAD"]
        second = faulty.add_image("a/b", "1", [b"new"])
        assert pull(cache, "a/b", "manifests", "1").headers["docker-content-digest"] == second.manifest
        for key in [key for key in faulty.manifests if key.startswith("a/b@")]:
            del faulty.manifests[key]
        refused(pull(cache, "a/b", "manifests", "1"), 404, "MANIFEST_UNKNOWN")
        assert pull(cache, "a/b", "manifests", second.manifest).status == 200


def test_one_download_for_all_who_wait(faulty: FaultRegistry, tmp_path: Path) -> None:
    image = faulty.add_image("a/b", "1", [LAYER])
    blob = image.layers[0]
    asked = threading.Event()
    going = threading.Event()

    def wait(_: Asked) -> Reply:
        asked.set()
        going.wait(20)
        return Reply()

    faulty.fault("GET", f"/v2/a/b/blobs/{blob}", wait)
    with cache_of(tmp_path, faulty.host) as cache, ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(pull, cache, "a/b", "blobs", blob) for _ in range(8)]
        assert asked.wait(20)
        going.set()
        assert {digest(client.result().body) for client in clients} == {blob}
        assert len(faulty.seen("GET", blob)) == 1
        assert cache.leftovers() == []


def test_a_download_goes_on_where_it_was_cut(faulty: FaultRegistry, tmp_path: Path) -> None:
    image = faulty.add_image("a/b", "1", [LAYER])
    blob = image.layers[0]
    faulty.fault("GET", f"/v2/a/b/blobs/{blob}", Reply(cut=1 << 20), times=1)
    with cache_of(tmp_path, faulty.host) as cache:
        reply = pull(cache, "a/b", "blobs", blob, Range="bytes=5-")
        assert (reply.status, reply.body) == (206, faulty.blobs[blob][5:])
        ranges = [asked.headers.get("range") for asked in faulty.seen("GET", blob)]
        assert ranges == [None, f"bytes={1 << 20}-"]


def test_a_download_goes_on_after_a_kill(faulty: FaultRegistry, tmp_path: Path) -> None:
    image = faulty.add_image("a/b", "1", [LAYER])
    blob = image.layers[0]
    stuck = threading.Event()

    def hang_up(_: Asked) -> Reply:
        stuck.set()
        return Reply(raw=b"")

    faulty.fault("GET", f"/v2/a/b/blobs/{blob}", Reply(cut=1 << 20), times=1)
    faulty.fault("GET", f"/v2/a/b/blobs/{blob}", hang_up, times=1)
    with cache_of(tmp_path, faulty.host) as cache:
        with ThreadPoolExecutor(1) as pool:
            client = pool.submit(pull, cache, "a/b", "blobs", blob)
            assert stuck.wait(20)
            cache.kill()
            with pytest.raises((http.client.HTTPException, ConnectionError)):
                client.result()
        cache.start()
        assert digest(pull(cache, "a/b", "blobs", blob).body) == blob
        assert faulty.seen("GET", blob)[-1].headers["range"] == f"bytes={1 << 20}-"
        assert cache.leftovers() == []


def test_what_is_wrong_reaches_nobody(faulty: FaultRegistry, tmp_path: Path) -> None:
    image = faulty.add_image("a/b", "1", [LAYER])
    blob = image.layers[0]
    right = faulty.blobs[blob]
    faulty.blobs[blob] = right[:-1] + bytes([right[-1] ^ 1])
    with cache_of(tmp_path, faulty.host) as cache:
        with pytest.raises(http.client.IncompleteRead) as caught:
            pull(cache, "a/b", "blobs", blob)
        assert len(caught.value.partial) < len(right)
        assert cache.blobs() == set()
        assert cache.leftovers() == []
        faulty.blobs[blob] = right
        assert pull(cache, "a/b", "blobs", blob).body == right
        faulty.manifests[f"a/b@{image.manifest}"] = (OCI_MANIFEST, b"{}")
        refused_reply = pull(cache, "a/b", "manifests", image.manifest)
        assert refused_reply.status == 503


def test_alone_when_the_upstream_is_away(tmp_path: Path) -> None:
    with serving(tmp_path / "upstream") as upstream:
        data = upstream.push_image("a/b", "1", "2", content=LAYER)
        with cache_of(tmp_path, upstream.host) as cache:
            assert pull(cache, "a/b", "manifests", "1").body == data
            assert pull(cache, "a/b", "blobs", digest(LAYER)).body == LAYER
            assert pull(cache, "a/b", "tags", "list").document["tags"] == ["1", "2"]
            upstream.stop()
            assert pull(cache, "a/b", "manifests", "1").body == data
            assert pull(cache, "a/b", "blobs", digest(LAYER)).body == LAYER
            assert pull(cache, "a/b", "tags", "list").document["tags"] == ["1"]
            assert pull(cache, "a/b", "referrers", digest(data)).document["manifests"] == []
            assert cache.ask("GET", "/v2/_catalog").document == {"repositories": ["a/b"]}
            for kind, last in (("manifests", "2"), ("blobs", digest(b"x"))):
                assert pull(cache, "a/b", kind, last).status == 503


def test_a_blob_is_only_where_the_upstream_has_it(tmp_path: Path) -> None:
    with serving(tmp_path / "upstream") as upstream, cache_of(tmp_path, upstream.host) as cache:
        upstream.push_blob("a/b", LAYER)
        assert pull(cache, "a/b", "blobs", digest(LAYER), "HEAD").headers["content-length"] == str(len(LAYER))
        assert cache.blobs() == set()
        assert pull(cache, "a/b", "blobs", digest(LAYER)).body == LAYER
        upstream.push_blob("c/d", b"")
        refused(pull(cache, "c/d", "blobs", digest(LAYER)), 404, "BLOB_UNKNOWN")
        upstream.push_blob("c/d", LAYER)
        assert pull(cache, "c/d", "blobs", digest(LAYER)).body == LAYER


def test_the_upstream_wants_a_password(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f"{PASSWORD}\n")
    with serving(tmp_path / "upstream") as upstream:
        data = upstream.push_image("a/b", "1")
        upstream.stop()
        with serving(tmp_path / "upstream", htpasswd=True) as upstream:
            with cache_of(tmp_path, upstream.host) as cache:
                refused(pull(cache, "a/b", "manifests", "1"), 403, "DENIED")
            flags = (f"--proxy-username={USER}", f"--proxy-password-file={secret}")
            with cache_of(tmp_path, upstream.host, *flags) as cache:
                assert pull(cache, "a/b", "manifests", "1").body == data


@pytest.mark.parametrize("api", [True, False])
def test_referrers(faulty: FaultRegistry, tmp_path: Path, *, api: bool) -> None:
    image = faulty.add_image("a/b", "1", [LAYER])
    about = {"mediaType": OCI_MANIFEST, "digest": image.manifest, "size": 1}
    signature = manifest(image.id, [], subject=about)
    listed = index(signature)
    if api:
        path = f"/v2/a/b/referrers/{image.manifest}"
        faulty.fault("GET", path, Reply(200, {"Content-Type": OCI_INDEX}, listed))
    else:
        faulty.add_manifest("a/b", image.manifest.replace(":", "-"), OCI_INDEX, listed)
    with cache_of(tmp_path, faulty.host) as cache:
        found = pull(cache, "a/b", "referrers", image.manifest).document["manifests"]
        assert [entry["digest"] for entry in found] == [digest(signature)]
        wanted = f"{image.manifest}?artifactType=a/b"
        assert pull(cache, "a/b", "referrers", wanted).document["manifests"] == []
