"""What the OCI distribution specification asks of a registry, each as a function that holds it to it.

The table that says which sentence of the specification is which function: ``test_requirements``. Every check
works in repositories of its own.
"""

import itertools
import json
import re
import uuid
from typing import Final
from urllib.parse import quote

from support.registry_server import (
    OCI_INDEX,
    OCI_MANIFEST,
    OCTETS,
    Reply,
    SampanRegistry,
    digest,
    index,
    manifest,
)

R = SampanRegistry
CODES: Final = frozenset(
    "BLOB_UNKNOWN BLOB_UPLOAD_INVALID BLOB_UPLOAD_UNKNOWN DIGEST_INVALID MANIFEST_BLOB_UNKNOWN "
    "MANIFEST_INVALID "
    "MANIFEST_UNKNOWN NAME_INVALID NAME_UNKNOWN SIZE_INVALID UNAUTHORIZED DENIED UNSUPPORTED "
    "TOOMANYREQUESTS".split()
)
NOWHERE: Final = digest(b"what nobody has pushed")
DATA: Final = bytes(range(256)) * 40
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_numbers = itertools.count()


def new_name() -> str:
    """Return the name of a repository that nobody has used."""
    return f"checks/r{next(_numbers)}-{uuid.uuid4().hex[:6]}"


def pull(r: R, name: str, kind: str, last: str, method: str = "GET", **headers: str) -> Reply:
    return r.ask(method, f"/v2/{name}/{kind}/{last}", headers=headers)


def refused(reply: Reply, status: int, code: str = "") -> None:
    assert reply.status == status, reply
    error_form(reply)
    if code:
        assert reply.codes == [code]


def error_form(reply: Reply) -> None:
    assert reply.headers["content-type"] == "application/json"
    assert set(reply.document) == {"errors"}
    for error in reply.document["errors"]:
        assert error["code"] in CODES
        assert isinstance(error["message"], str)
        assert error["message"]


def after(location: str, found: str) -> str:
    return location + ("&" if "?" in location else "?") + f"digest={quote(found)}"


def patch(r: R, location: str, data: bytes, start: int | None = None) -> Reply:
    headers = dict(OCTETS)
    if start is not None:
        headers["Content-Range"] = f"{start}-{start + len(data) - 1}"
    return r.ask("PATCH", location, data, headers)


# --- pull


def base(r: R) -> None:
    reply = r.ask("GET", "/v2/")
    assert reply.status == 200
    assert reply.headers["docker-distribution-api-version"] == "registry/2.0"


def any_order(r: R) -> None:
    name = new_name()
    data = r.push_image(name, "a")
    for each in json.loads(data)["layers"]:
        assert pull(r, name, "blobs", each["digest"]).status == 200
    assert pull(r, name, "manifests", "a").body == data


def references(r: R) -> None:
    name = new_name()
    r.push_image(name, "good.Tag_1-x", "_", "a" * 128)
    assert pull(r, name, "manifests", "a" * 128).status == 200
    for bad in (".x", "-x", "a" * 129, "a%20b", "%2e%2e", "a+b"):
        assert pull(r, name, "manifests", bad).status == 404
        refused(r.ask("PUT", f"/v2/{name}/manifests/{bad}", b"{}"), 400, "MANIFEST_INVALID")
    for bad in ("sha256:abc", "sha256:" + "g" * 64, "md5:" + "0" * 32, "a:b"):
        refused(pull(r, name, "manifests", bad), 400, "DIGEST_INVALID")


def names(r: R) -> None:
    for good in ("a", "a/b", "a-b.c_d__e/f--g", "manifests/blobs/tags", "blobs/uploads/x", "0"):
        data = r.push_image(good, "1")
        assert pull(r, good, "manifests", "1").body == data
    long = "x" * 255
    assert r.ask("POST", f"/v2/{long}/blobs/uploads/").status == 202
    for bad in ("A", "a//b", "-a", "a.", "a..b", "a___b", "..", "%2e%2e/x", "a%00", "ä", "a_/b", long + "x"):
        for path in (f"/v2/{quote(bad, safe='%/')}/blobs/uploads/", f"/v2/{quote(bad, safe='%/')}/tags/list"):
            method = "POST" if path.endswith("uploads/") else "GET"
            refused(r.ask(method, path), 400, "NAME_INVALID")


