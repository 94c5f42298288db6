"""``sampand``: reads the settings, starts the engine, serves until it is told to end."""

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

from sampan import __version__
from sampan.api.server import Server
from sampan.base import faults
from sampan.base.errors import EngineError
from sampan.daemon import log
from sampan.daemon.config import Config, ConfigError, load_config, reload_config
from sampan.daemon.listeners import Listener, open_listeners
from sampan.daemon.options import Given, UsageError, parse_arguments, usage
from sampan.daemon.process import PidFile, ServiceManager, dump_stacks, lock_data_root, raise_limits
from sampan.daemon.reload import announce
from sampan.daemon.services import Engine, build
from sampan.daemon.settings import engine_settings, registry_settings
from sampan.kernel.memory import limit_arenas

_log = logging.getLogger(__name__)
_USAGE_EXIT: Final = 125
_PATIENCE: Final = 3  # signals, as dockerd


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the daemon with the command line ``arguments``; exits with 0 after SIGTERM or SIGINT."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        given = parse_arguments(words)
    except UsageError as error:
        _say(f"{error}\n\nUsage:  sampand [OPTIONS]\n\nRun 'sampand --help' for more information")
        sys.exit(_USAGE_EXIT)
    if "help" in given:
        sys.stdout.write(usage() + "\n")
        sys.exit(0)
    if "version" in given:
        sys.stdout.write(f"Sampan version {__version__}\n")
        sys.exit(0)
    try:
        config = load_config(given)
    except ConfigError as error:
        _say(str(error))
        sys.exit(1)
    if "validate" in given:
        _say("configuration OK")
        sys.exit(0)
    sys.exit(_run(config, given))


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def _run(config: Config, given: Given) -> int:
    if os.geteuid() != 0:
        _say("sampand needs to be started with root privileges")
        return 1
    log.set_up(level=config.log_level, form=config.log_format, debug=config.debug)
    faults.arm_from_environment()
    raise_limits()
    limit_arenas(2)
    pid_file = None
    try:
        pid_file = PidFile(config.pid_path)
        lock_data_root(config.data_root)
        asyncio.run(_Daemon(config, given).run())
    except EngineError as error:
        _log.critical("%s", error)
        return 1
    finally:
        if pid_file is not None:
            pid_file.remove()
    return 0


class _Daemon:
    """The life of one daemon: listen, build, serve, and all of it backwards."""

    def __init__(self, config: Config, given: Given) -> None:
        self._config = config
        self._given = given
        self._ending = asyncio.Event()
        self._impatience = 0
        self._manager = ServiceManager()
        self._engine: Engine | None = None

    async def run(self) -> None:
        """Serve until a signal ends it. Raises EngineError if it cannot start."""
        self._handle_signals()
        listeners = open_listeners(self._config.hosts, self._config.group)
        try:
            self._engine = await build(self._config)
            try:
                await self._serve(self._engine, listeners)
            finally:
                await self._engine.close()
        finally:
            for listener in listeners:
                listener.close()

    async def _serve(self, engine: Engine, listeners: Sequence[Listener]) -> None:
        server = Server(engine.services)
        over_tls = self._over_tls(server)
        for listener in listeners:
            tcp = listener.host.kind == "tcp"
            await listener.serve(over_tls if tcp and over_tls is not None else server.protocol)
        for warning in engine.services.system.settings.warnings:
            _log.warning("%s", warning.removeprefix("WARNING: ").replace("\n        ", ""))
        gc.collect()
        gc.freeze()  # what lives now lives on: later collections need not look at it
        gc.enable()  # the launcher switches it off, for a quicker start
        self._manager.tell("READY=1")
        _log.info("Daemon has completed initialization", extra={"version": __version__})
        await self._ending.wait()
        self._manager.tell("STOPPING=1")
        _log.info("Daemon shutdown: containers live on")
        for listener in listeners:
            listener.close()
        await server.close(float(max(0, self._config.shutdown_timeout)))

    def _over_tls(self, server: Server) -> Callable[[], asyncio.Protocol] | None:
        config = self._config
        if not config.uses_tls:
            return None
        from sampan.api.tls import TLSProtocol, server_context  # only where it is used

        context = server_context(config.tlscert, config.tlskey, config.tlscacert, verify=config.tlsverify)
        return lambda: TLSProtocol(context, server.protocol)

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        loop.add_signal_handler(signal.SIGUSR1, dump_stacks, self._config.exec_root)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)

    def _end(self) -> None:
        """End; the third time, without cleaning up."""
        self._ending.set()
        self._impatience += 1
        if self._impatience >= _PATIENCE:
            _log.critical("forced to end without cleaning up: %d signals received", self._impatience)
            os._exit(1)

    def _reload(self) -> None:
        """Take over what may change while the daemon runs (SIGHUP)."""
        _log.info("Got signal to reload configuration", extra={"file": self._config.config_file})
        try:
            self._config = reload_config(self._config, self._given)
        except ConfigError as error:
            _log.error("%s", error)
            return
        log.set_level(level=self._config.log_level, debug=self._config.debug)
        if self._engine is not None:
            self._engine.services.registries.reload(registry_settings(self._config))
            self._engine.services.images.settings_changed()
            system = self._engine.services.system
            system.settings = engine_settings(self._config, self._engine.id)
            announce(self._engine.services.events, self._config, self._engine.id, system.hostname)


if __name__ == "__main__":
    main()
