"""Further checks of the kind of ``registry_checks``: those that need a registry set up in their own way."""

import base64
import re
from pathlib import Path

import pytest
from support.fault_registry import FaultRegistry
from support.registries import PASSWORD, USER
from support.registry_checks import DATA, after, new_name, patch, pull, refused
from support.registry_server import OCTETS, SampanRegistry, digest, sampan_registry

from sampan.distribution import uploads
from sampan.distribution.errors import TooManyRequests
from sampan.distribution.server import error_response
from sampan.distribution.store import Store


def expiry(folder: Path) -> None:
    """An upload that nobody goes on with is given up, and its bytes with it."""
    with sampan_registry(folder) as registry:
        location = patch(registry, registry.begin("a"), DATA, 0).headers["location"]
        registry.stop()
        registry.start()
        assert registry.ask("GET", location).headers["range"] == f"0-{len(DATA) - 1}"  # still wanted
        registry.stop()
        registry.start("--upload-timeout=0")
        refused(registry.ask("GET", location), 404, "BLOB_UPLOAD_UNKNOWN")
        assert registry.leftovers() == []


def no_delete(folder: Path) -> None:
    """With ``--delete=false`` everything but an upload stays."""
    with sampan_registry(folder, "127.0.0.1:0", "--delete=false") as registry:
        data = registry.push_image("a", "1", content=DATA)
        for path in ("manifests/1", f"manifests/{digest(data)}", f"blobs/{digest(DATA)}"):
            refused(registry.ask("DELETE", f"/v2/a/{path}"), 405, "UNSUPPORTED")
        assert pull(registry, "a", "manifests", "1").body == data
        assert registry.ask("DELETE", registry.begin("a")).status == 204


def read_only(folder: Path) -> None:
    """With ``--read-only`` pulling is all that works."""
    with sampan_registry(folder) as registry:
        data = registry.push_image("a", "1")
        registry.stop()
        registry.start("--read-only=true")
        assert pull(registry, "a", "manifests", "1").body == data
        for method, path in (
            ("POST", "/v2/a/blobs/uploads/"),
            ("PUT", "/v2/a/manifests/1"),
            ("DELETE", "/v2/a/manifests/1"),
        ):
            reply = registry.ask(method, path)
            refused(reply, 405, "UNSUPPORTED")
            assert reply.document["errors"][0]["message"] == "this registry is read-only"


def head_limit(folder: Path) -> None:
    """A head that is too long is said to be, and the registry lives on."""
    with sampan_registry(folder) as registry:
        reply = registry.ask("GET", "/v2/", headers={"X-Long": "x" * (1 << 20)})
        assert reply.status == 431
        reply = registry.ask("GET", "/v2/", headers={f"X-{number}": "x" for number in range(300)})
        assert reply.status == 431
        assert registry.ask("GET", "/v2/").status == 200


def passwords(folder: Path) -> None:
    """``/v2/`` asks who it is, as everything else does."""

    def basic(text: str) -> dict[str, str]:
        return {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}

    with sampan_registry(folder, htpasswd=True) as registry:
        for path in ("/v2/", "/v2/a/tags/list", "/v2/_catalog", "/v2/A"):
            reply = registry.ask("GET", path)
            refused(reply, 401, "UNAUTHORIZED")
            assert reply.headers["www-authenticate"].startswith('Basic realm="')
        for wrong in (f"{USER}:wrong", f"bob:{PASSWORD}", f"{USER}:", ":", f"{USER}:{PASSWORD}\0x", ""):
            assert registry.ask("GET", "/v2/", headers=basic(wrong)).status == 401
        assert registry.ask("GET", "/v2/", headers={"Authorization": "Basic !!"}).status == 401
        for _ in range(2):  # the second time from memory
            assert registry.ask("GET", "/v2/", headers=basic(f"{USER}:{PASSWORD}")).status == 200
        (folder / "htpasswd").write_text("# nobody\n")
        assert registry.ask("GET", "/v2/", headers=basic(f"{USER}:{PASSWORD}")).status == 401


