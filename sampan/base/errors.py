"""What can go wrong, as one tree of exceptions.

Each class says what happened in the engine's terms; ``sampan.api.errors`` is the only place that knows what
that is in HTTP. Messages are Docker's wherever a client could match on them. Domain packages subclass these
next to the code that raises them.
"""


class EngineError(Exception):
    """Base of every error that the engine raises on purpose; ``str()`` is the message for the user."""


class NotModified(EngineError):
    """The object is in the wanted state already (start of a running container)."""


class InvalidParameter(EngineError):
    """The request itself is wrong, whatever the state of the engine."""


class Unauthorized(EngineError):
    """Credentials are missing or wrong."""


class Forbidden(EngineError):
    """The caller may not do this."""


class NotFound(EngineError):
    """A named object does not exist."""


class Conflict(EngineError):
    """The request is right but the object's state or another object stands against it."""


class NotImplementedHere(EngineError):
    """The engine or this host cannot do it; the message names what is missing."""


class Unavailable(EngineError):
    """A part that is needed (a registry, a cluster) does not answer at the moment."""


class HostFailure(EngineError):
    """The kernel, the disk or the OCI runtime refused a well-formed request (HTTP 500, not a bug of ours)."""


def prefixed(prefix: str, error: EngineError) -> EngineError:
    """Return an error of the same kind as ``error`` whose message says ``prefix`` first."""
    kind = next(kind for kind in type(error).__mro__ if kind.__module__ == __name__)
    made: EngineError = kind(f"{prefix}: {error}")
    return made
