"""Showing a registry who asks: basic, and bearer tokens from its token server, renewed in time.

Credentials go to the registry they are for, and to the token server that this registry names; nowhere else.
They are never logged.
"""

import asyncio
import base64
import binascii
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from sampan.registry.challenge import Challenge, parse_challenges
from sampan.registry.errors import BadAnswer, InvalidAuth, NoCredentials, refusal
from sampan.registry.transport import MAX_ERROR, Content, Transport

_CLIENT: Final = "docker"
_LEAST_S: Final = 60.0  # a token lives that long at least (registry-v2, token.md)
_EARLY_S: Final = 10.0
_MAX_TOKEN: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Credentials:
    """What one registry accepts: a name and a password, or a token of one of two kinds. Empty: nobody."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)
    server_address: str = ""

    @property
    def basic(self) -> str:
        """The value of a header for basic authentication, "" if there is no name."""
        if not self.username:
            return ""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


NOBODY: Final = Credentials()


class AuthDocument(msgspec.Struct):
    """Credentials as the Engine API carries them. ``auth`` is base64 of ``name:password``."""

    username: str = ""
    password: str = ""
    auth: str = ""
    serveraddress: str = ""
    identitytoken: str = ""
    registrytoken: str = ""


def credentials_of(document: AuthDocument) -> Credentials:
    """Return the credentials of a document. Raises InvalidAuth."""
    username, password = document.username, document.password
    if document.auth and not username:
        try:
            username, _, password = base64.b64decode(document.auth, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise InvalidAuth(f"invalid X-Registry-Auth header: {error}") from error
    return Credentials(
        username, password, document.identitytoken, document.registrytoken, document.serveraddress
    )


def parse_auth_header(text: str) -> Credentials:
    """Parse ``X-Registry-Auth``: a JSON document in base64url. Empty: nobody. Raises InvalidAuth."""
    if not text:
        return NOBODY
    try:
        padded = text + "=" * (-len(text) % 4)
        data = base64.b64decode(padded.translate({ord("+"): "-", ord("/"): "_"}), b"-_", validate=True)
        if not data.strip():
            return NOBODY
        document = msgspec.json.decode(data, type=AuthDocument | None)
    except (binascii.Error, ValueError, msgspec.DecodeError, RecursionError) as error:
        raise InvalidAuth(f"invalid X-Registry-Auth header: {error}") from error
    return NOBODY if document is None else credentials_of(document)


class _Token(msgspec.Struct):
    token: str = ""
    access_token: str = ""
    refresh_token: str = ""
    expires_in: float = 0.0


class Authorizer:
    """The Authorization header of one session with one registry. ``scopes``: what shall be allowed."""

    def __init__(
        self,
        transport: Transport,
        credentials: Credentials,
        scopes: Sequence[str],
        *,
        verify: bool,
    ) -> None:
        self._transport = transport
        self._credentials = credentials
        self._scopes = tuple(scopes)
        self._verify = verify
        self._lock = asyncio.Lock()
        self._challenge: Challenge | None = None
        self._value = ""
        self._until = float("inf")
        self._worked = False
        self.refresh_token = ""

    async def header(self) -> str:
        """Return the value to send now, "" for none; a token that is about to end is renewed."""
        if self._value and time.monotonic() > self._until and self._challenge is not None:
            async with self._lock:
                if time.monotonic() > self._until:
                    await self._fetch(self._challenge)
        return self._value

    async def answer(self, www_authenticate: str, used: str) -> bool:
        """Take up the challenge of a 401 to a request that carried ``used``; False: there is no more to show.

        Raises NoCredentials, and what the token server's answers raise.
        """
        async with self._lock:
            if self._value != used:
                return True  # somebody else has renewed it meanwhile
            challenges = {each.scheme: each for each in reversed(parse_challenges(www_authenticate))}
            if (bearer := challenges.get("bearer")) is not None:
                if used and not self._expired_early():
                    return False
                await self._fetch(bearer)
                return True
            if "basic" in challenges:
                if not self._credentials.basic:
                    raise NoCredentials
                if used:
                    return False
                self._value = self._credentials.basic
                return True
            return False

    def _expired_early(self) -> bool:
        """Whether the token at hand was good once: then another one is worth a try."""
        again, self._worked = self._worked, False
        return again

    def accepted(self) -> None:
        """Take note that the registry has accepted the header."""
        self._worked = True

    async def _fetch(self, challenge: Challenge) -> None:
        """Get a token. Raises Refused."""
        self._challenge = challenge
        realm = challenge.parameters.get("realm", "")
        if urlsplit(realm).scheme not in {"http", "https"}:
            raise BadAnswer(f"invalid token auth challenge realm: {realm[:200]!r}")
        if self._credentials.registry_token:
            self._value = f"Bearer {self._credentials.registry_token}"
            return
        secret = self._credentials.identity_token or self._credentials.username
        if secret and self._verify and not realm.startswith("https:") and not self._is_insecure(realm):
            raise BadAnswer(f"the token server {realm[:200]} is not encrypted: no credentials are sent there")
        token = await (
            self._refresh(realm, challenge)
            if self._credentials.identity_token
            else self._ask(realm, challenge)
        )
        text = token.token or token.access_token
        if not text:
            raise BadAnswer("authorization server did not include a token in the response")
        self._value = f"Bearer {text}"
        self._until = time.monotonic() + max(token.expires_in, _LEAST_S) - _EARLY_S
        self.refresh_token = token.refresh_token or self.refresh_token

    def _scope_list(self, challenge: Challenge) -> list[str]:
        wanted = list(self._scopes)
        extra = challenge.parameters.get("scope", "")
        return wanted or extra.split()

    async def _ask(self, realm: str, challenge: Challenge) -> _Token:
        query: list[tuple[str, str]] = []
        if service := challenge.parameters.get("service"):
            query.append(("service", service))
        query += [("scope", scope) for scope in self._scope_list(challenge)]
        headers = {}
        if self._credentials.username:
            query += [("account", self._credentials.username), ("client_id", _CLIENT)]
            query.append(("offline_token", "true"))
            headers["Authorization"] = self._credentials.basic
        url = realm + ("&" if "?" in realm else "?") + urlencode(query, quote_via=quote, safe=":/,")
        async with self._transport.request(
            "GET", url, headers, verify=not self._is_insecure(realm), attempts=3
        ) as answer:
            return self._token(answer.status, await answer.read(_MAX_TOKEN))

    async def _refresh(self, realm: str, challenge: Challenge) -> _Token:
        form = urlencode(
            {
                "grant_type": "refresh_token",
                "service": challenge.parameters.get("service", ""),
                "client_id": _CLIENT,
                "scope": " ".join(self._scope_list(challenge)),
                "refresh_token": self._credentials.identity_token,
            }
        )
        async with self._transport.request(
            "POST",
            realm,
            {"Content-Type": "application/x-www-form-urlencoded"},
            Content.of(form.encode()),
            verify=not self._is_insecure(realm),
            attempts=3,
        ) as answer:
            return self._token(answer.status, await answer.read(_MAX_TOKEN))

    def _is_insecure(self, realm: str) -> bool:
        return self._transport.settings.is_insecure(urlsplit(realm).netloc.rpartition("@")[2])

    @staticmethod
    def _token(status: int, body: bytes) -> _Token:
        if not 200 <= status < 300:
            raise refusal(status, body[:MAX_ERROR])
        try:
            return msgspec.json.decode(body, type=_Token)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadAnswer(f"unable to decode token response: {error}") from error
