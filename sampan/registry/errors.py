"""What can go wrong with a registry, in Docker's words."""

import msgspec

from sampan.base.errors import EngineError, Forbidden, InvalidParameter, NotFound, Unauthorized, Unavailable
from sampan.oci.reference import Reference

_REASONS = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    416: "Requested Range Not Satisfiable",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
_SHOWN = 200  # characters of a body that is no error document


class ConnectionFailed(Unavailable):
    """A registry cannot be reached, hangs up or falls silent; ``refused``: nobody listens there."""

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class NotTLS(ConnectionFailed):
    """What answers does not speak TLS."""


class BadCertificate(ConnectionFailed):
    """The registry's certificate is not good."""


class BadAnswer(Unavailable):
    """A registry answers against the protocol: no HTTP, a wrong digest or size, too much."""


class Refused(EngineError):
    """A registry's answer of an error; ``code`` is the distribution specification's, "" if there is none."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status = status
        self.code = code
        self.message = message
        super().__init__(f"{code.lower().replace('_', ' ')}: {message}" if code else message)


class RefusedUnauthorized(Refused, Unauthorized):
    """HTTP 401."""


class NoCredentials(RefusedUnauthorized):
    """The registry wants a name and a password, and there are none."""

    def __init__(self, method: str = "", url: str = "") -> None:
        where = f'{method.capitalize()} "{url}": ' if url else ""
        super().__init__(401, "", f"{where}no basic auth credentials")


class RefusedForbidden(Refused, Forbidden):
    """HTTP 403."""


class RefusedNotFound(Refused, NotFound):
    """HTTP 404."""


class RefusedUnavailable(Refused, Unavailable):
    """HTTP 429 or 5xx: it may work later."""


class NotFoundThere(NotFound):
    """A registry does not have what was asked for, or hides it."""


class InvalidAuth(InvalidParameter):
    """The header with credentials is not what it should be."""


class _Entry(msgspec.Struct):
    code: str = ""
    message: str = ""


class _Errors(msgspec.Struct):
    errors: list[_Entry] = []
    details: str = ""
    error_description: str = ""


def refusal(status: int, body: bytes) -> Refused:
    """Return the error for an answer with ``status`` and ``body``."""
    kind: type[Refused] = {401: RefusedUnauthorized, 403: RefusedForbidden, 404: RefusedNotFound}.get(
        status, RefusedUnavailable if status == 429 or status >= 500 else Refused
    )
    try:
        document = msgspec.json.decode(body, type=_Errors)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        document = _Errors()
    if document.errors and document.errors[0].code:
        first = document.errors[0]
        return kind(status, first.code, first.message or first.code.lower().replace("_", " "))
    if text := document.details or document.error_description:
        code = {401: "UNAUTHORIZED", 403: "DENIED", 429: "TOOMANYREQUESTS"}.get(status, "")
        return kind(status, code, text)
    if status in {401, 403}:
        default = {401: ("UNAUTHORIZED", "authentication required"), 403: ("DENIED", "access forbidden")}
        return kind(status, *default[status])
    reason = f"{status} {_REASONS.get(status, '')}".rstrip()
    if 400 <= status < 500 and body.strip():
        shown = body[:_SHOWN].decode("utf-8", "replace")
        return kind(
            status, "", f"error parsing HTTP {status} response body: not an error document: {shown!r}"
        )
    return kind(status, "", f"received unexpected HTTP status: {reason}")


def pull_error(error: Refused, reference: Reference) -> EngineError:
    """Return what Docker says of ``error`` when ``reference`` was to be pulled."""
    code = error.code or ("MANIFEST_UNKNOWN" if error.status == 404 else "")
    text = str(error) if error.code else "manifest unknown: manifest unknown"
    if code == "DENIED":
        return NotFoundThere(
            f"pull access denied for {reference.familiar_name}, repository does not exist or may require "
            f"'docker login': {error}"
        )
    if code == "MANIFEST_UNKNOWN":
        return NotFoundThere(f"manifest for {reference.familiar} not found: {text}")
    if code == "NAME_UNKNOWN":
        return NotFoundThere(f"repository {reference.familiar_name} not found: {error}")
    if isinstance(error, RefusedUnauthorized):
        # Not the client's 401: Docker's client would ask for a password and try again.
        return Refused(error.status, error.code, error.message)
    return error
