"""Registries as the commands of ``manifest`` ask them: from the client, with the user's credentials."""

from sampan.cli.errors import CommandError
from sampan.client.credentials import Credentials, registry_key
from sampan.client.manifest_lists import Entry, render_list
from sampan.oci.config import parse_config
from sampan.oci.descriptor import Descriptor
from sampan.oci.digest import Digest
from sampan.oci.layout import is_attestation
from sampan.oci.manifest import parse_index, parse_manifest
from sampan.oci.media_types import CONFIGS, DOCKER_INDEX, INDEXES, MANIFESTS, OCI_INDEX
from sampan.oci.platform import Platform
from sampan.registry.auth import AuthDocument, credentials_of
from sampan.registry.errors import NotFoundThere, RefusedNotFound
from sampan.registry.referrers import push_manifest
from sampan.registry.repository import Document, Repository
from sampan.registry.service import Registries
from sampan.registry.settings import RegistrySettings
from sampan.registry.transport import Content

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from typing import Self

    from sampan.client.config import Config
    from sampan.oci.reference import Reference
    from sampan.registry.auth import Credentials as Shown


class RegistryClient:
    """The registries that a user reaches; ``insecure``: whatever their certificates say.

    Methods raise NotFoundThere for what is not there, and the errors of ``sampan.registry``.
    """

    def __init__(self, config: "Config", environment: "Mapping[str, str]", *, insecure: bool) -> None:
        self._credentials = Credentials(config)
        settings = RegistrySettings.parse(insecure=["0.0.0.0/0", "::/0"] if insecure else ())
        self._registries = Registries(settings, environment)

    async def __aenter__(self) -> "Self":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._registries.close()

    async def image(self, reference: "Reference") -> Entry:
        """Return one image. Raises CommandError if the name stands for a list."""
        found, is_list = await self.look(reference)
        if is_list:
            raise CommandError(f"{reference.familiar} is a manifest list")
        return found[0]

    async def look(self, reference: "Reference") -> "tuple[list[Entry], bool]":
        """Return the images behind a name, and whether it stands for a list of them."""
        repository = await self._open(reference)
        try:
            document = await repository.manifest(reference.digest or reference.tag)
            if document.descriptor.media_type not in INDEXES:
                return [await _image(repository, reference.familiar, document)], False
            found = []
            for listed in parse_index(document.data).manifests:
                if is_attestation(listed) or listed.media_type not in MANIFESTS:
                    continue
                below = await repository.manifest(listed.digest)
                name = f"{reference.familiar}@{listed.digest}"
                found.append(await _image(repository, name, below, listed.platform))
        except (RefusedNotFound, NotFoundThere) as error:
            raise NotFoundThere(f"no such manifest: {reference.familiar}") from error
        return found, True

    async def referrers(self, reference: "Reference", artifact_type: str) -> "Sequence[Descriptor]":
        """Return what refers to the manifest that the name stands for."""
        return (await self._registries.referrers(reference, artifact_type, self._shown(reference)))[1]

    async def push(
        self, target: "Reference", entries: "Sequence[Entry]", say: "Callable[[str], None]"
    ) -> str:
        """Send a list under the name ``target``, its images first; return its digest."""
        from sampan.oci.reference import parse_normalized

        sources = [parse_normalized(entry.ref) for entry in entries]
        paths = {source.path for source in sources if source.path != target.path}
        repository = await self._open(target, actions="push,pull", sources=sorted(paths))
        for entry, source in zip(entries, sources, strict=True):
            if source.path != target.path:
                await self._lend(repository, source, entry)
            digest = entry.descriptor.digest
            await push_manifest(repository, digest, entry.descriptor.media_type, entry.raw)
            say(f"Pushed ref {target.name_only().familiar}@{digest} with digest: {digest}")
        document = render_list(entries)
        media_type = OCI_INDEX if OCI_INDEX.encode() in document else DOCKER_INDEX
        await push_manifest(repository, target.digest or target.tag, media_type, document)
        return str(Digest.of(document))

    async def _lend(self, repository: Repository, source: "Reference", entry: Entry) -> None:
        """See to it that the blobs of an image of ``source`` are in ``repository`` too."""
        manifest = parse_manifest(entry.raw)
        origin: Repository | None = None
        for blob in (manifest.config, *manifest.layers):
            if blob.urls or await repository.has_blob(blob.digest):
                continue
            session = await repository.mount(blob.digest, source.path)
            if session:
                origin = origin or await self._open(source)
                await _copy(origin, repository, blob, session)

    async def _open(
        self, reference: "Reference", *, actions: str = "pull", sources: "Sequence[str]" = ()
    ) -> Repository:
        found = await self._registries.repositories(
            reference, self._shown(reference), actions=actions, sources=sources
        )
        return found[-1]

    def _shown(self, reference: "Reference") -> "Shown":
        return credentials_of(AuthDocument(**self._credentials.find(registry_key(reference.domain))))


async def _image(
    repository: Repository, name: str, document: Document, platform: Platform | None = None
) -> Entry:
    descriptor = document.descriptor
    if platform is None:
        manifest = parse_manifest(document.data)
        if manifest.config.media_type in CONFIGS:
            platform = parse_config(await repository.document(manifest.config)).platform
    return Entry(
        name,
        Descriptor(descriptor.media_type, descriptor.digest, descriptor.size, platform=platform),
        document.data,
    )


async def _copy(origin: Repository, target: Repository, blob: Descriptor, session: str) -> None:
    """Send a blob from one repository on to another, as it comes."""
    async with origin.blob(blob.digest) as (_, answer):

        async def pieces() -> "AsyncIterator[bytes]":
            async for piece in answer.chunks():
                yield piece

        await target.finish_upload(session, blob.digest, Content(pieces, blob.size))
