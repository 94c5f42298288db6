"""What the engine's errors are in HTTP: the only such table."""

import logging
from collections.abc import Mapping
from typing import Final

from sampan.api.body import BodyTooLarge
from sampan.api.response import Response, json
from sampan.base.errors import (
    Conflict,
    EngineError,
    Forbidden,
    HostFailure,
    InvalidParameter,
    NotFound,
    NotImplementedHere,
    NotModified,
    Unauthorized,
    Unavailable,
)
from sampan.wire.system import ErrorMessage

_log = logging.getLogger(__name__)

STATUS: Final[Mapping[type[EngineError], int]] = {
    NotModified: 304,
    InvalidParameter: 400,
    BodyTooLarge: 413,
    Unauthorized: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    HostFailure: 500,
    NotImplementedHere: 501,
    Unavailable: 503,
}  # nearest ancestor wins; anything else is a bug: 500, and a traceback in the log


def status_of(error: BaseException) -> int:
    """Return the HTTP status of ``error``; that of its nearest ancestor in ``STATUS``, else 500."""
    for ancestor in type(error).__mro__:
        if (status := STATUS.get(ancestor)) is not None:
            return status
    return 500


def error_response(error: Exception) -> Response:
    """Turn ``error`` into an answer; log it with its traceback when it is none of ours."""
    status = status_of(error)
    if status == 304:
        return Response(304)
    if not isinstance(error, EngineError):
        _log.error("unexpected error", exc_info=error)
        return json(ErrorMessage(f"{type(error).__name__}: {error}"), status)
    level = logging.WARNING if status == 500 else logging.DEBUG
    _log.log(level, "request failed", extra={"status": status, "error": str(error)})
    return json(ErrorMessage(str(error)), status)