def manifest_get(r: R) -> None:
    name = new_name()
    data = r.push_image(name, "1")
    for reference in ("1", digest(data)):
        reply = pull(r, name, "manifests", reference)
        assert (reply.status, reply.body) == (200, data)
        assert reply.headers["docker-content-digest"] == digest(data)


def content_type(r: R) -> None:
    name = new_name()
    config = r.push_blob(name, b"{}")
    without = json.loads(manifest(config, []))
    del without["mediaType"]
    data = json.dumps(without).encode()
    for kind in (OCI_MANIFEST, "application/vnd.docker.distribution.manifest.v2+json"):
        r.push_manifest(name, "1", data, kind)
        for method in ("GET", "HEAD"):
            assert pull(r, name, "manifests", "1", method).headers["content-type"] == kind


def other_algorithm(r: R) -> None:
    """A manifest is found by the digest it was pushed by; what a tag says is one that can be checked."""
    name = new_name()
    config = r.push_blob(name, b"{}", "sha512")
    data = manifest(config, [])
    found = digest(data, "sha512")
    reply = r.push_manifest(name, found, data)
    assert reply.headers["docker-content-digest"] == found
    assert pull(r, name, "manifests", found).headers["docker-content-digest"] == found
    r.push_manifest(name, "1", data)
    assert pull(r, name, "manifests", "1").headers["docker-content-digest"] == digest(data)


def manifest_missing(r: R) -> None:
    name = new_name()
    r.push_image(name, "1")
    for last in ("2", NOWHERE, ".INVALID_MANIFEST_NAME"):
        assert pull(r, name, "manifests", last, "HEAD").status == 404
        refused(pull(r, name, "manifests", last), 404, "MANIFEST_UNKNOWN")


def blob_get(r: R) -> None:
    name = new_name()
    for algorithm in ("sha256", "sha512"):
        for data in (DATA, b""):
            found = r.push_blob(name, data, algorithm)
            reply = pull(r, name, "blobs", found)
            assert (reply.status, reply.body) == (200, data)
            assert reply.headers["docker-content-digest"] == found


def blob_missing(r: R) -> None:
    name, other = new_name(), new_name()
    r.push_image(name, "1")
    elsewhere = r.push_blob(other, b"in another repository")
    for last in (NOWHERE, elsewhere):
        assert pull(r, name, "blobs", last, "HEAD").status == 404
        refused(pull(r, name, "blobs", last), 404, "BLOB_UNKNOWN")


def ranges(r: R) -> None:
    name = new_name()
    found = r.push_blob(name, DATA)
    size = len(DATA)
    assert pull(r, name, "blobs", found).headers["accept-ranges"] == "bytes"
    for text, start, end in (
        ("bytes=0-0", 0, 1),
        ("bytes=5-9", 5, 10),
        (f"bytes={size - 3}-", size - 3, size),
        ("bytes=-7", size - 7, size),
        (f"bytes=10-{size * 2}", 10, size),
        (f"bytes=-{size * 2}", 0, size),
    ):
        reply = pull(r, name, "blobs", found, Range=text)
        assert (reply.status, reply.body) == (206, DATA[start:end]), text
        assert reply.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
    for text in (f"bytes={size}-", "bytes=-0", f"bytes={size}-{size + 5}"):
        reply = pull(r, name, "blobs", found, Range=text)
        refused(reply, 416)
        assert reply.headers["content-range"] == f"bytes */{size}"
    for text in (
        "bytes=9-5",
        "lines=1-2",
        "bytes=0-1,5-6",
        "bytes=-",
        "bytes=x-y",
    ):  # as if it were not there
        reply = pull(r, name, "blobs", found, Range=text)
        assert (reply.status, reply.body) == (200, DATA), text
    assert pull(r, name, "blobs", found, "HEAD", Range="bytes=0-0").status == 200
    conditional = {"Range": "bytes=0-0", "If-Range": '"sha256:other"'}
    assert pull(r, name, "blobs", found, **conditional).status == 200
    assert pull(r, name, "blobs", found, **{**conditional, "If-Range": f'"{found}"'}).status == 206


def head(r: R) -> None:
    name = new_name()
    data = r.push_image(name, "1", content=DATA)
    for kind, last, found, size in (
        ("manifests", "1", digest(data), len(data)),
        ("manifests", digest(data), digest(data), len(data)),
        ("blobs", digest(DATA), digest(DATA), len(DATA)),
    ):
        reply = pull(r, name, kind, last, "HEAD")
        assert (reply.status, reply.body) == (200, b"")
        assert reply.headers["docker-content-digest"] == found
        assert reply.headers["content-length"] == str(size)


