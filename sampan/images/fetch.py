"""An archive that ``import`` is to take from the network, by http or https."""

import http.client
import urllib.error
import urllib.request

from sampan.base.errors import InvalidParameter, Unavailable

_TIMEOUT_S = 60.0


class Download:
    """The answer to a GET of ``url`` as a file to read; a context manager. Blocking.

    A URL without a scheme is one of http. Raises InvalidParameter for another scheme, Unavailable when there
    is no such archive to be had.
    """

    def __init__(self, url: str) -> None:
        self.url = url if "://" in url else f"http://{url}"
        if not self.url.startswith(("http://", "https://")):
            raise InvalidParameter(f"cannot import from {url}: say http:// or https://")
        try:
            self._answer = urllib.request.urlopen(self.url, timeout=_TIMEOUT_S)  # noqa: S310 - checked above
        except urllib.error.HTTPError as error:
            with error:
                raise Unavailable(
                    f"failed to GET {self.url} with status {error.code} {error.reason}"
                ) from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise Unavailable(f"failed to GET {self.url}: {error}") from error

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes; b"" at the end. Raises Unavailable if the connection breaks."""
        try:
            data: bytes = self._answer.read(size)
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"{self.url} broke off: {error}") from error
        return data

    def close(self) -> None:
        """Hang up."""
        self._answer.close()
