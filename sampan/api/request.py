"""A request as the routes see it."""

from typing import Final, TypeVar

from sampan.api.body import MAX_DOCUMENT, Body
from sampan.api.decode import decode
from sampan.api.filters import Filters, parse_filters
from sampan.api.http1 import Head, tokens
from sampan.api.query import Query
from sampan.api.versions import Version
from sampan.base.errors import InvalidParameter

T = TypeVar("T")
_JSON: Final = "application/json"


class Request:
    """``path`` holds what the route's ``{names}`` matched, ``version`` is the API version asked for."""

    __slots__ = ("_query", "_query_text", "body", "head", "path", "version")

    def __init__(self, head: Head, body: Body, path: dict[str, str], query: str, version: Version) -> None:
        self.head = head
        self.body = body
        self.path = path
        self.version = version
        self._query_text = query
        self._query: Query | None = None

    @property
    def query(self) -> Query:
        """The query string, parsed when first asked for. Raises InvalidParameter."""
        if self._query is None:
            self._query = Query(self._query_text)
        return self._query

    def filters(self) -> Filters:
        """Return the parameter ``filters``. Raises InvalidFilter."""
        return parse_filters(self.query.text("filters"))

    @property
    def upgrades(self) -> bool:
        """Whether the client asked for a raw connection in so many words (``Upgrade: tcp``)."""
        return "upgrade" in self.head.headers

    def wants(self, protocol: str) -> bool:
        """Tell whether the client asks to upgrade to ``protocol``."""
        headers = self.head.headers
        connection, upgrade = tokens(headers.get("connection", "")), tokens(headers.get("upgrade", ""))
        return "upgrade" in connection and protocol in upgrade

    async def document(self, kind: type[T], *, limit: int = MAX_DOCUMENT) -> T:
        """Return the JSON body as a ``kind``. Raises InvalidParameter in Docker's words."""
        self._check_json()
        return decode(await self.body.document(limit), kind)

    async def optional_document(self, kind: type[T], *, limit: int = MAX_DOCUMENT) -> T | None:
        """Return the JSON body as a ``kind``, or None when there is no body. Raises InvalidParameter."""
        self._check_json()
        if self.head.length == 0:
            return None
        return decode(await self.body.document(limit), kind)

    def _check_json(self) -> None:
        header = self.head.headers.get("content-type", "")
        if not header and self.head.length == 0:
            return
        if header.partition(";")[0].strip().lower() != _JSON:
            raise InvalidParameter(f"unsupported Content-Type header ({header}): must be '{_JSON}'")