def no_repository(r: R) -> None:
    name = new_name()
    refused(pull(r, name, "manifests", "1"), 404, "MANIFEST_UNKNOWN")  # as docker-registry has it
    for kind, last in (("blobs", NOWHERE), ("tags", "list")):
        refused(pull(r, name, kind, last), 404, "NAME_UNKNOWN")


# --- push


def early_subject(r: R) -> None:
    name = new_name()
    subject = {"mediaType": OCI_MANIFEST, "digest": NOWHERE, "size": 7}
    r.push_image(name, "1", subject=subject)
    assert pull(r, name, "manifests", "1").status == 200


def blob_unknown(r: R) -> None:
    name = new_name()
    config = r.push_blob(name, b"{}")
    for data, kind in (
        (manifest(config, [(NOWHERE, 7)]), OCI_MANIFEST),
        (manifest(NOWHERE, []), OCI_MANIFEST),
        (index(b"an unknown manifest"), OCI_INDEX),
    ):
        reply = r.ask("PUT", f"/v2/{name}/manifests/1", data, {"Content-Type": kind})
        refused(reply, 404, "MANIFEST_BLOB_UNKNOWN")


def digest_invalid(r: R) -> None:
    name = new_name()
    for bad in ("sha256:00", "md5:d41d8cd98f00b204e9800998ecf8427e", "nonsense", "sha384:" + "0" * 96):
        refused(r.ask("POST", f"/v2/{name}/blobs/uploads/?digest={bad}", DATA, OCTETS), 400, "DIGEST_INVALID")
        refused(r.ask("POST", f"/v2/{name}/blobs/uploads/?mount={bad}"), 400, "DIGEST_INVALID")
        refused(r.ask("PUT", after(r.begin(name), bad), DATA, OCTETS), 400, "DIGEST_INVALID")
    for wrong in (NOWHERE, digest(b"other", "sha512")):
        location = r.begin(name)
        refused(r.ask("PUT", after(location, wrong), DATA, OCTETS), 400, "DIGEST_INVALID")
        refused(r.ask("GET", location), 404, "BLOB_UPLOAD_UNKNOWN")
        assert pull(r, name, "blobs", wrong).status == 404


def begin(r: R) -> None:
    reply = r.ask("POST", f"/v2/{new_name()}/blobs/uploads/")
    assert reply.status == 202
    assert _UUID.search(reply.headers["location"])
    other = r.ask("POST", f"/v2/{new_name()}/blobs/uploads/", headers={"Content-Length": "0"})
    assert other.headers["location"] != reply.headers["location"]


def post_put(r: R) -> None:
    name = new_name()
    for body in (DATA, [DATA[:100], DATA[100:]], b""):
        whole = body if isinstance(body, bytes) else b"".join(body)
        reply = r.ask("PUT", after(r.begin(name), digest(whole)), body, OCTETS)
        assert reply.status == 201
        assert r.ask("GET", reply.headers["location"]).body == whole


def single_post(r: R) -> None:
    name = new_name()
    reply = r.ask("POST", f"/v2/{name}/blobs/uploads/?digest={digest(DATA)}", DATA, OCTETS)
    assert reply.status == 201
    assert r.ask("GET", reply.headers["location"]).body == DATA
    reply = r.ask("POST", f"/v2/{name}/blobs/uploads/?digest={NOWHERE}", DATA, OCTETS)
    refused(reply, 400, "DIGEST_INVALID")


def nothing_with_digest(r: R) -> None:
    """Who asks with a digest and sends nothing gets a session."""
    name = new_name()
    reply = r.ask("POST", f"/v2/{name}/blobs/uploads/?digest={digest(DATA)}")
    assert reply.status == 202
    assert r.ask("PUT", after(reply.headers["location"], digest(DATA)), DATA, OCTETS).status == 201


