"""The namespace modes of a HostConfig: whose namespace of each kind a container gets.

Each mode is a word, or ``container:<name or id>`` for the kinds that can be shared between containers.
"""

from collections.abc import Mapping
from typing import Final

_CONTAINER: Final = "container:"
_WORDS: Final[Mapping[str, frozenset[str]]] = {
    "ipc": frozenset({"", "none", "private", "shareable", "host"}),
    "pid": frozenset({"", "host"}),
    "uts": frozenset({"", "host"}),
    "userns": frozenset({"", "host"}),
    "cgroupns": frozenset({"", "private", "host"}),
}


def container_of(mode: str) -> str | None:
    """Return the container that ``container:<name or id>`` names (may be empty), None for another mode."""
    return mode[len(_CONTAINER) :] if mode.startswith(_CONTAINER) else None


def is_host(mode: str) -> bool:
    """Whether the mode asks for the host's namespace."""
    return mode == "host"


def is_private(kind: str, mode: str) -> bool:
    """Whether the container gets a namespace of its own; for ``ipc`` and ``cgroupns`` only if so named."""
    if kind in ("ipc", "cgroupns"):
        return mode == "private"
    return mode != "host" and container_of(mode) is None


def is_valid(kind: str, mode: str) -> bool:
    """Whether ``mode`` is one of ``kind`` (ipc, pid, uts, userns, cgroupns); networks are not judged here."""
    if mode in _WORDS[kind]:
        return True
    shared = container_of(mode)
    # moby takes "container:" without a name for ipc, and finds no such container later
    return shared is not None and (kind == "ipc" or (kind == "pid" and shared != ""))
