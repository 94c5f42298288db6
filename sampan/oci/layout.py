"""The OCI image layout: a folder (or tar) of blobs with an ``index.json`` that names them."""

from typing import Final, Literal

import msgspec
from msgspec import field

from sampan.oci.descriptor import Descriptor, decode

LAYOUT_FILE: Final = "oci-layout"
INDEX_FILE: Final = "index.json"

REF_NAME: Final = "org.opencontainers.image.ref.name"
IMAGE_NAME: Final = "io.containerd.image.name"
REFERENCE_TYPE: Final = "vnd.docker.reference.type"  # BuildKit marks attestations with it


class _Layout(msgspec.Struct):
    version: Literal["1.0.0"] = field(name="imageLayoutVersion")


_LAYOUT: Final = msgspec.json.Decoder(_Layout)


def parse_layout(document: bytes) -> str:
    """Return the version of an ``oci-layout`` file. Raises InvalidDocument."""
    return decode(_LAYOUT, document, "oci-layout file").version


def blob_path(digest: str) -> str:
    """Return where the blob with ``digest`` lies in a layout."""
    algorithm, _, encoded = digest.partition(":")
    return f"blobs/{algorithm}/{encoded}"


def image_name(descriptor: Descriptor) -> str:
    """Return the image name that an entry of a layout's index carries, or "".

    Containerd and Docker write the whole name into their own annotation. The specification's annotation holds
    a whole name (skopeo) or a bare tag (``latest``), which names no repository and so does not count.
    """
    if name := descriptor.annotations.get(IMAGE_NAME, ""):
        return name
    name = descriptor.annotations.get(REF_NAME, "")
    return name if "/" in name or ":" in name else ""


def is_attestation(descriptor: Descriptor) -> bool:
    """True for an entry that says something about another image instead of being one."""
    return REFERENCE_TYPE in descriptor.annotations
