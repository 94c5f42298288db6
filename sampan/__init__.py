"""Sampan: a container engine in Python that speaks the Docker Engine API.

``sampan.Client`` talks to a running daemon; ``sampan.Engine`` is the engine itself, in process. Both are
imported when they are first used: the command line must not pay for them.
"""

__version__ = "0.1.0"
__all__ = ["Client", "Engine", "__version__"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.client.api import Client
    from sampan.daemon.engine import Engine


def __getattr__(name: str) -> object:
    if name == "Client":
        from sampan.client.api import Client

        return Client
    if name == "Engine":
        from sampan.daemon.engine import Engine

        return Engine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
