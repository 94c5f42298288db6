"""The environment of a container's processes: Docker's own variables under those of image and user."""

from collections.abc import Iterable
from typing import Final

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def merge_env(base: Iterable[str], overrides: Iterable[str]) -> list[str]:
    """Return ``base`` with ``overrides`` in place or behind; a name without ``=`` takes the variable away."""
    merged = {entry.partition("=")[0]: entry for entry in base}
    for entry in overrides:
        name, equals, _ = entry.partition("=")
        if equals:
            merged[name] = entry
        else:
            merged.pop(name, None)
    return list(merged.values())


def container_env(env: Iterable[str], *, hostname: str, tty: bool) -> list[str]:
    """Return ``env`` of a container over PATH, HOSTNAME and, with a terminal, TERM."""
    defaults = [f"PATH={PATH}", f"HOSTNAME={hostname}"]
    if tty:
        defaults.append("TERM=xterm")
    return merge_env(defaults, env)


def with_home(env: list[str], home: str) -> list[str]:
    """Return ``env`` with HOME, unless it has one; the runtimes do the same, each in its own way."""
    return env if any(entry.startswith("HOME=") for entry in env) else [*env, f"HOME={home}"]