def too_many(folder: Path) -> None:
    """A client that begins upload after upload is told to wait."""
    store = Store(folder)
    try:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(uploads, "_MOST", 2)
            sessions = uploads.Uploads(store, 0, 60)
            sessions.begin("a", "sha256")
            sessions.begin("a", "sha256")
            with pytest.raises(TooManyRequests) as caught:
                sessions.begin("a", "sha256")
        answer = error_response(caught.value)
        assert answer.status == 429
        assert answer.headers["Retry-After"].isdigit()
    finally:
        store.close()


def cache(folder: Path) -> None:
    """A cache pulls for its clients, and shows its own credentials, not theirs."""
    with FaultRegistry() as upstream:
        image = upstream.add_image("a/b", "1", [DATA])
        flags = f"--proxy=http://{upstream.host}"
        with sampan_registry(folder, "127.0.0.1:0", flags) as registry:
            theirs = {"Authorization": "Basic c2VjcmV0OnNlY3JldA=="}
            reply = registry.ask("GET", "/v2/a/b/manifests/1", headers=theirs)
            assert reply.headers["docker-content-digest"] == image.manifest
            assert registry.ask("GET", f"/v2/a/b/blobs/{image.layers[0]}", headers=theirs).status == 200
            assert all("authorization" not in asked.headers for asked in upstream.asked)
            refused(registry.ask("POST", "/v2/a/b/blobs/uploads/"), 405, "UNSUPPORTED")


def warnings(folder: Path) -> None:
    """A cache warns that what it gives may not be the latest."""
    with sampan_registry(folder / "upstream") as upstream:
        upstream.push_image("a/b", "1")
        flags = f"--proxy=http://{upstream.host}"
        with sampan_registry(folder / "cache", "127.0.0.1:0", flags) as registry:
            assert "warning" not in registry.ask("GET", "/v2/a/b/manifests/1").headers
            upstream.stop()
            reply = registry.ask("GET", "/v2/a/b/manifests/1")
            assert reply.status == 200
            assert re.fullmatch(r'299 - "[^"]+"', reply.headers["warning"])
            assert len(reply.headers["warning"]) < 4096


def workflows(folder: Path) -> None:
    """The four categories, one after the other, as a client goes through them."""
    name, other = new_name(), new_name()
    with sampan_registry(folder) as registry:
        data = _push(registry, name)
        assert pull(registry, name, "manifests", "1", "HEAD").headers["docker-content-digest"] == digest(data)
        assert pull(registry, name, "manifests", digest(data)).body == data
        assert pull(registry, name, "blobs", digest(DATA)).body == DATA
        mounted = registry.ask("POST", f"/v2/{other}/blobs/uploads/?mount={digest(DATA)}&from={name}")
        assert mounted.status == 201
        assert pull(registry, name, "tags", "list?n=1").document["tags"] == ["1"]
        assert registry.ask("DELETE", f"/v2/{name}/manifests/{digest(data)}").status == 202
        assert registry.ask("DELETE", f"/v2/{name}/blobs/{digest(DATA)}").status == 202
        assert pull(registry, name, "manifests", "1").status == 404
        assert pull(registry, name, "blobs", digest(DATA)).status == 404
        assert pull(registry, other, "blobs", digest(DATA)).body == DATA


def _push(registry: SampanRegistry, name: str) -> bytes:
    half = len(DATA) // 2
    location = patch(registry, registry.begin(name), DATA[:half], 0).headers["location"]
    refused(patch(registry, location, DATA[:half], 0), 416)
    location = registry.ask("GET", location).headers["location"]
    headers = {**OCTETS, "Content-Range": f"{half}-{len(DATA) - 1}"}
    assert registry.ask("PUT", after(location, digest(DATA)), DATA[half:], headers).status == 201
    return registry.push_image(name, "1", content=DATA)
