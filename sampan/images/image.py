"""What containers need to know of an image, and the names that images are given."""

from dataclasses import dataclass

from sampan.base.errors import InvalidParameter
from sampan.oci.platform import Platform
from sampan.oci.reference import InvalidReference, Reference, parse_normalized
from sampan.wire.containers import ContainerConfig


@dataclass(frozen=True, slots=True)
class Image:
    """What a container needs to know of its image. ``size`` is bytes of files in all layers."""

    id: str
    config: ContainerConfig
    chain_id: str | None
    os: str
    architecture: str
    variant: str
    created: str
    size: int

    @property
    def platform(self) -> Platform:
        """The platform the image was made for."""
        return Platform(self.architecture, self.os, variant=self.variant)


def tag_reference(repo: str, tag: str) -> Reference:
    """Return the full name for ``tag``'s arguments. Raises InvalidReference."""
    if not repo:
        raise InvalidReference("invalid reference format")
    reference = parse_normalized(repo)
    if reference.digest:
        raise InvalidParameter("cannot import digest reference")
    return reference.with_tag(tag) if tag else reference.with_default_tag()
