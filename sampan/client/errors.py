"""What can go wrong between a client and a daemon.

The daemon's answers become the classes of ``sampan.base.errors`` again, so that whoever used the engine in
process catches the same things over HTTP; ``DaemonError`` adds the status. ``str()`` is what Docker's CLI
prints.
"""

from sampan.base.errors import (
    Conflict,
    EngineError,
    Forbidden,
    InvalidParameter,
    NotFound,
    NotImplementedHere,
    Unauthorized,
    Unavailable,
)


class ClientError(EngineError):
    """The client itself found the fault: a bad address, a bad context, an answer that is not HTTP."""


class ConnectionFailed(Unavailable):
    """No daemon answers at ``host``, or it hung up."""

    def __init__(self, message: str, host: str) -> None:
        super().__init__(message)
        self.host = host


class DaemonError(EngineError):
    """The daemon refused a request; ``status`` is HTTP's, ``message`` its words without the prefix."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"Error response from daemon: {message}")
        self.status = status
        self.message = message


class DaemonInvalidParameter(DaemonError, InvalidParameter):
    """HTTP 400."""


class DaemonUnauthorized(DaemonError, Unauthorized):
    """HTTP 401."""


class DaemonForbidden(DaemonError, Forbidden):
    """HTTP 403."""


class DaemonNotFound(DaemonError, NotFound):
    """HTTP 404."""


class DaemonConflict(DaemonError, Conflict):
    """HTTP 409."""


class DaemonNotImplemented(DaemonError, NotImplementedHere):
    """HTTP 501."""


class DaemonUnavailable(DaemonError, Unavailable):
    """HTTP 503."""


_CLASSES: dict[int, type[DaemonError]] = {
    400: DaemonInvalidParameter,
    401: DaemonUnauthorized,
    403: DaemonForbidden,
    404: DaemonNotFound,
    409: DaemonConflict,
    501: DaemonNotImplemented,
    503: DaemonUnavailable,
}


def daemon_error(status: int, message: str) -> DaemonError:
    """Return the narrowest error for an answer with ``status``."""
    return _CLASSES.get(status, DaemonError)(status, message)


class StreamFailed(EngineError):
    """A stream of JSON progress (load, pull) ended with an error of the daemon, here in its own words."""
