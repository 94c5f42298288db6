"""Builds every object of the engine once, in order, and takes them down in reverse."""

import logging
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Final

from sampan.api.services import Services
from sampan.api.system import DriverNames, RuntimeVersion, System
from sampan.base.errors import HostFailure
from sampan.base.events import EventBus
from sampan.base.state import StateDB
from sampan.base.tasks import Tasks
from sampan.base.threads import blocking
from sampan.containers.service import ContainersService
from sampan.daemon.config import Config
from sampan.daemon.settings import (
    container_defaults,
    engine_settings,
    network_config,
    read_seccomp_profile,
    registry_settings,
)
from sampan.daemon.trees import StorageTrees
from sampan.images.service import ImagesService
from sampan.insight.networks import NetworkInsight
from sampan.insight.service import Insight
from sampan.kernel.host import probe
from sampan.logs.drivers import DRIVERS as LOG_DRIVERS
from sampan.networks.drivers import DRIVERS as NETWORK_DRIVERS
from sampan.networks.service import NetworksService
from sampan.registry.service import Registries
from sampan.runtime.service import RuntimeService
from sampan.runtime.spec import SpecBuilder
from sampan.storage.service import StorageService
from sampan.volumes.copies import VolumeCopies
from sampan.volumes.service import VolumesService

_log = logging.getLogger(__name__)
_ENGINE_TABLE: Final = "engine"


class Engine:
    """The services of a running engine, and how to end them. Containers outlive it."""

    def __init__(self, services: Services, state: StateDB, closing: AsyncExitStack, engine_id: str) -> None:
        self.services = services
        self.id = engine_id
        self._state = state
        self._closing = closing

    async def close(self) -> None:
        """Close every service, last built first."""
        await self._closing.aclose()


async def build(config: Config) -> Engine:
    """Build the engine and bring it to where the last one left off.

    Raises EngineError when the host or the settings do not allow it; nothing is left open then.
    """
    async with AsyncExitStack() as closing:
        facts = await blocking(probe)
        for sentence in facts.missing():
            _log.info("host: %s", sentence)
        _prepare(config)
        events = EventBus()
        closing.callback(events.close)
        state = StateDB(config.data_root / "state.db")
        closing.callback(state.close)
        storage = await blocking(
            StorageService,
            config.data_root / "storage",
            driver=config.storage_driver or None,
            options=config.storage_opt,
        )
        closing.push_async_callback(storage.close)
        registries = Registries(registry_settings(config))
        closing.push_async_callback(registries.close)
        images = ImagesService(config.data_root, storage, state, events, registries=registries)
        closing.push_async_callback(images.close)
        networks = NetworksService(config.exec_root, state, events, network_config(config))
        closing.push_async_callback(networks.close)
        volumes = VolumesService(config.data_root, config.exec_root, state, events, StorageTrees())
        closing.push_async_callback(volumes.close)
        copies = VolumeCopies(volumes)
        closing.push_async_callback(copies.close)
        runtime = RuntimeService(
            config.exec_root,
            config.runtimes,
            config.default_runtime,
            on_exit=lambda container, ended: containers.on_exit(container, ended),
            on_exec_exit=lambda container, name, ended: containers.on_exec_exit(container, name, ended),
            hide_unified=facts.cgroup_hybrid_blocks_crun,
            places=(config.data_root,),
        )
        closing.push_async_callback(runtime.close)
        spec = SpecBuilder(
            facts,
            default_seccomp=read_seccomp_profile(config.seccomp_profile),
            default_ulimits=config.default_ulimit,
            default_shm_size=config.default_shm_size,
            no_new_privileges=config.no_new_privileges,
        )
        containers = ContainersService(
            config.data_root,
            state=state,
            events=events,
            images=images,
            storage=storage,
            networks=networks,
            volumes=volumes,
            runtime=runtime,
            spec=spec,
            facts=facts,
            defaults=container_defaults(config, facts),
        )
        closing.push_async_callback(containers.close)
        images.users = containers
        volumes.users = containers
        tasks = Tasks("daemon")
        closing.push_async_callback(tasks.close)
        tasks.spawn(blocking(spec.warm), name="compile the default seccomp profile")
        await blocking(storage.recover, containers.snapshots() | images.chains_in_use())
        await images.recover()
        storage.adopt(containers.running_ids())
        await volumes.recover(containers.volumes_held())
        await networks.open(containers.running_ids())
        await containers.restore()
        engine_id = _engine_id(state)
        services = Services(
            containers=containers,
            images=images,
            registries=registries,
            networks=networks,
            network_insight=NetworkInsight(networks.views, containers.identify),
            volumes=volumes,
            copies=copies,
            storage=storage,
            insight=Insight(
                config.data_root,
                config.exec_root,
                state=state,
                containers=containers,
                images=images,
                networks=networks,
                storage=storage,
                volumes=volumes,
            ),
            system=System(
                facts,
                engine_settings(config, engine_id),
                _driver_names(storage, volumes),
                lambda: _runtime_version(config.default_runtime, runtime.available()),
            ),
            events=events,
        )
        return Engine(services, state, closing.pop_all(), engine_id)


def _prepare(config: Config) -> None:
    """Make the two roots; whoever may use the socket must be able to reach it in the exec root."""
    for folder in (config.data_root, config.exec_root):
        try:
            folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        except OSError as error:
            raise HostFailure(f"cannot create {folder}: {error.strerror}") from error


def _engine_id(state: StateDB) -> str:
    """Return the id of this data root's engine, made when it is first used."""
    known = state.load(_ENGINE_TABLE).get("id")
    if known is not None:
        return known.decode()
    digits = os.urandom(16).hex()
    fresh = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    state.put(_ENGINE_TABLE, "id", fresh.encode(), durable=True)
    return fresh


def _driver_names(storage: StorageService, volumes: VolumesService) -> DriverNames:
    return DriverNames(
        storage=storage.name,
        storage_status=storage.status,
        volume=volumes.driver_names,
        network=sorted(NETWORK_DRIVERS),
        log=[driver.name for driver in LOG_DRIVERS],
    )


def _runtime_version(name: str, programs: Mapping[str, str]) -> RuntimeVersion:
    """Ask the OCI runtime ``name`` for its version; blocking."""
    if (program := programs.get(name)) is None:
        return RuntimeVersion(name)
    import subprocess  # asked for once, when somebody wants to know

    try:
        done = subprocess.run([program, "--version"], capture_output=True, timeout=10, check=False, text=True)
    except (OSError, subprocess.TimeoutExpired) as error:
        _log.warning("the runtime does not tell its version", extra={"path": program, "reason": str(error)})
        return RuntimeVersion(name)
    lines = done.stdout.splitlines()
    commit = next((line.partition(":")[2].strip() for line in lines if line.startswith("commit:")), "")
    return RuntimeVersion(name, lines[0].split()[-1] if lines and lines[0] else "", commit)
