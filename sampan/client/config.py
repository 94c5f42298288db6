"""The user's settings: ``~/.docker/config.json`` and which daemon is meant.

Docker's file and variables are read, so that both command lines agree; ``SAMPAN_HOST`` goes before them. The
saved contexts are in ``contexts``.
"""

import posix

from sampan.base import jsonlite
from sampan.client.endpoint import DEFAULT_SOCKET, DOCKER_SOCKET, Endpoint, TlsFiles, parse_host
from sampan.client.errors import ClientError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

DEFAULT_CONTEXT: "Final" = "default"
_MODE: "Final" = 0o600


def environment() -> dict[str, str]:
    """Return the process's environment as text (``os`` is not imported by short commands)."""
    return {
        name.decode("utf-8", "surrogateescape"): value.decode("utf-8", "surrogateescape")
        for name, value in posix.environ.items()
    }


def config_directory(environ: "Mapping[str, str]", given: str = "") -> str:
    """Return the folder of the settings: ``given``, ``$DOCKER_CONFIG``, or ``.docker`` at home."""
    return given or environ.get("DOCKER_CONFIG", "") or f"{home(environ)}/.docker"


def home(environ: "Mapping[str, str]") -> str:
    """Return the user's home folder: ``$HOME``, or what the user database says."""
    if found := environ.get("HOME", ""):
        return found.rstrip("/")
    import pwd

    try:
        return pwd.getpwuid(posix.getuid()).pw_dir.rstrip("/")
    except KeyError:
        return ""


def read_file(path: str) -> bytes:
    """Return the content of a small file. Raises OSError."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        data = b""
        while piece := posix.read(fd, 65536):
            data += piece
        return data
    finally:
        posix.close(fd)


class Config:
    """The settings file. ``problem`` says why it could not be read, "" if it could or there is none."""

    __slots__ = ("data", "directory", "problem")

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.data: dict[str, Any] = {}
        self.problem = ""
        try:
            text = read_file(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            self.problem = f"open {self.path}: {(error.strerror or '').lower()}"
            return
        try:
            found = jsonlite.loads(text) if text.strip() else {}
        except ValueError as error:
            self.problem = f"{self.path}: {error}"
            return
        if isinstance(found, dict):
            self.data = found
        else:
            self.problem = f"{self.path}: not a JSON object"

    @property
    def path(self) -> str:
        return f"{self.directory}/config.json"

    def text(self, name: str) -> str:
        """Return the setting ``name`` if it is text, else ""."""
        value = self.data.get(name)
        return value if isinstance(value, str) else ""

    def headers(self) -> dict[str, str]:
        """Return the extra HTTP headers that the user wants sent."""
        value = self.data.get("HttpHeaders")
        return {str(k): str(v) for k, v in value.items()} if isinstance(value, dict) else {}

    def save(self) -> None:
        """Write the settings back, whole or not at all. Raises OSError."""
        import json

        text = json.dumps(self.data, indent="\t", ensure_ascii=False)
        write_file(self.path, text.encode())


def write_file(path: str, data: bytes) -> None:
    """Write a small private file, whole or not at all; folders are made. Raises OSError."""
    import os

    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    path = os.path.realpath(path)  # a link to the file stays one
    temporary = f"{path}{os.getpid()}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _MODE)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def context_name(environ: "Mapping[str, str]", config: Config, *, host: str = "", context: str = "") -> str:
    """Return the context in force, whether it exists or not. Order: docker/cli, resolveContextName."""
    if context:
        return context
    if host or environ.get("SAMPAN_HOST") or environ.get("DOCKER_HOST"):
        return DEFAULT_CONTEXT
    return environ.get("DOCKER_CONTEXT") or config.text("currentContext") or DEFAULT_CONTEXT


def tls_files(
    environ: "Mapping[str, str]", config: Config, flags: "Mapping[str, Any] | None" = None
) -> TlsFiles | None:
    """Return the TLS files that flags (``tls``, ``tlsverify``, ``tlscacert``, …) and variables ask for."""
    given = flags or {}
    verify = bool(given["tlsverify"]) if "tlsverify" in given else bool(environ.get("DOCKER_TLS_VERIFY"))
    wanted = bool(given["tls"]) if "tls" in given else bool(environ.get("DOCKER_TLS"))
    if not wanted and not verify and "tlsverify" not in given:
        return None
    folder = environ.get("DOCKER_CERT_PATH") or config.directory
    found = {}
    for flag, name in (("tlscacert", "ca.pem"), ("tlscert", "cert.pem"), ("tlskey", "key.pem")):
        path = str(given.get(flag) or f"{folder}/{name}")
        optional = not given.get(flag) and (flag != "tlscacert" or not verify)
        found[flag] = "" if optional and not _exists(path) else path
    return TlsFiles(found["tlscacert"], found["tlscert"], found["tlskey"], verify=verify)


def find_endpoint(
    environ: "Mapping[str, str]",
    config: Config,
    *,
    host: str = "",
    context: str = "",
    flags: "Mapping[str, Any] | None" = None,
) -> Endpoint:
    """Return the daemon that flags, variables, the current context or the defaults name, in that order.

    Raises ClientError, for example for a context that is not there.
    """
    if host and context:
        raise ClientError("conflicting options: cannot specify both --host and --context")
    name = context_name(environ, config, host=host, context=context)
    if name != DEFAULT_CONTEXT:
        from sampan.client.contexts import ContextStore

        return ContextStore(config.directory).endpoint(name)
    text = host or environ.get("SAMPAN_HOST", "") or environ.get("DOCKER_HOST", "")
    tls = tls_files(environ, config, flags)
    if not text.strip() and tls is None:
        return Endpoint("unix://" + DEFAULT_SOCKET)
    full = parse_host(text, tls=tls is not None)
    return Endpoint(full, tls if full.startswith("tcp://") else None)


def is_default(endpoint: Endpoint) -> bool:
    """Return whether ``endpoint`` is where ``sampand`` listens unless told otherwise."""
    return endpoint.kind == "unix" and endpoint.address == DEFAULT_SOCKET


def docker_endpoint() -> Endpoint:
    """Return Docker's own default place, on which ``sampand`` can listen too."""
    return Endpoint("unix://" + DOCKER_SOCKET)


def _exists(path: str) -> bool:
    try:
        posix.stat(path)
    except OSError:
        return False
    return True
