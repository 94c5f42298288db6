"""The OCI distribution specification, sentence by sentence, against our registry.

Every sentence with a key word of RFC 2119 (MUST, SHOULD, MAY, OPTIONAL) is a row: by its section and its
first words, with the check that holds our registry to it. ``CLIENT`` rows ask something of clients: what ours
do is tested where they are. Where the specification's text is at hand, no sentence of it may be missing.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from support import registry_checks as checks
from support import registry_setups as setups
from support.registry_server import SampanRegistry, sampan_registry
from support.shared import shared

pytestmark = pytest.mark.root

Check = Callable[[Any], None]
CLIENT: Final[Check | None] = None
_KEY_WORD: Final = re.compile(r"\b(MUST|SHOULD|MAY|REQUIRED|RECOMMENDED|OPTIONAL|SHALL)\b")

TABLE: Final[dict[str, tuple[tuple[str, Check | None], ...]]] = {
    "Requirements": (
        ("All registries conforming to this specification MUST support, at a", checks.base),
        ("Registries SHOULD also support the **Push**, **Content Discovery**", setups.workflows),
        ("A registry claiming conformance with one of these specification ca", setups.workflows),
    ),
    "Pull": (("However, you MAY retrieve content from the registry in any order", checks.any_order),),
    "Pulling manifests": (
        ("`<tag-or-digest>` MUST be either (a) the digest of the manifest or", checks.references),
        ("The `<tag-or-digest>` MUST NOT be in any other format", checks.references),
        ("Throughout this document, `<name>` MUST match the following regula", checks.names),
        ("Throughout this document, `<tag-or-digest>` as a tag MUST be at mo", checks.references),
        ("The client SHOULD include an `Accept` header indicating which mani", CLIENT),
        ("The registry SHOULD NOT include parameters on the `Content-Type` h", checks.content_type),
        ("The client SHOULD ignore parameters on the `Content-Type` header", CLIENT),
        ("The `Content-Type` header SHOULD match what the client [pushed as", checks.content_type),
        ("If the manifest has a `mediaType` field, clients SHOULD reject unl", CLIENT),
        ("A GET request to an existing manifest URL MUST provide the expecte", checks.manifest_get),
        ("A successful response MUST contain the digest of the uploaded blob", checks.manifest_get),
        ("The `Docker-Content-Digest` header, if present on the response, re", checks.other_algorithm),
        ("If the digest does differ, it MAY be the case that the hashing alg", checks.other_algorithm),
        ("Most clients MAY ignore the value, but if it is used, the client M", CLIENT),
        ("If the `<tag-or-digest>` part of a manifest request is a digest, c", CLIENT),
        ("If the manifest is not found in the repository, the response code", checks.manifest_missing),
    ),
    "Pulling blobs": (
        ("A GET request to an existing blob URL MUST provide the expected bl", checks.blob_get),
        ("A successful response MUST contain the digest of the uploaded blob", checks.blob_get),
        ("If present, the value of this header MUST be a digest matching tha", checks.blob_get),
        ("Most clients MAY ignore the value, but if it is used, the client M", CLIENT),
        ("Clients SHOULD verify that the response body matches the requested", CLIENT),
        ("If the blob is not found in the repository, the response code MUST", checks.blob_missing),
        ("A registry SHOULD support the `Range` request header in accordance", checks.ranges),
    ),
    "Checking if content exists in the registry": (
        ("A HEAD request to an existing blob or manifest URL MUST return `20", checks.head),
        ("A successful response MUST contain the digest of the uploaded blob", checks.head),
        ("A successful response MUST contain the size in bytes of the upload", checks.head),
        ("If the blob or manifest is not found in the repository, the respon", checks.blob_missing),
    ),
    "Push": (
        ("A registry MUST initially accept an otherwise valid manifest with", checks.early_subject),
        ("A registry MAY reject a manifest uploaded to the manifest endpoint", checks.blob_unknown),
        ("When a manifest is rejected for this reason, it MUST result in one", checks.blob_unknown),
    ),
    "Pushing blobs": (
        ("In each implementation, if the client provided digest is invalid o", checks.digest_invalid),
    ),
    "POST then PUT": (
        ("Upon success, the response MUST have a code of `202 Accepted`, and", checks.begin),
        ("The `<blob-push-location>` MUST contain a UUID representing a uniq", checks.begin),
        ("Optionally, the location MAY be absolute (containing the protocol", checks.begin),
        ("The `<blob-push-location>` MAY contain critical query parameters", checks.begin),
        ("Additionally, it SHOULD match exactly the `<blob-push-location>` o", CLIENT),
        ("It SHOULD NOT be assembled manually by clients except where absolu", CLIENT),
        ("Upon successful completion of the request, the response MUST have", checks.post_put),
    ),
    "Single POST": (
        ("Registries MAY support pushing blobs using a single POST request", checks.single_post),
        ("The `Content-Length` header MUST match the blob's actual content l", checks.single_post),
        ("Likewise, the `<digest>` MUST match the blob's digest", checks.single_post),
        ("Registries that do not support single request monolithic uploads S", checks.nothing_with_digest),
        ("Successful completion of the request MUST return a `201 Created` a", checks.single_post),
    ),
    "Pushing a blob in chunks": (
        ("The process remains unchanged for chunked upload, except that the", checks.begin),
        ("When pushing a blob with a digest algorithm other than `sha256`, t", checks.chunks_sha512),
        ("If the registry has a minimum chunk size, the `POST` response SHOU", checks.chunks),
        ("The `<range>` refers to the byte range of the chunk, and MUST be i", checks.chunk_form),
        ("The first chunk's range MUST begin with `0`", checks.out_of_order),
        ("It MUST match the following regular expression:", checks.chunk_form),
        ("If the registry provides an `OCI-Chunk-Min-Length` header in the `", checks.chunks),
        ("The final chunk MAY have any length", checks.chunks),
        ("The response for each successful chunk upload MUST be `202 Accepte", checks.chunks),
        ("Each consecutive chunk upload SHOULD use the `<blob-push-location>", checks.chunks),
        ("Chunks MUST be uploaded in order, with the first byte of a chunk b", checks.out_of_order),
        ("If a chunk is uploaded out of order, the registry MUST respond wit", checks.out_of_order),
        ("The final chunk MAY be uploaded using a `PATCH` request or it MAY", checks.last_chunk_by_put),
        ("Regardless of how the final chunk is uploaded, the session MUST be", checks.needs_digest),
        ("The closing `PUT` request MUST include the `<digest>` of the whole", checks.needs_digest),
        ("The response to a successful closing of the session MUST be `201 C", checks.chunks),
        ("If the final chunk is uploaded out of order, the registry MUST res", checks.out_of_order),
        ("The response to an active upload `<blob-push-location>` MUST be a", checks.status),
        ("The following chunk upload SHOULD use the `<blob-push-location>` p", checks.status),
    ),
    "Cancel a blob upload": (
        ("If successful, the response SHOULD be a `204 No Content` response", checks.cancel),
        ("Clients SHOULD send this request when aborting a blob upload, rele", CLIENT),
        ("Clients SHOULD ignore any failures", CLIENT),
        ("If this request fails or is not called, the server SHOULD eventual", setups.expiry),
    ),
    "Mounting a blob from another repository": (
        ("The response to a successful mount MUST be `201 Created`, and MUST", checks.mount),
        ("The Docker-Content-Digest header returns the digest of the uploade", checks.mount),
        ("Most clients MAY ignore the value but if it is used, the client SH", CLIENT),
        ("The registry MAY treat the `from` parameter as optional, and it MA", checks.mount_from_anywhere),
        ("Alternatively, if a registry does not support cross-repository mou", checks.mount_nothing),
        ("This indicates that the upload session has begun and that the clie", checks.mount_nothing),
    ),
    "Pushing Manifests": (
        ("Clients SHOULD set the `Content-Type` header to the type of the ma", CLIENT),
        ("The client SHOULD NOT include parameters on the `Content-Type` hea", CLIENT),
        ("The registry SHOULD ignore parameters on the `Content-Type` header", checks.type_parameters),
        ("All manifests SHOULD include a `mediaType` field declaring the typ", CLIENT),
        ("If a manifest includes a `mediaType` field, clients MUST set the `", checks.type_checks),
        ("`<name>` is the namespace of the repository, and the `<tag-or-dige", checks.references),
        ("The uploaded manifest MUST reference any blobs that make up the ob", checks.exact_bytes),
        ("However, the list of blobs MAY be empty", checks.no_layers),
        ("The registry MUST store the manifest in the exact byte representat", checks.exact_bytes),
        ("Upon a successful upload, the registry MUST return response code `", checks.exact_bytes),
        ("The Docker-Content-Digest header returns the digest of the uploade", checks.put_by_digest),
        ("Clients MAY ignore the value but if it is used, the client SHOULD", CLIENT),
        ("When pushing a manifest by digest, the registry MAY support the pu", checks.tags_by_query),
        ("SHOULD support pushing at least 10 tags per request", checks.tags_by_query),
        ("MAY return a `414 Request-URI Too Long` status if too many tags ar", checks.too_many_tags),
        ("MUST include an `OCI-Tag` response header, in accordance with [RFC", checks.tags_by_query),
        ("Clients MAY see other status codes (`431 Request Header Fields Too", setups.head_limit),
        ("An attempt to pull a nonexistent repository MUST return response c", checks.no_repository),
        ("A registry SHOULD enforce some limit on the maximum manifest size", checks.manifest_limit),
        ("A registry that enforces this limit SHOULD respond to a request to", checks.manifest_limit),
        ("Client and registry implementations SHOULD expect to be able to su", checks.manifest_limit),
    ),
    "Pushing Manifests with Subject": (
        ("When processing a request for an image manifest with the `subject`", checks.oci_subject),
        ("When pushing a manifest with the `subject` field and the `OCI-Subj", CLIENT),
        ("If that pull returns a manifest other than the expected image inde", CLIENT),
        ("If the tag returns a 404, the client MUST begin with an empty imag", CLIENT),
        ("Verify the descriptor for the manifest is not already in the refer", CLIENT),
        ("The value of the `artifactType` MUST be set to the `artifactType`", CLIENT),
        ("If the `artifactType` is empty or missing in a pushed image manife", CLIENT),
        ("All annotations from the pushed manifest MUST be copied to this de", CLIENT),
        ("The client MAY use conditional HTTP requests to prevent overwritin", checks.conditional_put),
    ),
    "Listing Tags": (
        ("Assuming a repository is found, this request MUST return a `200 OK", checks.tag_list),
        ("The list of tags MAY be empty if there are no tags on the reposito", checks.tag_list),
        ("If the list is not empty, the tags MUST be in lexical (i.e. case-i", checks.tag_list),
        ("Upon success, the response MUST be a json body in the following fo", checks.tag_list),
        ("The response to such a request MAY return fewer than `<int>` resul", checks.tag_pages),
        ("Otherwise, the response MUST include `<int>` results", checks.tag_pages),
        ("A `Link` header MAY be included in the response when additional ta", checks.tag_pages),
        ("If included, the `Link` header MUST be set according to [RFC 5988]", checks.tag_pages),
        ("When `n` is zero, this endpoint MUST return an empty list, and MUS", checks.tag_pages),
        ('As above, the tags MUST be in lexical or "ASCIIbetical" order', checks.tag_pages),
        ("`<tagname>` MUST NOT be a numerical index, but rather it MUST be a", checks.tag_last),
        ('The tags MUST be in lexical or "ASCIIbetical" order', checks.tag_last),
        ("When using the `last` query parameter, the `n` parameter is OPTION", checks.tag_last),
    ),
    "Listing Referrers": (
        ("Assuming a repository is found, this request MUST return a `200 OK", checks.referrers),
        ("If the registry supports the referrers API, the registry MUST NOT", checks.referrers_of_nothing),
        ("If the request is invalid, such as a `<digest>` with an invalid sy", checks.referrers_invalid),
        ("Upon success, the response MUST be a JSON body with an image index", checks.referrers),
        ("The `Content-Type` header MUST be set to `application/vnd.oci.imag", checks.referrers),
        ("The descriptors MUST include an `artifactType` field that is set t", checks.referrers),
        ("If the `artifactType` is empty or missing in the image manifest, t", checks.referrers),
        ("If the `artifactType` is empty or missing in an index, the `artifa", checks.referrers),
        ("The descriptors MUST include annotations from the image manifest o", checks.referrers),
        ("If a query results in no matching referrers, an empty manifest lis", checks.referrers_of_nothing),
        ("A `Link` header MUST be included in the response when the descript", checks.referrers_pages),
        ("The `Link` header MUST be set according to [RFC 5988](https://www.", checks.referrers_pages),
        ("The registry SHOULD support filtering on `artifactType`", checks.referrers_filter),
        ("If filtering is requested and applied, the response MUST include a", checks.referrers_filter),
        ("If multiple filters are applied, the header MUST contain a comma s", checks.referrers_filter),
        ("If the [referrers API](#listing-referrers) returns a 404, the clie", CLIENT),
        ("The response SHOULD be an image index with the same content that w", CLIENT),
        ("If the response to the [referrers API](#listing-referrers) is a 40", CLIENT),
    ),
    "Content Management": (
        ("Registries MAY implement deletion or they MAY disable it", checks.delete_tag),
        ("Similarly, a registry MAY implement tag deletion, while others MAY", checks.delete_tag),
    ),
    "Deleting tags": (
        ("Upon success, the registry MUST respond with a `202 Accepted` code", checks.delete_tag),
        ("If tag deletion is disabled, the registry MUST respond with either", setups.no_delete),
    ),
    "Deleting Manifests": (
        ("Upon success, the registry MUST respond with a `202 Accepted` code", checks.delete_manifest),
        ("If the repository does not exist, the response MUST return `404 No", checks.delete_nowhere),
        ("If manifest deletion is disabled, the registry MUST respond with e", setups.no_delete),
        ("When deleting an image manifest that contains a `subject` field, a", CLIENT),
        ("The client MAY use conditional HTTP requests to prevent overwritin", CLIENT),
        ("When deleting a manifest that has an associated [referrers tag sch", CLIENT),
    ),
    "Deleting Blobs": (
        ("Upon success, the registry MUST respond with code `202 Accepted`", checks.delete_blob),
        ("If the blob is not found, a `404 Not Found` code MUST be returned", checks.delete_blob),
        ("If blob deletion is disabled, the registry MUST respond with eithe", setups.no_delete),
    ),
    "Registry Proxying": (
        ("A registry MAY operate as a proxy to another registry to delegate", setups.cache),
        ("A `ns` query parameter on pull operations is OPTIONAL, but when us", checks.namespace_ignored),
        ("The host in the repository name SHOULD be the first component of t", CLIENT),
        ("This host component in a repository name SHOULD be the registry ho", CLIENT),
        ("A proxy registry MAY use the `ns` query parameter to resolve an up", checks.namespace_ignored),
        ("A registry MAY choose to ignore the `ns` query parameter", checks.namespace_ignored),
        ("A registry that uses the `ns` query parameter to scope the request", checks.namespace_ignored),
        ("A client SHOULD be aware of whether a registry host is a proxy, su", CLIENT),
        ("A client SHOULD avoid sending `ns` query parameters to non-proxy r", CLIENT),
        ("Authorization credentials for an upstream registry SHOULD NOT be s", setups.cache),
    ),
    "Backwards Compatibility": (
        ("Client implementations MUST support registries that implement part", CLIENT),
        ("This section describes client fallback procedures that MUST be imp", CLIENT),
    ),
    "Unavailable Referrers API": (
        ("A client that pushes an image manifest with a defined `subject` fi", CLIENT),
        ("A client querying the [referrers API](#listing-referrers) and rece", CLIENT),
    ),
    "Referrers Tag Schema": (
        ("The Referrers Tag associated with a [Content Digest](https://githu", checks.referrers_by_tag),
        ("The Truncated Algorithm associated with a Content Digest MUST matc", checks.referrers_by_tag),
        ("The Truncated Encoded section associated with a Content Digest MUS", checks.referrers_by_tag),
        ("Clients MAY use a conditional HTTP push for registries that suppor", checks.conditional_put),
    ),
    "Enabling the Referrers API": (
        ("Registries MUST include preexisting image manifests that are liste", checks.referrers_by_tag),
        ("Registries MAY include all preexisting image manifests with a `sub", checks.referrers_by_tag),
        ("After the referrers API is enabled, Registries MUST include all ne", checks.referrers),
    ),
    "API": (
        ("Where this specification does not define specific behavior, implem", checks.http_semantics),
        ("Registries MAY respond to any request with a redirect per [RFC 911", CLIENT),
    ),
    "Determining Support": (
        ("This endpoint MAY be used for authentication/authorization purpose", setups.passwords),
    ),
    "Error Codes": (
        ("A `4XX` response code from the registry MAY return a body in any f", checks.errors),
        ("If the response body is in JSON format, it MUST", checks.errors),
        ("The `code` field MUST be a unique identifier, containing only uppe", checks.errors),
        ("The `message` field is OPTIONAL, and if present, it SHOULD be a hu", checks.errors),
        ("The `detail` field is OPTIONAL and MAY contain arbitrary JSON data", checks.errors),
        ("The `code` field MUST be one of the following:", checks.errors),
        ("A `429 Too Many Requests` response ([RFC 6585 (section 4)](https:/", setups.too_many),
    ),
    "Warnings": (
        ("Registry implementations MAY include informational warnings in `Wa", setups.warnings),
        ("If included, `Warning` headers MUST specify a `warn-code` of `299`", setups.warnings),
        ("A registry MUST NOT send more than 4096 bytes of warning data from", setups.warnings),
        ("If a client receives `Warning` response headers, it SHOULD report", CLIENT),
        ("Clients SHOULD deduplicate warnings from multiple associated respo", CLIENT),
        ("In accordance with RFC 7234, clients MUST NOT take any automated a", CLIENT),
    ),
}

# What the specification does not ask for, or not in so many words.
BEYOND: Final[tuple[Check, ...]] = (checks.catalog, checks.stream, setups.read_only)

ROWS: Final = [
    pytest.param(check, id=f"{section}: {words}"[:90])
    for section, rows in TABLE.items()
    for words, check in rows
    if check is not None
] + [pytest.param(check, id=check.__name__) for check in BEYOND]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SampanRegistry]:
    with sampan_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="module")
def outcomes() -> dict[Check, Exception | None]:
    """What each check has come to: several sentences may share one."""
    return {}


@pytest.mark.parametrize("check", ROWS)
def test_requirement(
    check: Check,
    registry: SampanRegistry,
    outcomes: dict[Check, Exception | None],
    tmp_path: Path,
) -> None:
    if check not in outcomes:
        outcomes[check] = None
        try:
            check(tmp_path if "folder" in inspect.signature(check).parameters else registry)
        except Exception as error:
            outcomes[check] = error
    if (failure := outcomes[check]) is not None:
        raise failure


def test_no_sentence_is_missing() -> None:
    text = shared("data/specs/oci-distribution/spec.md").read_text()
    rows = [(section, words) for section, rows in TABLE.items() for words, _ in rows]
    found = list(sentences(text))
    for section, sentence in found:
        matching = [words for where, words in rows if where == section and sentence.startswith(words)]
        assert len(matching) == 1, (section, sentence)
    for section, words in rows:
        assert any(where == section and each.startswith(words) for where, each in found), (section, words)


def sentences(text: str) -> Iterator[tuple[str, str]]:
    """Yield the sentences with a key word, with the section they stand in."""
    section, in_code = "", False
    for line in text[text.index("## Conformance") : text.index("## Appendix")].splitlines():
        if line.startswith("```"):
            in_code = not in_code
        elif line.startswith("#"):
            section = line.strip("# ")
        elif not in_code:
            for sentence in re.split(r"(?<=[.:])\s+(?=[A-Z(`])", line):
                if _KEY_WORD.search(sentence):
                    yield section, sentence.strip("-0123456789. ")


def test_no_check_is_idle() -> None:
    used = {check for rows in TABLE.values() for _, check in rows} | {*BEYOND}
    for module in (checks, setups):
        for name, found in vars(module).items():
            if inspect.isfunction(found) and found.__module__ == module.__name__ and not name.startswith("_"):
                first = next(iter(inspect.signature(found).parameters), "")
                if first in {"r", "folder"} and len(_required(found)) == 1:
                    assert found in used, name


def _required(function: Callable[..., object]) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    return [each.name for each in parameters if each.default is inspect.Parameter.empty]
