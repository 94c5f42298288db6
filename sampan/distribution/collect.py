"""Garbage collection: gives back the space of what nobody can pull any more. May run beside the server.

What goes: blobs that no manifest of their repository needs and nobody has pushed or asked for lately;
``untagged``: manifests without a tag that no other one leads to; files that no row names. Rows go one by one,
each under the condition that it still is as old as it was, and a file only while nobody can write a row: what
a client is told to be there stays there (see ``catalogue``).
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from sampan.base.errors import InvalidParameter
from sampan.distribution.documents import parse_manifest
from sampan.distribution.errors import ManifestInvalid
from sampan.distribution.settings import Collection
from sampan.distribution.store import Store
from sampan.images.errors import BlobNotFound
from sampan.oci.digest import Digest

_LEAST_S = 60  # what is younger may belong to a push under way


@dataclass(slots=True)
class Collected:
    """How much went, or would go: manifests, blobs of repositories, and bytes."""

    manifests: int = 0
    blobs: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class _Plan:
    manifests: list[tuple[str, Digest]]
    blobs: list[tuple[str, Digest]]


def collect(store: Store, wanted: Collection, say: Callable[[str], None], *, alone: bool) -> Collected:
    """Collect, telling ``say`` what goes. ``alone``: no server runs.

    Raises InvalidParameter if what is younger than a minute shall go while a server runs.
    """
    if not alone and wanted.older_than_s < _LEAST_S:
        raise InvalidParameter(
            f"a server runs on {wanted.root}: --older-than must be at least {_LEAST_S} seconds beside it"
        )
    before = time.time() - wanted.older_than_s
    plan = plan_collection(store, before, untagged=wanted.untagged)
    done = Collected()
    loose: set[Digest] = set()
    for repository, digest in plan.manifests:
        say(f"manifest {repository}@{digest}")
        if not wanted.dry_run and not store.catalogue.remove_old_manifest(repository, digest, before):
            continue
        done.manifests += 1
        loose.add(digest)
    for repository, digest in plan.blobs:
        say(f"blob {repository}@{digest}")
        if not wanted.dry_run and not store.catalogue.unlink_old_blob(repository, digest, before):
            continue
        done.blobs += 1
        loose.add(digest)
    if wanted.dry_run:
        done.size = _planned_size(store, plan, loose)
        return done
    for digest in {*loose, *store.content.digests()}:
        done.size += store.drop(digest)
    return done


def plan_collection(store: Store, before: float, *, untagged: bool) -> _Plan:
    """Return what may go: nothing in it is younger than ``before`` (seconds of Unix time)."""
    by_repository: dict[str, list[tuple[Digest, str, int, bool]]] = defaultdict(list)
    for repository, digest, subject, since, tagged in store.catalogue.manifest_rows():
        by_repository[repository].append((digest, subject, since, tagged))
    old_blobs: dict[str, list[Digest]] = defaultdict(list)
    for repository, digest in store.catalogue.blob_rows(before):
        old_blobs[repository].append(digest)
    plan = _Plan([], [])
    for repository in {*by_repository, *old_blobs}:
        rows = by_repository[repository]
        needs = {digest: _needs(store, digest) for digest, *_ in rows}
        live = {digest for digest, _, since, tagged in rows if not untagged or tagged or since > before}
        waiting = list(live)
        referrers = defaultdict(list)
        for digest, subject, *_ in rows:
            referrers[subject].append(digest)
        while waiting:  # what an index leads to, and what refers to something that stays
            at = waiting.pop()
            for found in (*needs.get(at, ()), *referrers[str(at)]):
                if found in needs and found not in live:
                    live.add(found)
                    waiting.append(found)
        plan.manifests.extend((repository, digest) for digest in needs if digest not in live)
        needed = {found for digest in live for found in needs[digest]}
        plan.blobs.extend((repository, digest) for digest in old_blobs[repository] if digest not in needed)
    return plan


def _needs(store: Store, manifest: Digest) -> tuple[Digest, ...]:
    """Return what a manifest leads to. What cannot be read keeps nothing."""
    try:
        document = parse_manifest("", store.content.read(manifest))
    except (BlobNotFound, ManifestInvalid):
        return ()
    return (*document.blobs, *document.elsewhere, *document.manifests)


def _planned_size(store: Store, plan: _Plan, loose: set[Digest]) -> int:
    """Return the bytes of what no row would name any more."""
    going: Counter[Digest] = Counter()
    for _, digest in (*plan.manifests, *plan.blobs):
        going[digest] += 1
    size = 0
    for digest in store.content.digests():
        if store.catalogue.uses(digest) <= (going[digest] if digest in loose else 0):
            size += store.content.size(digest) or 0
    return size
