"""What every command is given: environment, settings, a client of the daemon, the standard streams.

All of it is made when first used, since a command lives for some milliseconds.
"""

import posix

from sampan import __version__
from sampan.cli.errors import CommandError
from sampan.client.api import Client
from sampan.client.config import Config, config_directory, context_name, find_endpoint, is_default
from sampan.client.errors import ClientError, ConnectionFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, Final

    from sampan.cli.parser import Flags
    from sampan.client.endpoint import Endpoint

STDIN: "Final" = 0
STDOUT: "Final" = 1
STDERR: "Final" = 2
USER_AGENT: "Final" = f"Sampan-Client/{__version__} (linux)"


def write(fd: int, data: bytes) -> None:
    """Write all of ``data``, also where somebody has made ``fd`` non-blocking. Raises OSError."""
    while data:
        try:
            data = data[posix.write(fd, data) :]
        except BlockingIOError:
            import select

            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()


class App:
    """One run of the program. ``flags`` are the program's own; ``launcher`` is the path it was started by."""

    def __init__(self, flags: "Flags", environ: "Mapping[str, str]", launcher: str = "") -> None:
        self.flags = flags
        self.environ = environ
        self.launcher = launcher
        self._config: Config | None = None
        self._client: Client | None = None

    @property
    def config(self) -> Config:
        """The user's settings; trouble with their file is a warning."""
        if self._config is None:
            given = self._given("config", "")
            self._config = Config(config_directory(self.environ, given))
            if self._config.problem:
                self.err(f"WARNING: Error loading config file: {self._config.problem}")
        return self._config

    @property
    def debug(self) -> bool:
        return bool(self.flags["debug"])

    @property
    def context(self) -> str:
        """The name of the context in force."""
        return context_name(self.environ, self.config, host=self._host(), context=self._context())

    @property
    def endpoint(self) -> "Endpoint":
        """Where the daemon is. Raises CommandError."""
        try:
            return find_endpoint(
                self.environ, self.config, host=self._host(), context=self._context(), flags=self._tls()
            )
        except ClientError as error:
            text = str(error)
            if text.startswith("conflicting options"):
                raise CommandError(text) from error
            raise CommandError(f"Failed to initialize: unable to resolve docker endpoint: {text}") from error

    @property
    def client(self) -> Client:
        """A client of the daemon, which is started where that is our business.

        Raises CommandError, ConnectionFailed.
        """
        if self._client is None:
            endpoint = self.endpoint
            client = self.client_of(endpoint)
            if is_default(endpoint):
                try:
                    client.transport.warm()
                except ConnectionFailed as error:
                    from sampan.cli.daemon_start import recover

                    client = recover(self, client, error)
            self._client = client
        return self._client

    def client_of(self, endpoint: "Endpoint") -> Client:
        """Return a client of the daemon at ``endpoint``; nothing is connected yet."""
        return Client(endpoint, headers={"User-Agent": USER_AGENT, **self.config.headers()})

    def close(self) -> None:
        """Close the connections that are kept."""
        if self._client is not None:
            self._client.close()

    def out(self, text: str) -> None:
        """Write ``text`` and a line's end to standard output."""
        write(STDOUT, encode(text + "\n"))

    def err(self, text: str) -> None:
        """Write ``text`` and a line's end to standard error."""
        write(STDERR, encode(text + "\n"))

    def write(self, text: str) -> None:
        """Write ``text`` to standard output as it is."""
        write(STDOUT, encode(text))

    def out_lines(self, lines: "Iterable[str]") -> None:
        """Write lines to standard output at once."""
        write(STDOUT, encode("".join(f"{line}\n" for line in lines)))

    def _given(self, name: str, default: "Any") -> "Any":
        """Return a flag's value if it stands on the command line; variables are ``config``'s business."""
        return dict.get(self.flags, name, default)

    def _host(self) -> str:
        hosts = self._given("host", ())
        if len(hosts) > 1:
            raise CommandError("Failed to initialize: unable to resolve docker endpoint: Specify only one -H")
        return str(hosts[0]) if hosts else ""

    def _context(self) -> str:
        return str(self._given("context", ""))

    def _tls(self) -> "dict[str, bool | str]":
        names = ("tls", "tlsverify", "tlscacert", "tlscert", "tlskey")
        return {name: self.flags[name] for name in names if name in self.flags}


def encode(text: str) -> bytes:
    """Return ``text`` as the bytes to print; what is no text comes out as it came in."""
    return text.encode("utf-8", "surrogateescape")
