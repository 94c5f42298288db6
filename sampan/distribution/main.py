"""``sampan-registry``: the program behind ``sampan registry serve`` and ``sampan registry gc``."""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NoReturn

from sampan.base import faults
from sampan.base.errors import EngineError, HostFailure, InvalidParameter
from sampan.base.units import human_size
from sampan.daemon import log
from sampan.daemon.process import ServiceManager, lock_data_root, raise_limits
from sampan.distribution.collect import collect
from sampan.distribution.passwords import Passwords
from sampan.distribution.server import Server
from sampan.distribution.service import Registry
from sampan.distribution.settings import (
    Collection,
    Settings,
    parse_collection,
    parse_settings,
    parse_words,
)
from sampan.distribution.store import Store
from sampan.kernel.memory import limit_arenas

if TYPE_CHECKING:
    import ssl

_log = logging.getLogger(__name__)
_BACKLOG: Final = 1024
_GRACE_S: Final = 10.0
_LOOPBACK: Final = ("127.", "::1", "localhost")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run ``serve`` or ``gc``; exits with 0 after SIGTERM or SIGINT, with 1 after a failure."""
    command, *words = (sys.argv[1:] if arguments is None else arguments) or [""]
    try:
        given = parse_words(words)
        if command == "serve":
            _serve(parse_settings(given))
        elif command == "gc":
            _collect(parse_collection(given))
        else:
            raise InvalidParameter("this program is run by `sampan registry serve` and `sampan registry gc`")
    except EngineError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
    sys.exit(0)


def _collect(wanted: Collection) -> None:
    if not (wanted.root / "registry.db").exists():
        raise InvalidParameter(f"there is no registry in {wanted.root}")
    try:
        lock_data_root(wanted.root)
        alone = True
    except HostFailure:
        alone = False  # a server runs: it is told apart from a root that cannot be used when that is opened
    store = Store(wanted.root, tidy=alone)
    try:
        done = collect(store, wanted, lambda line: print(line), alone=alone)  # noqa: T201 - what was asked for
    finally:
        store.close()
    verb = "would be removed" if wanted.dry_run else "removed"
    sys.stdout.write(f"{done.manifests} manifests and {done.blobs} blobs {verb}: {human_size(done.size)}\n")


def _serve(settings: Settings) -> None:
    log.set_up(level=settings.log_level, form="text", debug=False)
    faults.arm_from_environment()
    raise_limits()
    limit_arenas(2)
    try:
        settings.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise HostFailure(f"cannot use {settings.root}: {error.strerror}") from error
    lock_data_root(settings.root)
    asyncio.run(_Process(settings).run())


class _Process:
    """The life of one server: open, listen, serve, and all of it backwards."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ending = asyncio.Event()
        self._context: ssl.SSLContext | None = None

    async def run(self) -> None:
        """Serve until a signal ends it. Raises EngineError if it cannot start."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ending.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        settings = self._settings
        passwords = Passwords(settings.htpasswd) if settings.htpasswd is not None else None
        registry = Registry(settings)
        try:
            server = Server(registry, passwords)
            listener = await self._listen(self._over_tls(server) or server.protocol)
            gc.collect()
            gc.freeze()
            gc.enable()  # the launcher switches it off, for a quicker start
            manager = ServiceManager()
            manager.tell("READY=1")
            await self._ending.wait()
            manager.tell("STOPPING=1")
            _log.info("registry ends")
            listener.close()
            await server.close(_GRACE_S)
        finally:
            await registry.close()

    async def _listen(self, protocol: Callable[[], asyncio.BaseProtocol]) -> asyncio.Server:
        host, port = self._settings.address
        try:
            listener = await asyncio.get_running_loop().create_server(
                protocol, host or None, port, backlog=_BACKLOG
            )
        except (OSError, UnicodeError) as error:
            reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
            raise HostFailure(f"cannot listen on {host}:{port}: {reason}") from error
        scheme = "https" if self._context is not None else "http"
        for each in listener.sockets:
            address = each.getsockname()
            shown = f"[{address[0]}]" if each.family == socket.AF_INET6 else address[0]
            _log.info("registry listens on %s://%s:%d", scheme, shown, address[1])
        if self._settings.htpasswd and not self._context and not host.startswith(_LOOPBACK):
            _log.warning("passwords travel unencrypted: --tls-cert and --tls-key would change that")
        return listener

    def _over_tls(self, server: Server) -> Callable[[], asyncio.Protocol] | None:
        if not self._settings.tls_cert:
            return None
        from sampan.api.tls import TLSProtocol, server_context  # only where it is used

        context = self._context = server_context(
            self._settings.tls_cert, self._settings.tls_key, "", verify=False
        )
        return lambda: TLSProtocol(context, server.protocol)

    def _reload(self) -> None:
        """Take a renewed certificate (SIGHUP); passwords are read again whenever their file changes."""
        if self._context is None:
            return
        try:
            self._context.load_cert_chain(self._settings.tls_cert, self._settings.tls_key)
            _log.info("certificate loaded")
        except OSError as error:
            _log.error("the certificate stays as it was", extra={"reason": str(error)})


if __name__ == "__main__":
    main()