def chunks(r: R, algorithm: str = "sha256", *, last_by_put: bool = False) -> None:
    name = new_name()
    reply = r.ask("POST", f"/v2/{name}/blobs/uploads/?digest-algorithm={algorithm}")
    assert "oci-chunk-min-length" not in reply.headers  # there is none
    location, at = reply.headers["location"], 0
    for size in (1, 100, 5000):
        reply = patch(r, location, DATA[at : at + size], at)
        at += size
        assert reply.status == 202
        assert reply.headers["range"] == f"0-{at - 1}"
        location = reply.headers["location"]
    if last_by_put:
        headers = {**OCTETS, "Content-Range": f"{at}-{len(DATA) - 1}"}
        reply = r.ask("PUT", after(location, digest(DATA, algorithm)), DATA[at:], headers)
    else:
        location = patch(r, location, DATA[at:], at).headers["location"]
        reply = r.ask("PUT", after(location, digest(DATA, algorithm)))
    assert reply.status == 201
    assert reply.headers["docker-content-digest"] == digest(DATA, algorithm)
    assert r.ask("GET", reply.headers["location"]).body == DATA


def chunks_sha512(r: R) -> None:
    chunks(r, "sha512")
    name = new_name()  # an algorithm that was not announced is made up for
    location = patch(r, r.begin(name), DATA, 0).headers["location"]
    assert r.ask("PUT", after(location, digest(DATA, "sha512"))).status == 201
    refused(r.ask("POST", f"/v2/{name}/blobs/uploads/?digest-algorithm=md5"), 400, "DIGEST_INVALID")


def last_chunk_by_put(r: R) -> None:
    chunks(r, last_by_put=True)


def chunk_form(r: R) -> None:
    location = r.begin(new_name())
    for bad in ("bytes 0-9/10", "0-", "-9", "9-0", "a-b", "0-9-10"):
        reply = r.ask("PATCH", location, DATA[:10], {**OCTETS, "Content-Range": bad})
        refused(reply, 400, "BLOB_UPLOAD_INVALID")
    reply = r.ask("PATCH", location, DATA[:10], {**OCTETS, "Content-Range": "0-10"})
    refused(reply, 400, "SIZE_INVALID")
    assert patch(r, location, DATA[:10], 0).headers["range"] == "0-9"


def stream(r: R) -> None:
    """A PATCH without Content-Range appends, as Docker's client wants it."""
    name = new_name()
    location = r.begin(name)
    assert r.ask("PATCH", location, [DATA[:9], DATA[9:30]], OCTETS).headers["range"] == "0-29"
    assert patch(r, location, DATA[30:]).headers["range"] == f"0-{len(DATA) - 1}"
    assert r.ask("PUT", after(location, digest(DATA))).status == 201


def out_of_order(r: R) -> None:
    name = new_name()
    location = r.begin(name)
    refused(patch(r, location, DATA[10:20], 10), 416, "BLOB_UPLOAD_INVALID")
    location = patch(r, location, DATA[:10], 0).headers["location"]
    for start in (0, 5, 11):
        reply = patch(r, location, DATA[start : start + 10], start)
        refused(reply, 416, "BLOB_UPLOAD_INVALID")
        assert reply.headers["range"] == "0-9"
    headers = {**OCTETS, "Content-Range": f"20-{len(DATA) - 1}"}
    refused(r.ask("PUT", after(location, digest(DATA)), DATA[20:], headers), 416, "BLOB_UPLOAD_INVALID")
    reply = r.ask("GET", location)
    assert (reply.status, reply.headers["range"]) == (204, "0-9")
    location = patch(r, reply.headers["location"], DATA[10:], 10).headers["location"]
    assert r.ask("PUT", after(location, digest(DATA))).status == 201


def needs_digest(r: R) -> None:
    location = patch(r, r.begin(new_name()), DATA, 0).headers["location"]
    refused(r.ask("PUT", location), 400, "DIGEST_INVALID")
    refused(r.ask("PUT", after(location, digest(DATA[10:]))), 400, "DIGEST_INVALID")


def status(r: R) -> None:
    location = r.begin(new_name())
    for size in (1, 99):
        patch(r, location, DATA[:size])
    reply = r.ask("GET", location)
    assert (reply.status, reply.body) == (204, b"")
    assert (reply.headers["location"], reply.headers["range"]) == (location, "0-99")
    refused(r.ask("GET", location + "0"), 404, "BLOB_UPLOAD_UNKNOWN")
    refused(r.ask("GET", f"/v2/{new_name()}/blobs/uploads/{location.rpartition('/')[2]}"), 404)


def cancel(r: R) -> None:
    location = patch(r, r.begin(new_name()), DATA, 0).headers["location"]
    assert r.ask("DELETE", location).status == 204
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        refused(r.ask(method, after(location, digest(DATA))), 404, "BLOB_UPLOAD_UNKNOWN")


