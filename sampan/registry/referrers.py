"""What refers to a manifest: signatures, SBOMs and other artifacts whose ``subject`` it is.

A registry of OCI distribution 1.1 lists them itself. With an older one the list is an index under a tag made
of the subject's digest, which whoever pushes a referrer keeps up to date (distribution-spec, "Referrers Tag
Schema").
"""

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote, urljoin

import msgspec

from sampan.oci.descriptor import MAX_DOCUMENT, Descriptor
from sampan.oci.digest import Digest
from sampan.oci.manifest import Index, Manifest, parse_index, parse_manifest
from sampan.oci.media_types import INDEXES, OCI_INDEX
from sampan.registry.errors import BadAnswer
from sampan.registry.repository import Repository, next_page

_MAX_PAGES: Final = 100
_MAX_REFERRERS: Final = 4096


def fallback_tag(digest: str) -> str:
    """Return the tag under which a registry without the referrers API keeps them.

    The algorithm is cut to 32 characters, the rest to 64.
    """
    algorithm, _, encoded = digest.partition(":")
    return f"{algorithm[:32]}-{encoded[:64]}"


async def list_referrers(repository: Repository, digest: str, artifact_type: str = "") -> list[Descriptor]:
    """Return the descriptors of what refers to the manifest ``digest``, of one type if one is named.

    Raises Refused, BadAnswer, InvalidDocument.
    """
    target = f"referrers/{digest}"
    if artifact_type:
        target += f"?artifactType={quote(artifact_type, safe='')}"
    found: list[Descriptor] = []
    for _ in range(_MAX_PAGES):
        async with repository.request("GET", target, {"Accept": OCI_INDEX}, missing=True) as answer:
            if answer.status == 404:
                found = await _tagged(repository, digest)
                break
            data = await answer.read(MAX_DOCUMENT)
            link, url = answer.headers.get("link", ""), answer.url
        found += parse_index(data).manifests
        if len(found) > _MAX_REFERRERS:
            raise BadAnswer(f"{digest} has more than {_MAX_REFERRERS} referrers")
        if not (following := next_page(link)):
            break
        target = urljoin(url, following)
    # A registry may leave the filtering to whoever asks.
    return [each for each in found if artifact_type in {"", each.artifact_type}]


async def _tagged(repository: Repository, digest: str) -> list[Descriptor]:
    tag = fallback_tag(digest)
    if await repository.find_manifest(tag) is None:
        return []
    document = await repository.manifest(tag)
    if document.descriptor.media_type not in INDEXES:
        raise BadAnswer(f"{tag} is no list of referrers")
    return list(parse_index(document.data).manifests)


async def push_manifest(repository: Repository, reference: str, media_type: str, data: bytes) -> None:
    """Store a manifest or index under a tag or its digest; if it has a subject, let that know of it.

    Raises Refused, ConnectionFailed, BadAnswer.
    """
    document: Manifest | Index = (parse_index if media_type in INDEXES else parse_manifest)(data)
    taken = await repository.put_manifest(reference, media_type, data)
    if document.subject is None or taken:
        return
    digest = str(Digest.of(data))
    known = await _tagged(repository, document.subject.digest)
    if any(each.digest == digest for each in known):
        return
    await repository.put_manifest(
        fallback_tag(document.subject.digest),
        OCI_INDEX,
        _render([*known, _described(document, media_type, digest, len(data))]),
    )


def _described(document: Manifest | Index, media_type: str, digest: str, size: int) -> Descriptor:
    kind = document.artifact_type
    if not kind and isinstance(document, Manifest):
        kind = document.config.media_type
    return Descriptor(media_type, digest, size, annotations=document.annotations, artifact_type=kind)


def _render(manifests: Sequence[Descriptor]) -> bytes:
    return msgspec.json.encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(manifests)})
