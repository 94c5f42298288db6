"""What a registry tells beside images: searches, and what refers to a manifest."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import pytest
from support.fault_registry import FaultRegistry, Reply
from support.image_archives import layer

from sampan.base.errors import EngineError, InvalidParameter, Unauthorized
from sampan.oci.digest import Digest
from sampan.oci.reference import parse_normalized
from sampan.registry.errors import BadAnswer, ConnectionFailed
from sampan.registry.referrers import fallback_tag, list_referrers, push_manifest
from sampan.registry.search import plan, search, split_term
from sampan.registry.service import Registries
from sampan.registry.settings import RegistrySettings
from sampan.wire.images import SearchResult

T = TypeVar("T")
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture
def registry() -> Iterator[FaultRegistry]:
    with FaultRegistry() as found:
        yield found


def ask(question: Callable[[Registries], Awaitable[T]]) -> T:
    async def scene() -> T:
        registries = Registries(RegistrySettings(), {})
        try:
            return await question(registries)
        finally:
            await registries.close()

    return asyncio.run(scene())


def found_by(term: str, limit: int = 0, **filters: list[str]) -> list[SearchResult]:
    wanted = plan(term, limit, {name.replace("_", "-"): values for name, values in filters.items()})
    return ask(lambda registries: search(registries, wanted))


@pytest.mark.parametrize(
    ("term", "place"),
    [
        ("busybox", ("index.docker.io", "busybox")),
        ("library/busybox", ("index.docker.io", "busybox")),
        ("some/box", ("index.docker.io", "some/box")),
        ("docker.io/library/box", ("index.docker.io", "box")),
        ("localhost/box", ("localhost", "box")),
        ("127.0.0.1:5000/a/box", ("127.0.0.1:5000", "a/box")),
    ],
)
def test_where_a_search_goes(term: str, place: tuple[str, str]) -> None:
    assert split_term(term) == place


@pytest.mark.parametrize(
    ("limit", "filters", "term", "text"),
    [
        (101, {}, "x", "limit 101 is outside the range of [1, 100]"),
        (-1, {}, "x", "limit -1 is outside the range of [1, 100]"),
        (0, {"foo": ["x"]}, "x", "invalid filter 'foo'"),
        (0, {"stars": ["x"]}, "x", "invalid filter 'stars=x'"),
        (0, {"is-official": ["x"]}, "x", "invalid filter 'is-official=[x]'"),
        (
            0,
            {},
            "https://x/y",
            "invalid repository name: repository name (https://x/y) should not have a scheme",
        ),
    ],
)
def test_searches_that_are_refused(limit: int, filters: dict[str, list[str]], term: str, text: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        plan(term, limit, filters)
    assert str(caught.value) == text


def test_an_index_is_searched(registry: FaultRegistry) -> None:
    results = [
        {"name": f"box{n}", "star_count": n, "is_official": n == 3, "is_automated": False} for n in range(5)
    ]
    body = json.dumps({"num_results": 5, "results": results}).encode()
    registry.fault("GET", "/v1/search", Reply(200, body=body))
    assert [each.name for each in found_by(f"{registry.host}/box", 2)] == ["box0", "box1"]
    assert registry.asked[0].target == "/v1/search?q=box&n=2"
    assert [each.name for each in found_by(f"{registry.host}/box", is_official=["true"])] == ["box3"]
    assert [each.name for each in found_by(f"{registry.host}/box", stars=["2", "4"])] == ["box4"]


def test_a_catalog_is_looked_through(registry: FaultRegistry) -> None:
    for name in ("a/box", "b/box2", "c/other"):
        registry.add_image(name, "1", [layer("x")])
    names = [f"{registry.host}/a/box", f"{registry.host}/b/box2"]
    assert [each.name for each in found_by(f"{registry.host}/Box")] == names
    assert found_by(f"{registry.host}/box", stars=["1"]) == []
    pages = [
        Reply(200, {"Link": '</v2/_catalog?last=x>; rel="next"'}, b'{"repositories":["z/one"]}'),
        Reply(200, body=b'{"repositories":["z/two"]}'),
    ]
    for page in pages:
        registry.fault("GET", "/v2/_catalog", page, times=1)
    assert [each.name for each in found_by(f"{registry.host}/z/")] == [
        f"{registry.host}/z/one",
        f"{registry.host}/z/two",
    ]


@pytest.mark.parametrize(
    ("reply", "kind", "text"),
    [
        (Reply(404), BadAnswer, "offers no search: Unexpected status code 404"),
        (Reply(200, body=b"[" * 100_000), BadAnswer, "cannot be read"),
        (Reply(200, body=b" " * (5 << 20)), BadAnswer, "answers with more than"),
        (Reply(401, {"WWW-Authenticate": 'Basic realm="x"'}), Unauthorized, "no basic auth credentials"),
        (Reply(raw=b""), ConnectionFailed, "EOF"),
    ],
)
def test_a_search_that_fails(
    registry: FaultRegistry, reply: Reply, kind: type[EngineError], text: str
) -> None:
    registry.fault("GET", "/v2/_catalog", reply)
    with pytest.raises(kind, match=text):
        found_by(f"{registry.host}/box")


def artifact(registry: FaultRegistry, subject: str, kind: str) -> bytes:
    described = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest.of(b"{}"), "size": 2}
    size = len(registry.manifests[f"a/b@{subject}"][1])
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": kind,
        "config": described,
        "layers": [described],
        "subject": {"mediaType": MANIFEST, "digest": subject, "size": size},
    }
    return json.dumps(document).encode()


@pytest.mark.parametrize("listed", [True, False], ids=["by the registry", "by a tag"])
def test_referrers(registry: FaultRegistry, listed: bool) -> None:
    registry.referrers = listed
    image = registry.add_image("a/b", "1", [layer("x")])
    name = parse_normalized(f"{registry.host}/a/b:1")
    signature, bom = (artifact(registry, image.manifest, f"application/{kind}") for kind in ("sig", "bom"))

    async def scene(registries: Registries) -> None:
        repository = (await registries.repositories(name, actions="pull,push"))[-1]
        assert await list_referrers(repository, image.manifest) == []
        for data in (signature, bom, signature):  # once more does no harm
            await push_manifest(repository, str(Digest.of(data)), MANIFEST, data)
        found = await list_referrers(repository, image.manifest)
        assert [(each.digest, each.size, each.artifact_type) for each in found] == [
            (Digest.of(signature), len(signature), "application/sig"),
            (Digest.of(bom), len(bom), "application/bom"),
        ]
        (only,) = await list_referrers(repository, image.manifest, "application/bom")
        assert only.digest == Digest.of(bom)

    ask(scene)
    tag = fallback_tag(image.manifest)
    assert tag == f"sha256-{image.manifest[7:]}"
    assert (f"a/b@{tag}" in registry.manifests) is not listed
    subject, found = ask(lambda registries: registries.referrers(name))
    assert subject.digest == image.manifest
    assert len(found) == 2


def test_tags_of_long_digests() -> None:
    assert fallback_tag(f"sha512:{'a' * 128}") == f"sha512-{'a' * 64}"
    assert fallback_tag(f"{'x' * 40}:{'b' * 10}") == f"{'x' * 32}-{'b' * 10}"


@pytest.mark.parametrize("body", [b"garbage", b'{"schemaVersion":2,"manifests":[{}]}', b"[" * 100_000])
def test_a_list_of_referrers_that_is_none(registry: FaultRegistry, body: bytes) -> None:
    image = registry.add_image("a/b", "1", [layer("x")])
    registry.fault("GET", f"/v2/a/b/referrers/{image.manifest}", Reply(200, body=body))
    with pytest.raises(EngineError, match="invalid image index"):
        ask(lambda registries: registries.referrers(parse_normalized(f"{registry.host}/a/b:1")))
