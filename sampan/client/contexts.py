"""Saved contexts: Docker's ``contexts/`` folder beside ``config.json``.

    contexts/meta/<sha256 of the name>/meta.json        Name, Metadata.Description, Endpoints.docker.Host, …
    contexts/tls/<sha256 of the name>/docker/{ca,cert,key}.pem

Reading and choosing only; making and removing contexts is Docker's affair so far.
"""

import hashlib
import os

from sampan.base import jsonlite
from sampan.client.config import DEFAULT_CONTEXT, read_file
from sampan.client.endpoint import Endpoint, TlsFiles, parse_host
from sampan.client.errors import ClientError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Context:
    """One saved context. ``meta`` is the whole of its file."""

    __slots__ = ("meta", "name")

    def __init__(self, name: str, meta: "dict[str, Any]") -> None:
        self.name = name
        self.meta = meta

    @property
    def description(self) -> str:
        return str((self.meta.get("Metadata") or {}).get("Description") or "")

    @property
    def host(self) -> str:
        return str(self._docker.get("Host") or "")

    @property
    def skip_verify(self) -> bool:
        return bool(self._docker.get("SkipTLSVerify"))

    @property
    def _docker(self) -> "dict[str, Any]":
        found = (self.meta.get("Endpoints") or {}).get("docker")
        return found if isinstance(found, dict) else {}


class ContextStore:
    """The contexts saved under one settings folder."""

    def __init__(self, directory: str) -> None:
        self._root = f"{directory}/contexts"

    def meta_folder(self, name: str) -> str:
        return f"{self._root}/meta/{hashlib.sha256(name.encode()).hexdigest()}"

    def tls_folder(self, name: str) -> str:
        return f"{self._root}/tls/{hashlib.sha256(name.encode()).hexdigest()}"

    def find(self, name: str) -> Context:
        """Return the context ``name``. Raises ClientError in Docker's words."""
        path = f"{self.meta_folder(name)}/meta.json"
        try:
            meta = jsonlite.loads(read_file(path))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ClientError(f'context "{name}": context not found: open {path}: {reason}') from error
        except ValueError as error:
            raise ClientError(f'context "{name}": parsing {path}: {error}') from error
        if not isinstance(meta, dict):
            raise ClientError(f'context "{name}": parsing {path}: not a JSON object')
        return Context(name, meta)

    def list_contexts(self) -> list[Context]:
        """Return every saved context that can be read, by name."""
        found = []
        try:
            folders = sorted(os.listdir(f"{self._root}/meta"))
        except OSError:
            return []
        for folder in folders:
            try:
                meta = jsonlite.loads(read_file(f"{self._root}/meta/{folder}/meta.json"))
            except (OSError, ValueError):
                continue
            if isinstance(meta, dict) and isinstance(meta.get("Name"), str):
                found.append(Context(meta["Name"], meta))
        return sorted(found, key=lambda context: context.name)

    def tls_listing(self, name: str) -> dict[str, list[str]]:
        """Return the names of the TLS files of a context, by endpoint."""
        listing: dict[str, list[str]] = {}
        folder = self.tls_folder(name)
        for endpoint in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
            listing[endpoint] = sorted(os.listdir(f"{folder}/{endpoint}"))
        return listing

    def endpoint(self, name: str) -> Endpoint:
        """Return where the context ``name`` leads. Raises ClientError."""
        context = self.find(name)
        files = self.tls_listing(name).get("docker", [])
        folder = f"{self.tls_folder(name)}/docker"
        host = parse_host(context.host, tls=bool(files))
        if not host.startswith("tcp://") or (not files and not context.skip_verify):
            return Endpoint(host)
        ca, cert, key = (f"{folder}/{part}.pem" * (f"{part}.pem" in files) for part in ("ca", "cert", "key"))
        return Endpoint(host, TlsFiles(ca, cert, key, verify=not context.skip_verify))


def valid_name(name: str) -> bool:
    """Return whether ``name`` may name a context: letters, digits, ``_.+-``, no sign first, not default."""
    return (
        name != DEFAULT_CONTEXT
        and len(name) > 1
        and name.isascii()
        and name[0].isalnum()
        and all(c.isalnum() or c in "_.+-" for c in name)
    )
