"""Plugins: how they are found, and how they are spoken to.

Docker's plugin protocol (docs: "Docker Plugin API"): JSON posted over a unix socket or TCP to
``/Plugin.Activate`` and then to ``/VolumeDriver.…``, ``/NetworkDriver.…``, ``/IpamDriver.…``. A plugin is
``NAME.sock`` or ``NAME/NAME.sock`` in the folder of sockets, or ``NAME.spec`` (an address) or ``NAME.json``
in a folder of specifications.
"""

import json
import logging
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sampan.base.errors import EngineError, HostFailure, InvalidParameter, NotFound

if TYPE_CHECKING:
    import http.client
    import ssl

_log = logging.getLogger(__name__)
SOCKETS: Final = Path("/run/docker/plugins")
SPECIFICATIONS: Final = (Path("/etc/docker/plugins"), Path("/usr/lib/docker/plugins"))
_CONTENT_TYPE: Final = "application/vnd.docker.plugins.v1.2+json"
_TIMEOUT_S: Final = 60.0  # a plugin may have to reach a server far away
_LARGEST: Final = 8 << 20
_NAME: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


class PluginNotFound(NotFound):
    def __init__(self, name: str) -> None:
        super().__init__(f'plugin "{name}" not found')


class PluginFailed(HostFailure):
    """The plugin does not answer, or says that it could not; the message begins with the call."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a plugin listens: ``unix:///path``, ``tcp://host:port`` or ``https://host:port``."""

    url: str
    tls: Mapping[str, Any] = field(default_factory=dict)


class PluginFolders:
    """The places where plugins make themselves known."""

    def __init__(self, sockets: Path = SOCKETS, specifications: Sequence[Path] = SPECIFICATIONS) -> None:
        self._sockets = sockets
        self._specifications = specifications

    def names(self) -> list[str]:
        """Return the names of all plugins that are there."""
        found = set()
        for folder, endings in (
            (self._sockets, (".sock",)),
            *((f, (".spec", ".json")) for f in self._specifications),
        ):
            try:
                entries = list(folder.iterdir())
            except OSError:
                continue
            for entry in entries:
                if entry.suffix in endings:
                    found.add(entry.stem)
                elif folder is self._sockets and (entry / f"{entry.name}.sock").exists():
                    found.add(entry.name)
        return sorted(found)

    def find(self, name: str) -> Address:
        """Return where ``name`` listens. Raises PluginNotFound, InvalidParameter for a bad file."""
        if not name or not _NAME.issuperset(name) or name[0] == ".":
            raise PluginNotFound(name)
        for path in (self._sockets / f"{name}.sock", self._sockets / name / f"{name}.sock"):
            if path.exists():
                return Address(f"unix://{path}")
        for folder in self._specifications:
            for path in (folder / f"{name}.spec", folder / f"{name}.json"):
                try:
                    text = path.read_text()
                except (OSError, UnicodeDecodeError):
                    continue
                return _parse_spec(path, text)
        raise PluginNotFound(name)


def _parse_spec(path: Path, text: str) -> Address:
    if path.suffix == ".spec":
        address = Address(text.strip())
    else:
        try:
            document = json.loads(text)
            address = Address(str(document["Addr"]), document.get("TLSConfig") or {})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidParameter(f"{path}: not a plugin's specification: {error}") from error
    if not address.url.startswith(("unix://", "tcp://", "http://", "https://")):
        raise InvalidParameter(f"{path}: unknown protocol: {address.url}")
    return address


class Plugin:
    """One plugin; every call is a connection of its own. Blocking."""

    def __init__(self, name: str, address: Address) -> None:
        self.name = name
        self._address = address

    def activate(self) -> list[str]:
        """Shake hands; return the interfaces that the plugin implements."""
        answer = self.call("Plugin.Activate", None)
        implements = answer.get("Implements")
        return [str(word) for word in implements] if isinstance(implements, list) else []

    def call(self, method: str, document: Mapping[str, Any] | None) -> dict[str, Any]:
        """Post ``document`` to ``method`` and return the answer. Raises PluginFailed in its words."""
        import http.client  # only where there are plugins

        body = b"" if document is None else json.dumps(document).encode()
        headers = {"Accept": _CONTENT_TYPE, "Content-Type": _CONTENT_TYPE, "Connection": "close"}
        connection = self._connect()
        try:
            connection.request("POST", f"/{method}", body, headers)
            response = connection.getresponse()
            status, data = response.status, response.read(_LARGEST)
        except (OSError, http.client.HTTPException) as error:
            raise PluginFailed(f"{method}: plugin {self.name} does not answer: {error}") from error
        finally:
            connection.close()
        try:
            answer = json.loads(data) if data.strip() else {}
        except ValueError:
            answer = (
                {} if status == http.client.OK else {"Err": data[:1000].decode("utf-8", "replace").strip()}
            )
            if status == http.client.OK:
                raise PluginFailed(f"{method}: plugin {self.name} answers something else than JSON") from None
        if not isinstance(answer, dict):
            raise PluginFailed(f"{method}: plugin {self.name} answers something else than a JSON object")
        if failure := answer.get("Err") or answer.get("Error"):  # the latter in IPAM's part of the protocol
            raise PluginFailed(f"{method}: {failure}")
        if status != http.client.OK:
            raise PluginFailed(f"{method}: plugin {self.name} answers with status {status}")
        return answer

    def _connect(self) -> "http.client.HTTPConnection":
        import http.client

        scheme, _, place = self._address.url.partition("://")
        if scheme == "unix":
            connection = http.client.HTTPConnection("plugin", timeout=_TIMEOUT_S)
            wire = socket.socket(socket.AF_UNIX)
            wire.settimeout(_TIMEOUT_S)
            try:
                wire.connect(place)
            except OSError as error:
                wire.close()
                raise PluginFailed(f"plugin {self.name}: dial unix {place}: {error.strerror}") from error
            connection.sock = wire
            return connection
        host = place.partition("/")[0]
        if scheme == "https" or self._address.tls:
            return http.client.HTTPSConnection(host, timeout=_TIMEOUT_S, context=self._tls())
        return http.client.HTTPConnection(host, timeout=_TIMEOUT_S)

    def _tls(self) -> "ssl.SSLContext":
        import ssl

        wanted = self._address.tls
        try:
            context = ssl.create_default_context(cafile=wanted.get("CAFile") or None)
            if wanted.get("InsecureSkipVerify"):
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if wanted.get("CertFile"):
                context.load_cert_chain(wanted["CertFile"], wanted.get("KeyFile") or None)
        except (OSError, ValueError) as error:
            raise EngineError(f"plugin {self.name}: cannot use its TLSConfig: {error}") from error
        return context
