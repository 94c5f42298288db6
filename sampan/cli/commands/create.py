"""``create``, and the part of ``run`` that makes the container: fetching a missing image, the id file."""

import posix

from sampan.base.errors import EngineError
from sampan.cli import terminal
from sampan.cli.app import STDERR, STDOUT
from sampan.cli.errors import CommandError
from sampan.cli.options import container_body
from sampan.client.errors import ClientError, DaemonInvalidParameter, DaemonNotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

    from sampan.cli.app import App
    from sampan.cli.parser import Parsed

_PULL = ("always", "missing", "never", "")


def create(app: "App", parsed: "Parsed") -> None:
    """Make a container and print its id."""
    app.out(Creation(app, parsed).perform())


def with_help(message: str, path: str) -> str:
    """Return an error of ``run`` or ``create`` as Docker words it: named, and pointing to the help."""
    return f"sampan: {message}\n\nRun 'sampan {path} --help' for more information"


class Creation:
    """What shall be created: the request of the flags, checked as far as the client can."""

    def __init__(self, app: "App", parsed: "Parsed") -> None:
        flags = parsed.flags
        self._app = app
        self._pull = flags["pull"]
        if self._pull not in _PULL:
            message = f'invalid pull option: \'{self._pull}\': must be one of "always", "missing" or "never"'
            raise CommandError(with_help(message, parsed.path), 125)
        self._quiet = flags["quiet"]
        if flags["use-api-socket"]:
            raise CommandError(with_help("--use-api-socket comes with a later version", parsed.path), 125)
        self.body, self._name, self._platform = container_body(flags, parsed.args, app.environ, parsed.path)
        if proxies := app.config.data.get("proxies"):
            self.body["Env"] = (
                _proxy_variables(proxies, app.endpoint.host, self.body["Env"]) + self.body["Env"]
            )

    def perform(self) -> str:
        """Create the container and return its id; warnings go to standard error.

        Raises EngineError.
        """
        host: dict[str, Any] = self.body["HostConfig"]
        with IdFile(host.get("ContainerIDFile") or "") as id_file:
            if self._pull == "always":
                pull(self._app, self.body["Image"], self._platform, quiet=self._quiet)
            host["ConsoleSize"] = list(terminal.size(STDOUT))
            try:
                created = self._create()
            except DaemonInvalidParameter as error:
                if error.message.startswith("invalid reference format"):
                    raise ClientError(error.message) from error  # Docker's client finds that by itself
                raise
            except DaemonNotFound as error:
                if self._pull not in {"missing", ""}:
                    raise
                self._fetch(error)
                created = self._create()
            for warning in [*(created.get("Warnings") or ()), *_local_warnings(host)]:
                self._app.err(f"WARNING: {warning}")
            identifier = str(created["Id"])
            id_file.write(identifier)
        return identifier

    def _create(self) -> "dict[str, Any]":
        return self._app.client.create_from(self.body, name=self._name or "", platform=self._platform)

    def _fetch(self, error: DaemonNotFound) -> None:
        from sampan.oci.reference import Reference, parse_any

        reference = parse_any(self.body["Image"])
        if not isinstance(reference, Reference):
            raise error  # an image ID: there is nowhere to fetch it from
        if not self._quiet:
            self._app.err(f"Unable to find image '{reference.with_default_tag().familiar}' locally")
        pull(self._app, self.body["Image"], self._platform, quiet=self._quiet)


def pull(app: "App", image: str, platform: str, *, quiet: bool) -> None:
    """Fetch an image, showing the progress on standard error. Raises EngineError."""
    from sampan.cli.commands.registry import fetch
    from sampan.oci.reference import parse_normalized

    fetch(app, parse_normalized(image).with_default_tag(), platform, fd=None if quiet else STDERR)


class IdFile:
    """The file of ``--cidfile``: made before the container, removed again if there is none in the end."""

    __slots__ = ("_fd", "_path", "_written")

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self._written = False

    def __enter__(self) -> "Self":
        if not self._path:
            return self
        try:
            self._fd = posix.open(
                self._path, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o666
            )
        except FileExistsError:
            raise ClientError(
                f"container ID file found, make sure the other container isn't running or delete {self._path}"
            ) from None
        except OSError as error:
            reason = (error.strerror or "").lower()
            raise ClientError(
                f"failed to create the container ID file: open {self._path}: {reason}"
            ) from error
        return self

    def write(self, identifier: str) -> None:
        """Write the id. Raises ClientError."""
        if self._fd < 0:
            return
        try:
            posix.write(self._fd, identifier.encode())
        except OSError as error:
            raise ClientError(f"failed to write the container ID to the file: {error.strerror}") from error
        self._written = True

    def __exit__(self, *_: object) -> None:
        if self._fd < 0:
            return
        posix.close(self._fd)
        if not self._written:
            posix.unlink(self._path)


def _proxy_variables(proxies: object, host: str, environment: list[str]) -> list[str]:
    """Return the variables of the settings' ``proxies`` for the daemon ``host`` that are not set already."""
    if not isinstance(proxies, dict):
        return []
    settings = proxies.get(host) or proxies.get("default") or {}
    have = {entry.partition("=")[0] for entry in environment}
    found = []
    for key, name in (
        ("httpProxy", "HTTP_PROXY"),
        ("httpsProxy", "HTTPS_PROXY"),
        ("noProxy", "NO_PROXY"),
        ("ftpProxy", "FTP_PROXY"),
        ("allProxy", "ALL_PROXY"),
    ):
        value = settings.get(key)
        if value:
            found += [f"{each}={value}" for each in (name, name.lower()) if each not in have]
    return found


def _local_warnings(host: "dict[str, Any]") -> list[str]:
    """Return warnings that Docker's client adds to the daemon's."""
    return [
        f"Localhost DNS ({address}) may fail in containers."
        for address in host.get("Dns") or ()
        if address.startswith("127.") or address == "::1"
    ]


def start_status(error: EngineError) -> int:
    """Return the exit code for a container that could not be made or started (docker/cli, toStatusError)."""
    text = str(error)
    if any(
        part in text
        for part in (
            "executable file not found",
            "no such file or directory",
            "system cannot find the file specified",
        )
    ):
        return 127
    return 126 if "permission denied" in text or "is a directory" in text else 125
