"""The event that tells of reloaded settings."""

import msgspec

from sampan.base.events import EventBus
from sampan.daemon.config import Config


def announce(events: EventBus, config: Config, engine_id: str, hostname: str) -> None:
    """Publish daemon ``reload`` with the settings as they are now, in Docker's attributes."""
    attributes = {
        "debug": "true" if config.debug else "false",
        "default-runtime": config.default_runtime,
        "insecure-registries": msgspec.json.encode(list(config.insecure_registry)).decode(),
        "labels": msgspec.json.encode(list(config.label)).decode(),
        "live-restore": "true",
        "max-concurrent-downloads": str(config.max_concurrent_downloads),
        "max-concurrent-uploads": str(config.max_concurrent_uploads),
        "max-download-attempts": str(config.max_download_attempts),
        "name": hostname,
        "registry-mirrors": msgspec.json.encode(list(config.registry_mirror)).decode(),
        "runtimes": " ".join(f"{name}:{path}" for name, path in config.runtimes.items()),
        "shutdown-timeout": str(config.shutdown_timeout),
    }
    events.publish("daemon", "reload", engine_id, attributes)