def mount(r: R) -> None:
    name, other = new_name(), new_name()
    found = r.push_blob(other, DATA)
    reply = r.ask("POST", f"/v2/{name}/blobs/uploads/?mount={found}&from={other}")
    assert reply.status == 201
    assert reply.headers["docker-content-digest"] == found
    assert r.ask("GET", reply.headers["location"]).body == DATA
    assert f"/{name}/" in reply.headers["location"]


def mount_from_anywhere(r: R) -> None:
    name = new_name()
    found = r.push_blob(new_name(), DATA)
    assert r.ask("POST", f"/v2/{name}/blobs/uploads/?mount={found}").status == 201
    assert pull(r, name, "blobs", found).body == DATA


def mount_nothing(r: R) -> None:
    name, other = new_name(), new_name()
    found = r.push_blob(other, DATA)
    for query in (f"mount={NOWHERE}&from={other}", f"mount={found}&from={new_name()}", f"mount={NOWHERE}"):
        reply = r.ask("POST", f"/v2/{name}/blobs/uploads/?{query}")
        assert reply.status == 202
        assert r.ask("PUT", after(reply.headers["location"], digest(b"x")), b"x").status == 201


def type_parameters(r: R) -> None:
    name = new_name()
    config = r.push_blob(name, b"{}")
    r.push_manifest(name, "1", manifest(config, []), f"{OCI_MANIFEST}; charset=utf-8")
    assert pull(r, name, "manifests", "1").headers["content-type"] == OCI_MANIFEST


def type_checks(r: R) -> None:
    name = new_name()
    config = r.push_blob(name, b"{}")
    data = manifest(config, [])
    for kind in (OCI_INDEX, "application/vnd.docker.distribution.manifest.v2+json"):
        reply = r.ask("PUT", f"/v2/{name}/manifests/1", data, {"Content-Type": kind})
        refused(reply, 400, "MANIFEST_INVALID")
    for kind in ("text/html", "application/vnd.docker.distribution.manifest.v1+prettyjws"):
        reply = r.ask("PUT", f"/v2/{name}/manifests/1", b'{"schemaVersion":2}', {"Content-Type": kind})
        refused(reply, 400, "MANIFEST_INVALID")


def no_layers(r: R) -> None:
    name = new_name()
    config = r.push_blob(name, b"{}")
    r.push_manifest(name, "1", manifest(config, []))
    r.push_manifest(name, "2", index(), OCI_INDEX)


def exact_bytes(r: R) -> None:
    name = new_name()
    config = r.push_blob(name, b"{}")
    data = b"\n " + manifest(config, [], **{"x-unknown": [1, 1.50, "\u00fc"]}) + b"\n\n"
    reply = r.push_manifest(name, "1", data)
    assert reply.headers["docker-content-digest"] == digest(data)
    assert r.ask("GET", reply.headers["location"]).body == data


def put_by_digest(r: R) -> None:
    name = new_name()
    config = r.push_blob(name, b"{}")
    data = manifest(config, [])
    reply = r.push_manifest(name, digest(data), data)
    assert reply.headers["docker-content-digest"] == digest(data)
    refused(r.ask("PUT", f"/v2/{name}/manifests/{NOWHERE}", data), 400, "DIGEST_INVALID")
    assert pull(r, name, "tags", "list").document["tags"] == []


def tags_by_query(r: R, count: int = 12) -> None:
    name = new_name()
    config = r.push_blob(name, b"{}")
    data = manifest(config, [])
    tags = [f"t{number}" for number in range(count)]
    query = "&".join(f"tag={tag}" for tag in tags)
    reply = r.push_manifest(name, f"{digest(data)}?{query}", data)
    assert reply.headers["oci-tag"].split(", ") == tags
    assert pull(r, name, "tags", "list").document["tags"] == sorted(tags)
    assert pull(r, name, "manifests", "t3").body == data


def too_many_tags(r: R) -> None:
    tags_by_query(r, 100)
    query = "&".join(f"tag=t{number}" for number in range(101))
    reply = r.ask("PUT", f"/v2/{new_name()}/manifests/{digest(b'{}')}?{query}", b"{}")
    refused(reply, 414)


def manifest_limit(r: R) -> None:
    name = new_name()
    config = r.push_blob(name, b"{}")
    small = manifest(config, [])
    data = small + b" " * ((4 << 20) - len(small))
    r.push_manifest(name, "large", data)
    assert pull(r, name, "manifests", "large").body == data
    headers = {"Content-Type": OCI_MANIFEST}
    refused(r.ask("PUT", f"/v2/{name}/manifests/1", data + b" ", headers), 413, "MANIFEST_INVALID")
    refused(r.ask("PUT", f"/v2/{name}/manifests/1", [data, b" "], headers), 413, "MANIFEST_INVALID")


