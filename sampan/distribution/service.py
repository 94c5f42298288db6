"""A registry: what each request of the specification's "Endpoints" is answered with."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

from sampan.api.response import Answer, Response
from sampan.base.tasks import Tasks
from sampan.distribution.discovery import Discovery
from sampan.distribution.errors import Unsupported
from sampan.distribution.exchange import Request
from sampan.distribution.management import Management
from sampan.distribution.pull import Pull
from sampan.distribution.push import Push
from sampan.distribution.settings import Proxy, Settings
from sampan.distribution.store import Store
from sampan.distribution.target import BASE, BLOB, CATALOG, MANIFEST, REFERRERS, TAGS, UPLOAD, UPLOADS
from sampan.distribution.uploads import Uploads
from sampan.distribution.upstream import Upstream
from sampan.registry.auth import Credentials
from sampan.registry.settings import Endpoint, RegistrySettings
from sampan.registry.transport import Transport

Handler = Callable[[Request], Awaitable[Answer]]
_EXPIRE_EVERY_S: Final = 600.0
_JSON: Final = "application/json"


class Registry:
    """The registry that ``settings`` describe, over its own store. Must be made on the event loop.

    Raises HostFailure if the root cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._tasks = Tasks("registry")
        self._store = Store(settings.root)
        self._upstream = self._open_upstream(settings.proxy) if settings.proxy is not None else None
        self._uploads = Uploads(self._store, settings.max_blob, settings.upload_timeout_s)
        self._handlers = self._table()
        self._tasks.spawn(self._expire(), name="give up uploads")

    async def close(self) -> None:
        """Finish what has begun, and close the store."""
        await self._tasks.close()
        if self._upstream is not None:
            await self._upstream.close()
        self._store.close()

    async def answer(self, request: Request) -> Answer:
        """Answer a request that may be asked. Raises RegistryError and other EngineErrors."""
        methods = self._handlers[request.target.kind]
        handler = methods.get(request.method)
        if handler is None:
            allowed = {"Allow": ", ".join(methods)}
            raise Unsupported(self._why_not(request), headers=allowed)
        return await handler(request)

    def _why_not(self, request: Request) -> str:
        if self.settings.proxy is not None and request.method in {"POST", "PUT", "PATCH", "DELETE"}:
            return "this registry is a cache of another one: push there"
        if self.settings.read_only and request.method in {"POST", "PUT", "PATCH", "DELETE"}:
            return "this registry is read-only"
        if not self.settings.delete and request.method == "DELETE" and request.target.kind != UPLOAD:
            return "deleting is switched off in this registry"
        return Unsupported.words

    def _table(self) -> Mapping[str, Mapping[str, Handler]]:
        """Return what may be asked: kind of target, method, and who answers."""
        writable = not self.settings.read_only and self._upstream is None
        pull = Pull(self._store, self._upstream, notices=writable)
        discovery = Discovery(self._store, self._upstream)
        table: dict[str, dict[str, Handler]] = {
            BASE: {"GET": _version, "HEAD": _version},
            MANIFEST: {"GET": pull.manifest, "HEAD": pull.manifest},
            BLOB: {"GET": pull.blob, "HEAD": pull.blob},
            TAGS: {"GET": discovery.tags, "HEAD": discovery.tags},
            REFERRERS: {"GET": discovery.referrers, "HEAD": discovery.referrers},
            CATALOG: {"GET": discovery.repositories, "HEAD": discovery.repositories},
            UPLOADS: {},
            UPLOAD: {},
        }
        if not writable:
            return table
        push = Push(self._store, self._uploads, self._tasks)
        table[MANIFEST]["PUT"] = push.manifest
        table[UPLOADS]["POST"] = push.begin
        table[UPLOAD] = {
            "GET": push.status,
            "HEAD": push.status,
            "PATCH": push.append,
            "PUT": push.finish,
            "DELETE": push.cancel,
        }
        if self.settings.delete:
            management = Management(self._store)
            table[MANIFEST]["DELETE"] = management.manifest
            table[BLOB]["DELETE"] = management.blob
        return table

    def _open_upstream(self, proxy: Proxy) -> Upstream:
        parts = urlsplit(proxy.url)
        settings = RegistrySettings.parse()
        verify = not settings.is_insecure(parts.netloc)
        endpoint = Endpoint(parts.netloc, (parts.scheme,), parts.path.rstrip("/"), verify=verify)
        credentials = Credentials(proxy.username, proxy.password)
        return Upstream(self._store, Transport(settings), endpoint, credentials, self._tasks)

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(_EXPIRE_EVERY_S)
            self._uploads.expire()


async def _version(request: Request) -> Answer:
    """GET the base: yes, this is a registry."""
    return Response(200, b"{}", _JSON)
