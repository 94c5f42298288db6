"""The user's credentials for registries: in ``config.json``, or in a program named ``docker-credential-…``.

Which one keeps a registry's credentials: ``credHelpers`` names a program for one registry, ``credsStore`` one
for all others, else they lie in ``auths``. Such a program is given ``store``, ``get`` or ``erase`` as its
argument and speaks JSON over its standard streams.
"""

import binascii

from sampan.base import jsonlite
from sampan.client.errors import ClientError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from sampan.client.config import Config

HUB: "Final" = "https://index.docker.io/v1/"  # the key of Docker Hub's credentials
_TOKEN_USER: "Final" = "<token>"  # noqa: S105 - the secret beside it is an identity token
_MISSING: "Final" = "credentials not found in native keychain"
_HUB_NAMES: "Final" = ("docker.io", "index.docker.io", "registry-1.docker.io")

Login = dict[str, str]


def registry_key(domain: str) -> str:
    """Return the key under which the credentials of an image's domain are kept."""
    return HUB if domain == "docker.io" else domain


def hostname(address: str) -> str:
    """Return the host of a server's address: without scheme and path."""
    for scheme in ("http://", "https://"):
        address = address.removeprefix(scheme)
    return address.partition("/")[0]


def server_key(address: str) -> str:
    """Return the key for a server as people name it; nothing, and every name of Docker Hub, is its one."""
    host = hostname(address)
    return HUB if not host or host in _HUB_NAMES else host


class Credentials:
    """The credentials that ``config`` knows of. Raises ClientError for a program that fails."""

    def __init__(self, config: "Config") -> None:
        self._config = config

    def find(self, key: str) -> Login:
        """Return the API's credentials document for the registry ``key``; {} if there are none."""
        if helper := self._helper(key):
            return _from_helper(helper, key)
        auths = self._config.data.get("auths")
        if not isinstance(auths, dict):
            return {}
        for name in (key, *(each for each in auths if hostname(each) == hostname(key))):
            if isinstance(entry := auths.get(name), dict):
                return _from_entry(entry, key)
        return {}

    def header(self, key: str) -> str:
        """Return the value of X-Registry-Auth for the registry ``key``."""
        return encode(self.find(key))

    def save(self, key: str, login: Login) -> str:
        """Keep ``login`` for the registry ``key``; return the file if it lies there unencrypted, else "".

        Raises ClientError, and OSError for the file.
        """
        if helper := self._helper(key):
            token = login.get("identitytoken", "")
            document = {
                "ServerURL": key,
                "Username": _TOKEN_USER if token else login.get("username", ""),
                "Secret": token or login.get("password", ""),
            }
            _run(helper, "store", jsonlite.dumps(document))
            self._entries()[key] = {}
            self._config.save()
            return ""
        pair = f"{login.get('username', '')}:{login.get('password', '')}"
        entry = {"auth": _base64(pair)}
        if token := login.get("identitytoken", ""):
            entry["identitytoken"] = token
        self._entries()[key] = entry
        self._config.save()
        return self._config.path

    def erase(self, key: str) -> None:
        """Forget the credentials of the registry ``key``; none is no error. Raises ClientError, OSError."""
        if helper := self._helper(key):
            try:
                _run(helper, "erase", key)
            except ClientError as error:
                if _MISSING not in str(error):
                    raise
        entries = self._entries()
        known = [name for name in entries if hostname(name) == hostname(key)]
        for name in known:
            del entries[name]
        if known:
            self._config.save()

    def _entries(self) -> "dict[str, Any]":
        entries = self._config.data.setdefault("auths", {})
        if not isinstance(entries, dict):
            raise ClientError(f"{self._config.path}: auths is not a JSON object")
        return entries

    def _helper(self, key: str) -> str:
        helpers = self._config.data.get("credHelpers")
        found = helpers.get(key) or helpers.get(hostname(key)) if isinstance(helpers, dict) else None
        return found if isinstance(found, str) and found else self._config.text("credsStore")


def encode(login: Login) -> str:
    """Return a credentials document as X-Registry-Auth carries it."""
    return _base64(jsonlite.dumps(login)).replace("+", "-").replace("/", "_")


def _base64(text: str) -> str:
    return binascii.b2a_base64(text.encode("utf-8", "surrogateescape"), newline=False).decode()


def _from_entry(entry: "dict[str, Any]", key: str) -> Login:
    """Return the document for an entry of ``auths``. Raises ClientError."""
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if text := entry.get("auth"):
        try:
            pair = binascii.a2b_base64(str(text)).decode("utf-8", "surrogateescape")
        except ValueError as error:
            raise ClientError(f"invalid auth configuration for {key}: {error}") from error
        username, colon, password = pair.partition(":")
        if not colon:
            raise ClientError("invalid auth configuration file")
        password = password.strip("\0")
    login = {"username": username, "password": password, "serveraddress": key}
    for name in ("identitytoken", "registrytoken"):
        if value := entry.get(name):
            login[name] = str(value)
    return {name: value for name, value in login.items() if value} if username or len(login) > 3 else {}


def _from_helper(helper: str, key: str) -> Login:
    try:
        answer = _run(helper, "get", key)
    except ClientError as error:
        if _MISSING in str(error):
            return {}
        raise
    try:
        found = jsonlite.loads(answer)
        username, secret = str(found["Username"]), str(found["Secret"])
    except (ValueError, KeyError, TypeError) as error:
        raise ClientError(f"docker-credential-{helper} gives no credentials: {error}") from error
    if username == _TOKEN_USER:
        return {"identitytoken": secret, "serveraddress": key}
    return {"username": username, "password": secret, "serveraddress": key}


def _run(helper: str, action: str, text: str) -> bytes:
    """Run a credential program; return what it writes. Raises ClientError with its own words."""
    import subprocess

    if "/" in helper:
        raise ClientError(f"invalid credential helper {helper!r}")
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, action], input=text.encode(), stdout=subprocess.PIPE, check=False, timeout=120
        )
    except FileNotFoundError:
        raise ClientError(
            f'error getting credentials - err: exec: "{program}": executable file not found in $PATH'
        ) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ClientError(f"error getting credentials - err: {program}: {error}") from error
    if done.returncode:
        words = done.stdout.decode("utf-8", "replace").strip()
        raise ClientError(f"error getting credentials - err: exit status {done.returncode}, out: `{words}`")
    return done.stdout