def oci_subject(r: R) -> None:
    name = new_name()
    data = r.push_image(name, "1")
    subject = {"mediaType": OCI_MANIFEST, "digest": digest(data), "size": len(data)}
    config = r.push_blob(name, b"{}")
    for document, kind in (
        (manifest(config, [], subject=subject), OCI_MANIFEST),
        (index(subject=subject), OCI_INDEX),
    ):
        reply = r.push_manifest(name, digest(document), document, kind)
        assert reply.headers["oci-subject"] == digest(data)
    assert "oci-subject" not in r.push_manifest(name, "1", data).headers


# --- content discovery


def tag_list(r: R) -> None:
    name = new_name()
    data = r.push_image(name)
    r.push_manifest(name, digest(data), data)
    reply = pull(r, name, "tags", "list")
    assert (reply.status, reply.document) == (200, {"name": name, "tags": []})
    tags = ["b", "a", "B", "a1", "10", "9", "_", "a.b"]
    for tag in tags:
        r.push_manifest(name, tag, data)
    reply = pull(r, name, "tags", "list")
    assert reply.headers["content-type"] == "application/json"
    assert reply.document == {"name": name, "tags": sorted(tags)}


def tag_pages(r: R) -> None:
    name = new_name()
    tags = [f"t{number}" for number in range(7)]
    r.push_image(name, *tags)
    for size in (1, 3, 7, 8, 500):
        seen: list[str] = []
        path = f"/v2/{name}/tags/list?n={size}"
        while path:
            reply = r.ask("GET", path)
            page = reply.document["tags"]
            link = reply.headers.get("link", "")
            assert len(page) == size or not link
            seen += page
            path = next_page(link)
        assert seen == tags
    reply = pull(r, name, "tags", "list?n=0")
    assert reply.document["tags"] == []
    assert "link" not in reply.headers
    for bad in ("-1", "x", "1.5"):
        assert pull(r, name, "tags", f"list?n={bad}").status == 400


def next_page(link: str) -> str:
    """Return the path of a Link header, which must be as RFC 5988 has it."""
    if not link:
        return ""
    found = re.fullmatch(r'<(/[^>]+)>; rel="next"', link)
    assert found is not None, link
    return found[1]


def tag_last(r: R) -> None:
    name = new_name()
    r.push_image(name, "a", "b", "c", "d")
    for query, tags in (
        ("n=2&last=a", ["b", "c"]),
        ("last=b", ["c", "d"]),
        ("last=bb", ["c", "d"]),
        ("last=1&n=1", ["a"]),  # a tag, not a number of one
        ("n=5&last=d", []),
    ):
        assert pull(r, name, "tags", f"list?{query}").document["tags"] == tags


def catalog(r: R) -> None:
    names = sorted(new_name() for _ in range(3))
    for name in names:
        r.push_image(name, "1")
    seen: list[str] = []
    path = "/v2/_catalog?n=2"
    while path:
        reply = r.ask("GET", path)
        seen += reply.document["repositories"]
        path = next_page(reply.headers.get("link", ""))
    assert seen == sorted(seen)
    assert set(names) <= set(seen)


def _referrers(r: R, name: str, subject: bytes) -> dict[str, bytes]:
    """Push one referrer of each kind; return their manifests."""
    config = r.push_blob(name, b"{}")
    about = {"mediaType": OCI_MANIFEST, "digest": digest(subject), "size": len(subject)}
    made = {
        "typed": manifest(
            config,
            [],
            subject=about,
            artifactType="application/vnd.example.sbom.v1+json",
            annotations={"org.example.format": "json", "x": ""},
        ),
        "by config": manifest(config, [], subject=about),
        "index": index(subject=about, artifactType="application/vnd.example.index", annotations={"a": "b"}),
        "untyped index": index(subject=about),
    }
    for kind, data in made.items():
        r.push_manifest(name, digest(data), data, OCI_INDEX if "index" in kind else OCI_MANIFEST)
    return made


