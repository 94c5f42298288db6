"""The registries that this engine can ask, as the daemon's settings have them."""

import asyncio
import logging
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sampan.base.errors import EngineError, InvalidParameter, Unauthorized
from sampan.oci.config import parse_config
from sampan.oci.descriptor import Descriptor
from sampan.oci.manifest import parse_index, parse_manifest
from sampan.oci.media_types import CONFIGS, INDEXES
from sampan.oci.platform import Platform
from sampan.oci.reference import DEFAULT_DOMAIN, Reference
from sampan.registry.auth import NOBODY, Authorizer, Credentials
from sampan.registry.errors import BadAnswer, NoCredentials, Refused, RefusedUnauthorized, pull_error
from sampan.registry.referrers import list_referrers
from sampan.registry.repository import Repository
from sampan.registry.settings import (
    HUB,
    Endpoint,
    RegistrySettings,
    mirror_endpoint,
    parse_index_name,
    registry_host,
    split_host,
)
from sampan.registry.transport import MAX_ERROR, Transport

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """What a log-in gives; ``identity_token`` stands for the password from then on, "" if there is none."""

    identity_token: str = ""


class Registries:
    """Opens repositories. Settings may be replaced while the daemon runs."""

    def __init__(self, settings: RegistrySettings, environment: Mapping[str, str] | None = None) -> None:
        self.transport = Transport(settings, environment)

    @property
    def settings(self) -> RegistrySettings:
        """The settings in force."""
        return self.transport.settings

    def reload(self, settings: RegistrySettings) -> None:
        """Take over new settings, for what begins from now on; proxies stay."""
        self.transport.reload(settings)

    async def close(self) -> None:
        """Close the connections that are kept."""
        await self.transport.close()

    async def endpoints(self, domain: str, *, mirrors: bool) -> list[Endpoint]:
        """Return where the repositories of ``domain`` are served, in the order to ask: mirrors first."""
        found = []
        if mirrors and domain == DEFAULT_DOMAIN:
            found = [mirror_endpoint(url, self.settings) for url in self.settings.mirrors]
        found.append(await self.endpoint(registry_host(domain)))
        return found

    async def endpoint(self, host: str) -> Endpoint:
        """Return how the registry at ``host[:port]`` is reached."""
        name, port = split_host(host)
        insecure = self.settings.is_insecure(host)
        if not insecure and host != HUB:
            insecure = self.settings.is_insecure(host, await _addresses(name))
        if not insecure:
            return Endpoint(host, ("https",))
        # On a port of its own it is one or the other, and plain HTTP is told apart by a single request.
        schemes = ("https", "http") if port is None else ("http", "https")
        return Endpoint(host, schemes, verify=False)

    async def repositories(
        self,
        reference: Reference,
        credentials: Credentials = NOBODY,
        *,
        actions: str = "pull",
        sources: Sequence[str] = (),
    ) -> list[Repository]:
        """Return the places that serve ``reference``, in the order to ask; only the last may be written to.

        ``actions``: ``pull`` or ``pull,push``; ``sources``: paths of repositories to mount blobs from.
        Mirrors are shown no credentials.
        """
        scopes = [f"repository:{reference.path}:{actions}"]
        scopes += [f"repository:{source}:pull" for source in sources]
        found = []
        for endpoint in await self.endpoints(reference.domain, mirrors=actions == "pull"):
            shown = NOBODY if endpoint.mirror else credentials
            authorizer = Authorizer(self.transport, shown, scopes, verify=endpoint.verify)
            found.append(
                Repository(
                    self.transport,
                    endpoint,
                    reference.path,
                    authorizer,
                    attempts=self.settings.max_attempts,
                )
            )
        return found

    async def inspect(
        self, reference: Reference, credentials: Credentials = NOBODY
    ) -> tuple[Descriptor, list[Platform]]:
        """Return what ``reference`` stands for in its registry, and the platforms of its images.

        Raises NotFoundThere and its kin in Docker's words.
        """
        *mirrors, registry = await self.repositories(reference, credentials)
        for mirror in mirrors:
            try:
                return await _inspect(mirror, reference)
            except EngineError as error:
                _log.warning("a mirror does not know an image: %s", error)
        return await _inspect(registry, reference)

    async def referrers(
        self, reference: Reference, artifact_type: str = "", credentials: Credentials = NOBODY
    ) -> tuple[Descriptor, list[Descriptor]]:
        """Return what ``reference`` stands for in its registry, and what refers to it.

        Raises NotFoundThere and its kin in Docker's words.
        """
        repository = (await self.repositories(reference, credentials))[-1]
        try:
            subject = (await repository.manifest(reference.digest or reference.tag)).descriptor
            return subject, await list_referrers(repository, subject.digest, artifact_type)
        except RefusedUnauthorized:
            raise
        except Refused as error:
            raise pull_error(error, reference) from error

    async def login(self, credentials: Credentials) -> LoggedIn:
        """Check credentials with the registry they name. Raises Unauthorized in Docker's words."""
        host = login_host(credentials.server_address)
        endpoint = await self.endpoint(host)
        authorizer = Authorizer(self.transport, credentials, (), verify=endpoint.verify)
        repository = Repository(self.transport, endpoint, "", authorizer, attempts=1)
        try:
            base = await repository.open()
        except NoCredentials:
            raise
        except Refused as error:
            raise Unauthorized(f'Get "https://{host}/v2/": {error}') from error
        url = f"{base}/v2/"
        used = await authorizer.header()
        headers = {"Authorization": used} if used else {}
        async with self.transport.request("GET", url, headers, verify=endpoint.verify) as answer:
            await answer.read(MAX_ERROR)
            status = answer.status
        if status == 401:
            raise Unauthorized(f"login attempt to {url} failed with status: 401 Unauthorized")
        if status != 200:
            raise BadAnswer(f"login attempt to {url} failed with status: {status}")
        return LoggedIn(authorizer.refresh_token)


async def _inspect(repository: Repository, reference: Reference) -> tuple[Descriptor, list[Platform]]:
    try:
        document = await repository.manifest(reference.digest or reference.tag)
        if document.descriptor.media_type in INDEXES:
            entries = parse_index(document.data).manifests
            return document.descriptor, [entry.platform for entry in entries if entry.platform]
        manifest = parse_manifest(document.data)
        if manifest.config.media_type not in CONFIGS:
            return document.descriptor, []
        config = parse_config(await repository.document(manifest.config))
    except RefusedUnauthorized:
        raise
    except Refused as error:
        raise pull_error(error, reference) from error
    return document.descriptor, [config.platform] if config.architecture else []


def login_host(address: str) -> str:
    """Return the host of a server as credentials name it: a URL or a host. Raises InvalidParameter."""
    text = address
    for scheme in ("https://", "http://"):
        text = text.removeprefix(scheme)
    text = text.partition("/")[0]
    if not text or text in {DEFAULT_DOMAIN, "index.docker.io"}:
        return HUB
    if any(character.isspace() or character in "@?#" for character in text):
        raise InvalidParameter(f"unable to parse server address: {address!r}")
    return registry_host(parse_index_name(text))


async def _addresses(name: str) -> list[str]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [str(entry[4][0]) for entry in found]
