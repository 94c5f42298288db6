"""Image configurations: the document whose digest is the image ID, and the identity of stacks of layers.

``parse_config`` is as lenient as Docker (real images leave fields out or null); ``check_config`` holds a
configuration against the specification, for those that this engine makes itself.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw, field

from sampan.base import times
from sampan.oci.descriptor import InvalidDocument, decode, decode_leniently
from sampan.oci.digest import Digest
from sampan.oci.manifest import MAX_LAYERS
from sampan.oci.platform import Platform


class History(msgspec.Struct, omit_defaults=True, frozen=True):
    """How one layer, or one change of the configuration alone (``empty_layer``), came about."""

    created: str | None = None
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class RootFS(msgspec.Struct, frozen=True):
    """The layers, base first, by the digests of their uncompressed tars."""

    type: str = "layers"
    diff_ids: tuple[str, ...] = ()


class ImageConfig(msgspec.Struct, omit_defaults=True, frozen=True):
    """An image configuration, with Docker's additions.

    ``config`` and ``container_config`` stay JSON text: they decode to a Docker API container configuration,
    which documents below that API do not know. Spec: OCI image-spec v1.1, config.md.
    """

    rootfs: RootFS
    architecture: str = ""
    os: str = ""
    os_version: str = field(default="", name="os.version")
    os_features: tuple[str, ...] = field(default=(), name="os.features")
    variant: str = ""
    created: str | None = None
    author: str = ""
    comment: str = ""
    container: str = ""
    docker_version: str = ""
    config: Raw = Raw(b"null")
    container_config: Raw = Raw(b"null")
    history: tuple[History, ...] = ()

    def __post_init__(self) -> None:
        if self.rootfs.type not in {"", "layers"}:
            raise ValueError(f"unsupported rootfs type {self.rootfs.type!r}")
        if len(self.rootfs.diff_ids) > MAX_LAYERS:
            raise ValueError(f"{len(self.rootfs.diff_ids)} layers are more than {MAX_LAYERS}")
        for diff_id in self.rootfs.diff_ids:
            Digest(diff_id)
        if sum(not entry.empty_layer for entry in self.history) > len(self.rootfs.diff_ids):
            raise ValueError("too many non-empty layers in History section")

    @property
    def platform(self) -> Platform:
        """The platform the image was made for; an OS that is not named is Linux."""
        return Platform(
            self.architecture, self.os or "linux", self.os_version, self.os_features, self.variant
        )

    @property
    def chain_ids(self) -> list[str]:
        """The chainID of each layer with all below it."""
        return chain_ids(self.rootfs.diff_ids)


class _Presence(msgspec.Struct):
    rootfs: dict[str, Any] | None = None


_CONFIG: Final = msgspec.json.Decoder(ImageConfig)
_PRESENCE: Final = msgspec.json.Decoder(_Presence)


def parse_config(document: bytes) -> ImageConfig:
    """Parse an image configuration as leniently as Docker: null means absent. Raises InvalidDocument."""
    try:
        return decode_leniently(_CONFIG, document, "image JSON")
    except InvalidDocument as error:
        if _has_no_rootfs(document):
            raise InvalidDocument("invalid image JSON, no RootFS key") from error
        raise


def _has_no_rootfs(document: bytes) -> bool:
    try:
        return _PRESENCE.decode(document).rootfs is None
    except (msgspec.DecodeError, RecursionError):
        return False


def chain_id(diff_ids: Sequence[str]) -> str:
    """Identify the stack of layers ``diff_ids`` (base first, at least one) by one digest.

    ChainID(L0) = DiffID(L0), then ChainID(L0|..|Ln) = SHA256(ChainID(L0|..|Ln-1) + " " + DiffID(Ln)).
    The hash is over the text of both digests, algorithm prefix included.

    Raises ValueError if the stack is empty: ``FROM scratch`` has no chainID.
    Spec: OCI image-spec v1.1, config.md, "Layer ChainID".
    """
    if not diff_ids:
        raise ValueError("an empty stack of layers has no chainID")
    return chain_ids(diff_ids)[-1]


def chain_ids(diff_ids: Sequence[str]) -> list[str]:
    """Return the chainID up to each layer of ``diff_ids`` (base first)."""
    chain: list[str] = []
    for diff_id in diff_ids:
        if not chain:
            chain.append(str(diff_id))
        else:
            chain.append("sha256:" + hashlib.sha256(f"{chain[-1]} {diff_id}".encode()).hexdigest())
    return chain


def format_created(text: str) -> str:
    """Render a time of a configuration as Go does (no trailing zeros in the fraction); bad ones stay."""
    main, dot, fraction = text.partition(".")
    if not dot:
        return text
    digits = fraction.rstrip("Zz0123456789:+-")
    if digits:
        return text
    end = next((at for at, character in enumerate(fraction) if not character.isdigit()), len(fraction))
    kept = fraction[:end].rstrip("0")
    return main + (f".{kept}" if kept else "") + fraction[end:]


class _CheckedRun(msgspec.Struct, rename="pascal"):
    user: str = ""
    exposed_ports: dict[str, dict[str, Any]] = {}
    env: list[str] = []
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    volumes: dict[str, dict[str, Any]] | None = None
    working_dir: str = ""
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    args_escaped: bool = False


class _CheckedRootFS(msgspec.Struct):
    type: Literal["layers"]
    diff_ids: list[str]


class _CheckedHistory(msgspec.Struct):
    created: str = ""
    author: str = ""
    created_by: str = ""
    comment: str = ""
    empty_layer: bool = False


class _CheckedConfig(msgspec.Struct):
    """The schema of the specification, key by key."""

    architecture: str
    os: str
    rootfs: _CheckedRootFS
    created: str = ""
    author: str = ""
    variant: str = ""
    os_version: str = field(default="", name="os.version")
    os_features: list[str] = field(default_factory=list, name="os.features")
    config: _CheckedRun = field(default_factory=_CheckedRun)
    history: list[_CheckedHistory] = []

    def __post_init__(self) -> None:
        for moment in filter(None, (self.created, *(entry.created for entry in self.history))):
            times.parse_ns(moment)  # raises ValueError


def check_config(document: bytes) -> None:
    """Raise InvalidDocument unless ``document`` follows the specification's schema to the letter."""
    decode(msgspec.json.Decoder(_CheckedConfig), document, "image configuration")