def referrers(r: R) -> None:
    name = new_name()
    subject = r.push_image(name, "1")
    made = _referrers(r, name, subject)
    reply = pull(r, name, "referrers", digest(subject))
    assert reply.status == 200
    assert reply.headers["content-type"] == OCI_INDEX
    document = reply.document
    assert (document["schemaVersion"], document["mediaType"]) == (2, OCI_INDEX)
    found = {entry["digest"]: entry for entry in document["manifests"]}
    assert set(found) == {digest(data) for data in made.values()}
    for kind, data in made.items():
        entry = found[digest(data)]
        assert entry["size"] == len(data)
        assert entry["mediaType"] == (OCI_INDEX if "index" in kind else OCI_MANIFEST)
    typed, by_config, an_index, untyped = (found[digest(data)] for data in made.values())
    assert typed["artifactType"] == "application/vnd.example.sbom.v1+json"
    assert typed["annotations"] == {"org.example.format": "json", "x": ""}
    assert by_config["artifactType"] == "application/vnd.oci.image.config.v1+json"
    assert (an_index["artifactType"], an_index["annotations"]) == (
        "application/vnd.example.index",
        {"a": "b"},
    )
    assert "artifactType" not in untyped
    assert r.ask("DELETE", f"/v2/{name}/manifests/{digest(made['typed'])}").status == 202
    assert len(pull(r, name, "referrers", digest(subject)).document["manifests"]) == 3


def referrers_of_nothing(r: R) -> None:
    for name in (new_name(), "a"):
        reply = pull(r, name, "referrers", NOWHERE)
        assert (reply.status, reply.document["manifests"]) == (200, [])


def referrers_invalid(r: R) -> None:
    for bad in ("nonsense", "sha256:00", "md5:d41d8cd98f00b204e9800998ecf8427e"):
        refused(pull(r, new_name(), "referrers", bad), 400, "DIGEST_INVALID")


def referrers_filter(r: R) -> None:
    name = new_name()
    subject = r.push_image(name, "1")
    made = _referrers(r, name, subject)
    wanted = "application/vnd.example.sbom.v1+json"
    for text in (quote(wanted, safe=""), wanted):
        reply = pull(r, name, "referrers", f"{digest(subject)}?artifactType={text}")
        assert reply.headers["oci-filters-applied"] == "artifactType"
        assert [entry["digest"] for entry in reply.document["manifests"]] == [digest(made["typed"])]
    reply = pull(r, name, "referrers", f"{digest(subject)}?artifactType=application/none")
    assert (reply.status, reply.document["manifests"]) == (200, [])
    assert "oci-filters-applied" not in pull(r, name, "referrers", digest(subject)).headers


def referrers_pages(r: R) -> None:
    """More than one index may hold (4 MiB) comes in pages."""
    name = new_name()
    subject = r.push_image(name, "1")
    config = r.push_blob(name, b"{}")
    about = {"mediaType": OCI_MANIFEST, "digest": digest(subject), "size": len(subject)}
    made = set()
    for number in range(3):
        text = {"note": str(number) * (3 << 19)}
        data = manifest(config, [], subject=about, annotations=text, artifactType="application/x+y")
        r.push_manifest(name, digest(data), data)
        made.add(digest(data))
    seen: list[str] = []
    path, pages = f"/v2/{name}/referrers/{digest(subject)}?artifactType=application%2Fx%2By", 0
    while path:
        reply = r.ask("GET", path)
        assert len(reply.body) <= 4 << 20
        assert reply.headers["oci-filters-applied"] == "artifactType"
        seen += [entry["digest"] for entry in reply.document["manifests"]]
        path, pages = next_page(reply.headers.get("link", "")), pages + 1
    assert (set(seen), len(seen), pages) == (made, 3, 2)


def referrers_by_tag(r: R) -> None:
    """What a client keeps under the fallback's tag is served as it is, and its entries are listed as well."""
    name = new_name()
    subject = r.push_image(name, "1")
    config = r.push_blob(name, b"{}")
    about = {"mediaType": OCI_MANIFEST, "digest": digest(subject), "size": len(subject)}
    data = manifest(config, [], subject=about)
    r.push_manifest(name, digest(data), data)
    tag = digest(subject).replace(":", "-")
    listed = index(data)
    r.push_manifest(name, tag, listed, OCI_INDEX)
    assert pull(r, name, "manifests", tag).body == listed
    found = pull(r, name, "referrers", digest(subject)).document["manifests"]
    assert [entry["digest"] for entry in found] == [digest(data)]


# --- content management


