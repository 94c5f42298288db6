"""Content descriptors: a blob's media type, digest and size, with what else is known of it."""

import base64
from typing import Annotated, Any, Final, TypeVar

import msgspec

from sampan.base.errors import InvalidParameter
from sampan.oci.digest import split_digest
from sampan.oci.platform import Platform

MAX_DOCUMENT: Final = (
    4 << 20
)  # bytes; OCI distribution-spec, "Pushing Manifests": registries may refuse larger
_TOKEN_FIRST: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_TOKEN: Final = _TOKEN_FIRST | frozenset("!#$&^_.+-")

Size = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class InvalidDocument(InvalidParameter):
    """An image document does not follow its specification."""


class Descriptor(msgspec.Struct, rename="camel", omit_defaults=True, frozen=True):
    """A reference to a blob. Refuses to exist wrongly: its fields follow the specification's schema.

    ``digest`` may be of an algorithm that this engine does not know; ``Digest(descriptor.digest)`` tells.
    Spec: OCI image-spec v1.1, descriptor.md.
    """

    media_type: str
    digest: str
    size: Size
    urls: tuple[str, ...] = ()
    annotations: dict[str, str] = {}
    data: str = ""
    platform: Platform | None = None
    artifact_type: str = ""

    def __post_init__(self) -> None:
        check_media_type(self.media_type)
        if self.artifact_type:
            check_media_type(self.artifact_type)
        split_digest(self.digest)
        for url in self.urls:
            if not _is_uri(url):
                raise ValueError(f"{url!r} is no URI")
        if self.data:
            base64.b64decode(self.data, validate=True)  # raises ValueError


class ListedPlatform(Platform, frozen=True, kw_only=True):
    """The platform of an entry of an index: architecture and OS must be there."""

    architecture: str
    os: str


class ListedDescriptor(Descriptor, rename="camel", omit_defaults=True, frozen=True):
    """An entry of an index."""

    platform: ListedPlatform | None = None


def check_media_type(text: str) -> None:
    """Raise ValueError unless ``text`` is ``type/subtype``, both of at most 127 characters (RFC 6838)."""
    kind, _, subtype = text.partition("/")
    for part in (kind, subtype):
        if not part or len(part) > 127 or part[0] not in _TOKEN_FIRST or not _TOKEN.issuperset(part):
            raise ValueError(f"{text!r} is no media type")


def _is_uri(text: str) -> bool:
    scheme, colon, rest = text.partition(":")
    letters = _TOKEN_FIRST | frozenset("+.-")
    return bool(colon and rest and scheme[:1].isalpha() and letters.issuperset(scheme)) and " " not in text


def parse_descriptor(document: bytes) -> Descriptor:
    """Parse a descriptor. Raises InvalidDocument."""
    return decode(msgspec.json.Decoder(Descriptor), document, "descriptor")


D = TypeVar("D")


def decode(decoder: msgspec.json.Decoder[D], document: bytes | memoryview, what: str) -> D:
    """Decode a document of at most MAX_DOCUMENT bytes; whatever is wrong with it is one InvalidDocument."""
    if len(document) > MAX_DOCUMENT:
        raise InvalidDocument(f"invalid {what}: {len(document)} bytes are more than {MAX_DOCUMENT}")
    try:
        return decoder.decode(document)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, InvalidParameter) as error:
        raise InvalidDocument(f"invalid {what}: {error}") from error


def decode_leniently(decoder: msgspec.json.Decoder[D], document: bytes | memoryview, what: str) -> D:
    """Decode as ``decode``, but let null stand for "absent" everywhere, as Go's decoder does."""
    try:
        return decode(decoder, document, what)
    except InvalidDocument as error:
        try:
            value = msgspec.json.decode(document)
            return decode(decoder, msgspec.json.encode(_without_nulls(value)), what)
        except (InvalidDocument, msgspec.DecodeError, RecursionError):
            raise error from None


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value
