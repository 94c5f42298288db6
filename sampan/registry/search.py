"""Searching a registry for images: the index API that Docker Hub has, else the catalog of repositories.

Registries of distribution keep no index: where ``/v1/search`` is not there, the names of their catalog are
looked through. Words and limits are dockerd's.
"""

from collections.abc import Mapping, Sequence
from typing import Final, TypeVar
from urllib.parse import urlencode, urljoin

import msgspec

from sampan.base.errors import InvalidParameter
from sampan.oci.descriptor import MAX_DOCUMENT
from sampan.oci.reference import DEFAULT_DOMAIN
from sampan.registry.auth import NOBODY, Authorizer, Credentials
from sampan.registry.errors import BadAnswer, ConnectionFailed, Refused
from sampan.registry.repository import Repository, next_page
from sampan.registry.service import Registries
from sampan.registry.settings import parse_index_name
from sampan.wire.images import SearchResult

INDEX: Final = "index.docker.io"  # searches of docker.io go there
DEFAULT_LIMIT: Final = 25
MAX_LIMIT: Final = 100
_FILTERS: Final = frozenset({"is-automated", "is-official", "stars"})
_MAX_PAGES: Final = 100
_PAGE: Final = 1000
T = TypeVar("T")


class _Results(msgspec.Struct):
    results: list[SearchResult] | None = None


class _Catalog(msgspec.Struct):
    repositories: list[str] | None = None


class Wanted(msgspec.Struct, frozen=True):
    """What is asked for, checked: which registry, which words, how many, and what they must be."""

    host: str
    words: str
    limit: int = DEFAULT_LIMIT
    official: bool | None = None
    automated: bool | None = None
    stars: int = 0

    def takes(self, found: SearchResult) -> bool:
        """True if a result passes the filters."""
        return (
            self.official in {None, found.is_official}
            and self.automated in {None, found.is_automated}
            and found.star_count >= self.stars
        )


def plan(term: str, limit: int, filters: Mapping[str, Sequence[str]]) -> Wanted:
    """Return what ``search`` is asked for; a limit of 0 is the default. Raises InvalidParameter."""
    for name in filters:
        if name not in _FILTERS:
            raise InvalidParameter(f"invalid filter '{name}'")
    limit = limit or DEFAULT_LIMIT
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidParameter(f"limit {limit} is outside the range of [1, {MAX_LIMIT}]")
    if "://" in term:
        raise InvalidParameter(f"invalid repository name: repository name ({term}) should not have a scheme")
    host, words = split_term(term)
    return Wanted(
        host,
        words,
        limit,
        official=_flag(filters, "is-official"),
        automated=_flag(filters, "is-automated"),
        stars=max((_stars(text) for text in filters.get("stars", ())), default=0),
    )


def split_term(term: str) -> tuple[str, str]:
    """Return the host to search and the words to look for: ``host/words``, or Docker Hub's words."""
    first, slash, rest = term.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        return INDEX, term.removeprefix("library/") if slash else term
    name = parse_index_name(first)
    return (INDEX, rest.removeprefix("library/")) if name == DEFAULT_DOMAIN else (name, rest)


def _flag(filters: Mapping[str, Sequence[str]], name: str) -> bool | None:
    values = filters.get(name)
    if values is None:
        return None
    yes, no = bool({"1", "true"} & set(values)), bool({"0", "false"} & set(values))
    if yes == no:
        raise InvalidParameter(f"invalid filter '{name}=[{' '.join(values)}]'")
    return yes


def _stars(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise InvalidParameter(f"invalid filter 'stars={text}'") from error


async def search(
    registries: Registries, wanted: Wanted, credentials: Credentials = NOBODY
) -> list[SearchResult]:
    """Return the repositories that fit, at most ``wanted.limit``, in the registry's order.

    Raises BadAnswer for a registry that can do neither kind of search, ConnectionFailed.
    """
    endpoint = await registries.endpoint(wanted.host)
    query = urlencode({"q": wanted.words, "n": wanted.limit})
    failure: ConnectionFailed | None = None
    for scheme in endpoint.schemes:
        url = f"{scheme}://{endpoint.host}/v1/search?{query}"
        headers = {"Authorization": credentials.basic} if credentials.basic else {}
        try:
            async with registries.transport.request(
                "GET", url, headers, verify=endpoint.verify, attempts=2
            ) as answer:
                body = await answer.read(MAX_DOCUMENT)
                status = answer.status
        except ConnectionFailed as error:
            failure = failure or error
            continue
        if status == 200:
            found = _decode(body, _Results).results or []
            return [each for each in found if wanted.takes(each)][: wanted.limit]
        if status not in {400, 401, 403, 404, 405} or wanted.host == INDEX:
            raise BadAnswer(f"Unexpected status code {status}")
        authorizer = Authorizer(
            registries.transport, credentials, ("registry:catalog:*",), verify=endpoint.verify
        )
        catalog = Repository(registries.transport, endpoint, "_catalog", authorizer, attempts=1)
        return await _look_through(catalog, wanted)
    raise failure or BadAnswer(f"{wanted.host} is no registry")


async def _look_through(catalog: Repository, wanted: Wanted) -> list[SearchResult]:
    """Return the repositories of a catalog that have the words in their names."""
    found: list[SearchResult] = []
    target = f"{await catalog.open()}/v2/_catalog?n={_PAGE}"
    for _ in range(_MAX_PAGES):
        try:
            async with catalog.request("GET", target) as answer:
                data = await answer.read(MAX_DOCUMENT)
                link, url = answer.headers.get("link", ""), answer.url
        except Refused as error:
            if error.status in {404, 405}:
                raise BadAnswer(f"{wanted.host} offers no search: Unexpected status code 404") from error
            raise
        for name in _decode(data, _Catalog).repositories or ():
            result = SearchResult(name=f"{wanted.host}/{name}")
            if wanted.words.lower() in name and wanted.takes(result):
                found.append(result)
        if len(found) >= wanted.limit or not (following := next_page(link)):
            break
        target = urljoin(url, following)
    return found[: wanted.limit]


def _decode(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind, strict=False)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadAnswer(f"the results of the search cannot be read: {error}") from error