def delete_tag(r: R) -> None:
    name = new_name()
    data = r.push_image(name, "1", "2")
    assert r.ask("DELETE", f"/v2/{name}/manifests/1").status == 202
    refused(pull(r, name, "manifests", "1"), 404, "MANIFEST_UNKNOWN")
    assert pull(r, name, "manifests", "2").body == data
    assert pull(r, name, "tags", "list").document["tags"] == ["2"]
    refused(r.ask("DELETE", f"/v2/{name}/manifests/1"), 404, "MANIFEST_UNKNOWN")


def delete_manifest(r: R) -> None:
    name = new_name()
    data = r.push_image(name, "1", "2")
    assert r.ask("DELETE", f"/v2/{name}/manifests/{digest(data)}").status == 202
    for last in ("1", "2", digest(data)):
        refused(pull(r, name, "manifests", last), 404, "MANIFEST_UNKNOWN")
    refused(r.ask("DELETE", f"/v2/{name}/manifests/{digest(data)}"), 404, "MANIFEST_UNKNOWN")


def delete_nowhere(r: R) -> None:
    refused(r.ask("DELETE", f"/v2/{new_name()}/manifests/{NOWHERE}"), 404, "NAME_UNKNOWN")
    refused(r.ask("DELETE", f"/v2/{new_name()}/blobs/{NOWHERE}"), 404, "NAME_UNKNOWN")


def delete_blob(r: R) -> None:
    name, other = new_name(), new_name()
    found = r.push_blob(name, DATA)
    r.push_blob(other, DATA)
    assert r.ask("DELETE", f"/v2/{name}/blobs/{found}").status == 202
    assert pull(r, name, "blobs", found).status == 404
    assert pull(r, other, "blobs", found).body == DATA
    r.push_blob(name, b"x")
    refused(r.ask("DELETE", f"/v2/{name}/blobs/{found}"), 404, "BLOB_UNKNOWN")


# --- the rest


def namespace_ignored(r: R) -> None:
    name = new_name()
    data = r.push_image(name, "1")
    reply = pull(r, name, "manifests", "1?ns=docker.io")
    assert reply.body == data
    assert "oci-namespace" not in reply.headers


def http_semantics(r: R) -> None:
    name = new_name()
    data = r.push_image(name, "1", content=DATA)
    for kind, last, found in (("manifests", "1", digest(data)), ("blobs", digest(DATA), digest(DATA))):
        known = {"If-None-Match": f'"{found}"'}
        reply = pull(r, name, kind, last, **known)
        assert (reply.status, reply.body) == (304, b"")
        assert reply.headers["etag"] == f'"{found}"'
    reply = r.ask("POST", f"/v2/{name}/manifests/1", b"{}")
    refused(reply, 405, "UNSUPPORTED")
    assert reply.headers["allow"] == "GET, HEAD, PUT, DELETE"
    assert r.ask("GET", "/v2/x").status == 404
    assert r.ask("GET", "/").status == 200


def conditional_put(r: R) -> None:
    name = new_name()
    config = r.push_blob(name, b"{}")
    one, two = manifest(config, []), manifest(config, [], annotations={"a": "b"})

    def put(data: bytes, **condition: str) -> int:
        return r.ask(
            "PUT", f"/v2/{name}/manifests/1", data, {"Content-Type": OCI_MANIFEST, **condition}
        ).status

    assert put(one, **{"If-Match": f'"{digest(one)}"'}) == 412
    assert put(one, **{"If-None-Match": "*"}) == 201
    assert put(two, **{"If-None-Match": "*"}) == 412
    assert put(two, **{"If-Match": f'"{digest(two)}"'}) == 412
    assert put(two, **{"If-Match": f'"{digest(one)}"'}) == 201
    assert pull(r, name, "manifests", "1").body == two


def errors(r: R) -> None:
    for method, path in (
        ("GET", f"/v2/{new_name()}/manifests/1"),
        ("GET", f"/v2/{new_name()}/blobs/sha256:0"),
        ("GET", "/v2/A/tags/list"),
        ("PUT", f"/v2/{new_name()}/manifests/1"),
        ("PUT", f"/v2/{new_name()}/blobs/uploads/x"),
        ("POST", "/v2/a/tags/list"),
        ("GET", "/v2/a/tags/list?n=x"),
        ("GET", "/v2/a/tags/list?n=%zz"),
    ):
        reply = r.ask(method, path)
        assert 400 <= reply.status < 500
        error_form(reply)
